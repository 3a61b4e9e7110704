//! No log line, at any level, shows a payload, a token or a ticket, whichever door they came through and whatever was
//! wrong with them.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::time::Duration;

use common::{Conn, Relay, cli, request, v1::send_request, x0::set_request};

/// What nobody may find in a log.
const CANARY: &str = "canary7sings";
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn no_log_line_shows_what_was_sent_or_by_what_right() {
    let relay = Relay::start(&["--log-level", "trace", "--wait", "200ms", "--error-hold", "1ms"]);
    let payload = format!(r#"{{"secret":"{CANARY}"}}"#);
    let bearer = format!("Bearer {CANARY}.{CANARY}.{CANARY}");
    let mut asked = 0;
    let mut ask = |bytes: Vec<u8>| {
        let mut conn = Conn::open(relay.addr());
        conn.send(bytes);
        conn.try_response(PATIENCE).expect("an answer");
        asked += 1;
    };
    // Good and bad, in the body, in the query, in headers.
    ask(set_request("a", "b", &payload));
    ask(set_request("a", "b", &format!("{payload}{payload}")));
    ask(send_request("a", "b", &payload, Some(CANARY)));
    ask(send_request("a", "b", &payload[1..], None));
    for target in ["/get", "/set", "/v1/messages", "/v1/ack", "/v1/tickets", "/v1/events", "/nothing"] {
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Cookie", CANARY)];
        ask(request("POST", target, &headers, payload.as_bytes()));
        ask(request("PUT", target, &headers, payload.as_bytes()));
    }
    for target in [
        "/v1/events?session=s&ticket=",
        "/v1/ws?session=s&ticket=",
        "/v1/messages?session=s&wait=0&token=",
        "/get?Payload=",
        "/python/MsgHandler.py?Type=SET&SYS_SESSION=a&DestinationSession=b&Payload=",
    ] {
        let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", CANARY)];
        let mut conn = Conn::open(relay.addr());
        conn.send(request("GET", &format!("{target}{CANARY}"), &headers, b""));
        conn.try_head(PATIENCE).expect("an answer");
    }
    let (mut socket, _) = relay.socket("w", None);
    for frame in [
        format!(r#"{{"type":"send","to":"session:b","payload":{payload}}}"#),
        format!(r#"{{"type":"send","to":"nowhere:b","payload":{payload}}}"#),
        format!(r#"{{"type":"auth","token":"{CANARY}"}}"#),
    ] {
        socket.say(&frame);
        socket.next(PATIENCE).expect("an answer");
    }
    let control = relay.control().to_str().expect("UTF-8");
    cli::run(&["send", "--socket", control, "b", &payload]).exits(0);
    let log = relay.log();
    assert!(asked > 15 && log.contains("TRACE") && log.contains("DEBUG"), "nothing was logged:\n{log}");
    let shown: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(shown.is_empty(), "{} of {} lines show it: {shown:#?}", shown.len(), log.lines().count());
    println!("{} lines, none of them shows it", log.lines().count());
}
