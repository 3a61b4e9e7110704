//! What the logs hold, and what they never hold: no payload, no form, nothing that somebody sent to somebody else.

use crate::common::{
    Conn, PROMPT, Relay, eventually,
    packets::get_packet,
    request,
    x0::{HANDLER, poll_request, post, set_body, set_request},
};

/// Stands in every payload.
const MARKER: &str = "pineapple-7431";

/// Sends the marker in every way there is, right and wrong.
fn send_markers(relay: &Relay) {
    let payload = format!(r#"{{"s":"{MARKER}"}}"#);
    let in_query = format!("%7B%22s%22:%22{MARKER}%22%7D");
    let large = format!(r#"{{"s":"{MARKER}{}"}}"#, "x".repeat(100_000));
    let form = format!(
        r#"{{"RequestData":{{"FormlistSelectDstUser":{{"DstUserSession":"b"}},"FormlistExchangeData":{payload}}},"SessionData":{{"ID":"SYS_SESSION","Value":"a"}}}}"#
    );
    let requests = [
        set_request("a", "b", &payload),
        post("/set", set_body("a", "b", &payload)),
        post(HANDLER, form),
        request("GET", &format!("{HANDLER}?SYS_SESSION=a&Type=SET&DestinationSession=b&Payload={in_query}"), &[], b""),
        request(
            "GET",
            &format!("{HANDLER}?SYS_SESSION=a&Type=SET&DestinationSession=b&Payload=SYS__NET_EVENT-{MARKER}"),
            &[],
            b"",
        ),
        request("GET", &format!("/nowhere/at/all?Payload={MARKER}"), &[], b""),
        request(
            "GET",
            "/get?session_src=b&type=GET",
            &[("X-Secret", MARKER), ("Cookie", MARKER), ("Authorization", MARKER)],
            b"",
        ),
        poll_request("b"),
        set_request("a", "b", &format!(r#"["{MARKER}"]"#)),
        set_request("a", "b", &format!(r#""{MARKER}""#)),
        set_request("a", "b", &large),
        post("/set", format!(r#"{{"payload":{{"{MARKER}":NaN}}}}"#)),
        post("/set", MARKER),
        post("/set", format!("\u{feff}{MARKER}")),
        post("/set", [MARKER.as_bytes(), b"\xff"].concat()),
        post("/set", format!(r#"{{"{MARKER}":1,"type":"{MARKER}"}}"#)),
        post(HANDLER, format!(r#"{{"type":"{MARKER}","session_src":"a"}}"#)),
        post("/python/getMessages.py", format!(r#"{{"x":"{MARKER}"}}"#)),
        request("PUT", "/set", &[], payload.as_bytes()),
        format!("POST /set HTTP/1.1\r\nHost: x\r\nbad line {MARKER}\r\n\r\n{payload}").into_bytes(),
    ];
    for bytes in requests {
        let mut conn = Conn::open(relay.addr());
        conn.send(bytes);
        // Some are refused by HTTP itself; here only what is logged of it matters.
        let _ = conn.try_response(PROMPT);
    }
    relay.packet(set_body("a", "b", &payload));
    relay.packet(get_packet("b"));
    relay.packet(format!("{MARKER} is not JSON"));
    relay.packet(format!(r#"{{"type":"SET","session_src":"a","session_dst":"b","payload":"{MARKER}"}}"#));
    relay.packet(set_body("a", "never-fits", &format!(r#"{{"s":"{MARKER}{}"}}"#, "x".repeat(5000))));
    relay.packet(get_packet("never-fits"));
}

#[test]
fn no_log_line_holds_a_payload() {
    for format in ["text", "json"] {
        let mut relay =
            Relay::start(&["--log-level", "trace", "--log-format", format, "--error-hold", "1ms", "--wait", "100ms"]);
        send_markers(&relay);
        assert!(!relay.metrics().contains(MARKER), "{}", relay.metrics());
        relay.term();
        relay.wait_exit(PROMPT);
        let log = relay.process.stderr.whole(PROMPT);
        assert!(log.lines().count() > 20, "a trace of {} lines shows nothing:\n{log}", log.lines().count());
        let found: Vec<&str> = log.lines().filter(|line| line.contains(MARKER) || line.contains("pineapple")).collect();
        assert!(found.is_empty(), "{format}: {found:#?}");
        assert!(!relay.process.stdout.text().contains("pineapple"));
    }
}

#[test]
fn json_logs_are_one_object_a_line() {
    let mut relay =
        Relay::start(&["--log-format", "json", "--log-level", "trace", "--error-hold", "1ms", "--wait", "100ms"]);
    relay.set("a\n\"b\u{1b}[2J", "b\r\n{\"level\":\"forged\"}", "{}");
    relay.ask(post("/get", "{"));
    relay.term();
    relay.wait_exit(PROMPT);
    let log = relay.process.stderr.whole(PROMPT);
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(value["level"].is_string() && value["timestamp"].is_string(), "{line}");
        assert_ne!(value["level"], "forged");
    }
}

#[test]
fn text_logs_cannot_be_forged_by_a_sessions_name() {
    let mut relay = Relay::start(&["--log-level", "trace", "--error-hold", "1ms", "--wait", "100ms"]);
    let name = "x\n2026-01-01 ERROR forged\u{1b}[2J\r";
    relay.set(name, name, "{}");
    relay.set("a", name, &format!(r#"{{"s":"{}"}}"#, "x".repeat(5000)));
    relay.packet(get_packet(name));
    relay.poll(name);
    relay.term();
    relay.wait_exit(PROMPT);
    let log = relay.process.stderr.whole(PROMPT);
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01 ERROR forged")), "{log}");
    assert!(
        !log.contains('\u{1b}') && !log.contains('\r'),
        "control characters in a log that is no terminal:\n{log:?}"
    );
}

#[test]
fn a_refusal_is_logged_with_the_requests_name() {
    let relay = Relay::start(&["--log-level", "debug", "--error-hold", "1ms"]);
    relay.ask(post("/get", "{")).error("NotJSON");
    eventually("the log names the refusal", PROMPT, || relay.log().contains("not_json").then_some(()));
    let line = relay.log().lines().find(|l| l.contains("not_json")).expect("just seen").to_owned();
    let named = line.split(|c: char| !(c.is_ascii_digit() || c == '-')).any(|word| {
        word.split_once('-')
            .is_some_and(|(c, r)| !c.is_empty() && !r.is_empty() && c.len() + r.len() < 12 && !r.contains('-'))
    });
    assert!(named, "no request id such as 17-3 in {line}");
}

#[test]
fn at_the_default_level_traffic_is_not_logged() {
    let relay = Relay::start(&["--log-level", "info", "--wait", "100ms"]);
    let before = relay.log().lines().count();
    for n in 0..50 {
        relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
        assert_eq!(relay.poll("b").len(), 1);
    }
    let after = relay.log();
    assert!(after.lines().count() < before + 10, "{after}");
}

#[test]
fn a_log_that_nobody_reads_any_more_stops_nothing() {
    // The shell's stderr is a pipe whose reader has gone before the relay starts.
    let mut relay = Relay::builder().args(&["--log-level", "trace", "--wait", "60s"]).with_dead_stderr().start();
    let waiting = relay.park("b");
    relay.set("a", "c", "{}");
    assert_eq!(relay.poll("c").len(), 1);
    relay.term();
    assert_eq!(waiting.answer().0.text(), r#"{"messages": null}"#);
    assert_eq!(relay.wait_exit(PROMPT).code(), Some(0));
}
