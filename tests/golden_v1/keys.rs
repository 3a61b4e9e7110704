//! Idempotency keys: the same message from the same sender is accepted once, and every time answered with the first answer.

use std::{collections::BTreeSet, path::Path, thread};

use crate::common::{
    Conn, Relay, request,
    v1::{
        Said, Sent, numbered, post_json,
        requests::{message_body, target},
        send_request,
    },
};

fn keyed(relay: &Relay, key: &str) -> Sent {
    relay.ask(send_request("a", "b", "{}", Some(key))).sent()
}

fn with_header(relay: &Relay, key: &str, body: &str) -> crate::common::Response {
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
    relay.ask(request("POST", "/v1/messages", &headers, body.as_bytes()))
}

#[test]
fn a_repeated_key_is_answered_with_the_first_answer() {
    let relay = Relay::start(&[]);
    let first = keyed(&relay, "k");
    assert!(!first.duplicate);
    for _ in 0..3 {
        assert_eq!(keyed(&relay, "k"), Sent { duplicate: true, ..first.clone() });
    }
    assert_ne!(keyed(&relay, "other").id, first.id);
    let ids: Vec<String> = relay.everything("b", None).into_iter().map(|m| m.id).collect();
    assert_eq!((ids.len(), &ids[0]), (2, &first.id));
}

#[test]
fn a_repeat_of_a_message_that_was_delivered_does_not_deliver_it_again() {
    let relay = Relay::start(&[]);
    let first = keyed(&relay, "k");
    let cursor = relay.look("b", None).cursor;
    assert_eq!(relay.ack("b", &cursor), 1);
    assert_eq!(keyed(&relay, "k").id, first.id);
    assert!(relay.look("b", Some(&cursor)).messages.is_empty());
}

#[test]
fn the_key_is_the_header_or_the_member_with_or_without_quotes() {
    let relay = Relay::start(&[]);
    let member = r#"{"to":"session:b","from":"a","payload":{},"key":"k"}"#;
    let first = relay.send_body(member).sent();
    let body = message_body("a", "b", "{}");
    for (key, body) in [("k", body.as_str()), ("\"k\"", &body), ("k", member), ("\"k\"", member)] {
        let again = with_header(&relay, key, body).sent();
        assert_eq!(again, Sent { duplicate: true, ..first.clone() }, "{key} {body}");
    }
    // One pair is taken off, no more.
    assert!(!with_header(&relay, "\"\"k\"\"", &body).sent().duplicate);
    assert!(with_header(&relay, "\"\"k\"\"", &body).sent().duplicate);
}

