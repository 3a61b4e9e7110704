//! Settings that contradict each other, and what is said of it.

use crate::config::tests::{Sources, of_file, one};

#[test]
fn an_address_that_others_reach_needs_open_access_by_name() {
    let told = "could send to every session and receive every session's mail, because nothing asks who they are; if that is \
                meant, say so: auth = \"open\" (--auth open, X0_RELAY_AUTH=open); else listen on 127.0.0.1";
    let flags = &["--listen", "0.0.0.0:8080"];
    one(
        &Sources { flags, ..Sources::default() }.faults(),
        &format!("--listen \"0.0.0.0:8080\": everybody who reaches this machine on 0.0.0.0:8080 {told}"),
    );
    let file = "listen = [\n\"127.0.0.1:1\",\n\"192.0.2.1:80\",\n\"[::]:2\"]";
    let faults = of_file(file);
    assert_eq!(faults.len(), 2);
    assert!(
        faults[0].starts_with("relay.toml:3: listen = \"192.0.2.1:80\": everybody who reaches this address on"),
        "{faults:?}"
    );
    assert!(
        faults[1].starts_with("relay.toml:4: listen = \"[::]:2\": everybody who reaches this machine"),
        "{faults:?}"
    );

    let serve = Sources { file, env: &[("X0_RELAY_AUTH", "open")], ..Sources::default() }.serve().unwrap();
    assert!(serve.http.open_by_name);
    assert_eq!(serve.http.listen.len(), 3);
    for own in ["127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert!(Sources { flags: &["--listen", own], ..Sources::default() }.serve().is_ok(), "{own}");
    }
    // A misspelt auth is one fault, not two.
    one(
        &of_file("listen = \"0.0.0.0:80\"\nauht = \"open\""),
        "relay.toml:2: auht = \"open\": no such setting; did you mean auth?",
    );
    let gateway = Sources { flags: &["--listen", "0.0.0.0:80", "--socket", "/run/s"], ..Sources::default() }.gateway();
    assert!(gateway.expect_err("open")[0].ends_with(told));
}

#[test]
fn contradictions_name_both_sides() {
    one(
        &Sources { file: "\nmemory = \"8MiB\"", flags: &["--mailbox-bytes", "9MiB"], ..Sources::default() }.faults(),
        "--mailbox-bytes \"9MiB\": one mailbox may have more than all together, with memory = \"8MiB\" (line 2); lower \
         mailbox-bytes or raise memory",
    );
    one(
        &of_file("memory = \"8MiB\""),
        "relay.toml:1: memory = \"8MiB\": one mailbox may have more than all together, with mailbox-bytes = 16MiB (the \
         default); lower mailbox-bytes or raise memory",
    );
    one(
        &of_file("mailbox-bytes = \"64KiB\""),
        "relay.toml:1: mailbox-bytes = \"64KiB\": the largest message has no room in a mailbox, with message-bytes = 64KiB \
         (the default); 65536 bytes and their envelope need a mailbox of at least 66048",
    );
    assert!(Sources { file: "mailbox-bytes = 66048", ..Sources::default() }.serve().is_ok());
    one(
        &of_file("listen = \"none\"\nsocket = \"none\""),
        "relay.toml:1: listen = \"none\": nobody could reach the relay, because there is also socket = \"none\" (line 2); \
         listen on an address, such as \"127.0.0.1:8080\", or give the socket a path",
    );
    one(
        &Sources { env: &[("X0_RELAY_LISTEN", "none"), ("X0_RELAY_DRAIN_NOTICE", "5s")], ..Sources::default() }
            .faults(),
        "X0_RELAY_DRAIN_NOTICE=\"5s\": a notice that nobody can see: /readyz is HTTP, and there is X0_RELAY_LISTEN=\"none\"; \
         leave it out, or listen on an address",
    );
    one(
        &of_file("user = 33"),
        "relay.toml:1: user = 33: a user by number, without a group: the process would keep the group that it was started \
         with; set group too, such as group = 33 (--group 33), or give the user's name",
    );
}

