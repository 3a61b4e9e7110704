//! What is said on a WebSocket.

use std::time::Duration;

use crate::common::{
    Broken, Cut, PROMPT, Relay, assert_prompt, eventually, timed,
    v1::{Batch, Cursor, Door, Gap, Receiver, Said, Socket, numbered, requests::message_body},
    x0::quoted,
};

#[track_caller]
fn messages(socket: &mut Socket) -> Batch {
    match socket.next(PROMPT) {
        Ok(Said::Messages(batch)) => batch,
        other => panic!("no messages but {other:?}"),
    }
}

/// Reads frames until so many messages have come; their numbers, and the last cursor.
#[track_caller]
fn numbers(socket: &mut Socket, count: usize) -> (Vec<u64>, Cursor) {
    let mut batch = messages(socket);
    let mut all = batch.numbers();
    while all.len() < count {
        batch = messages(socket);
        assert_eq!(batch.gap, None);
        all.extend(batch.numbers());
    }
    (all, batch.cursor)
}

/// A `ping` that must be the next thing to be answered: nothing else was on its way.
#[track_caller]
fn assert_nothing_else(socket: &mut Socket) {
    socket.say(r#"{"type":"ping"}"#);
    assert_eq!(socket.next(PROMPT).expect("a pong"), Said::Pong);
}

#[track_caller]
fn assert_error(socket: &mut Socket, reference: Option<&str>, status: u16, kind: &str) {
    match socket.next(PROMPT) {
        Ok(Said::Error { reference: named, status: code, kind: word, .. }) => {
            assert_eq!((named.as_deref(), code, word.as_str()), (reference, status, kind));
        }
        other => panic!("no {kind} but {other:?}"),
    }
}

#[test]
fn a_socket_begins_with_welcome_and_goes_on_with_messages() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..2);
    let mut socket = Socket::open(relay.addr(), "b", None);
    match socket.next(PROMPT) {
        Ok(Said::Welcome { session, cursor, window }) => {
            assert_eq!((session.as_str(), cursor.seq(), window), ("b", 0, 256));
        }
        other => panic!("no welcome but {other:?}"),
    }
    let batch = messages(&mut socket);
    assert_eq!((batch.numbers(), batch.cursor.seq(), batch.gap), (vec![0, 1], 2, None));
    let (_, took) = timed(|| {
        relay.send_v1("b", &numbered(2));
        assert_eq!(messages(&mut socket).numbers(), [2]);
    });
    assert_prompt("a message", took);
}

#[test]
fn what_is_not_acknowledged_comes_again_with_the_same_id_and_seq() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..3);
    let (mut socket, _) = relay.socket("b", None);
    let first = messages(&mut socket);
    assert_eq!(first.numbers(), [0, 1, 2]);
    socket.ack(&first.cursor.at(1));
    assert_nothing_else(&mut socket);
    assert_eq!(relay.pending("b"), 2);
    socket.cut(Cut::Rst);
    let (mut socket, cursor) = relay.socket("b", None);
    assert_eq!(cursor, first.cursor.at(1));
    let again = messages(&mut socket);
    assert_eq!(again.messages, first.messages[1..]);
    socket.cut(Cut::Fin);
    // After says the same as an acknowledgement.
    let (mut socket, cursor) = relay.socket("b", Some(&first.cursor.at(2)));
    assert_eq!(cursor, first.cursor.at(2));
    assert_eq!(messages(&mut socket).messages, first.messages[2..]);
    assert_eq!(relay.pending("b"), 1);
}

#[test]
fn no_more_than_a_window_is_unacknowledged() {
    let relay = Relay::start(&["--window", "4"]);
    relay.send_numbers("b", 0..20);
    let mut socket = Socket::open(relay.addr(), "b", None);
    assert!(matches!(socket.next(PROMPT), Ok(Said::Welcome { window: 4, .. })));
    let (got, cursor) = numbers(&mut socket, 4);
    assert_eq!(got, [0, 1, 2, 3]);
    assert_nothing_else(&mut socket);
    socket.ack(&cursor.at(1));
    let (got, _) = numbers(&mut socket, 1);
    assert_eq!(got, [4], "as many as there is room for");
    assert_nothing_else(&mut socket);
    socket.ack(&cursor.at(5));
    let (got, _) = numbers(&mut socket, 4);
    assert_eq!(got, [5, 6, 7, 8]);
    // An acknowledgement by another way makes room too.
    relay.ack("b", &cursor.at(9));
    let (got, _) = numbers(&mut socket, 4);
    assert_eq!(got, [9, 10, 11, 12]);
}