#[test]
fn keys_that_are_none_or_two_are_refused() {
    let relay = Relay::start(&[]);
    let body = message_body("a", "b", "{}");
    with_header(&relay, &"k".repeat(256), &body).problem(400, "bad_request");
    with_header(&relay, "", &body).problem(400, "bad_request");
    with_header(&relay, "\"\"", &body).problem(400, "bad_request");
    with_header(&relay, "k", r#"{"to":"session:b","payload":{},"key":"l"}"#).problem(400, "bad_request");
    let long = format!(r#"{{"to":"session:b","payload":{{}},"key":"{}"}}"#, "k".repeat(256));
    for body in [&long, r#"{"to":"session:b","payload":{},"key":""}"#, r#"{"to":"session:b","payload":{},"key":1}"#] {
        relay.send_body(body).problem(400, "bad_request");
    }
    with_header(&relay, &"k".repeat(255), &body).sent();
    assert_eq!(relay.everything("b", None).len(), 1);
}

#[test]
fn a_key_that_was_used_for_something_else_is_409() {
    let relay = Relay::start(&[]);
    keyed(&relay, "k");
    for body in [
        r#"{"to":"session:b","from":"a","payload":{"x":1}}"#,
        r#"{"to":"session:b","from":"a","payload":{},"type":"other"}"#,
        r#"{"to":"session:b","from":"a","payload":{},"ttl":60}"#,
    ] {
        let problem = with_header(&relay, "k", body).problem(409, "key_reused");
        assert!(problem.detail.contains("key"), "{problem:?}");
    }
    assert_eq!(relay.everything("b", None).len(), 1);
}

#[test]
fn senders_do_not_share_keys() {
    let relay = Relay::start(&[]);
    let mut ids = BTreeSet::new();
    for (from, to) in [("a", "b"), ("c", "b"), ("a", "d"), ("", "b")] {
        let sent = relay.ask(send_request(from, to, "{}", Some("k"))).sent();
        assert!(!sent.duplicate, "from {from:?} to {to:?}");
        ids.insert(sent.id);
    }
    assert_eq!(ids.len(), 4);
    assert_eq!(relay.everything("b", None).len(), 3);
}

#[test]
fn what_was_refused_may_be_tried_again_with_its_key() {
    let relay = Relay::start(&["--mailbox-messages", "1"]);
    relay.send_v1("b", &numbered(0));
    relay.ask(send_request("a", "b", "{}", Some("k"))).problem(507, "mailbox_full");
    let cursor = relay.look("b", None).cursor;
    relay.ack("b", &cursor);
    let first = keyed(&relay, "k");
    assert!(!first.duplicate);
    assert!(relay.ask(send_request("a", "b", "{}", None)).status == 507, "it is full again");
    assert_eq!(keyed(&relay, "k"), Sent { duplicate: true, ..first }, "a repeat needs no room");
}

/// Many at once with one key: one is accepted, and all get its id.
fn at_once(relay: &Relay) {
    const SENDERS: u64 = 16;
    for round in 0..10 {
        let key = format!("k{round}");
        let mut conns: Vec<Conn> = (0..SENDERS).map(|_| Conn::open(relay.addr())).collect();
        let answers: Vec<Sent> = thread::scope(|scope| {
            let threads: Vec<_> = conns
                .iter_mut()
                .map(|conn| scope.spawn(|| conn.exchange(send_request("a", "b", &numbered(round), Some(&key))).sent()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a sender")).collect()
        });
        let ids: BTreeSet<&str> = answers.iter().map(|sent| sent.id.as_str()).collect();
        let firsts = answers.iter().filter(|sent| !sent.duplicate).count();
        assert_eq!((ids.len(), firsts), (1, 1), "{answers:?}");
    }
    let numbers: Vec<u64> = relay.everything("b", None).iter().map(crate::common::v1::Message::number).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_key_in_flight_is_waited_for() {
    at_once(&Relay::start(&[]));
    let data = tempfile::tempdir().expect("a directory");
    at_once(&on(data.path()));
}

fn on(data: &Path) -> Relay {
    Relay::start(&["--data-dir", data.to_str().expect("UTF-8")])
}

#[test]
fn a_key_is_known_after_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let mut relay = on(data.path());
    let (first, second) = (keyed(&relay, "k"), keyed(&relay, "l"));
    relay.term();
    assert_eq!(relay.wait_exit(crate::common::PROMPT).code(), Some(0));
    let mut relay = on(data.path());
    assert_eq!(keyed(&relay, "k"), Sent { duplicate: true, ..first.clone() });
    let third = keyed(&relay, "m");
    relay.kill9();
    let relay = on(data.path());
    for (key, sent) in [("k", first), ("l", second), ("m", third)] {
        assert_eq!(keyed(&relay, key), Sent { duplicate: true, ..sent }, "{key}");
    }
    relay.ask(send_request("a", "b", "[]", Some("k"))).problem(409, "key_reused");
    assert_eq!(relay.everything("b", None).len(), 3);
}

#[test]
fn a_key_is_one_over_all_transports() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("me", None);
    let frame = r#"{"type":"send","ref":"1","to":"session:b","from":"a","payload":{},"key":"k"}"#;
    let mut ids = BTreeSet::new();
    for duplicate in [false, true] {
        socket.say(frame);
        match socket.next(crate::common::PROMPT) {
            Ok(Said::Sent { reference: Some(reference), id, recipients: 1, duplicate: said }) if reference == "1" => {
                assert_eq!(said, Some(duplicate));
                ids.insert(id);
            }
            other => panic!("not sent but {other:?}"),
        }
    }
    let again = keyed(&relay, "k");
    ids.insert(again.id);
    assert!(again.duplicate && ids.len() == 1, "{ids:?}");
    assert_eq!(relay.everything("b", None).len(), 1);
}

#[test]
fn a_key_belongs_to_sends_alone() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let target = target("/v1/ack", "b", None, "");
    let body = format!(r#"{{"session":"b","cursor":"{cursor}","key":"k"}}"#);
    relay.ask(post_json(&target, &body)).problem(400, "bad_request");
}
