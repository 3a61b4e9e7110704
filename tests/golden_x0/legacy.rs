//! The clients of 2021 to 2024: one request that reads, a second one that removes.

use serde_json::Value;

use crate::common::{
    HOLD, Relay, Response, WAIT, assert_held, timed,
    x0::{post, quoted},
};

/// The one member of a legacy answer. Fails without it: the client stops for good.
#[track_caller]
fn result(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
    let mut value: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(1), "{answer:?}");
    value["Result"].take()
}

/// The `n` of each message that getMessages shows.
#[track_caller]
fn shown(relay: &Relay, prefix: &str, session: &str) -> Vec<i64> {
    let body = format!(r#"{{"session_src":{}}}"#, quoted(session));
    match result(&relay.ask(post(&format!("{prefix}/getMessages.py?a__=1"), body)))["messages"].take() {
        Value::Null => Vec::new(),
        Value::Array(messages) => messages
            .iter()
            .map(|m| {
                assert_eq!(m["session_src"], "a", "{m}");
                m["n"].as_i64().expect("a number")
            })
            .collect(),
        other => panic!("messages are {other}"),
    }
}

#[track_caller]
fn remove(relay: &Relay, prefix: &str, session: &str) {
    let body = format!(r#"{{"session_src":{}}}"#, quoted(session));
    let answer = relay.ask(post(&format!("{prefix}/delMessages.py"), body));
    let result = result(&answer);
    assert!(result.get("error").is_none() && result["messages"].is_null(), "{answer:?}");
}

fn send(relay: &Relay, to: &str, n: i64) {
    relay.set("a", to, &format!(r#"{{"n":{n}}}"#));
}

#[test]
fn get_messages_shows_under_result_and_settles_nothing() {
    let relay = Relay::start(&[]);
    send(&relay, "b", 1);
    for prefix in ["", "/python", "/x/y/z"] {
        assert_eq!(shown(&relay, prefix, "b"), [1], "{prefix}");
    }
    send(&relay, "b", 2);
    assert_eq!(shown(&relay, "/python", "b"), [1, 2]);
    assert_eq!(relay.poll("b").len(), 2, "they are still there for a newer page");
}

#[test]
fn get_messages_keeps_bytes() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", r#"{"n":1e400,"s":"\ud800","n":12345678901234567890}"#);
    let answer = relay.ask(post("/python/getMessages.py", r#"{"session_src":"b"}"#));
    let whole = r#"{"n":1e400,"s":"\ud800","n":12345678901234567890,"session_src":"a"}"#;
    assert!(answer.text().contains(whole), "{answer:?}");
}

#[test]
fn get_messages_waits_and_wakes_as_every_poll_does() {
    let relay = Relay::start(&[]);
    let (answer, took) = timed(|| shown(&relay, "/python", "b"));
    assert_eq!(answer, [0; 0]);
    assert_held("an empty answer", took, WAIT);

    let relay = Relay::start(&["--wait", "60s"]);
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| shown(&relay, "/python", "b"));
        relay.until_parked(1);
        let (_, took) = timed(|| {
            send(&relay, "b", 1);
            assert_eq!(poll.join().expect("answered"), [1]);
        });
        crate::common::assert_prompt("the wake-up of a legacy poll", took);
    });
}

#[test]
fn del_messages_settles_only_what_the_last_answer_held() {
    let relay = Relay::start(&[]);
    send(&relay, "b", 1);
    send(&relay, "b", 2);
    send(&relay, "other", 9);
    remove(&relay, "/python", "b");
    assert_eq!(shown(&relay, "/python", "b"), [1, 2], "nothing was shown before, so nothing was settled");
    send(&relay, "b", 3);
    remove(&relay, "/python", "b");
    assert_eq!(shown(&relay, "/python", "b"), [3]);
    send(&relay, "b", 4);
    remove(&relay, "/other/prefix", "b");
    assert_eq!(shown(&relay, "/python", "b"), [4]);
    remove(&relay, "/python", "b");
    remove(&relay, "/python", "b");
    assert_eq!(shown(&relay, "/python", "b"), [0; 0]);
    assert_eq!(shown(&relay, "/python", "other"), [9]);
}

#[test]
fn errors_to_legacy_clients_are_inside_result() {
    let relay = Relay::start(&[]);
    for name in ["getMessages.py", "delMessages.py"] {
        for (body, id) in
            [("{", "NotJSON"), ("{}", "InvalidSessionID"), (r#"{"session_src":null}"#, "InvalidSessionID")]
        {
            let (answer, took) = timed(|| relay.ask(post(&format!("/python/{name}"), body)));
            assert_held(&format!("the error for {body}"), took, HOLD);
            let result = result(&answer);
            assert_eq!((&result["error"], &result["exception_id"]), (&Value::Bool(true), &id.into()), "{answer:?}");
            assert!(result["messages"].is_null(), "{answer:?}");
        }
    }
}
