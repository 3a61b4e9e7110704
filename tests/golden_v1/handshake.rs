//! The WebSocket's handshake and its frames as RFC 6455 has them.

use std::time::Duration;

use crate::common::{
    Broken, Conn, PROMPT, Relay, Response, request,
    v1::{
        Frame, Said, Socket, get,
        socket::{BINARY, CLOSE, HANDSHAKE, KEY, PING, PONG, PROTOCOL, TEXT, frame},
    },
};

/// The handshake's headers with one of them replaced, or taken out.
fn handshake<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers: Vec<(&str, &str)> = HANDSHAKE.iter().filter(|(n, _)| *n != name).copied().collect();
    headers.extend(value.map(|value| (name, value)));
    headers
}

fn ask(relay: &Relay, headers: &[(&str, &str)]) -> Response {
    relay.ask(request("GET", "/v1/ws?session=b", headers, b""))
}

#[test]
fn the_sub_protocol_is_echoed_if_it_was_offered() {
    let relay = Relay::start(&[]);
    for (offered, echoed) in [
        (Some(PROTOCOL), Some(PROTOCOL)),
        (Some("other, x0-relay.v1 ,x0-relay.v2"), Some(PROTOCOL)),
        (None, None),
        (Some("x0-relay.v2, other"), None),
    ] {
        let response = ask(&relay, &handshake("Sec-WebSocket-Protocol", offered));
        assert_eq!(
            (response.status, response.header("sec-websocket-protocol")),
            (101, echoed),
            "{offered:?}: {response:?}"
        );
        assert_eq!(response.header("sec-websocket-accept"), Some(KEY.1));
    }
}

#[test]
fn the_accept_value_belongs_to_the_key() {
    let relay = Relay::start(&[]);
    for (key, accept) in [
        ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
    ] {
        let response = ask(&relay, &handshake("Sec-WebSocket-Key", Some(key)));
        assert_eq!((response.status, response.header("sec-websocket-accept")), (101, Some(accept)));
    }
}

#[test]
fn header_values_are_lists_in_any_case() {
    let relay = Relay::start(&[]);
    let mut headers = handshake("Connection", Some("keep-alive, upgrade"));
    headers.retain(|(name, _)| *name != "Upgrade");
    headers.push(("Upgrade", "WebSocket"));
    assert_eq!(ask(&relay, &headers).status, 101);
}

#[test]
fn other_versions_are_refused_and_told_which_is_right() {
    let relay = Relay::start(&[]);
    for version in [Some("8"), Some("0"), Some("14"), Some("x"), None] {
        let response = ask(&relay, &handshake("Sec-WebSocket-Version", version));
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "{version:?}: {response:?}");
        assert_eq!(response.status, 426, "{version:?}: {response:?}");
    }
}

