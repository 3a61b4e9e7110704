//! Handshakes that open a socket, and such that do not.

use std::time::Duration;

use crate::{
    client::{Heard, Ws, text},
    common::{Conn, PROMPT, Relay, Response, eventually, metrics::samples, request},
};

#[track_caller]
fn assert_problem(answer: &Response, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!((&problem["kind"], &problem["status"]), (&kind.into(), &status.into()), "{answer:?}");
}

#[test]
fn who_asks_for_no_websocket_is_told_what_to_ask_for_and_may_ask_again() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    for headers in [&[][..], &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "8")]] {
        let answer = conn.exchange(request("GET", "/v1/ws?session=b", headers, b""));
        assert_problem(&answer, 426, "upgrade_required");
        assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{answer:?}");
        assert!(answer.lists("connection", "upgrade") && !answer.closes(), "{answer:?}");
    }
    let (mut ws, head) = Ws::ask_on(conn.stream, "session=b", b"");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(ws.said().contains("welcome"));
    ws.close();
}

#[test]
fn what_is_wrong_with_a_cursor_or_a_mailbox_is_told_before_the_upgrade() {
    let relay = Relay::start(&["--sessions", "1"]);
    let mut present = Ws::open(&relay, "b");
    relay.accept("b", 1);
    let (_, cursor) = present.numbers();
    let ahead = format!("{}.9", cursor.split_once('.').expect("a cursor").0);
    for (query, status, kind) in [
        (format!("session=b&after={ahead}"), 400, "invalid_cursor"),
        ("session=another".to_owned(), 503, "too_many_sessions"),
    ] {
        let mut conn = Conn::open(relay.addr());
        let answer = conn.exchange(request("GET", &format!("/v1/ws?{query}"), &crate::client::HEADERS, b""));
        assert_problem(&answer, status, kind);
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{answer:?}");
        assert!(answer.closes());
        conn.assert_ends(PROMPT);
    }
    // Nobody was sent away by them.
    present.assert_nothing();
}

#[test]
fn what_is_sent_behind_the_handshake_in_one_piece_is_heard() {
    let relay = Relay::start(&[]);
    let send = r#"{"type":"send","ref":1,"to":"c","payload":{"n":1}}"#;
    let (mut ws, _) = Ws::ask(&relay, "session=b", &[text(r#"{"type":"ping"}"#), text(send)].concat());
    assert!(ws.said().contains("welcome"));
    assert_eq!(ws.said(), r#"{"type":"pong"}"#);
    assert!(ws.said().starts_with(r#"{"type":"sent","ref":1,"#));
    assert_eq!(relay.pending("c"), 1);
}

#[test]
fn sockets_and_their_frames_are_counted_and_leave_nothing_behind() {
    let relay = Relay::start(&[]);
    let mut sockets: Vec<Ws> = (0..4).map(|n| Ws::open(&relay, &n.to_string())).collect();
    assert_eq!(relay.parked(), 4);
    sockets[0].assert_nothing();
    sockets[0].say(r#"{"type":"send","to":"c","payload":1}"#);
    assert!(sockets[0].said().contains("sent"));
    sockets[0].say("no");
    assert!(sockets[0].said().contains("not_json"));
    let text = relay.metrics();
    let counted = |name: &str, labels: &str| {
        samples(&text).iter().find(|s| s.name == name && s.labels == labels).map_or(0.0, |sample| sample.value)
    };
    for (labels, count) in [
        (r#"{door="v1",verb="ws"}"#, 4.0),
        (r#"{door="ws",verb="ping"}"#, 1.0),
        (r#"{door="ws",verb="send"}"#, 1.0),
        (r#"{door="ws",verb="ack"}"#, 0.0),
    ] {
        assert_eq!(counted("x0_relay_requests_total", labels), count, "{labels}");
    }
    assert_eq!(counted("x0_relay_errors_total", r#"{kind="not_json"}"#), 1.0);
    // By a close, by an end without one, by a reset, and by what is against the RFC.
    sockets.pop().expect("one").close();
    drop(sockets.pop());
    sockets.pop().expect("one").reset();
    let mut last = sockets.pop().expect("one");
    last.send(&[0xff; 14]);
    assert_eq!(last.heard(), Heard::Close(1002));
    eventually("no receiver is left", Duration::from_secs(5), || (relay.parked() == 0).then_some(()));
}
