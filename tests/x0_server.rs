//! Our gateway in front of x0's own message server (its stand-in, tests/x0/server.py), both generations of it.

mod common;

use std::{thread, time::Duration};

use common::{
    PROMPT,
    packets::ORIGINAL_READS,
    split::{Generation, Http, Place, is_empty, json, messages},
    timed,
};

const BOTH: [Generation; 2] = [Generation::Current, Generation::Old];

/// Polls wait this long, so that a test can see one end.
const SHORT: [&str; 4] = ["--wait", "2s", "--error-hold", "100ms"];

/// A poll that is under way.
fn poll(http: &Http, session: &'static str) -> thread::JoinHandle<(String, Duration)> {
    let http = http.clone();
    thread::spawn(move || timed(|| http.get(session)))
}

#[test]
fn set_and_get() {
    for generation in BOTH {
        let place = Place::new();
        let _server = place.server(generation);
        let (_gateway, http) = place.gateway(&["--wait", "60s"]);
        http.set_ok("a", "b", r#"{"n":1}"#);
        http.set_ok("c", "b", r#"{"n":2}"#);
        let expected = [json(r#"{"n":1,"session_src":"a"}"#), json(r#"{"n":2,"session_src":"c"}"#)];
        let (answer, took) = timed(|| http.get("b"));
        assert_eq!(messages(&answer), expected, "{generation:?}");
        assert!(took < PROMPT, "{generation:?}: mail that is there came after {took:?}");
    }
}

#[test]
fn del_goes_through_to_the_generation_that_knows_it() {
    for generation in BOTH {
        let place = Place::new();
        let _server = place.server(generation);
        let (_gateway, http) = place.gateway(&SHORT);
        http.set_ok("a", "b", r#"{"n":1}"#);
        assert!(is_empty(&http.del("b")), "{generation:?}");
        let left = messages(&http.get("b")).len();
        // The current generation ignores it.
        assert_eq!(left, usize::from(generation == Generation::Current), "{generation:?}");
    }
}

#[test]
fn what_was_delivered_does_not_come_again() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_gateway, http) = place.gateway(&SHORT);
    http.set_ok("a", "b", r#"{"n":1}"#);
    assert_eq!(messages(&http.get("b")).len(), 1);
    let (answer, took) = timed(|| http.get("b"));
    assert!(is_empty(&answer));
    assert!(took >= Duration::from_millis(1900), "an empty poll is held for its wait, not {took:?}");

    // The old one wants to be told.
    let place = Place::new();
    let _server = place.server(Generation::Old);
    let (_gateway, http) = place.gateway(&SHORT);
    http.set_ok("a", "b", r#"{"n":1}"#);
    assert_eq!(messages(&http.get("b")).len(), 1);
    assert!(is_empty(&http.del("b")));
    assert!(is_empty(&http.get("b")));
}

#[test]
fn a_waiting_poll_is_answered_when_a_message_comes() {
    for generation in BOTH {
        let place = Place::new();
        let _server = place.server(generation);
        let (_gateway, http) = place.gateway(&["--wait", "60s"]);
        let waiting = poll(&http, "b");
        http.set_ok("a", "b", r#"{"n":1}"#);
        let (answer, took) = waiting.join().expect("a poll");
        assert_eq!(messages(&answer), [json(r#"{"n":1,"session_src":"a"}"#)], "{generation:?}");
        assert!(took < PROMPT, "{generation:?}: it was answered after {took:?}");
    }
}

#[test]
fn a_set_that_would_be_cut_is_refused() {
    for generation in BOTH {
        let place = Place::new();
        let _server = place.server(generation);
        let (_gateway, http) = place.gateway(&SHORT);
        let payload = |length: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(length));
        let refused = http.set("a", "b", &payload(ORIGINAL_READS));
        assert_eq!(json(&refused)["exception_id"], "TooLarge", "{generation:?}: {refused}");
        assert_eq!(json(&refused)["error"], true);
        // What fits with room for the packet around it goes through.
        http.set_ok("a", "b", &payload(ORIGINAL_READS - 200));
        assert_eq!(messages(&http.get("b")).len(), 1, "{generation:?}: only what was accepted");
    }
}

#[test]
fn a_long_answer_arrives_whole() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_gateway, http) = place.gateway(&SHORT);
    // 20 kB: x0's own front would read 4096 bytes of it and lose all.
    for n in 0..100 {
        http.set_ok("a", "b", &format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(180)));
    }
    let mut numbers = Vec::new();
    while numbers.len() < 100 {
        let batch = messages(&http.get("b"));
        assert!(!batch.is_empty(), "{} of 100 had come", numbers.len());
        numbers.extend(batch.iter().map(|message| message["n"].as_u64().expect("a number")));
    }
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[test]
fn while_the_server_is_away_polls_are_held_and_sends_refused() {
    let place = Place::new();
    let (_gateway, http) = place.gateway(&SHORT);
    let waiting = poll(&http, "b");
    let refused = http.set("a", "b", r#"{"n":1}"#);
    assert_eq!(json(&refused)["exception_id"], "ConnectionRefusedError", "{refused}");
    let (answer, took) = waiting.join().expect("a poll");
    assert!(took >= Duration::from_millis(1900), "the poll was answered after {took:?}");
    assert_eq!(messages(&answer).len(), 0, "{answer}");
}

#[test]
fn a_poll_from_before_the_server_came_gets_its_mail() {
    let place = Place::new();
    let (_gateway, http) = place.gateway(&["--wait", "60s"]);
    let waiting = poll(&http, "b");
    let _server = place.server(Generation::Current);
    http.set_ok("a", "b", r#"{"n":1}"#);
    let (answer, took) = waiting.join().expect("a poll");
    assert_eq!(messages(&answer), [json(r#"{"n":1,"session_src":"a"}"#)], "after {took:?}");
}

#[test]
fn a_poll_that_ends_while_x0s_server_answers_loses_nothing() {
    let place = Place::new();
    let _server = place.server_with_pause(Generation::Current, "0.15");
    // Far shorter than an exchange can take: most deadlines fall into one.
    let (_gateway, http) = place.gateway(&["--wait", "100ms", "--error-hold", "100ms"]);
    let mut got = Vec::new();
    for n in 0..10 {
        http.set_ok("a", "b", &format!(r#"{{"n":{n}}}"#));
        got.extend(messages(&http.get("b")));
    }
    let mut ends = 0;
    while got.len() < 10 && ends < 100 {
        got.extend(messages(&http.get("b")));
        ends += 1;
    }
    println!("10 messages, after {ends} further polls");
    let numbers: Vec<u64> = got.iter().map(|message| message["n"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_gateway_that_drains_answers_with_what_x0s_server_has_let_go_of() {
    let place = Place::new();
    let _server = place.server_with_pause(Generation::Current, "0.6");
    let (mut gateway, http) = place.gateway(&["--wait", "60s", "--log-level", "trace"]);
    http.set_ok("a", "b", r#"{"n":1}"#);
    let waiting = poll(&http, "b");
    // The exchange takes 0.6 s from here.
    gateway.logged("asking x0's own server");
    gateway.term();
    let (answer, _) = waiting.join().expect("a poll");
    assert_eq!(messages(&answer), [json(r#"{"n":1,"session_src":"a"}"#)]);
    assert_eq!(gateway.wait_exit(PROMPT).code(), Some(0));
}
