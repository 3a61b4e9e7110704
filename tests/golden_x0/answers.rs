//! The answers, byte for byte.

use crate::common::{
    Conn, Relay, request,
    x0::{Answer, HANDLER, assert_carried, poll_request, post, set_request},
};

#[test]
fn the_answer_to_a_set_to_a_get_in_vain_and_to_a_del() {
    let relay = Relay::start(&[]);
    assert_eq!(relay.ask(set_request("a", "b", "{}")).text(), r#"{"messages": null, "status": "ok"}"#);
    let del = post(HANDLER, r#"{"type":"DEL","session_src":"b"}"#);
    assert_eq!(relay.ask(&del).text(), r#"{"messages": null}"#);
    assert_eq!(relay.ask(&del).text(), r#"{"messages": null}"#);
    assert_eq!(relay.ask(poll_request("b")).text(), r#"{"messages": null}"#);
}

#[test]
fn messages_come_oldest_first_and_are_then_gone() {
    let relay = Relay::start(&[]);
    for n in 0..5 {
        relay.set(&format!("from-{n}"), "b", &format!(r#"{{"n":{n}}}"#));
    }
    let mail = relay.poll("b");
    assert_eq!(mail.len(), 5);
    for (n, message) in mail.iter().enumerate() {
        assert_carried(message, &format!(r#"{{"n":{n}}}"#), &format!("from-{n}"));
    }
    relay.assert_empty("b");
}

#[test]
fn del_removes_what_is_there() {
    let relay = Relay::start(&[]);
    for (target, body) in [(HANDLER, r#"{"type":"DEL","session_src":"b"}"#), ("/del", r#"{"session_src":"b"}"#)] {
        relay.set("a", "b", "{}");
        relay.set("a", "b", "{}");
        relay.set("a", "other", r#"{"kept":1}"#);
        assert_eq!(relay.ask(post(target, body)).x0(), Answer::Nothing);
        relay.assert_empty("b");
        relay.set("a", "b", r#"{"after":1}"#);
        assert_carried(&relay.poll("b")[0], r#"{"after":1}"#, "a");
        assert_carried(&relay.poll("other")[0], r#"{"kept":1}"#, "a");
    }
}

#[test]
fn an_error_says_what_and_what_would_be_right() {
    let relay = Relay::start(&[]);
    let error = relay.refused(post(HANDLER, r#"{"type":"GET"}"#), "InvalidSessionID");
    assert_eq!(error.text, "Invalid session ID");
    assert!(error.detail.len() > 10, "{error:?}");
}

#[test]
fn what_is_not_json_is_a_200_with_the_error_object() {
    let relay = Relay::start(&[]);
    relay.refused(post(HANDLER, "this is not JSON"), "NotJSON");
    relay.refused(post("/get", "<xml/>"), "NotJSON");
}

#[test]
fn a_get_of_the_handler_without_parameters_is_200_and_empty() {
    let relay = Relay::start(&[]);
    let answer = relay.ask(request("GET", HANDLER, &[], b""));
    assert_eq!((answer.status, answer.text()), (200, ""), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn an_unknown_path_is_404_with_the_error_object_and_cors() {
    let relay = Relay::start(&[]);
    for bytes in [request("GET", "/nowhere", &[], b""), post("/python/Other.py?a__=1", "{}"), post("/x/get", "{}")] {
        let answer = relay.ask(bytes);
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        let Answer::Error(error) = Answer::parse(answer.text()) else { panic!("{answer:?}") };
        assert_eq!(error.id, "NotFound");
    }
}

#[test]
fn a_set_to_somebody_who_never_polled_is_kept_and_the_sender_is_not_told() {
    let relay = Relay::start(&[]);
    relay.assert_empty("known");
    let known = relay.try_set("a", "known", "{}");
    let unknown = relay.try_set("a", "unknown", "{}");
    assert_eq!((known.status, known.text()), (unknown.status, unknown.text()));
    let names = |r: &crate::common::Response| r.headers.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&known), names(&unknown));
    assert_eq!(relay.poll("unknown").len(), 1);
}

#[test]
fn of_two_pages_with_one_session_one_gets_each_message() {
    let relay = Relay::start(&["--wait", "3s"]);
    let (first, second) = (relay.park("b"), relay.park("b"));
    relay.set("a", "b", r#"{"n":1}"#);
    relay.set("a", "b", r#"{"n":2}"#);
    let mut got: Vec<String> = [first.answer().0, second.answer().0]
        .iter()
        .flat_map(|answer| match answer.x0() {
            Answer::Mail(mail) => mail,
            Answer::Nothing => Vec::new(),
            other => panic!("{other}"),
        })
        .collect();
    got.sort();
    assert_eq!(got.len(), 2, "{got:?}");
    assert_carried(&got[0], r#"{"n":1}"#, "a");
    assert_carried(&got[1], r#"{"n":2}"#, "a");
}

#[test]
fn a_page_may_send_to_itself() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut polling = Conn::open(relay.addr());
    relay.park_on(&mut polling, "a");
    relay.set("a", "a", r#"{"x":1}"#);
    assert_carried(&polling.response().mail()[0], r#"{"x":1}"#, "a");
}
