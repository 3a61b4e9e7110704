//! What x0's page says and needs.

use std::time::Duration;

use crate::common::{
    Conn, HOLD, Relay, WAIT, assert_held, assert_prompt, request, timed,
    x0::{Answer, HANDLER, assert_carried, poll_body, poll_request, post, set_body, set_request},
};

#[test]
fn both_polling_addresses_serve_and_the_random_query_is_ignored() {
    let relay = Relay::start(&[]);
    for target in [HANDLER, "/get", "/python/MsgHandler.py?a__=0123456789", "/get?a__=9876543210"] {
        relay.set("a", "b", r#"{"x":1}"#);
        let mail = relay.ask(post(target, poll_body("b"))).mail();
        assert_eq!(mail.len(), 1, "{target}");
        assert_carried(&mail[0], r#"{"x":1}"#, "a");
    }
}

#[test]
fn unknown_members_of_a_poll_are_ignored() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", "{}");
    let body = r#"{"more":[1,{"session_src":"c"}],"session_src":"b","type":"GET","SessionData":{"ID":"?","Value":"c","x":0},"":0}"#;
    assert_eq!(relay.ask(post("/get", body)).mail().len(), 1);
}

#[test]
fn a_page_without_a_session_gets_an_error_held_back() {
    let relay = Relay::start(&[]);
    let bodies = [
        r#"{"type":"GET","SessionData":{"ID":"SYS_SESSION","Value":null}}"#,
        r#"{"type":"GET","SessionData":{"ID":"SYS_SESSION"}}"#,
        r#"{"type":"GET"}"#,
        r#"{"session_src":null,"type":"GET"}"#,
        r#"{"session_src":"","type":"GET"}"#,
        r#"{"session_src":17,"type":"GET"}"#,
        r#"{"session_src":["b"],"type":"GET"}"#,
    ];
    for body in bodies {
        for target in [HANDLER, "/get"] {
            let error = relay.refused(post(target, body), "InvalidSessionID");
            assert_eq!(error.text, "Invalid session ID", "{body}");
        }
    }
}

#[test]
fn pages_without_a_session_share_no_mailbox() {
    let relay = Relay::start(&[]);
    for to in ["null", r#""""#] {
        let body = format!(r#"{{"type":"SET","session_src":"a","session_dst":{to},"payload":{{}}}}"#);
        relay.refused(post(HANDLER, &body), "InvalidSessionID");
        relay.refused(post("/set", &body), "InvalidSessionID");
        let body = format!(r#"{{"type":"DEL","session_src":{to}}}"#);
        relay.refused(post(HANDLER, &body), "InvalidSessionID");
        relay.refused(post("/del", &body), "InvalidSessionID");
    }
    relay.refused(post("/set", r#"{"type":"SET","session_src":"a","payload":{}}"#), "InvalidSessionID");
}

#[test]
fn a_session_id_is_any_string_of_at_most_256_bytes() {
    let relay = Relay::start(&[]);
    let longest = "ä".repeat(128);
    for session in ["session:user:a", "  ", "a\nb\0c\u{1b}[2J", "名前", "null", "0", "../x", longest.as_str()] {
        relay.set(session, session, r#"{"k":"v"}"#);
        let mail = relay.poll(session);
        assert_eq!(mail.len(), 1, "{session:?}");
        assert_carried(&mail[0], r#"{"k":"v"}"#, session);
    }
    relay.refused(poll_request(&"ä".repeat(129)), "InvalidSessionID");
    relay.refused(set_request("a", &"x".repeat(257), "{}"), "InvalidSessionID");
}

#[test]
fn a_session_is_the_same_however_it_is_escaped() {
    let relay = Relay::start(&[]);
    relay.set("a", "b/é", "{}");
    let body = r#"{"\u0073ession_src":"\u0062\/\u00e9","type":"G\u0045T"}"#;
    assert_eq!(relay.ask(post("/get", body)).mail().len(), 1);
    let body = r#"{"type":"SET","session_src":"\ud83d\ude00","session_dst":"b/\u00E9","payload":{}}"#;
    assert_eq!(relay.ask(post("/set", body)).x0(), Answer::Accepted);
    assert_carried(&relay.poll("b/é")[0], "{}", "😀");
}

#[test]
fn of_double_members_in_a_request_the_last_counts() {
    let relay = Relay::start(&[]);
    let set = concat!(
        r#"{"type":"GET","session_src":"x","session_dst":"y","payload":{"old":1},"#,
        r#""payload":{"new":2},"session_dst":"b","sessi\u006fn_src":"a","type":"SET"}"#
    );
    assert_eq!(relay.ask(post(HANDLER, set)).x0(), Answer::Accepted);
    let poll = r#"{"session_src":"y","type":"DEL","session_src":"b","\u0074ype":"GET"}"#;
    let mail = relay.ask(post(HANDLER, poll)).mail();
    assert_carried(&mail[0], r#"{"new":2}"#, "a");
    relay.assert_empty("y");
}

#[test]
fn the_content_type_is_not_looked_at() {
    let relay = Relay::start(&[]);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"] {
        let set = request("POST", "/set", &[("Content-Type", kind)], set_body("a", "b", "{}").as_bytes());
        assert_eq!(relay.ask(set).x0(), Answer::Accepted, "{kind}");
        let poll = request("POST", "/get", &[("Content-Type", kind)], poll_body("b").as_bytes());
        assert_eq!(relay.ask(poll).mail().len(), 1, "{kind}");
    }
    let without = request("POST", HANDLER, &[], set_body("a", "b", "{}").as_bytes());
    assert_eq!(relay.ask(without).x0(), Answer::Accepted);
}

#[test]
fn every_address_answers_a_preflight() {
    let relay = Relay::start(&[]);
    let headers = [
        ("Origin", "http://x0-app.x0.localnet"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "accept,cache-control,content-type,upgrade-insecure-requests"),
    ];
    let mut conn = Conn::open(relay.addr());
    for target in ["/get?a__=1", HANDLER, "/set", "/del", "/python/getMessages.py", "/healthz", "/nowhere/at/all"] {
        let (answer, took) = timed(|| conn.exchange(request("OPTIONS", target, &headers, b"")));
        assert_prompt(&format!("preflight of {target}"), took);
        assert_eq!(answer.status / 100, 2, "{target}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        for name in ["Content-Type", "Accept", "Cache-Control", "Upgrade-Insecure-Requests"] {
            assert!(answer.lists("access-control-allow-headers", name), "{name} in {answer:?}");
        }
        for method in ["GET", "POST"] {
            assert!(answer.lists("access-control-allow-methods", method), "{method} in {answer:?}");
        }
        assert_eq!(answer.text(), "");
    }
}

#[test]
fn every_x0_answer_is_a_200_that_another_origin_can_read() {
    let relay = Relay::start(&[]);
    // `x0()` holds the status, the content type and the header for other origins.
    assert_eq!(relay.try_set("a", "b", "{}").x0(), Answer::Accepted);
    assert_eq!(relay.ask(poll_request("b")).mail().len(), 1);
    assert_eq!(relay.ask(poll_request("c")).x0(), Answer::Nothing);
    relay.ask(post("/get", "{")).error("NotJSON");
}

#[test]
fn an_empty_answer_takes_the_whole_wait() {
    let relay = Relay::start(&[]);
    let (answer, took) = timed(|| relay.ask(poll_request("b")));
    assert_eq!(answer.x0(), Answer::Nothing);
    assert_held("an empty answer", took, WAIT);
}

#[test]
fn unless_told_otherwise_a_poll_waits_ten_seconds_and_an_error_one() {
    let relay = Relay::builder().bare().env("X0_RELAY_LISTEN", "127.0.0.1:0").env("X0_RELAY_SOCKET", "none").start();
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| timed(|| relay.ask(poll_request("b"))));
        let (answer, took) = timed(|| relay.ask(post("/get", "{")));
        answer.error("NotJSON");
        assert_held("an error", took, Duration::from_secs(1));
        let (answer, took) = poll.join().expect("the poll is answered");
        assert_eq!(answer.x0(), Answer::Nothing);
        assert_held("an empty answer", took, Duration::from_secs(10));
    });
}

#[test]
fn every_error_on_an_x0_path_is_held_back() {
    let relay = Relay::start(&[]);
    relay.refused(post("/set", "{"), "NotJSON");
    relay.refused(post("/del", "{"), "NotJSON");
    relay.refused(post(HANDLER, "[]"), "BadRequest");
    relay.refused(post(HANDLER, r#"{"type":"PUT","session_src":"a"}"#), "BadRequest");
    relay.refused(set_request("a", "b", "17"), "PayloadNotObject");
    relay.refused(request("PUT", "/get", &[], b"{}"), "BadMethod");
}

#[test]
fn a_page_in_a_loop_of_errors_is_paced() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    let (_, took) = timed(|| {
        for _ in 0..5 {
            conn.exchange(post("/get", r#"{"type":"GET"}"#)).error("InvalidSessionID");
        }
    });
    assert_held("five errors", took, 5 * HOLD);
}

#[test]
fn a_waiting_poll_wakes_the_moment_a_message_is_accepted() {
    let relay = Relay::start(&["--wait", "60s"]);
    for n in 0..10 {
        let waiting = relay.park("b");
        let (_, took) = timed(|| {
            relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
            let mail = waiting.answer().0.mail();
            assert_carried(&mail[0], &format!(r#"{{"n":{n}}}"#), "a");
        });
        assert_prompt("from the SET's first byte to the poll's answer", took);
    }
}

#[test]
fn a_message_sent_in_any_moment_around_the_poll_arrives_at_once() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut random = crate::common::random::Random::new();
    let mut polling = Conn::open(relay.addr());
    for n in 0..100 {
        let (early, late) = (random.within(Duration::from_millis(3)), random.within(Duration::from_millis(3)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(early);
                relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
            });
            std::thread::sleep(late);
            let (answer, took) = timed(|| polling.exchange(poll_request("b")));
            assert_eq!(answer.mail().len(), 1);
            assert!(took < crate::common::PROMPT, "round {n}: {took:?}");
        });
    }
}

#[test]
fn no_byte_of_an_answer_is_sent_while_a_poll_waits() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut conn = Conn::open(relay.addr());
    relay.park_on(&mut conn, "b");
    conn.assert_silent(Duration::from_millis(500));
    relay.set("a", "b", "{}");
    assert_eq!(conn.response().mail().len(), 1);
}

#[test]
fn a_connection_serves_one_poll_after_the_other() {
    let relay = Relay::start(&["--wait", "200ms"]);
    let mut conn = Conn::open(relay.addr());
    for n in 0..5 {
        let empty = conn.exchange(poll_request("b"));
        assert_eq!(empty.x0(), Answer::Nothing, "round {n}");
        assert!(!empty.closes(), "{empty:?}");
        relay.set("a", "b", "{}");
        let full = conn.exchange(poll_request("b"));
        assert_eq!(full.mail().len(), 1, "round {n}");
        assert!(!full.closes(), "{full:?}");
    }
}

#[test]
fn one_answer_carries_at_most_100_messages_unless_told_otherwise() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    for n in 0..150 {
        assert_eq!(conn.exchange(set_request("a", "b", &format!(r#"{{"n":{n}}}"#))).x0(), Answer::Accepted);
    }
    let (first, second) = (relay.poll("b"), relay.poll("b"));
    assert_eq!((first.len(), second.len()), (100, 50));
    for (n, message) in first.iter().chain(&second).enumerate() {
        assert_carried(message, &format!(r#"{{"n":{n}}}"#), "a");
    }
}

#[test]
fn the_careful_get_one_message_an_answer() {
    let relay = Relay::start(&["--answer-messages", "1"]);
    for n in 0..3 {
        relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
    }
    for n in 0..3 {
        let mail = relay.poll("b");
        assert_eq!(mail.len(), 1);
        assert_carried(&mail[0], &format!(r#"{{"n":{n}}}"#), "a");
    }
}

#[test]
fn an_answer_has_a_limit_in_bytes_and_a_larger_message_goes_alone() {
    let relay = Relay::start(&["--answer-bytes", "1KiB"]);
    let sizes = [300, 300, 300, 3000, 10];
    for size in sizes {
        relay.set("a", "b", &format!(r#"{{"s":"{}"}}"#, "x".repeat(size)));
    }
    let answers: Vec<Vec<String>> = std::iter::from_fn(|| Some(relay.poll("b")).filter(|m| !m.is_empty())).collect();
    assert!(answers[0].len() >= 2, "{answers:?}");
    for answer in &answers {
        let bytes: usize = answer.iter().map(String::len).sum();
        assert!(bytes <= 1024 || answer.len() == 1, "{bytes} bytes in {} messages", answer.len());
    }
    assert_eq!(answers.iter().flatten().count(), sizes.len());
    for (message, size) in answers.iter().flatten().zip(sizes) {
        assert_carried(message, &format!(r#"{{"s":"{}"}}"#, "x".repeat(size)), "a");
    }
}
