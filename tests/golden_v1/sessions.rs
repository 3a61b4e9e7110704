//! What a session is, and its purge.

use crate::common::{
    Conn, Cut, PROMPT, Relay, eventually,
    v1::{Door, Gap, Receiver, get, numbered, requests::delete},
};

fn is_attached(relay: &Relay) -> bool {
    relay.session("b")["attached"].as_bool().expect("a boolean")
}

#[test]
fn a_session_tells_what_waits_and_whether_its_receiver_is_there() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..3);
    let session = relay.session("b");
    let members: Vec<&String> = session.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["attached", "last_seen", "pending", "session"]);
    assert_eq!(
        (&session["session"], &session["pending"], &session["attached"]),
        (&"b".into(), &3.into(), &false.into())
    );
    assert!(session["last_seen"].is_null(), "nobody has received for it yet: {session}");
    let cursor = relay.look("b", None).cursor;
    let seen = relay.session("b")["last_seen"].as_u64().expect("milliseconds");
    let ts = relay.everything("b", None)[0].ts;
    assert!((ts..ts + 60_000).contains(&seen), "last seen {seen}, the message is of {ts}");
    relay.ack("b", &cursor);
    assert_eq!(relay.pending("b"), 0);
}

#[test]
fn a_session_that_nobody_knows_has_nothing() {
    let relay = Relay::start(&[]);
    let session = relay.session("nobody");
    assert_eq!((&session["pending"], &session["attached"]), (&0.into(), &false.into()));
    assert!(session["last_seen"].is_null(), "{session}");
    assert_eq!(relay.purge_v1("nobody"), 0);
}

#[test]
fn a_receiver_at_any_door_is_attached_until_it_goes() {
    let relay = Relay::start(&["--wait", "60s"]);
    for door in Door::ALL {
        for how in [Cut::Fin, Cut::Rst] {
            assert!(!is_attached(&relay));
            let receiver = Receiver::open(relay.addr(), "b", door, None);
            eventually("it is attached", PROMPT, || is_attached(&relay).then_some(()));
            receiver.cut(how);
            eventually("it is gone", PROMPT, || (!is_attached(&relay)).then_some(()));
        }
    }
}

#[test]
fn looking_at_a_session_makes_nobody_its_receiver() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let parked = relay.park_v1("b", Some(&cursor));
    for _ in 0..3 {
        assert!(is_attached(&relay));
    }
    relay.send_v1("b", &numbered(0));
    assert_eq!(parked.answer().0.batch().numbers(), [0]);
}

#[test]
fn purge_removes_everything_and_whoever_reads_on_is_told() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    relay.send_numbers("b", 0..3);
    assert_eq!((relay.purge_v1("b"), relay.purge_v1("b"), relay.pending("b")), (3, 0, 0));
    relay.send_v1("b", &numbered(3));
    let batch = relay.look("b", Some(&cursor));
    assert_eq!((batch.gap.clone(), batch.numbers()), (Some(Gap::of(1, 3, "purged")), vec![3]));
}

#[test]
fn a_waiting_receiver_is_told_of_a_purge_with_what_comes_next() {
    let relay = Relay::start(&["--window", "1"]);
    let (mut socket, _) = relay.socket("b", None);
    relay.send_numbers("b", 0..4);
    let first = socket.next(PROMPT);
    assert!(matches!(&first, Ok(crate::common::v1::Said::Messages(batch)) if batch.numbers() == [0]), "{first:?}");
    // The window is full: 1 is on its way, 2 to 4 wait.
    assert_eq!(relay.purge_v1("b"), 4);
    relay.send_v1("b", &numbered(4));
    let Ok(crate::common::v1::Said::Messages(batch)) = first else { unreachable!("checked above") };
    socket.ack(&batch.cursor);
    match socket.next(PROMPT) {
        Ok(crate::common::v1::Said::Messages(batch)) => assert_eq!(batch.gap, Some(Gap::of(2, 4, "purged"))),
        other => panic!("no gap but {other:?}"),
    }
}

#[test]
fn session_paths_that_are_wrong_are_refused() {
    let relay = Relay::start(&[]);
    let long = "x".repeat(257);
    relay.ask(get("/v1/sessions/")).problem(400, "invalid_session");
    relay.ask(get(&format!("/v1/sessions/{long}"))).problem(400, "invalid_session");
    relay.ask(delete(&format!("/v1/sessions/{long}/messages"))).problem(400, "invalid_session");
    relay.ask(delete("/v1/sessions//messages")).problem(400, "invalid_session");
    assert_eq!(relay.ask(get("/v1/sessions/%FF")).status, 400);
    relay.ask(get("/v1/sessions/b/c/d")).problem(404, "not_found");
    relay.ask(get("/v1/sessions")).problem(404, "not_found");
    // A slash in an id is percent-encoded.
    relay.send_v1("b/c", "{}");
    assert_eq!(Conn::open(relay.addr()).exchange(get("/v1/sessions/b%2Fc")).v1()["pending"], 1);
    // A plus in a path is a plus.
    relay.send_v1("b+c", "{}");
    assert_eq!(Conn::open(relay.addr()).exchange(get("/v1/sessions/b+c")).v1()["pending"], 1);
}
