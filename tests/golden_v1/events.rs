//! Server-sent events. The head of every stream is checked by the client ([`crate::common::v1::events`]).

use std::time::Duration;

use crate::common::{
    Broken, Conn, Cut, PROMPT, Relay, eventually, request,
    v1::{
        Cursor, Door, Event, EventStream, Gap, Item, Message, Receiver, numbered, post_json,
        requests::{message_body, target},
    },
};

/// The next event: its id, name and data; comments and `retry` are passed over.
#[track_caller]
fn next(stream: &mut EventStream) -> (Option<String>, String, String) {
    loop {
        match stream.next(PROMPT) {
            Ok(Item::Event { id, event, data }) => return (id, event, data),
            Ok(_) => {}
            Err(broken) => panic!("no event: {broken:?}"),
        }
    }
}

/// The welcome of a stream: its cursor.
#[track_caller]
fn welcome(stream: &mut EventStream, session: &str) -> Cursor {
    let (id, event, data) = next(stream);
    assert_eq!(event, "relay:welcome");
    let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(data.as_object().map(serde_json::Map::len), Some(2), "{data}");
    assert_eq!(data["session"], session);
    assert_eq!(data["cursor"].as_str(), id.as_deref(), "its id is its cursor");
    Cursor::new(id.expect("an id"))
}

#[track_caller]
fn message(stream: &mut EventStream) -> (Cursor, Message) {
    let (id, event, data) = next(stream);
    let message = Message::parse(&data);
    assert_eq!(message.word, event);
    let cursor = Cursor::new(id.expect("an id"));
    assert_eq!(cursor.seq(), message.seq, "its id is the cursor behind it");
    (cursor, message)
}

#[test]
fn a_stream_begins_with_retry_and_welcome_and_goes_on_with_messages() {
    let relay = Relay::start(&[]);
    relay.send_body(r#"{"to":"b","from":"a","type":"chat.line","payload":{"n":0}}"#).sent();
    let mut stream = EventStream::open(relay.addr(), "b", None, "");
    let mut retries = 0;
    let mut first = Vec::new();
    while first.len() < 2 {
        match stream.next(PROMPT) {
            Ok(Item::Retry(milliseconds)) => {
                assert_eq!(milliseconds, 1000);
                retries += 1;
            }
            Ok(Item::Event { event, .. }) => first.push(event),
            Ok(Item::Comment(_)) => {}
            Err(broken) => panic!("{broken:?}"),
        }
    }
    assert_eq!((retries, first), (1, vec!["relay:welcome".to_owned(), "chat.line".into()]));
    for n in 1..4 {
        relay.send_v1("b", &numbered(n));
        let (_, message) = message(&mut stream);
        assert_eq!((message.number(), message.seq, message.word.as_str()), (n, n + 1, "message"));
    }
}

#[test]
fn line_breaks_between_tokens_become_spaces_and_nothing_else_changes() {
    let relay = Relay::start(&[]);
    let payload = "{\n\"a\" :\r[1,\n\n2e400],\t\"s\":\"\\n\\r \u{2028}\u{85}\" }";
    relay.send_body(&format!("{{\"to\":\"b\",\"payload\":{payload}}}")).sent();
    let mut stream = EventStream::open(relay.addr(), "b", None, "");
    welcome(&mut stream, "b");
    assert_eq!(message(&mut stream).1.payload, payload.replace(['\n', '\r'], " "));
    // A poll has them as they were.
    relay.send_body(&format!("{{\"to\":\"c\",\"payload\":{payload}}}")).sent();
    assert_eq!(relay.everything("c", None)[0].payload, payload);
}

#[test]
fn last_event_id_is_after_and_wins_over_the_query() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..4);
    let end = relay.look("b", None).cursor;
    let ask = |id: &str, after: Option<&Cursor>| {
        let bytes = request("GET", &target("/v1/events", "b", after, "ack=explicit"), &[("Last-Event-ID", id)], b"");
        EventStream::ask(Conn::open(relay.addr()), bytes).expect("sent")
    };
    let first = end.at(1);
    let mut stream = ask(first.as_str(), None);
    assert_eq!(welcome(&mut stream, "b"), first);
    assert_eq!(message(&mut stream).1.number(), 1);
    assert_eq!(relay.pending("b"), 3, "it acknowledges as after does");
    // EventSource comes back to its old address with its newest id.
    let mut stream = ask(end.at(3).as_str(), Some(&first));
    assert_eq!(welcome(&mut stream, "b"), end.at(3));
    assert_eq!(message(&mut stream).1.number(), 3);
    let bytes = request("GET", "/v1/events?session=b", &[("Last-Event-ID", "nonsense")], b"");
    relay.ask(bytes).problem(400, "invalid_cursor");
    // EventSource has none before the first event that has one.
    let mut stream = ask("", None);
    assert_eq!(welcome(&mut stream, "b"), end.at(3));
}