#[test]
fn a_handshake_that_is_none_is_a_problem() {
    let relay = Relay::start(&[]);
    for (name, value) in [
        ("Sec-WebSocket-Key", None),
        ("Sec-WebSocket-Key", Some("short")),
        ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ")),
        ("Upgrade", None),
        ("Upgrade", Some("h2c")),
        ("Connection", Some("close")),
    ] {
        let response = ask(&relay, &handshake(name, value));
        assert!(matches!(response.status, 400 | 426), "{name}: {value:?}: {response:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    }
    assert!(matches!(relay.ask(get("/v1/ws?session=b")).status, 400 | 426));
}

#[test]
fn what_is_wrong_with_the_query_is_told_before_the_upgrade() {
    let relay = Relay::start(&[]);
    for (target, kind) in [
        ("/v1/ws", "invalid_session"),
        ("/v1/ws?session=", "invalid_session"),
        ("/v1/ws?session=b&after=x", "invalid_cursor"),
    ] {
        relay.ask(request("GET", target, HANDSHAKE, b"")).problem(400, kind);
    }
}

#[test]
fn frames_behind_the_handshake_in_one_packet_are_heard() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    let mut bytes = request("GET", "/v1/ws?session=b", HANDSHAKE, b"");
    bytes.extend(frame(true, TEXT, br#"{"type":"ping"}"#));
    bytes.extend(frame(true, TEXT, br#"{"type":"send","ref":"1","to":"b","payload":1}"#));
    conn.send(&bytes[..bytes.len() - 5]);
    let end = bytes[bytes.len() - 5..].to_vec();
    let mut socket = Socket::on(conn);
    assert!(matches!(socket.next(PROMPT), Ok(Said::Welcome { .. })));
    assert_eq!(socket.next(PROMPT).expect("a pong"), Said::Pong);
    socket.conn.send(end);
    let mut both = [socket.next(PROMPT).expect("a frame"), socket.next(PROMPT).expect("a frame")];
    both.sort_by_key(|said| matches!(said, Said::Messages(_)));
    assert!(matches!(both, [Said::Sent { .. }, Said::Messages(_)]), "{both:?}");
}

#[test]
fn a_fragmented_message_is_one_message_with_control_frames_between() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    let text = br#"{"type":"send","ref":"f","to":"c","payload":"x"}"#;
    socket.conn.send(frame(false, TEXT, &text[..10]));
    socket.conn.send(frame(true, PING, b"between"));
    socket.conn.send(frame(false, 0, &text[10..20]));
    socket.conn.send(frame(false, 0, b""));
    socket.conn.send(frame(true, 0, &text[20..]));
    assert_eq!(socket.next_frame(PROMPT).expect("a pong"), Frame { opcode: PONG, payload: b"between".to_vec() });
    assert!(matches!(socket.next(PROMPT), Ok(Said::Sent { .. })));
    assert_eq!(relay.everything("c", None).len(), 1);
}

#[test]
fn a_ping_is_answered_with_what_it_holds() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        socket.conn.send(frame(true, PING, payload));
        assert_eq!(socket.next_frame(PROMPT).expect("a pong"), Frame { opcode: PONG, payload: payload.to_vec() });
    }
    // One that nobody asked for says that somebody is there, no more.
    socket.conn.send(frame(true, PONG, b"here"));
    socket.say(r#"{"type":"ping"}"#);
    assert_eq!(socket.next(PROMPT).expect("a pong"), Said::Pong);
}

/// What a socket is told last, once `bytes` are sent on it.
#[track_caller]
fn closed_after(relay: &Relay, bytes: impl AsRef<[u8]>) -> u16 {
    let (mut socket, _) = relay.socket("b", None);
    socket.conn.send(bytes);
    let code = loop {
        match socket.next(PROMPT) {
            Ok(Said::Close(code, _)) => break code,
            Ok(Said::Error { .. }) => {}
            other => panic!("no close but {other:?}"),
        }
    };
    socket.conn.assert_ends(PROMPT);
    code
}

#[test]
fn what_no_client_may_say_closes_the_socket_with_the_code_for_it() {
    let relay = Relay::start(&[]);
    let unmasked = [0x81, 2, b'{', b'}'];
    let huge = {
        let mut head = frame(true, TEXT, &[b' '; 0x1_0000])[..14].to_vec();
        head[2..10].copy_from_slice(&(1_u64 << 40).to_be_bytes());
        head
    };
    for (what, bytes, code) in [
        ("a binary message", frame(true, BINARY, b"{}"), 1003),
        ("an unmasked frame", unmasked.to_vec(), 1002),
        ("a reserved bit", frame(true, 0x40 | TEXT, b"{}"), 1002),
        ("a reserved opcode", frame(true, 3, b"{}"), 1002),
        ("a reserved control opcode", frame(true, 11, b"{}"), 1002),
        ("a fragmented ping", frame(false, PING, b""), 1002),
        ("a long ping", frame(true, PING, &[0; 126]), 1002),
        ("a continuation of nothing", frame(true, 0, b"{}"), 1002),
        ("a message within a message", [frame(false, TEXT, b"{"), frame(true, TEXT, b"{}")].concat(), 1002),
        ("text that is not UTF-8", frame(true, TEXT, b"{\"type\":\"\xff\"}"), 1007),
        ("a frame of a tebibyte", huge, 1009),
        ("a close of one byte", frame(true, CLOSE, b"x"), 1002),
        ("a close with a code that may not be sent", frame(true, CLOSE, &1005_u16.to_be_bytes()), 1002),
    ] {
        println!("{what}");
        assert_eq!(closed_after(&relay, bytes), code, "{what}");
    }
}

#[test]
fn a_message_of_many_fragments_is_too_large_when_it_is() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    let part = vec![b' '; 60_000];
    socket.conn.send(frame(false, TEXT, &part));
    // It may close long before the end.
    while socket.conn.try_send(frame(false, 0, &part)).is_ok() {
        match socket.next(Duration::from_millis(1)) {
            Ok(Said::Close(code, _)) => return assert_eq!(code, 1009),
            Ok(Said::Error { status: 413, .. }) | Err(Broken::Late(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("it ended without saying why");
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_the_connection() {
    let relay = Relay::start(&[]);
    for (sent, answered) in [(&1000_u16.to_be_bytes()[..], 1000), (&4000_u16.to_be_bytes(), 4000), (b"", 1005)] {
        let (mut socket, _) = relay.socket("b", None);
        socket.conn.send(frame(true, CLOSE, sent));
        match socket.next_frame(PROMPT) {
            Ok(Frame { opcode: CLOSE, payload }) => {
                let code = payload.get(..2).map_or(1005, |c| u16::from_be_bytes(c.try_into().expect("two")));
                assert!(code == answered || code == 1000, "{code} in answer to {answered}");
            }
            other => panic!("no close but {other:?}"),
        }
        socket.conn.assert_ends(PROMPT);
    }
}

#[test]
fn the_relay_pings_every_keepalive_and_closes_on_who_says_nothing() {
    let relay = Relay::start(&["--keepalive", "1s"]);
    let start = std::time::Instant::now();
    let (mut hears, _) = relay.socket("b", None);
    let (mut deaf, _) = relay.socket("c", None);
    deaf.deaf = true;
    let pinged = deaf.next_frame(Duration::from_secs(1) + PROMPT).expect("a ping");
    assert_eq!(pinged.opcode, PING);
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    // One pings on until the other is closed, and answers.
    loop {
        match deaf.next(Duration::from_millis(100)) {
            Err(Broken::Late(_)) => {}
            Ok(Said::Close(code, _)) => {
                println!("the deaf one is closed with {code}");
                break;
            }
            Err(Broken::Ended) => break,
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(2) + PROMPT, "the deaf one is never closed");
        assert!(matches!(hears.next(Duration::from_millis(1)), Err(Broken::Late(_))));
    }
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
    println!("the deaf one ended after {:?}", start.elapsed());
    hears.say(r#"{"type":"ping"}"#);
    assert_eq!(hears.next(PROMPT).expect("it lives on"), Said::Pong);
}
