//! `POST /v1/messages`: what is taken, and what is refused.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::common::{
    Relay, request,
    v1::{post_json, requests::message_body},
    x0::quoted,
};

/// A body with these members and a payload.
fn to(members: &str) -> String {
    format!(r#"{{"payload":{{}},{members}}}"#)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 500 million")
}

#[test]
fn an_accepted_message_is_201_with_its_id() {
    let relay = Relay::start(&[]);
    let response = relay.send_body(r#"{"to":"session:b","payload":{"any":"JSON"},"from":"a","type":"word","ttl":60}"#);
    let sent = response.sent();
    assert_eq!((sent.recipients, sent.duplicate), (1, false));
    let text = format!(r#"{{"id":"{}","recipients":1,"duplicate":false}}"#, sent.id);
    assert_eq!(response.text().replace(' ', ""), text);
    let messages = relay.everything("b", None);
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    assert_eq!((message.id.as_str(), message.seq), (sent.id.as_str(), 1));
    assert_eq!(
        (message.from.as_str(), message.word.as_str(), message.payload.as_str()),
        ("a", "word", r#"{"any":"JSON"}"#)
    );
}

#[test]
fn from_is_empty_and_type_is_message_unless_given() {
    let relay = Relay::start(&[]);
    let before = now_ms();
    relay.send_body(r#"{"to":"session:b","payload":1}"#).sent();
    let message = &relay.everything("b", None)[0];
    assert_eq!((message.from.as_str(), message.word.as_str()), ("", "message"));
    // Unix milliseconds; the relay's clock runs by itself once it has started.
    assert!((before - 1000..now_ms() + 1000).contains(&message.ts), "{message:?}");
}

#[test]
fn ids_rise_with_time() {
    let relay = Relay::start(&[]);
    let ids: Vec<String> = (0..50).map(|_| relay.send_v1("b", "{}").id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn a_payload_is_any_json_value() {
    let relay = Relay::start(&[]);
    let values = ["null", "true", "0", "-0.0e-0", r#""""#, r#""text""#, "[]", "[1,[2]]", "{}", r#"{"a":null}"#];
    for value in values {
        relay.send_v1("b", value);
    }
    let got: Vec<String> = relay.everything("b", None).into_iter().map(|m| m.payload).collect();
    assert_eq!(got, values);
}

#[test]
fn an_address_is_session_id_or_a_string_without_a_colon() {
    let relay = Relay::start(&[]);
    for (address, session) in [
        ("session:b", "b"),
        ("c", "c"),
        ("session:a:b:c", "a:b:c"),
        ("session:session:x", "session:x"),
        ("session: ", " "),
        ("session:é\u{0}\n/?&%41", "é\u{0}\n/?&%41"),
    ] {
        relay.send_body(&to(&format!(r#""to":{}"#, quoted(address)))).sent();
        assert_eq!(relay.everything(session, None).len(), 1, "{address:?}");
    }
    let longest = "x".repeat(256);
    relay.send_v1(&longest, "1");
    assert_eq!(relay.everything(&longest, None).len(), 1);
}

#[test]
fn an_address_that_names_no_session_is_refused_by_name() {
    let relay = Relay::start(&[]);
    for address in
        ["user:x", "group:x", "a:b", ":x", "Session:b", "", "session:", &format!("session:{}", "x".repeat(257))]
    {
        for members in [format!(r#""to":{}"#, quoted(address)), format!(r#""to":["session:ok",{}]"#, quoted(address))] {
            let problem = relay.send_body(&to(&members)).problem(400, "invalid_address");
            let shown: String = address.chars().take(20).collect();
            assert!(problem.detail.contains(&shown), "{address:?} is not named: {problem:?}");
        }
    }
    assert!(relay.everything("ok", None).is_empty(), "all or nothing");
}

#[test]
fn to_is_a_string_or_a_list_of_1_to_256_and_doubles_count_once() {
    let relay = Relay::start(&[]);
    let list = |n: usize| (0..n).map(|n| format!(r#""session:s{n}""#)).collect::<Vec<_>>().join(",");
    let sent = relay.send_body(&to(&format!(r#""to":[{}]"#, list(256)))).sent();
    assert_eq!(sent.recipients, 256);
    let ids: Vec<String> = (0..256).map(|n| relay.everything(&format!("s{n}"), None)[0].id.clone()).collect();
    assert!(ids.iter().all(|id| *id == sent.id), "one message, one id");
    let doubles = relay.send_body(&to(r#""to":["session:x","x","session:y","session:x"]"#)).sent();
    assert_eq!(doubles.recipients, 2);
    assert_eq!(relay.everything("x", None).len(), 1);
    relay.send_body(&to(&format!(r#""to":[{}]"#, list(257)))).problem(400, "invalid_address");
    relay.send_body(&to(r#""to":[]"#)).problem(400, "invalid_address");
    for wrong in ["1", "null", "{}", "[1]", "[null]", r#"[["session:b"]]"#] {
        let answer = relay.send_body(&to(&format!(r#""to":{wrong}"#)));
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    assert_eq!(relay.everything("s0", None).len(), 1);
}

#[test]
fn a_list_is_accepted_whole_or_not_at_all() {
    let relay = Relay::start(&["--mailbox-messages", "1"]);
    relay.send_v1("full", "{}");
    relay.send_v1("fuller", "{}");
    let problem = relay
        .send_body(&to(r#""to":["session:b","session:full","session:c","session:fuller"]"#))
        .problem(507, "mailbox_full");
    let mut addresses = problem.addresses.clone();
    addresses.sort();
    assert_eq!(addresses, ["session:full", "session:fuller"], "the failing ones, and they alone");
    assert!(relay.everything("b", None).is_empty() && relay.everything("c", None).is_empty());
    assert_eq!((relay.everything("full", None).len(), relay.everything("fuller", None).len()), (1, 1));
}

#[test]
fn members_that_are_wrong_are_named() {
    let relay = Relay::start(&[]);
    let long = format!(r#""to":"b","from":"{}""#, "x".repeat(257));
    let long_word = format!(r#""to":"b","type":"{}""#, "x".repeat(65));
    for (members, name) in [
        (r#""from":"a""#, "to"),
        (r#""to":"b","from":1"#, "from"),
        (long.as_str(), "from"),
        (r#""to":"b","type":"""#, "type"),
        (r#""to":"b","type":"a b""#, "type"),
        (r#""to":"b","type":"relay:gap""#, "type"),
        (r#""to":"b","type":"ä""#, "type"),
        (r#""to":"b","type":7"#, "type"),
        (long_word.as_str(), "type"),
        (r#""to":"b","ttl":0"#, "ttl"),
        (r#""to":"b","ttl":-1"#, "ttl"),
        (r#""to":"b","ttl":1.5"#, "ttl"),
        (r#""to":"b","ttl":"60""#, "ttl"),
        (r#""to":"b","ttl":2592001"#, "ttl"),
        (r#""to":"b","ttl":1e400"#, "ttl"),
        (r#""to":"b","unknown":1"#, "unknown"),
        (r#""to":"b","session_dst":"b""#, "session_dst"),
        (r#""to":"b","to":"c""#, "to"),
    ] {
        let problem = relay.send_body(&to(members)).problem(400, "bad_request");
        assert!(problem.detail.contains(name), "{name} is not named: {problem:?}");
    }
    let problem = relay.send_body(r#"{"to":"session:b"}"#).problem(400, "bad_request");
    assert!(problem.detail.contains("payload"), "{problem:?}");
    assert!(relay.everything("b", None).is_empty());
}

#[test]
fn what_is_at_the_edge_of_right_is_taken() {
    let relay = Relay::start(&[]);
    for members in [
        format!(r#""to":"b","from":"{}""#, "x".repeat(256)),
        format!(r#""to":"b","type":"{}""#, "x".repeat(64)),
        r#""to":"b","type":"AZaz09._-""#.into(),
        r#""to":"b","ttl":1"#.into(),
        r#""to":"b","ttl":2592000"#.into(),
        r#""t\u006f":"b""#.into(),
    ] {
        relay.send_body(&to(&members)).sent();
    }
}

#[test]
fn ttl_max_bounds_the_ttl() {
    let relay = Relay::start(&["--ttl-max", "1h", "--ttl", "30m"]);
    relay.send_body(&to(r#""to":"b","ttl":3600"#)).sent();
    let problem = relay.send_body(&to(r#""to":"b","ttl":3601"#)).problem(400, "bad_request");
    assert!(problem.detail.contains("3600"), "the limit is not named: {problem:?}");
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let relay = Relay::start(&[]);
    let deep = message_body("a", "b", &format!("{}{}", "[".repeat(600), "]".repeat(600)));
    for (body, kind) in [
        ("", "not_json"),
        ("not JSON", "not_json"),
        (r#"{"to":"b","payload":NaN}"#, "not_json"),
        (r#"{"to":"b","payload":{}} {}"#, "not_json"),
        ("[]", "bad_request"),
        ("7", "bad_request"),
        (deep.as_str(), "too_deep"),
    ] {
        relay.send_body(body).problem(400, kind);
    }
    relay
        .ask(request("POST", "/v1/messages", &[("Content-Type", "application/json")], b"{\"to\":\"\xff\"}"))
        .problem(400, "not_json");
}

#[test]
fn a_body_in_another_format_is_415() {
    let relay = Relay::start(&[]);
    let body = message_body("a", "b", "{}");
    let send =
        |media_type| relay.ask(request("POST", "/v1/messages", &[("Content-Type", media_type)], body.as_bytes()));
    for media_type in ["text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"] {
        let problem = send(media_type).problem(415, "unsupported_media");
        assert!(problem.detail.contains("application/json"), "what would be right is not said: {problem:?}");
    }
    // Plain text is what a page sends that does not want to be preflighted.
    for media_type in
        ["application/json; charset=UTF-8", "Application/JSON", "text/plain;charset=UTF-8", "application/x+json"]
    {
        send(media_type).sent();
    }
}

#[test]
fn a_payload_beyond_message_bytes_is_413() {
    let relay = Relay::start(&[]);
    let sized = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    relay.send_v1("b", &sized(64 * 1024));
    let problem = relay.send_body(&message_body("a", "b", &sized(64 * 1024 + 1))).problem(413, "too_large");
    assert!(problem.detail.contains("65536"), "the limit is not named: {problem:?}");
    relay.ask(post_json("/v1/messages", &message_body("a", "b", &sized(1 << 20)))).problem(413, "too_large");
    assert_eq!(relay.everything("b", None).len(), 1);
}

#[test]
fn a_message_expires_with_its_own_ttl_and_others_do_not() {
    let relay = Relay::start(&[]);
    relay.send_body(r#"{"to":"session:b","payload":{"n":0},"ttl":1}"#).sent();
    relay.send_body(r#"{"to":"session:b","payload":{"n":1},"ttl":60}"#).sent();
    assert_eq!(relay.look("b", None).numbers(), [0, 1]);
    // What expires is nobody's event: the clock is all there is to wait for. A second look is not slowed before the third.
    thread::sleep(Duration::from_millis(1_050));
    let batch = relay.look("b", None);
    assert_eq!(batch.numbers(), [1], "expired messages are delivered to nobody, swept or not: {batch:?}");
}