#[test]
fn tls_needs_an_address_a_certificate_and_a_key() {
    let faults = |flags: &[&str]| Sources { flags, ..Sources::default() }.serve().err();
    let (address, cert, key) = (["--tls-listen", "127.0.0.1:1"], ["--tls-cert", "c"], ["--tls-key", "k"]);
    let all = [address, cert, key].concat();
    let serve = Sources { flags: &all, ..Sources::default() }.serve().expect("all there");
    assert_eq!(serve.http.tls_listen, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(serve.http.tls.map(|tls| tls.key), Some("k".into()));
    one(
        &faults(&address).unwrap(),
        "--tls-listen \"127.0.0.1:1\": TLS needs a certificate, with tls-cert = none (the default); name its files: \
         tls-cert and tls-key",
    );
    one(
        &faults(&[address, key].concat()).unwrap(),
        "--tls-key \"k\": TLS needs both, with tls-cert = none (the default); name the file of the other too, or leave \
         both out",
    );
    one(
        &faults(&[cert, key].concat()).unwrap(),
        "--tls-cert \"c\": a certificate that nobody is shown, with tls-listen = none (the default); say where TLS is \
         spoken, such as tls-listen = \"0.0.0.0:8443\", or leave it out",
    );
    one(
        &faults(&[&all[..], &["--listen", "127.0.0.1:1"]].concat()).unwrap(),
        "--tls-listen \"127.0.0.1:1\": 127.0.0.1:1 is there twice; keep one of the two",
    );
    let open = faults(&["--tls-listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k"]).unwrap();
    assert!(open[0].contains("nothing asks who they are"), "{open:?}");
    let alone = [&all[..], &["--listen", "none", "--socket", "none", "--drain-notice", "1s"]].concat();
    assert_eq!(faults(&alone), None);
}

#[test]
fn origins_are_listed_and_told_apart_from_what_is_none() {
    let origins = |file: &str| Sources { file, ..Sources::default() }.serve().map(|serve| serve.http.origins);
    assert_eq!(origins("").unwrap(), ["*"]);
    assert_eq!(origins("origins = \"none\"").unwrap(), [""; 0]);
    assert_eq!(
        origins("origins = [\"https://app.example\", \"https://*.example:8443\"]").unwrap(),
        ["https://app.example", "https://*.example:8443"]
    );
    one(
        &of_file("origins = \"https://app.example/\""),
        "relay.toml:1: origins = \"https://app.example/\": \"https://app.example/\" has a path, and an origin has none; \
         leave the \"/\" at its end out",
    );
    assert!(of_file("origins = \"app.example\"")[0].contains("is not an origin; write scheme, host and"));
    assert!(of_file("origins = \"null\"")[0].contains("every page that hides where it is from"));
}

#[test]
fn ways_to_be_known_need_keys_and_keys_a_use() {
    let faults = |flags: &[&str]| Sources { flags, ..Sources::default() }.serve().err();
    one(
        &faults(&["--auth", "jwt"]).unwrap(),
        "--auth \"jwt\": jwt needs keys, with jwt-keys = none (the default); name them: jwt-keys (docs/security.md)",
    );
    one(
        &of_file("signed-keys = \"k\""),
        "relay.toml:1: signed-keys = \"k\": keys that nobody is asked for, with auth = open (the default); add signed to \
         auth, or leave the keys out",
    );
    one(
        &of_file("auth = [\"open\", \"signed\"]\nsigned-keys = \"k\""),
        "relay.toml:1: auth = \"signed\": \"open\" beside others: either nobody is asked, or everybody; leave one of them \
         out",
    );
    one(
        &of_file("auth = \"jwt\"\njwt-keys = \"k\"\njwt-audience = \"none\""),
        "relay.toml:3: jwt-audience = \"none\": a token for anybody would be taken for one of this relay's; name what \
         the tokens' aud names",
    );
    let both =
        Sources { file: "auth = [\"jwt\", \"signed\"]\njwt-keys = \"k\"\nsigned-keys = \"s\"", ..Sources::default() };
    let auth = both.serve().unwrap().auth;
    assert!(auth.jwt.is_some() && auth.signed.is_some());
    let gateway = |auth| Sources { flags: &["--socket", "/run/s", "--auth", auth], ..Sources::default() }.gateway();
    assert!(gateway("signed").is_ok() && gateway("jwt,signed").is_ok() && gateway("open").expect("open").open);
    assert!(gateway("jwt").expect_err("no tokens")[0].contains("a gateway passes no tokens on"));
}

#[test]
fn an_interval_needs_something_to_sync() {
    one(
        &of_file("sync = \"1s\""),
        "relay.toml:1: sync = \"1s\": there is nothing to sync, with data-dir = none (the default); name a data-dir, \
         or leave sync out",
    );
    let good = Sources { flags: &["--sync", "1s", "--data-dir", "d"], ..Sources::default() };
    assert!(good.serve().is_ok());
    assert!(Sources { flags: &["--sync", "always"], ..Sources::default() }.serve().is_ok());
}

#[test]
fn no_two_listeners_on_one_port() {
    let faults = |a: &str, b: &str| {
        Sources { flags: &["--auth", "open", "--listen", a, "--listen", b], ..Sources::default() }.serve().err()
    };
    one(
        &faults("127.0.0.1:80", "127.0.0.1:80").unwrap(),
        "--listen \"127.0.0.1:80\": 127.0.0.1:80 is there twice; keep one of the two",
    );
    one(
        &faults("0.0.0.0:80", "127.0.0.1:80").unwrap(),
        "--listen \"127.0.0.1:80\": 127.0.0.1:80 and 0.0.0.0:80 are the same port of one address; keep one of the two",
    );
    one(
        &faults("127.0.0.1:80", "none").unwrap(),
        "--listen \"none\": \"none\" beside addresses; write \"none\" alone, or leave it out",
    );
    assert_eq!(faults("127.0.0.1:80", "127.0.0.1:81"), None);
    assert_eq!(faults("127.0.0.1:80", "[::1]:80"), None);
}

#[test]
fn a_gateway_needs_a_socket_and_an_address() {
    let needs = "a gateway needs the control socket of the server behind it; name it: --socket PATH, X0_RELAY_SOCKET=PATH, or \
                 socket = \"PATH\" in the file";
    one(&Sources::default().gateway().expect_err("no socket"), &format!("socket: {needs}"));
    let flags = &["--socket", "none", "--listen", "none"];
    assert_eq!(
        Sources { flags, ..Sources::default() }.gateway().expect_err("nothing"),
        [
            "--listen \"none\": a gateway is nothing but HTTP; give it an address, such as \"127.0.0.1:8080\""
                .to_owned(),
            format!("--socket \"none\": {needs}"),
        ]
    );
    // What belongs to serve alone is looked at, but does not contradict a gateway.
    let file = "socket = \"/run/s\"\nmemory = \"8MiB\"\nttl = \"never\"";
    let faults = Sources { file, ..Sources::default() }.gateway().expect_err("ttl");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("relay.toml:3: ttl = \"never\": not a duration"));
}
