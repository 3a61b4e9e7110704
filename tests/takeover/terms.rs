//! On which terms a relay gives its place: to whom, and with which messages.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::{Command, Stdio},
};

use nix::unistd::geteuid;
use serde_json::json;

use crate::{
    Place, SOON,
    common::{
        Conn, Relay,
        cli::{self, finish},
        packets::{front, get_packet, listening},
        process::Process,
        relay::binary,
        x0::Answer,
    },
    fakes::{FakeNew, FakeOld},
    text,
};

/// Somebody who is neither root nor the relay's user.
const NOBODY: u32 = 65_534;

/// What a takeover says that must fail with this code.
#[track_caller]
fn refused(place: &Place, more: &[&str], code: i32) -> String {
    let socket = place.socket();
    let args = [&["serve", "--takeover", "--listen", "127.0.0.1:0", "--socket", text(&socket)], more].concat();
    let done = cli::run(&args).exits(code);
    assert_eq!(done.stdout, "", "it served before it failed");
    done.stderr
}

#[test]
fn what_waits_in_memory_is_not_given_up_unasked() {
    let place = Place::new();
    let mut relay = place.in_memory(&["--wait", "200ms"]);
    relay.set("a", "b", r#"{"n":1}"#);
    let said = refused(&place, &[], 1);
    assert!(said.contains("1 message(s) wait in its memory") && said.contains("--discard"), "{said}");
    let said = refused(&place, &["--data-dir", text(&place.data())], 1);
    assert!(said.contains("1 message(s) wait in its memory"), "{said}");
    assert_eq!(relay.poll("b"), [r#"{"n":1,"session_src":"a"}"#]);
    relay.set("a", "b", r#"{"n":2}"#);
    let next = place.in_memory(&["--takeover", "--discard", "--wait", "200ms"]);
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    next.assert_empty("b");
}

#[test]
fn empty_mailboxes_in_memory_are_given_up_for_memory_or_disk() {
    let place = Place::new();
    let mut relay = place.in_memory(&["--wait", "60s"]);
    let addr = relay.addr();
    for more in
        [&["--takeover", "--wait", "60s"][..], &["--takeover", "--data-dir", text(&place.data()), "--wait", "1s"]]
    {
        let waiting = relay.park("b");
        let next = place.in_memory(more);
        let (answer, _) = waiting.answer();
        assert_eq!(answer.x0(), Answer::Nothing);
        assert!(answer.closes(), "{answer:?}");
        assert_eq!(relay.wait_exit(SOON).code(), Some(0));
        assert_eq!(next.addr(), addr);
        relay = next;
    }
    relay.set("a", "b", r#"{"n":1}"#);
    relay.kill9();
    assert_eq!(place.on_disk(&[]).poll("b").len(), 1);
}

#[test]
fn what_comes_into_memory_meanwhile_keeps_the_place() {
    let place = Place::new();
    let relay = place.in_memory(&["--wait", "200ms"]);
    let fake = FakeNew::offered(&place.socket(), None);
    relay.set("a", "b", r#"{"n":1}"#);
    fake.say("ready");
    let said = fake.hear().expect("a word");
    assert!(said["detail"].as_str().is_some_and(|why| why.contains("1 message(s) wait")), "{said}");
    assert_eq!(relay.poll("b").len(), 1);
    assert_eq!(front(&place.socket(), get_packet("b")), r#"{"messages": null}"#);
}

#[test]
fn another_data_directory_is_refused() {
    let place = Place::new();
    let relay = place.on_disk(&[]);
    let data = place.data();
    let other = place.dir.path().join("other");
    for more in [&[][..], &["--discard"], &["--data-dir", text(&other)], &["--data-dir", text(place.dir.path())]] {
        let said = refused(&place, more, 1);
        assert!(said.contains(&format!("use --data-dir {}", data.display())), "{said}");
    }
    assert!(!other.exists(), "a relay that was refused leaves nothing behind");
    relay.set("a", "b", "{}");
    // The same directory by another name is the same.
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink(&data, &link).expect("a link");
    let next = place.in_memory(&["--data-dir", text(&link), "--takeover"]);
    assert_eq!(next.poll("b").len(), 1);
}

#[test]
fn another_version_of_the_packets_is_refused_by_both() {
    let place = Place::new();
    let relay = place.in_memory(&[]);
    let (_, said) = FakeNew::ask(&place.socket(), 2, None);
    assert_eq!(said["exception_id"], "TakeoverRefused");
    let why = said["detail"].as_str().unwrap_or_default();
    assert!(why.contains("speaks version 1 of the takeover, not 2"), "{said}");
    relay.set("a", "b", "{}");

    let other = Place::new();
    let old = FakeOld::at(&other.socket());
    let socket = other.socket();
    let new = cli::start(&["serve", "--takeover", "--socket", text(&socket)]);
    let (asked, word) = old.asked();
    assert_eq!((&word["x0-relay"]["do"], &word["x0-relay"]["version"]), (&json!("takeover"), &json!(1)));
    old.offer(&asked, 2);
    let done = finish(new).exits(1);
    assert!(done.stderr.contains("it speaks version 2 of the takeover, and this one version 1"), "{done:?}");
}

#[test]
fn a_server_that_knows_no_takeover_is_left_alone() {
    for answer in [
        json!({"messages": null, "error": true, "exception_id": "BadRequest", "exception": "Not a request", "detail": "unknown word"}),
        json!({"messages": null}),
    ] {
        let place = Place::new();
        let old = FakeOld::at(&place.socket());
        let socket = place.socket();
        let new = cli::start(&["serve", "--takeover", "--socket", text(&socket)]);
        let (asked, _) = old.asked();
        asked.say(&answer);
        let done = finish(new).exits(1);
        assert!(done.stderr.contains("unknown word") || done.stderr.contains("does not know the word"), "{done:?}");
    }
    // x0's own: it closes without a word.
    let place = Place::new();
    let old = FakeOld::at(&place.socket());
    let socket = place.socket();
    let new = cli::start(&["serve", "--takeover", "--socket", text(&socket)]);
    drop(old.asked());
    assert!(finish(new).exits(3).stderr.contains("without an answer"));
}

#[test]
fn where_nobody_runs_it_starts_as_any_other() {
    let place = Place::new();
    let mut relay = place.on_disk(&["--takeover"]);
    assert!(!relay.process.stdout.text().contains("in the place of"));
    assert!(relay.log().contains("there is nothing to take over"));
    relay.set("a", "b", "{}");
    relay.kill9();
    // What a dead relay has left is nobody.
    assert!(place.socket().exists());
    let relay = place.on_disk(&["--takeover"]);
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn without_a_control_socket_there_is_no_takeover() {
    let done = cli::run(&["serve", "--takeover", "--socket", "none", "--listen", "127.0.0.1:0"]).exits(2);
    assert!(done.stderr.contains("name it with --socket"), "{done:?}");
    let done = cli::run(&["serve", "--discard"]).exits(2);
    assert!(done.stderr.contains("--takeover"), "{done:?}");
    cli::run(&["gateway", "--takeover", "--socket", "/nonexistent"]).exits(2);
}

#[test]
fn only_root_and_the_relays_own_user_may() {
    if !geteuid().is_root() {
        println!("who may take over: NOT TESTED, only root can become somebody else");
        return;
    }
    // The binary's own directory may be closed to others.
    let place = Place::new();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let copy = place.dir.path().join("x0-relay");
    fs::copy(binary(), &copy).expect("room for the binary");
    let as_nobody = |args: &[&str]| {
        let mut nobody = Command::new(&copy);
        nobody.args(args).uid(NOBODY).gid(NOBODY).current_dir("/").stdin(Stdio::null()).stderr(Stdio::piped());
        Process::spawn(nobody)
    };
    let socket = place.socket();
    let args = ["serve", "--takeover", "--socket", text(&socket)];
    let mut relay = place.in_memory(&["--socket-mode", "0666"]);
    let done = finish(as_nobody(&args)).exits(1);
    assert!(done.stderr.contains("root and the relay's own user"), "{done:?}");
    relay.set("a", "b", "{}");
    assert_eq!(relay.poll("b").len(), 1);
    relay.term();
    relay.wait_exit(SOON);

    // A port that needs privileges, bound as root, goes to one that has none and never had.
    let address = (200..250).map(|n| format!("127.0.{n}.1:81")).find(|address| TcpListener::bind(address).is_ok());
    let address = address.expect("a free address");
    let mut relay = place.in_memory(&["--listen", &address, "--user", "65534", "--group", "65534"]);
    let next = as_nobody(&args);
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    next.stdout.wait_for(SOON, |said| said.contains(&format!("http://{address}")).then_some(())).expect("it serves");
    assert!(Conn::try_open(address.parse().expect("an address")).is_ok());
}

#[test]
fn the_control_socket_goes_along_and_ends_with_the_last() {
    let place = Place::new();
    let socket = place.socket();
    let mut relay = place.in_memory(&["--socket-mode", "0600"]);
    let made = fs::metadata(&socket).expect("there").ino();
    for _ in 0..3 {
        let next = place.in_memory(&["--takeover"]);
        assert_eq!(relay.wait_exit(SOON).code(), Some(0));
        assert!(next.process.stdout.text().contains("in the place of x0-relay"));
        let there = fs::metadata(&socket).expect("the old relay has left it");
        assert!(there.file_type().is_socket());
        assert_eq!((there.ino(), there.permissions().mode() & 0o777), (made, 0o600));
        let stats = cli::run(&["stats", "--json", "--socket", text(&socket)]).exits(0).json();
        assert_eq!(stats["pid"], next.process.pid().as_raw());
        assert_eq!(next.packet(get_packet("b")), Answer::Nothing);
        relay = next;
    }
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert!(!socket.exists(), "the last one removes it");
}

#[test]
fn inherited_sockets_go_along_too_and_stay_their_makers() {
    let place = Place::new();
    let socket = place.socket();
    let (http, control) = (TcpListener::bind("127.0.0.1:0").expect("a free port"), listening(&socket));
    let kept = control.try_clone().expect("a descriptor is free");
    let mut relay = Relay::builder().inherit_http(&http).inherit_control(control).args(&["--socket", "none"]).start();
    let mut next = place.in_memory(&["--takeover"]);
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert_eq!(next.addr(), http.local_addr().expect("bound"));
    next.set("a", "b", "{}");
    assert_eq!(next.poll("b").len(), 1);
    next.term();
    assert_eq!(next.wait_exit(SOON).code(), Some(0));
    assert!(socket.exists(), "it is whoever made it that removes it");
    drop(kept);
}

#[test]
fn started_with_sockets_of_its_own_it_takes_over_nobodys() {
    let place = Place::new();
    let socket = place.socket();
    let http = TcpListener::bind("127.0.0.1:0").expect("a free port");
    // Nobody accepts at this control socket but the relay that is about to.
    let relay = Relay::builder()
        .inherit_http(&http)
        .inherit_control(listening(&socket))
        .args(&["--takeover", "--socket", text(&socket)])
        .start();
    assert_eq!(front(&socket, get_packet("b")), r#"{"messages": null}"#);
    relay.set("a", "b", "{}");
}
