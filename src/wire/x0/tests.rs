//! The dialect's examples and its properties.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::message::{Message, Seq, UnixMs};

fn id(text: &str) -> SessionId {
    SessionId::new(text).expect("a legal id")
}

fn letter(from: &str, payload: &str, shape: Shape) -> Letter {
    let message = Message {
        id: Uuid::nil(),
        from: from.into(),
        kind: Box::default(),
        accepted: UnixMs(0),
        expires: UnixMs(0),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        shape,
    };
    Letter { seq: Seq(1), arrival: Default::default(), message: Arc::new(message) }
}

fn sent(json: &str) -> Payload {
    match body(Path::Handler, json.as_bytes(), 1_000) {
        Ok(Request::Send { payload, .. }) => payload,
        other => panic!("{json}: {other:?}"),
    }
}

fn received(from: &str, payload: &Payload) -> String {
    let mut out = Vec::new();
    let text = std::str::from_utf8(&payload.json).expect("UTF-8");
    write_message(&letter(from, text, payload.shape), &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_payload_passes_byte_for_byte_and_gets_its_sender() {
    for (payload, expected) in [
        (
            r#"{ "b":1e400, "a" : 12345678901234567890 }"#,
            r#"{ "b":1e400, "a" : 12345678901234567890 ,"session_src":"x"}"#,
        ),
        (r#"{"a":1,"a":2,"\ud800":"\u0041"}"#, r#"{"a":1,"a":2,"\ud800":"\u0041","session_src":"x"}"#),
        ("{ }", r#"{ "session_src":"x"}"#),
        (r#"{"session_src":"forged"}"#, r#"{"session_src":"x"}"#),
        (r#"{"a":1,"session\u005fsrc":"forged","b":2}"#, r#"{"a":1,"b":2,"session_src":"x"}"#),
        (r#"{"a":{"session_src":"deep"}}"#, r#"{"a":{"session_src":"deep"},"session_src":"x"}"#),
    ] {
        let json = format!(r#"{{"type":"SET","session_src":"x","session_dst":"y","payload":{payload}}}"#);
        assert_eq!(received("x", &sent(&json)), expected);
    }
    for (payload, expected) in [
        (
            r#"{"a":1,"session_src":"forged","session_s\u0072c":2, "b" : [ 1 ]}"#,
            r#"{"a":1,"b":[ 1 ],"session_src":"x"}"#,
        ),
        (r#"{"session_src":null}"#, r#"{"session_src":"x"}"#),
    ] {
        let payload = Payload { json: Bytes::from_static(payload.as_bytes()), shape: Shape::Marked };
        assert_eq!(received("x", &payload), expected);
    }
    assert_eq!(
        received("", &Payload { json: Bytes::from_static(b"{}"), shape: Shape::Object }),
        r#"{"session_src":""}"#
    );
    assert_eq!(
        received("a\"\n", &Payload { json: Bytes::from_static(b"7"), shape: Shape::Other }),
        r#"{"payload":7,"session_src":"a\"\n"}"#
    );
}

#[test]
fn who_sends_on_set() {
    let data = r#""session_dst":"y","payload":{},"SessionData":{"ID":"SYS_SESSION","Value":"v"}"#;
    for (source, expected) in [
        ("", Some("v")),
        (r#""session_src":null,"#, Some("v")),
        (r#""session_src":"s","#, Some("s")),
        (r#""session_src":"","#, None),
    ] {
        let from = match body(Path::Set, format!("{{{source}{data}}}").as_bytes(), 100) {
            Ok(Request::Send { from, .. }) => Some(from),
            _ => None,
        };
        assert_eq!(from, expected.map(id), "{source}");
    }
}

#[test]
fn the_address_and_the_type_agree() {
    let json = br#"{"session_src":"s","type":"GET"}"#;
    assert_eq!(body(Path::Handler, json, 9), Ok(Request::Receive(id("s"))));
    assert_eq!(body(Path::Get, json, 9), Ok(Request::Receive(id("s"))));
    assert_eq!(body(Path::LegacyGet, json, 9), Ok(Request::Show(id("s"))));
    assert_eq!(body(Path::Del, json, 9), Ok(Request::Remove(id("s"))));
    let set = br#"{"session_src":"s","session_dst":"d","type":"SET","payload":{}}"#;
    assert_eq!(body(Path::Get, set, 9).expect_err("a message for nobody").kind, Kind::BadRequest);
    assert_eq!(body(Path::LegacyDel, br#"{"session_src":"s"}"#, 9), Ok(Request::RemoveShown(id("s"))));
    assert_eq!(body(Path::Handler, br#"{"session_src":"s"}"#, 9).expect_err("no type").kind, Kind::BadRequest);
    assert_eq!(
        body(Path::Handler, br#"{"session_src":"s","type":"GET","type":"DEL"}"#, 9),
        Ok(Request::Remove(id("s")))
    );
}

#[test]
fn sessions_that_are_none() {
    for value in ["null", "\"\"", "7", "{}", r#""\ud800""#] {
        let json = format!(r#"{{"type":"GET","session_src":{value}}}"#);
        assert_eq!(body(Path::Handler, json.as_bytes(), 9).expect_err(value).kind, Kind::InvalidSession, "{value}");
    }
}

#[test]
fn the_button() {
    let json = r#"{"RequestData":{"FormlistSelectDstUser":{"DstUserSession":"d"},"FormlistExchangeData":{"F1": 1.50}},"SessionData":{"ID":"SYS_SESSION","Value":"s"}}"#;
    let Ok(Request::Send { from, to, payload }) = body(Path::Handler, json.as_bytes(), 1_000) else {
        panic!("refused")
    };
    assert_eq!((from, to), (id("s"), id("d")));
    assert_eq!(
        payload.json,
        r#"{"msg-type":"net-message","method-id":"set-data","dst-object":"FormlistExchangeData","payload":{"F1": 1.50}}"#
    );
}

#[test]
fn the_query_forms() {
    let handler = |text| query(Path::Handler, text, 100);
    assert_eq!(handler("a__=1234567890"), Ok(Request::Nothing));
    assert_eq!(handler("Type=GET&Session=a%2Bb+c"), Ok(Request::Receive(id("a+b c"))));
    assert_eq!(query(Path::Get, "session_src=s&type=GET", 9), Ok(Request::Receive(id("s"))));
    let event = "a__=1&SYS_SESSION=s&Type=SET&DestinationSession=d&Payload=%7B%22a%22:+1%7D";
    let Ok(Request::Send { from, to, payload }) = handler(event) else { panic!("refused") };
    assert_eq!((from, to, payload.json), (id("s"), id("d"), Bytes::from_static(b"{\"a\": 1}")));
    let bad = "SYS_SESSION=s&Type=SET&DestinationSession=d&Payload=SYS__NET_EVENT-1";
    assert_eq!(handler(bad).expect_err("no JSON").kind, Kind::PayloadNotObject);
    assert_eq!(handler("Type=GET&Session=%ff").expect_err("no UTF-8").kind, Kind::BadRequest);
    assert_eq!(
        handler("Type=%ff&Session=%ff&Type=X&Session=s&type=GET"),
        Ok(Request::Receive(id("s"))),
        "the last count"
    );
}

#[test]
fn errors_are_json_whatever_they_quote() {
    let cause = Error::new(Kind::NotJson, "a \"quoted\" \u{1b} thing");
    for text in [error(&cause, true), error(&cause, false), legacy_error(&cause)] {
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            proptest::collection::vec((prop_oneof![".*", Just("session_src".to_owned())], inner), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_arrives_with_just_its_sender_added(value in json_value(), from in ".{1,60}") {
        let request = serde_json::json!({"type": "SET", "session_src": from, "session_dst": "y", "payload": value});
        let result = body(Path::Handler, request.to_string().as_bytes(), 1 << 20);
        match value {
            serde_json::Value::Object(mut expected) => {
                let Ok(Request::Send { from, payload, .. }) = result else { panic!("{result:?}") };
                expected.insert("session_src".to_owned(), from.as_str().into());
                let got: serde_json::Value = serde_json::from_str(&received(from.as_str(), &payload)).expect("JSON");
                prop_assert_eq!(got, serde_json::Value::Object(expected));
            }
            _ => prop_assert_eq!(result.expect_err("no object").kind, Kind::PayloadNotObject),
        }
    }

    #[test]
    fn no_bytes_break_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        for path in [Path::Handler, Path::Get, Path::Set, Path::Del, Path::LegacyGet, Path::LegacyDel] {
            let _ = body(path, &bytes, 100);
            let _ = query(path, &text, 100);
        }
    }
}