#[test]
fn by_post_with_a_query_or_a_body() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..2);
    let end = relay.look("b", None).cursor;
    let after = end.at(1);
    let bodies = [
        (target("/v1/events", "b", Some(&after), "ack=explicit"), String::new()),
        ("/v1/events".into(), format!(r#"{{"session":"b","after":"{after}","ack":"explicit"}}"#)),
    ];
    for (path, body) in bodies {
        let mut stream = EventStream::ask(Conn::open(relay.addr()), post_json(&path, &body)).expect("sent");
        assert_eq!(welcome(&mut stream, "b"), after, "{path} {body}");
        assert_eq!(message(&mut stream).1.number(), 1);
        stream.cut(Cut::Fin);
        assert_eq!(relay.look("b", Some(&after)).numbers(), [1], "explicit: it stays");
    }
    // Without a body and its type, as a form's button would.
    let bytes = request("POST", &target("/v1/events", "b", Some(&after), "ack=explicit"), &[], b"");
    let mut stream = EventStream::ask(Conn::open(relay.addr()), bytes).expect("sent");
    assert_eq!(welcome(&mut stream, "b"), after);
}

#[test]
fn requests_that_are_wrong_are_problems_before_the_stream() {
    let relay = Relay::start(&[]);
    for (query, kind) in [
        ("", "invalid_session"),
        ("?session=", "invalid_session"),
        ("?session=b&ack=yes", "bad_request"),
        ("?session=b&after=x", "invalid_cursor"),
    ] {
        for method in ["GET", "POST"] {
            relay.ask(request(method, &format!("/v1/events{query}"), &[], b"")).problem(400, kind);
        }
    }
    for (body, kind) in [
        (r#"{"after":"x"}"#, "invalid_cursor"),
        (r#"{"ack":"explicit"}"#, "invalid_session"),
        (r#"{"session":"b","wait":1}"#, "bad_request"),
        (r#"{"session":7}"#, "bad_request"),
        ("[]", "bad_request"),
        ("no", "not_json"),
    ] {
        relay.ask(post_json("/v1/events", body)).problem(400, kind);
    }
    relay.ask(request("POST", "/v1/events", &[("Content-Type", "text/html")], b"{}")).problem(415, "unsupported_media");
}

#[test]
fn unless_acknowledgement_is_explicit_what_was_sent_settles() {
    let relay = Relay::start(&[]);
    let mut stream = EventStream::open(relay.addr(), "b", None, "");
    welcome(&mut stream, "b");
    relay.send_numbers("b", 0..3);
    (0..3).for_each(|n| assert_eq!(message(&mut stream).1.number(), n));
    eventually("it settles while the stream goes on", PROMPT, || (relay.pending("b") == 0).then_some(()));
    relay.send_v1("b", &numbered(3));
    assert_eq!(message(&mut stream).1.number(), 3);
    stream.cut(Cut::Fin);
    assert!(relay.everything("b", None).is_empty(), "it had it all when it ended in order");
}

#[test]
fn what_a_plain_stream_did_not_take_is_there_for_the_next() {
    let relay = Relay::start(&[]);
    let filler = "x".repeat(60_000);
    for n in 0..20 {
        relay.send_v1("b", &format!(r#"{{"n":{n},"s":"{filler}"}}"#));
    }
    let mut stream = EventStream::open(relay.addr(), "b", None, "");
    welcome(&mut stream, "b");
    let (cursor, first) = message(&mut stream);
    assert_eq!(first.number(), 0);
    stream.conn.read_at_most(1);
    stream.cut(Cut::Rst);
    let mut next = Receiver::open(relay.addr(), "b", Door::PlainEvents, Some(&cursor));
    (1..20).for_each(|n| assert_eq!(next.message().number(), n));
}

#[test]
fn with_explicit_acknowledgement_everything_comes_again_until_it_is_acknowledged() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..3);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut stream = EventStream::open(relay.addr(), "b", None, "ack=explicit");
        assert_eq!(welcome(&mut stream, "b").seq(), 0);
        let messages: Vec<Message> = (0..3).map(|_| message(&mut stream).1).collect();
        ids.push(messages.into_iter().map(|m| (m.id, m.seq)).collect::<Vec<_>>());
        stream.cut(Cut::Fin);
    }
    assert_eq!(ids[0], ids[1], "the same messages with the same id and seq");
    let mut stream = EventStream::open(relay.addr(), "b", None, "ack=explicit");
    let start = welcome(&mut stream, "b");
    let (second, _) = (message(&mut stream), message(&mut stream)).1;
    assert_eq!(relay.ack("b", &second), 2, "and the stream goes on");
    assert_eq!(message(&mut stream).1.number(), 2);
    relay.send_v1("b", &numbered(3));
    assert_eq!(message(&mut stream).1.number(), 3);
    assert_eq!(relay.pending("b"), 2);
    assert_eq!(relay.look("b", Some(&start)).gap, Some(Gap::of(1, 2, "taken")));
}

#[test]
fn a_comment_comes_every_keepalive() {
    let relay = Relay::start(&["--keepalive", "1s"]);
    let start = std::time::Instant::now();
    let mut stream = EventStream::open(relay.addr(), "b", None, "");
    welcome(&mut stream, "b");
    for n in 1..=2 {
        match stream.next(Duration::from_secs(1) + PROMPT) {
            Ok(Item::Comment(_)) => println!("comment {n} after {:?}", start.elapsed()),
            other => panic!("no comment but {other:?}"),
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(1900), "every second: {:?}", start.elapsed());
}

#[test]
fn a_gap_is_an_event_before_anything_later() {
    let relay = Relay::start(&[]);
    let start = relay.cursor("b");
    relay.send_numbers("b", 0..2);
    relay.purge_v1("b");
    relay.send_v1("b", &numbered(2));
    let mut stream = EventStream::open(relay.addr(), "b", Some(&start), "ack=explicit");
    assert_eq!(welcome(&mut stream, "b"), start);
    let (id, event, data) = next(&mut stream);
    assert_eq!((event.as_str(), id.as_deref()), ("relay:gap", Some(start.at(2).as_str())));
    assert_eq!(data, r#"{"from":1,"to":2,"reason":"purged"}"#);
    assert_eq!(message(&mut stream).1.number(), 2);
}

#[test]
fn a_gap_that_opens_under_a_stream_is_told_on_it() {
    let relay = Relay::start(&["--mailbox-messages", "2", "--overflow", "drop-oldest"]);
    let mut stream = Receiver::open(relay.addr(), "b", Door::Events, None);
    assert!(matches!(stream.next(PROMPT), Ok(Event::Cursor(_))));
    // The stream keeps up, so nothing is lost, however small the mailbox.
    for n in 0..10 {
        relay.send_v1("b", &numbered(n));
        assert_eq!(stream.message().number(), n);
    }
    assert_eq!(relay.purge_v1("b"), 2, "unacknowledged ones");
    relay.send_v1("b", &numbered(10));
    // What it was sent before the purge it has: nothing is missing to it.
    assert_eq!(stream.message().number(), 10);
}

#[test]
fn a_displaced_stream_is_told_goodbye_and_ends() {
    let relay = Relay::start(&[]);
    for door in Door::ALL {
        let mut stream = EventStream::open(relay.addr(), "b", None, "ack=explicit");
        welcome(&mut stream, "b");
        relay.until_parked(1);
        let newer = Receiver::open(relay.addr(), "b", door, None);
        let (id, event, data) = loop {
            match stream.next(PROMPT) {
                Ok(Item::Event { id, event, data }) => break (id, event, data),
                Ok(_) => {}
                Err(broken) => panic!("{door:?}: {broken:?}"),
            }
        };
        assert_eq!((id, event.as_str(), data.as_str()), (None, "relay:goodbye", r#"{"reason":"superseded"}"#));
        assert!(matches!(stream.next(PROMPT), Err(Broken::Ended)), "{door:?}");
        newer.cut(Cut::Rst);
        eventually("nobody is left", PROMPT, || (relay.parked() == 0).then_some(()));
    }
}

#[test]
fn a_slow_reader_holds_up_nobody_and_gets_everything() {
    let relay = Relay::start(&[]);
    let mut slow = EventStream::open(relay.addr(), "b", None, "ack=explicit");
    welcome(&mut slow, "b");
    let filler = "x".repeat(30_000);
    for n in 0..200 {
        relay.ask(post_json("/v1/messages", &message_body("a", "b", &format!(r#"{{"n":{n},"s":"{filler}"}}"#)))).sent();
    }
    relay.send_v1("c", &numbered(0));
    assert_eq!(relay.look("c", None).numbers(), [0]);
    (0..200).for_each(|n| assert_eq!(message(&mut slow).1.number(), n));
}
