//! How long a connection lives: versions, keep-alive, pipelining.

use std::time::Duration;

use crate::{
    case::{Stage, assert_usable, assert_usable_or_told},
    common::{
        PROMPT, WAIT, assert_held, assert_prompt, credentials, timed,
        x0::{Answer, assert_carried, poll_body, poll_request, post, set_body, set_request},
    },
};

fn http_1_0(target: &str, headers: &str, body: &str) -> String {
    let who = credentials::line();
    format!("POST {target} HTTP/1.0\r\n{headers}{who}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let mut stage = Stage::new(&[]);
    stage.case("an HTTP/1.0 SET", |conn, _| {
        let answer = conn.exchange(http_1_0("/set", "", &set_body("a", "b", "{}")));
        assert_eq!(answer.x0(), Answer::Accepted);
        assert_eq!(answer.header("transfer-encoding"), None);
        conn.assert_ends(PROMPT);
    });
    stage.case("an HTTP/1.0 poll", |conn, _| {
        assert_eq!(conn.exchange(http_1_0("/get", "", &poll_body("b"))).mail().len(), 1);
        conn.assert_ends(PROMPT);
    });
    stage.case("an HTTP/1.0 poll that waits in vain", |conn, _| {
        let (answer, took) = timed(|| conn.exchange(http_1_0("/get", "", &poll_body("b"))));
        assert_eq!(answer.x0(), Answer::Nothing);
        assert_held("an HTTP/1.0 poll", took, WAIT);
        conn.assert_ends(PROMPT);
    });
    stage.case("an HTTP/1.0 poll that is woken", |conn, relay| {
        conn.send(http_1_0("/get", "", &poll_body("b")));
        relay.until_parked(1);
        relay.set("a", "b", "{}");
        assert_eq!(conn.response().mail().len(), 1);
        conn.assert_ends(PROMPT);
    });
}

#[test]
fn http_1_0_with_keep_alive_is_kept() {
    let mut stage = Stage::new(&["--wait", "300ms"]);
    stage.case("HTTP/1.0 with keep-alive", |conn, _| {
        let kept = "Connection: keep-alive\r\n";
        for (target, body, want) in [
            ("/set", set_body("a", "b", "{}"), Answer::Accepted),
            ("/del", poll_body("b").replace("GET", "DEL"), Answer::Nothing),
            ("/set", set_body("a", "b", "{}"), Answer::Accepted),
        ] {
            let answer = conn.exchange(http_1_0(target, kept, &body));
            assert_eq!(answer.x0(), want, "{target}");
            assert!(answer.lists("connection", "keep-alive"), "a client of HTTP/1.0 must be told: {answer:?}");
        }
        // A poll may end its connection, if it says so.
        let answer = conn.exchange(http_1_0("/get", kept, &poll_body("b")));
        assert_eq!(answer.mail().len(), 1);
        assert_usable_or_told(conn, &answer, "an HTTP/1.0 poll");
    });
}

#[test]
fn connection_close_is_obeyed() {
    let mut stage = Stage::new(&[]);
    let closing = |target: &str, body: &str| {
        let headers = [("Connection", "close")];
        crate::common::request("POST", target, &headers, body.as_bytes())
    };
    let cases = [
        ("a SET", closing("/set", &set_body("a", "b", "{}")), Answer::Accepted),
        ("a poll that waits in vain", closing("/get", &poll_body("c")), Answer::Nothing),
        ("a DEL", closing("/del", &poll_body("b").replace("GET", "DEL")), Answer::Nothing),
    ];
    for (name, bytes, want) in cases {
        stage.case(&format!("{name} with Connection: close"), |conn, _| {
            let answer = conn.exchange(bytes);
            assert_eq!(answer.x0(), want);
            assert!(answer.closes(), "{answer:?}");
            conn.assert_ends(PROMPT);
        });
    }
    stage.case("a woken poll with Connection: close", |conn, relay| {
        conn.send(closing("/get", &poll_body("b")));
        relay.until_parked(1);
        relay.set("a", "b", "{}");
        let answer = conn.response();
        assert_eq!(answer.mail().len(), 1);
        assert!(answer.closes(), "{answer:?}");
        conn.assert_ends(PROMPT);
        relay.assert_empty("b");
    });
    stage.case("an error with Connection: close", |conn, _| {
        conn.exchange(closing("/get", "{")).error("NotJSON");
        conn.assert_ends(PROMPT);
    });
}

#[test]
fn a_connection_stays_after_errors() {
    let mut stage = Stage::new(&[]);
    stage.case("errors on one connection", |conn, _| {
        for _ in 0..20 {
            conn.exchange(post("/get", "{")).error("NotJSON");
            conn.exchange(set_request("a", "b", "[]")).error("PayloadNotObject");
        }
        assert_eq!(conn.exchange(set_request("a", "b", "{}")).x0(), Answer::Accepted);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut stage = Stage::new(&[]);
    stage.case("SET, SET, GET, GET in one write", |conn, _| {
        let bytes = [
            set_request("a", "b", r#"{"n":1}"#),
            set_request("a", "b", r#"{"n":2}"#),
            poll_request("b"),
            poll_request("b"),
        ];
        let start = std::time::Instant::now();
        conn.send(bytes.concat());
        assert_eq!(conn.response().x0(), Answer::Accepted);
        assert_eq!(conn.response().x0(), Answer::Accepted);
        let mail = conn.response().mail();
        assert_prompt("the first three answers", start.elapsed());
        assert_eq!(mail.len(), 2);
        assert_carried(&mail[0], r#"{"n":1}"#, "a");
        assert_carried(&mail[1], r#"{"n":2}"#, "a");
        assert_eq!(conn.response().x0(), Answer::Nothing, "the second GET waits for more");
        assert!(start.elapsed() < WAIT + PROMPT, "{:?}", start.elapsed());
        assert_usable(conn, "the pipeline");
    });
    stage.relay.assert_empty("b");
}

#[test]
fn a_hundred_pipelined_sets_are_all_accepted_in_order() {
    let mut stage = Stage::new(&[]);
    stage.case("100 SETs in one write", |conn, _| {
        let bytes: Vec<Vec<u8>> = (0..100).map(|n| set_request("a", "b", &format!(r#"{{"n":{n}}}"#))).collect();
        conn.send(bytes.concat());
        for n in 0..100 {
            assert_eq!(conn.response().x0(), Answer::Accepted, "SET {n}");
        }
    });
    for (n, message) in stage.relay.poll("b").iter().enumerate() {
        assert_carried(message, &format!(r#"{{"n":{n}}}"#), "a");
    }
}

#[test]
fn a_poll_pipelined_behind_a_waiting_poll_gets_the_next_message() {
    let mut stage = Stage::new(&["--wait", "10s"]);
    stage.case("two polls of one session in one write", |conn, relay| {
        conn.send([poll_request("b"), poll_request("b")].concat());
        relay.until_parked(1);
        for n in 0..2 {
            relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
            let (answer, took) = timed(|| conn.response());
            assert_carried(&answer.mail()[0], &format!(r#"{{"n":{n}}}"#), "a");
            assert_prompt("a pipelined poll", took);
        }
    });
}

#[test]
fn a_poll_of_another_session_behind_a_waiting_poll_gets_its_message_in_turn() {
    let mut stage = Stage::new(&[]);
    stage.case("polls of two sessions in one write", |conn, relay| {
        conn.send([poll_request("first"), poll_request("second")].concat());
        relay.until_parked(1);
        relay.set("a", "second", "{}");
        assert_eq!(conn.response().x0(), Answer::Nothing);
        let (answer, took) = timed(|| conn.response());
        assert_eq!(answer.mail().len(), 1);
        assert_prompt("the second session's mail", took);
    });
}

#[test]
fn a_set_behind_a_waiting_poll_is_answered_after_it() {
    let mut stage = Stage::new(&[]);
    stage.case("a poll and a SET in one write", |conn, relay| {
        conn.send([poll_request("b"), set_request("b", "c", r#"{"x":1}"#)].concat());
        assert_eq!(conn.response().x0(), Answer::Nothing);
        assert_eq!(conn.response().x0(), Answer::Accepted);
        assert_carried(&relay.poll("c")[0], r#"{"x":1}"#, "b");
    });
}

#[test]
fn a_request_that_comes_in_two_parts_behind_a_waiting_poll_is_read_whole() {
    let mut stage = Stage::new(&[]);
    stage.case("half a SET behind a poll", |conn, relay| {
        let set = set_request("b", "c", r#"{"x":1}"#);
        relay.park_on(conn, "b");
        for part in set.chunks(set.len() / 3) {
            conn.send(part);
            std::thread::sleep(Duration::from_millis(10));
        }
        relay.set("a", "b", "{}");
        assert_eq!(conn.response().mail().len(), 1);
        assert_eq!(conn.response().x0(), Answer::Accepted);
        assert_carried(&relay.poll("c")[0], r#"{"x":1}"#, "b");
    });
}

#[test]
fn a_flood_behind_a_waiting_poll_is_bounded_and_does_not_hold_it_up() {
    let mut stage = Stage::new(&["--wait", "60s", "--mailbox-messages", "100"]);
    stage.case("megabytes behind a poll", |conn, relay| {
        relay.park_on(conn, "b");
        let set = set_request("b", "c", &format!(r#"{{"s":"{}"}}"#, "x".repeat(1000)));
        let mut flood = conn.sender();
        let sender = std::thread::spawn(move || {
            // The kernel's buffers take some of it; the rest waits until the poll is answered, or for ever.
            flood.stream.set_write_timeout(Some(Duration::from_secs(1))).expect("not zero");
            (0..20_000).take_while(|_| flood.try_send(&set).is_ok()).count()
        });
        let taken = sender.join().expect("it only sends");
        println!("{taken} SETs of 1 kB were taken behind the poll");
        assert!(taken < 20_000, "20 MB were taken behind a waiting poll");
        relay.set("a", "b", "{}");
        let (answer, took) = timed(|| conn.response());
        assert_eq!(answer.mail().len(), 1);
        assert_prompt("the poll before the flood", took);
    });
}
