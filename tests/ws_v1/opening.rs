//! Handshakes that open a socket, and such that do not.

use crate::{
    SOON, assert_alive,
    common::{
        Conn, Cut, PROMPT, Relay, eventually,
        metrics::samples,
        request,
        v1::{Said, Socket, socket::HANDSHAKE},
    },
    mail_of, said, send,
};

#[test]
fn who_asks_for_no_websocket_is_told_what_to_ask_for_and_may_ask_again() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    for headers in [&[][..], &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "8")]] {
        let answer = conn.exchange(request("GET", "/v1/ws?session=b", headers, b""));
        answer.problem(426, "upgrade_required");
        assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{answer:?}");
        assert!(answer.lists("connection", "upgrade") && !answer.closes(), "{answer:?}");
    }
    let mut socket = Socket::ask(conn, "b", None).expect("the connection is there");
    assert!(matches!(said(&mut socket), Said::Welcome { .. }));
}

#[test]
fn what_is_wrong_with_a_cursor_or_a_mailbox_is_told_before_the_upgrade_and_sends_nobody_away() {
    let relay = Relay::start(&["--sessions", "1"]);
    let (mut present, cursor) = relay.socket("b", None);
    for (query, status, kind) in [
        (format!("session=b&after={}", cursor.at(9)), 400, "invalid_cursor"),
        ("session=another".to_owned(), 503, "too_many_sessions"),
    ] {
        let mut conn = Conn::open(relay.addr());
        let answer = conn.exchange(request("GET", &format!("/v1/ws?{query}"), HANDSHAKE, b""));
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
        assert!(answer.text().contains(&format!(r#""kind":"{kind}""#)), "{answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{answer:?}");
        assert!(answer.closes());
        conn.assert_ends(PROMPT);
    }
    assert_alive(&mut present);
}

#[test]
fn sockets_and_their_frames_are_counted_and_leave_nothing_behind() {
    let relay = Relay::start(&[]);
    let mut sockets: Vec<Socket> = (0..4).map(|n| relay.socket(&n.to_string(), None).0).collect();
    assert_eq!(relay.parked(), 4);
    let first = &mut sockets[0];
    assert_alive(first);
    first.say(&send(1, "0"));
    let mut both = [said(first), said(first)];
    both.sort_by_key(|said| matches!(said, Said::Messages(_)));
    let [Said::Sent { .. }, Said::Messages(batch)] = &both else { panic!("{both:?}") };
    first.ack(&batch.cursor);
    first.say("no");
    assert!(matches!(said(first), Said::Error { kind, .. } if kind == "not_json"));
    let text = relay.metrics();
    let counted = |name: &str, labels: &str| {
        samples(&text).iter().find(|s| s.name == name && s.labels == labels).map_or(0.0, |sample| sample.value)
    };
    for (labels, count) in [
        (r#"{door="v1",verb="ws"}"#, 4.0),
        (r#"{door="ws",verb="ping"}"#, 1.0),
        (r#"{door="ws",verb="send"}"#, 1.0),
        (r#"{door="ws",verb="ack"}"#, 1.0),
        (r#"{door="ws",verb="auth"}"#, 0.0),
    ] {
        assert_eq!(counted("x0_relay_requests_total", labels), count, "{labels}");
    }
    assert_eq!(counted("x0_relay_errors_total", r#"{kind="not_json"}"#), 1.0);
    // By an end without a close, by a reset, by what is against the RFC, and by a newer one of its session.
    let [first, second, mut third, fourth] = <[Socket; 4]>::try_from(sockets).unwrap_or_else(|_| panic!("four"));
    first.cut(Cut::Fin);
    second.cut(Cut::Rst);
    third.conn.send([0xff; 14]);
    assert!(matches!(said(&mut third), Said::Close(1002, _)));
    relay.socket("3", None).0.cut(Cut::Fin);
    drop(fourth);
    eventually("no receiver is left", SOON, || (relay.parked() == 0).then_some(()));
    relay.send_v1("3", "{\"n\":1}");
    assert_eq!(mail_of(&mut relay.socket("3", None).0).numbers(), [1]);
}
