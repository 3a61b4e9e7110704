//! The control socket's file, and who may say what on it.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Stdio,
};

use nix::unistd::geteuid;

use crate::common::{
    Relay,
    cli::{self, finish},
    packets::get_packet,
    process::Process,
    x0::Answer,
};

/// Somebody who is neither root nor the relay's user.
const NOBODY: u32 = 65_534;

fn relay_on(path: &Path, args: &[&str]) -> Relay {
    Relay::builder().args(&["--socket", path.to_str().expect("UTF-8")]).args(args).start()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn the_socket_file_has_the_mode_that_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    for (args, want) in [(&[][..], 0o660), (&["--socket-mode", "0600"], 0o600), (&["--socket-mode", "0666"], 0o666)] {
        let path = dir.path().join(format!("{want:o}.sock"));
        let _relay = relay_on(&path, args);
        assert_eq!(mode(&path), want, "{args:?}");
        assert!(fs::metadata(&path).expect("it is there").file_type().is_socket());
    }
}

#[test]
fn the_socket_file_has_the_owner_that_was_asked_for() {
    if !geteuid().is_root() {
        println!("not run: only root can give a file away");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("owned.sock");
    let _relay = relay_on(&path, &["--socket-owner", "33", "--socket-group", "34"]);
    let found = fs::metadata(&path).expect("it is there");
    assert_eq!((found.uid(), found.gid()), (33, 34));
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("control.sock");
    let mut first = relay_on(&path, &[]);
    first.kill9();
    assert!(path.exists(), "a killed relay leaves its file");
    let second = relay_on(&path, &[]);
    assert_eq!(second.packet(get_packet("b")), Answer::Nothing);
}

#[test]
fn a_live_socket_is_respected() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("control.sock");
    let first = relay_on(&path, &[]);
    let name = path.to_str().expect("UTF-8");
    let second = cli::run(&["serve", "--listen", "127.0.0.1:0", "--socket", name]);
    assert_ne!(second.code, 0);
    assert!(second.stderr.contains(name), "{second:?}");
    assert!(!second.stdout.contains("http://"), "it served before it failed: {second:?}");
    assert_eq!(first.packet(get_packet("b")), Answer::Nothing);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("precious.txt");
    fs::write(&path, "precious").expect("a file");
    let link = dir.path().join("link.sock");
    symlink(&path, &link).expect("a link");
    for name in [&path, &link, &dir.path().to_path_buf()] {
        let done = cli::run(&["serve", "--listen", "127.0.0.1:0", "--socket", name.to_str().expect("UTF-8")]);
        assert_ne!(done.code, 0, "{done:?}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }
}

#[test]
fn a_socket_in_a_directory_that_is_not_there_is_a_clear_failure() {
    let done = cli::run(&["serve", "--listen", "127.0.0.1:0", "--socket", "/nonexistent/x/control.sock"]);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains("/nonexistent/x/control.sock"), "{done:?}");
}

#[test]
fn two_relays_of_one_user_without_a_socket_setting_do_not_fight() {
    // The default path is the user's: the second one does without, with a warning, and both serve.
    let home = tempfile::tempdir().expect("a directory");
    let start = || {
        Relay::builder()
            .bare()
            .env("X0_RELAY_LISTEN", "127.0.0.1:0")
            .env("XDG_RUNTIME_DIR", home.path())
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .start()
    };
    let (first, second) = (start(), start());
    for relay in [&first, &second] {
        relay.set("a", "b", "{}");
        assert_eq!(relay.poll("b").len(), 1);
    }
}

#[test]
fn operator_words_need_root_or_the_relays_user_and_x0s_packets_do_not() {
    if !geteuid().is_root() {
        println!("not run: only root can become somebody else");
        return;
    }
    // The binary's own directory may be closed to others.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let copy = dir.path().join("x0-relay");
    fs::copy(crate::common::relay::binary(), &copy).expect("room for the binary");
    let path = dir.path().join("control.sock");
    let relay = relay_on(&path, &["--socket-mode", "0666", "--wait", "200ms"]);
    let socket = path.to_str().expect("UTF-8");
    let run = |args: &[&str]| {
        let mut nobody = std::process::Command::new(&copy);
        nobody.args(args).uid(NOBODY).gid(NOBODY).current_dir("/").stdin(Stdio::null()).stderr(Stdio::piped());
        finish(Process::spawn(nobody))
    };
    run(&["send", "--socket", socket, "--from", "a", "b", r#"{"kept":1}"#]).exits(0);
    for words in [
        &["stats", "--socket", socket][..],
        &["sessions", "--socket", socket],
        &["purge", "--socket", socket, "b"],
        &["drain", "--socket", socket],
    ] {
        let done = run(words).exits(1);
        assert!(done.stdout.is_empty() && !done.stderr.is_empty(), "{words:?}: {done:?}");
    }
    assert_eq!(relay.poll("b").len(), 1, "purged by somebody who may not");
    assert!(!relay.process.has_ended());
    // The original's front reads what it gets of its own packets, whoever it runs as.
    assert_eq!(relay.packet(get_packet("b")), Answer::Nothing);
}

#[test]
fn a_relay_that_dropped_its_privileges_serves_and_answers_its_user() {
    if !geteuid().is_root() {
        println!("not run: only root has privileges to drop");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let path = dir.path().join("control.sock");
    let mut relay = relay_on(&path, &["--user", "65534", "--group", "65534", "--wait", "200ms"]);
    let status = fs::read_to_string(format!("/proc/{}/status", relay.process.pid())).expect("it runs");
    let ids = |name: &str| status.lines().find(|l| l.starts_with(name)).expect("it is there").to_owned();
    assert_eq!(ids("Uid:").split_whitespace().skip(1).collect::<Vec<_>>(), ["65534"; 4]);
    assert_eq!(ids("Gid:").split_whitespace().skip(1).collect::<Vec<_>>(), ["65534"; 4]);
    let groups = ids("Groups:");
    assert!(groups.split_whitespace().skip(1).all(|g| g == "65534"), "root's other groups are kept: {groups}");
    relay.set("a", "b", "{}");
    assert_eq!(relay.packet(get_packet("b")), Answer::Mail(vec![r#"{"session_src":"a"}"#.into()]));
    let found = fs::metadata(&path).expect("it is there");
    assert_eq!((found.uid(), found.gid()), (NOBODY, NOBODY));
    relay.term();
    assert_eq!(relay.wait_exit(crate::common::PROMPT).code(), Some(0));
}
