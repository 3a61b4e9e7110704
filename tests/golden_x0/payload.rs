//! Payloads pass byte for byte; only `session_src` is added, as the last member.

use crate::common::{
    Relay,
    x0::{Answer, HANDLER, assert_carried, post, set_body},
};

/// Sends each payload and expects it carried.
fn pass(payloads: &[&str]) {
    let relay = Relay::start(&[]);
    for payload in payloads {
        relay.set("a", "b", payload);
        let mail = relay.poll("b");
        assert_eq!(mail.len(), 1, "{payload}: {mail:?}");
        assert_carried(&mail[0], payload, "a");
    }
}

#[test]
fn numbers_keep_their_spelling() {
    pass(&[
        r#"{"n":1e400}"#,
        r#"{"n":-1e400}"#,
        r#"{"n":12345678901234567890}"#,
        r#"{"n":123456789012345678901234567890123456789012345678901234567890}"#,
        r#"{"n":0.1000000000000000000000000000000000001}"#,
        r#"{"n":[1.0,1.00,1e0,1E0,1E+0,1e-0,-0,-0.0,0e1]}"#,
        r#"{"n":1e-400}"#,
    ]);
}

#[test]
fn member_order_and_white_space_within_stay() {
    pass(&[
        r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
        "{ \"a\" :\t1 ,\r\n \"b\" : [ 1 , 2 ] , \"c\" : { } }",
        r#"{"":"","a.b":{"":[]}}"#,
    ]);
}

#[test]
fn white_space_around_a_payload_is_not_part_of_it() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", " \n\t{\"x\":1}\r\n ");
    assert_carried(&relay.poll("b")[0], r#"{"x":1}"#, "a");
}

#[test]
fn escapes_stay_as_they_are() {
    pass(&[
        r#"{"s":"\u0041\/\"\\\b\f\n\r\t\u00e9é\u0000"}"#,
        r#"{"\u0061":"\uD83D\uDE00😀"}"#,
        "{\"del\":\"\u{7f}\u{80}\u{2028}\u{feff}\u{10ffff}\"}",
    ]);
}

#[test]
fn lone_surrogates_in_a_payload_pass() {
    pass(&[r#"{"s":"\ud800"}"#, r#"{"s":"\udc00\ud800"}"#, r#"{"\udfff":1}"#, r#"{"s":["x\uDBFFy"]}"#]);
}

#[test]
fn lone_surrogates_in_a_session_are_no_session() {
    let relay = Relay::start(&[]);
    for body in [
        r#"{"type":"GET","session_src":"\ud800"}"#,
        r#"{"type":"SET","session_src":"a","session_dst":"b\udc00","payload":{}}"#,
    ] {
        let answer = relay.ask(post(HANDLER, body)).x0();
        assert!(matches!(answer, Answer::Error(_)), "{body}: {answer}");
    }
}

#[test]
fn double_members_in_a_payload_survive() {
    pass(&[r#"{"a":1,"a":2,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"type":"x","type":"y","payload":1,"payload":2}"#]);
}

#[test]
fn session_src_is_appended_last() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", r#"{"z":1}"#);
    assert_eq!(relay.ask(crate::common::x0::poll_request("b")).text(), r#"{"messages": [{"z":1,"session_src":"a"}]}"#);
    relay.set("a", "b", r#"{"z":1}"#);
    relay.set("q\"\\\n", "b", "{}");
    assert_eq!(
        relay.ask(crate::common::x0::poll_request("b")).text(),
        r#"{"messages": [{"z":1,"session_src":"a"}, {"session_src":"q\"\\\n"}]}"#
    );
}

#[test]
fn session_src_of_the_sender_itself_is_overwritten_however_it_is_escaped() {
    let relay = Relay::start(&[]);
    let forged = [
        (r#"{"session_src":"forged"}"#, "{}"),
        (r#"{"session_src":"forged","x":1}"#, r#"{"x":1}"#),
        (r#"{"x":1,"session_src":"forged"}"#, r#"{"x":1}"#),
        (r#"{"x":1,"session\u005fsrc":"forged","y":1e400}"#, r#"{"x":1,"y":1e400}"#),
        (r#"{"\u0073\u0065ssion_src":{"deep":["forged"]},"y":1}"#, r#"{"y":1}"#),
        (r#"{"session_src":1,"x":1,"session_src":2,"session\u005Fsrc":3}"#, r#"{"x":1}"#),
    ];
    for (sent, without) in forged {
        relay.set("a", "b", sent);
        let mail = relay.poll("b");
        assert!(!mail[0].contains("forged"), "{}", mail[0]);
        let got: serde_json::Map<_, _> = serde_json::from_str(&mail[0].replace("1e400", "7")).expect("an object");
        let mut want: serde_json::Map<_, _> = serde_json::from_str(&without.replace("1e400", "7")).expect("ours");
        want.insert("session_src".into(), "a".into());
        assert_eq!(got, want, "{sent}");
        assert_eq!(mail[0].matches("_src").count() + mail[0].matches("u005").count(), 1, "{}", mail[0]);
        let tail = mail[0].rsplit("\"session_src\"").next().expect("it is there");
        assert_eq!(tail.trim_start_matches([':', ' ']), r#""a"}"#, "not the last member: {}", mail[0]);
    }
}

#[test]
fn session_src_deeper_in_a_payload_stays() {
    pass(&[r#"{"x":{"session_src":"mine"},"y":[{"session_src":"mine"}],"z":"session_src"}"#]);
}

#[test]
fn a_payload_of_100_levels_passes() {
    let deep = format!(r#"{{"d":{}{}}}"#, "[".repeat(99), "]".repeat(99));
    pass(&[&deep]);
}

#[test]
fn the_largest_payload_passes_whole() {
    let largest = format!(r#"{{"s":"{}"}}"#, "é".repeat((64 * 1024 - 8) / 2));
    assert_eq!(largest.len(), 64 * 1024);
    pass(&[&largest]);
}

#[test]
fn what_is_not_a_json_number_is_refused() {
    let relay = Relay::start(&["--error-hold", "1ms"]);
    for value in ["NaN", "Infinity", "-Infinity", "nan", "+1", "01", "1.", ".5", "1e", "0x10", "-", "1_000"] {
        relay.ask(post(HANDLER, set_body("a", "b", &format!(r#"{{"n":{value}}}"#)))).error("NotJSON");
        relay.ask(post(HANDLER, set_body("a", "b", value))).error("NotJSON");
    }
    relay.assert_empty("b");
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let relay = Relay::start(&["--error-hold", "1ms"]);
    for value in ["1", "[]", "[{}]", "\"{}\"", "null", "true", "\"SYS__NET_EVENT-X\""] {
        relay.ask(post(HANDLER, set_body("a", "b", value))).error("PayloadNotObject");
    }
    let missing = r#"{"type":"SET","session_src":"a","session_dst":"b"}"#;
    let answer = relay.ask(post(HANDLER, missing)).x0();
    assert!(matches!(answer, Answer::Error(_)), "{answer}");
    relay.assert_empty("b");
}
