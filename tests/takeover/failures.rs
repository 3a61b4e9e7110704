//! What becomes of the place when one of the two fails.

use std::{os::unix::net::UnixDatagram, time::Duration};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    Place, SOON,
    common::{
        Conn, PROMPT, Relay,
        cli::{self, finish},
        eventually,
        packets::{Packets, front, get_packet},
        timed,
        x0::{Answer, poll_request, set_body, set_request},
    },
    fakes::{FakeNew, FakeOld, that_hangs},
    text,
};

/// Fails unless this relay serves in every way, and takes messages.
#[track_caller]
fn assert_serves(relay: &Relay, place: &Place) {
    let (waiting, payload) = (relay.park("here"), r#"{"serves":1}"#);
    relay.set("a", "here", payload);
    assert_eq!(waiting.answer().0.mail(), [r#"{"serves":1,"session_src":"a"}"#]);
    assert_eq!(front(&place.socket(), get_packet("nobody")), r#"{"messages": null}"#);
    cli::run(&["stats", "--socket", text(&place.socket())]).exits(0);
}

/// Fails unless another relay can have the place after all.
#[track_caller]
fn assert_can_be_taken(mut relay: Relay, place: &Place, more: &[&str]) -> Relay {
    let next = place.in_memory(&[&["--takeover"], more].concat());
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert_serves(&next, place);
    next
}

#[test]
fn a_new_relay_with_bad_settings_touches_nothing() {
    let place = Place::new();
    let relay = place.in_memory(&[]);
    let parked = relay.park("b");
    let socket = place.socket();
    let done = cli::run(&["serve", "--takeover", "--socket", text(&socket), "--wait", "10 parsecs"]).exits(2);
    assert!(done.stderr.contains("parsecs"));
    assert!(!relay.log().contains("takeover"), "{}", relay.log());
    relay.set("a", "b", "{}");
    assert_eq!(parked.answer().0.mail().len(), 1);
}

#[test]
fn sockets_that_the_new_settings_do_not_allow_are_given_back() {
    let place = Place::new();
    let relay = place.in_memory(&["--listen", "0.0.0.0:0", "--auth", "open"]);
    let socket = place.socket();
    let done = cli::run(&["serve", "--takeover", "--socket", text(&socket)]).exits(2);
    assert!(done.stderr.contains("auth"), "{done:?}");
    eventually("the old relay hears why", PROMPT, || relay.log().contains("say auth").then_some(()));
    assert_serves(&relay, &place);
    assert_can_be_taken(relay, &place, &["--auth", "open"]);
}

#[test]
fn one_that_ends_with_the_sockets_in_its_hands_changes_nothing() {
    let place = Place::new();
    let relay = place.in_memory(&["--wait", "60s"]);
    let parked = relay.park("b");
    for fails in [|_: &FakeNew| {}, |fake: &FakeNew| fake.fail("no luck\u{1b}[2J"), |fake: &FakeNew| fake.say("dance")]
    {
        let fake = FakeNew::offered(&place.socket(), None);
        fails(&fake);
        drop(fake);
        assert_serves(&relay, &place);
    }
    eventually("the log says why", PROMPT, || relay.log().contains("no luck").then_some(()));
    assert!(!relay.log().contains('\u{1b}'), "what the other says is not to paint the terminal");
    // Not even its waiting polls have noticed.
    relay.set("a", "b", "{}");
    assert_eq!(parked.answer().0.mail().len(), 1);
    assert_can_be_taken(relay, &place, &[]);
}

#[test]
fn one_that_ends_during_the_drain_gives_the_place_back() {
    let place = Place::new();
    let relay = place.on_disk(&["--body-timeout", "60s", "--wait", "60s"]);
    relay.set("a", "b", r#"{"n":1}"#);
    // Holds the drain up.
    let set = set_request("a", "b", r#"{"n":2}"#);
    let mut slow = Conn::open(relay.addr());
    slow.send(&set[..set.len() - 1]);
    let parked = relay.park("c");
    let fake = FakeNew::offered(&place.socket(), Some(&place.data()));
    fake.say("ready");
    // Waiting polls are answered when nobody is accepted any more.
    assert_eq!(parked.answer().0.x0(), Answer::Nothing);
    let mut back = Conn::open(relay.addr());
    back.send(poll_request("c"));
    drop(fake);
    assert_serves(&relay, &place);
    relay.set("a", "c", r#"{"n":3}"#);
    assert_eq!(back.response().mail(), [r#"{"n":3,"session_src":"a"}"#], "it came in the drain, and waits");
    slow.send(&set[set.len() - 1..]);
    assert_eq!(slow.response().x0(), Answer::Accepted, "it was accepted before the drain");
    assert_eq!(relay.poll("b").len(), 2);
    let data = place.data();
    assert_can_be_taken(relay, &place, &["--data-dir", text(&data)]);
}

#[test]
fn one_that_is_ended_by_a_signal_gives_the_place_back() {
    let place = Place::new();
    let relay = place.on_disk(&["--body-timeout", "60s", "--wait", "60s"]);
    let (data, socket, set) = (place.data(), place.socket(), set_request("a", "b", "{}"));
    for (signal, code) in [(Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)] {
        let mut slow = Conn::open(relay.addr());
        slow.send(&set[..set.len() - 1]);
        let parked = relay.park("c");
        let args = ["serve", "--takeover", "--socket", text(&socket), "--data-dir", text(&data)];
        let mut new = cli::start(&args);
        assert_eq!(parked.answer().0.x0(), Answer::Nothing);
        new.signal(signal);
        assert_eq!(new.wait(SOON).code(), code);
        assert_serves(&relay, &place);
        slow.send(&set[set.len() - 1..]);
        assert_eq!(slow.response().x0(), Answer::Accepted);
    }
    assert_eq!(relay.poll("b").len(), 2);
}

#[test]
fn one_that_cannot_open_its_store_gives_the_place_back() {
    let place = Place::new();
    let (data, socket) = (place.data(), place.socket());
    std::fs::create_dir(&data).expect("ours");
    std::fs::write(data.join("journal.redb"), "a diary").expect("written");
    let relay = place.in_memory(&[]);
    let done = cli::run(&["serve", "--takeover", "--socket", text(&socket), "--data-dir", text(&data)]).exits(2);
    assert!(done.stderr.contains("journal.redb") && done.stdout.is_empty(), "{done:?}");
    assert_serves(&relay, &place);
    assert!(relay.log().contains("journal.redb"), "it was told why: {}", relay.log());
    assert_can_be_taken(relay, &place, &[]);
}

#[test]
fn a_message_that_is_on_its_way_is_accepted_in_the_drain() {
    let place = Place::new();
    let relay = place.on_disk(&["--body-timeout", "60s", "--wait", "60s"]);
    let set = set_request("a", "b", r#"{"n":1}"#);
    let mut slow = Conn::open(relay.addr());
    slow.send(&set[..set.len() - 1]);
    let parked = relay.park("c");
    let fake = FakeNew::offered(&place.socket(), Some(&place.data()));
    fake.say("ready");
    assert_eq!(parked.answer().0.x0(), Answer::Nothing);
    slow.send(&set[set.len() - 1..]);
    let answer = slow.response();
    assert_eq!(answer.x0(), Answer::Accepted);
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(fake.hear(), Some(json!({"takeover": "yours"})));
    drop(fake);
    // The old relay has opened its store again.
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn x0s_own_front_is_heard_out_in_the_drain() {
    let place = Place::new();
    let relay = place.on_disk(&["--wait", "60s"]);
    let socket = place.socket();
    let connections =
        || cli::run(&["stats", "--json", "--socket", text(&socket)]).json()["control_connections"].clone();
    let (fresh, used) = (Packets::open(&socket), Packets::open(&socket));
    used.send(get_packet("nobody"));
    assert_eq!(used.receive(), br#"{"messages": null}"#);
    eventually("both are accepted, and the one that asks", PROMPT, || (connections() == 3).then_some(()));
    let parked = relay.park("c");
    let fake = FakeNew::offered(&socket, Some(&place.data()));
    fake.say("ready");
    assert_eq!(parked.answer().0.x0(), Answer::Nothing);
    assert_eq!(used.receive(), b"", "it goes to the next relay");
    // As the front does it: first it connects, then it asks.
    fresh.send(set_body("a", "b", r#"{"n":1}"#));
    assert_eq!(fresh.receive(), br#"{"messages": null, "status": "ok"}"#);
    assert_eq!(fresh.receive(), b"");
    assert_eq!(fake.hear(), Some(json!({"takeover": "yours"})));
    drop(fake);
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn a_request_that_does_not_end_holds_nobody_up() {
    let place = Place::new();
    let mut relay = place.on_disk(&["--body-timeout", "60s"]);
    let mut stuck = Conn::open(relay.addr());
    let set = set_request("a", "b", "{}");
    stuck.send(&set[..set.len() - 1]);
    relay.set("a", "b", r#"{"n":1}"#);
    let (next, took) = timed(|| place.on_disk(&["--takeover", "--wait", "200ms"]));
    println!("a takeover with a stuck request: {took:?}");
    assert!(took < Duration::from_secs(3) + PROMPT, "{took:?}");
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    stuck.assert_ends(PROMPT);
    assert_eq!(next.poll("b").len(), 1);
}

#[test]
fn one_that_ends_before_it_serves_gives_the_place_back() {
    let place = Place::new();
    let data = place.data();
    let relay = place.on_disk(&[]);
    relay.set("a", "b", r#"{"n":1}"#);
    for fails in [|_: &FakeNew| {}, |fake: &FakeNew| fake.fail("no such journal")] {
        let fake = FakeNew::offered(&place.socket(), Some(&data));
        fake.gets_the_place();
        // It waits for whoever has the place in the end.
        let mut early = Conn::open(relay.addr());
        early.send(set_request("a", "b", r#"{"n":2}"#));
        fails(&fake);
        drop(fake);
        assert_eq!(early.response().x0(), Answer::Accepted);
        assert_serves(&relay, &place);
    }
    assert!(relay.log().contains("no such journal"), "{}", relay.log());
    let next = assert_can_be_taken(relay, &place, &["--data-dir", text(&data)]);
    assert_eq!(next.poll("b").len(), 3);
}

#[test]
fn in_memory_too_one_that_ends_before_it_serves_gives_the_place_back() {
    let place = Place::new();
    let relay = place.in_memory(&[]);
    let fake = FakeNew::offered(&place.socket(), None);
    fake.gets_the_place();
    drop(fake);
    assert_serves(&relay, &place);
    assert_can_be_taken(relay, &place, &[]);
}

#[test]
fn one_that_hangs_is_ended_and_gives_the_place_back() {
    let place = Place::new();
    let relay = place.on_disk(&[]);
    relay.set("a", "b", r#"{"n":1}"#);
    let mut fake = that_hangs(place.dir.path());
    fake.stdout.wait_for(SOON, |said| said.contains("hanging").then_some(())).expect("it has the place");
    let mut early = Conn::open(relay.addr());
    early.send(set_request("a", "b", r#"{"n":2}"#));
    let (answer, took) = timed(|| early.response());
    println!("a request waited for {took:?} because a new relay hung");
    assert_eq!(answer.x0(), Answer::Accepted);
    assert!(took < Duration::from_secs(10) + PROMPT, "{took:?}");
    assert_eq!(fake.wait(PROMPT).code(), None, "it was killed");
    assert_serves(&relay, &place);
    let data = place.data();
    let next = assert_can_be_taken(relay, &place, &["--data-dir", text(&data)]);
    assert_eq!(next.poll("b").len(), 2);
}

#[test]
fn one_that_never_gets_ready_is_not_waited_for() {
    let place = Place::new();
    let relay = place.in_memory(&["--wait", "60s"]);
    let parked = relay.park("b");
    let _fake = FakeNew::offered(&place.socket(), None);
    eventually("the old relay gives up", SOON, || relay.log().contains("it was not ready within 10s").then_some(()));
    assert_serves(&relay, &place);
    relay.set("a", "b", "{}");
    assert_eq!(parked.answer().0.mail().len(), 1, "nobody has noticed");
    assert_can_be_taken(relay, &place, &[]);
}

#[test]
fn one_takeover_at_a_time() {
    let place = Place::new();
    let relay = place.in_memory(&[]);
    let fake = FakeNew::offered(&place.socket(), None);
    let socket = place.socket();
    let done = cli::run(&["serve", "--takeover", "--socket", text(&socket)]).exits(1);
    assert!(done.stderr.contains("another relay is taking over"), "{done:?}");
    drop(fake);
    assert_can_be_taken(relay, &place, &[]);
}

#[test]
fn a_relay_that_is_told_to_end_in_a_takeover_ends_when_it_has_failed() {
    let place = Place::new();
    let mut relay = place.in_memory(&[]);
    let fake = FakeNew::offered(&place.socket(), None);
    relay.term();
    eventually("it has heard", PROMPT, || relay.log().contains("as soon as the takeover has ended").then_some(()));
    drop(fake);
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert!(!place.socket().exists(), "it has removed its file");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::new();
    let mut relay = place.in_memory(&[]);
    let _fake = FakeNew::offered(&place.socket(), None);
    relay.term();
    eventually("it has heard", PROMPT, || relay.log().contains("as soon as the takeover has ended").then_some(()));
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(143));
}

#[test]
fn an_old_relay_that_ends_without_a_word_leaves_its_place() {
    let place = Place::new();
    let old = FakeOld::at(&place.socket());
    let (addr, socket) = (old.http.local_addr().expect("bound"), place.socket());
    let mut new = cli::start(&["serve", "--takeover", "--socket", text(&socket), "--wait", "200ms"]);
    let (asked, _) = old.asked();
    old.offer(&asked, 1);
    assert_eq!(asked.hear(), json!({"takeover": "ready"}));
    let mut early = Conn::open(addr);
    early.send(poll_request("b"));
    drop((asked, old));
    assert_eq!(early.response().x0(), Answer::Nothing);
    assert_eq!(front(&socket, get_packet("b")), r#"{"messages": null}"#);
    new.signal(Signal::SIGTERM);
    assert_eq!(new.wait(SOON).code(), Some(0));
    assert!(!socket.exists(), "the file was made by a relay, so this one removes it");
}

#[test]
fn an_old_relay_that_keeps_its_place_is_believed() {
    let place = Place::new();
    let old = FakeOld::at(&place.socket());
    let socket = place.socket();
    let new = cli::start(&["serve", "--takeover", "--socket", text(&socket)]);
    let (asked, _) = old.asked();
    old.offer(&asked, 1);
    assert_eq!(asked.hear(), json!({"takeover": "ready"}));
    asked.say(
        &json!({"messages": null, "error": true, "exception_id": "x", "exception": "x", "detail": "changed my mind"}),
    );
    let done = finish(new).exits(1);
    assert!(done.stderr.contains("changed my mind") && done.stdout.is_empty(), "{done:?}");
    assert!(socket.exists(), "the file is the old relay's");
}

#[test]
fn systemd_learns_of_the_new_main_process_from_the_old_one() {
    let place = Place::new();
    let path = place.dir.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd.set_read_timeout(Some(SOON)).expect("a socket");
    let told = || {
        let mut said = [0; 256];
        let n = systemd.recv(&mut said).expect("a word within the time");
        String::from_utf8_lossy(&said[..n]).into_owned()
    };
    let socket = place.socket();
    let mut old = Relay::builder().args(&["--socket", text(&socket)]).env("NOTIFY_SOCKET", &path).start();
    assert!(told().contains("READY=1"));
    let next = place.in_memory(&["--takeover"]);
    assert!(told().contains(&format!("MAINPID={}", next.process.pid())));
    assert_eq!(old.wait_exit(SOON).code(), Some(0));
}
