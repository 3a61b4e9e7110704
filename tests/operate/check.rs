//! `check`, which says what would keep `serve` from starting.

use crate::common::{cli, tls::Certificate};

#[test]
fn check_reads_the_files_that_the_file_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    let certificate = Certificate::new();
    let name = |path: std::path::PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (cert, key) = (name(certificate.cert()), name(certificate.key()));
    write("secret", &cli::run(&["token", "key"]).exits(0).stdout);
    write("private.pem", &cli::run(&["token", "key", "--ed25519"]).exits(0).stdout);
    write("jwks.json", &cli::run(&["token", "public", "--key", &path("private.pem")]).exits(0).stdout);
    write("broken.json", r#"{"keys":[{"kty":"OKP"}"#);
    write("short", "too short");
    let check = |cert: &str, key: &str, jwt: &str, signed: &str| {
        let text = format!(
            "tls-listen = \"127.0.0.1:0\"\nauth = \"jwt,signed\"\ntls-cert = \"{cert}\"\ntls-key = \"{key}\"\njwt-keys = \
             \"{jwt}\"\nsigned-keys = \"{signed}\"\n"
        );
        write("relay.toml", &text);
        cli::run(&["check", &path("relay.toml")])
    };
    let (jwks, secret) = (path("jwks.json"), path("secret"));
    let good = check(&cert, &key, &jwks, &secret).exits(0);
    assert!(good.stdout.ends_with("relay.toml: good\n"), "{good:?}");
    let unseen = check(&cert, &key, "env:KEYS", &secret).exits(0);
    assert!(unseen.stdout.contains("not looked at") && unseen.stdout.contains("jwt-keys (env:KEYS)"), "{unseen:?}");
    // Everything at once, each with its setting and its file.
    let faults = check(&path("none.pem"), &key, &path("broken.json"), &path("short")).exits(2);
    for says in ["3 fault(s)", "tls-cert", "none.pem", "jwt-keys", "broken.json: no JWK set", "signed-keys", "short: "]
    {
        assert!(faults.stderr.contains(says), "{says}: {faults:?}");
    }
    // A key where a certificate should be, a key of something else, a private key where a public one should be.
    let faults = check(&key, &cert, &path("private.pem"), &path("nowhere")).exits(2);
    for says in ["no certificate in PEM", "a private key", "nowhere: No such file"] {
        assert!(faults.stderr.contains(says), "{says}: {faults:?}");
    }
    // As serve would.
    let serve = cli::run(&["serve", "--config", &path("relay.toml"), "--listen", "none", "--socket", "none"]);
    assert!(serve.code != 0 && serve.stderr.contains("no certificate in PEM"), "{serve:?}");
}