#[test]
fn sending_takes_what_a_post_takes() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    let frames = [
        (r#"{"type":"send","ref":"1","to":"session:c","payload":{"n":0}}"#, 1),
        (r#"{"type":"send","ref":"2","to":["c","d","session:c"],"payload":{"n":1},"from":"me","ttl":60}"#, 2),
        (r#"{"payload":{"n":2},"message_type":"word","to":"c","ref":"é\u0000\"","type":"send"}"#, 1),
    ];
    let mut ids = Vec::new();
    for (frame, count) in frames {
        socket.say(frame);
        let value: serde_json::Value = serde_json::from_str(frame).expect("JSON");
        match socket.next(PROMPT) {
            Ok(Said::Sent { reference, id, recipients, .. }) => {
                assert_eq!((reference.as_deref(), recipients), (value["ref"].as_str(), count), "{frame}");
                ids.push(id);
            }
            other => panic!("{frame}: {other:?}"),
        }
    }
    let got = relay.everything("c", None);
    assert_eq!(got.iter().map(|m| m.id.clone()).collect::<Vec<_>>(), ids);
    let heads: Vec<(&str, &str)> = got.iter().map(|m| (m.from.as_str(), m.word.as_str())).collect();
    assert_eq!(heads, [("", "message"), ("me", "message"), ("", "word")]);
    // Without a name its answer has none.
    socket.say(r#"{"type":"send","to":"c","payload":1}"#);
    assert!(matches!(socket.next(PROMPT), Ok(Said::Sent { reference: None, .. })));
}

#[test]
fn a_message_to_oneself_comes_back() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    socket.say(r#"{"type":"send","ref":"1","to":"b","payload":{"n":1e400 }}"#);
    let mut both = [socket.next(PROMPT).expect("a frame"), socket.next(PROMPT).expect("a frame")];
    both.sort_by_key(|said| matches!(said, Said::Messages(_)));
    let [Said::Sent { id, .. }, Said::Messages(batch)] = both else { panic!("{both:?}") };
    assert_eq!((batch.messages[0].id.as_str(), batch.messages[0].payload.as_str()), (id.as_str(), r#"{"n":1e400 }"#));
}

#[test]
fn a_frame_that_is_no_request_is_an_error_and_the_socket_lives_on() {
    let relay = Relay::start(&["--mailbox-messages", "1"]);
    let (mut socket, cursor) = relay.socket("b", None);
    relay.send_v1("full", "1");
    let ahead = format!(r#"{{"type":"ack","cursor":"{}"}}"#, cursor.at(1));
    let deep = format!(r#"{{"type":"send","ref":"d","to":"c","payload":{}{}}}"#, "[".repeat(600), "]".repeat(600));
    let large = format!(r#"{{"type":"send","ref":"l","to":"c","payload":"{}"}}"#, "x".repeat(65_600));
    for (frame, reference, status, kind) in [
        ("", None, 400, "not_json"),
        ("no", None, 400, "not_json"),
        ("[]", None, 400, "bad_request"),
        ("{}", None, 400, "bad_request"),
        (r#"{"ref":"x"}"#, Some("x"), 400, "bad_request"),
        (r#"{"type":"fly","ref":"y"}"#, Some("y"), 400, "bad_request"),
        (r#"{"type":7,"ref":"z"}"#, Some("z"), 400, "bad_request"),
        (r#"{"type":"send","ref":"1","payload":1}"#, Some("1"), 400, "bad_request"),
        (r#"{"type":"send","ref":"2","to":"c"}"#, Some("2"), 400, "bad_request"),
        (r#"{"type":"send","ref":"3","to":"c","payload":1,"unknown":1}"#, Some("3"), 400, "bad_request"),
        (r#"{"type":"send","ref":"4","to":"user:c","payload":1}"#, Some("4"), 400, "invalid_address"),
        (r#"{"type":"send","ref":"5","to":"c","payload":1,"ttl":0}"#, Some("5"), 400, "bad_request"),
        (r#"{"type":"send","ref":"6","to":"full","payload":1}"#, Some("6"), 507, "mailbox_full"),
        (r#"{"type":"ack","ref":"7","cursor":"x"}"#, Some("7"), 400, "invalid_cursor"),
        (r#"{"type":"ack"}"#, None, 400, "bad_request"),
        (&ahead, None, 400, "invalid_cursor"),
        (&deep, None, 400, "too_deep"),
        (&large, Some("l"), 413, "too_large"),
    ] {
        socket.say(frame);
        println!("{frame:.80}");
        assert_error(&mut socket, reference, status, kind);
    }
    assert_nothing_else(&mut socket);
    relay.send_v1("b", &numbered(0));
    assert_eq!(messages(&mut socket).numbers(), [0]);
    assert!(relay.everything("c", None).is_empty());
}

#[test]
fn an_error_names_the_addresses_that_failed() {
    let relay = Relay::start(&["--mailbox-messages", "1"]);
    relay.send_v1("full", "1");
    let (mut socket, _) = relay.socket("b", None);
    socket.say(r#"{"type":"send","ref":"1","to":["session:c","session:full"],"payload":1}"#);
    match socket.next(PROMPT) {
        Ok(Said::Error { status: 507, addresses, .. }) => assert_eq!(addresses, ["session:full"]),
        other => panic!("{other:?}"),
    }
    assert!(relay.everything("c", None).is_empty());
}

#[test]
fn a_key_that_was_used_for_something_else_is_an_error() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    socket.say(r#"{"type":"send","ref":"1","to":"c","payload":1,"key":"k"}"#);
    assert!(matches!(socket.next(PROMPT), Ok(Said::Sent { duplicate: Some(false), .. })));
    socket.say(r#"{"type":"send","ref":"2","to":"c","payload":2,"key":"k"}"#);
    assert_error(&mut socket, Some("2"), 409, "key_reused");
}

#[test]
fn an_acknowledgement_of_another_epoch_does_nothing() {
    let relay = Relay::start(&[]);
    relay.send_v1("b", &numbered(0));
    let (mut socket, cursor) = relay.socket("b", None);
    assert_eq!(messages(&mut socket).numbers(), [0]);
    let epoch = u64::from_str_radix(cursor.epoch(), 16).expect("hex") ^ 1;
    socket.say(&format!(r#"{{"type":"ack","cursor":"{epoch:016x}.1"}}"#));
    assert_nothing_else(&mut socket);
    assert_eq!(relay.pending("b"), 1);
}

#[test]
fn a_gap_stands_before_the_messages_of_its_frame() {
    let relay = Relay::start(&[]);
    let start = relay.cursor("b");
    relay.send_numbers("b", 0..2);
    relay.purge_v1("b");
    let (mut socket, cursor) = relay.socket("b", Some(&start));
    assert_eq!(cursor, start, "a cursor that is handed out does not jump over a gap");
    let batch = messages(&mut socket);
    assert_eq!((batch.gap, batch.messages.len(), batch.cursor), (Some(Gap::of(1, 2, "purged")), 0, start.at(2)));
    relay.send_v1("b", &numbered(2));
    let batch = messages(&mut socket);
    assert_eq!((batch.numbers(), batch.gap), (vec![2], None));
}

#[test]
fn a_displaced_socket_is_told_goodbye_and_closed_with_4001() {
    let relay = Relay::start(&[]);
    for door in Door::ALL {
        let (mut socket, _) = relay.socket("b", None);
        relay.until_parked(1);
        let newer = Receiver::open(relay.addr(), "b", door, None);
        let said = socket.next(PROMPT);
        let goodbye = Said::Goodbye { reason: "superseded".into(), retry_after: None };
        assert_eq!(said.expect("a goodbye"), goodbye, "{door:?}");
        assert!(matches!(socket.next(PROMPT), Ok(Said::Close(4001, _))), "{door:?}");
        socket.conn.assert_ends(PROMPT);
        newer.cut(Cut::Rst);
        eventually("nobody is left", PROMPT, || (relay.parked() == 0).then_some(()));
    }
}

#[test]
fn sends_are_answered_in_order_while_messages_come() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    for n in 0..100 {
        let payload = numbered(n);
        let to = quoted(if n % 2 == 0 { "b" } else { "c" });
        socket.say(&format!(r#"{{"type":"send","ref":"{n}","to":{to},"payload":{payload}}}"#));
    }
    let (mut sent, mut got): (Vec<u64>, Vec<u64>) = Default::default();
    while sent.len() < 100 || got.len() < 50 {
        match socket.next(PROMPT) {
            Ok(Said::Sent { reference, .. }) => sent.push(reference.expect("a name").parse().expect("a number")),
            Ok(Said::Messages(batch)) => got.extend(batch.numbers()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sent, (0..100).collect::<Vec<u64>>());
    assert_eq!(got, (0..100).step_by(2).collect::<Vec<u64>>());
}

#[test]
fn a_socket_that_reads_nothing_costs_no_more_than_its_window_and_harms_nobody() {
    let relay = Relay::start(&["--window", "8"]);
    let (mut idle, _) = relay.socket("b", None);
    let filler = "x".repeat(60_000);
    for n in 0..100 {
        relay.send_body(&message_body("a", "b", &format!(r#"{{"n":{n},"s":"{filler}"}}"#))).sent();
    }
    relay.send_v1("c", &numbered(0));
    assert_eq!(relay.look("c", None).numbers(), [0]);
    let (mut got, mut cursor) = numbers(&mut idle, 8);
    while got.len() < 100 {
        assert_nothing_else(&mut idle);
        idle.ack(&cursor);
        let (more, next) = numbers(&mut idle, 8.min(100 - got.len()));
        got.extend(more);
        cursor = next;
    }
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    match idle.next(Duration::from_millis(1)) {
        Err(Broken::Late(_)) => {}
        other => panic!("{other:?}"),
    }
}
