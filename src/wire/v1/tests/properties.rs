//! What holds of any JSON, and of any bytes.

use super::*;
use crate::wire::x0;

pub fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((prop_oneof![".*", Just("session_src".to_owned())], inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What a JSON text can be written as: with white space, escapes, doubles and numbers that no parser's value keeps.
fn json_text() -> impl Strategy<Value = String> {
    let word = prop_oneof!["-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,5})?", Just("null".to_owned())];
    let string = prop_oneof![
        "[ -~]{0,9}".prop_map(|text| format!("{text:?}")),
        Just(r#""\ud83d\u0000\/""#.to_owned()),
        Just(r#""session_src""#.to_owned()),
        Just(r#""session\u005fsrc""#.to_owned()),
    ];
    let space = "[ \t\r\n]{0,2}";
    let leaf = prop_oneof![word, string.clone()];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let item = (space, inner, space).prop_map(|(before, value, behind)| format!("{before}{value}{behind}"));
        let member =
            (space, string.clone(), item.clone()).prop_map(|(before, key, value)| format!("{before}{key} :{value}"));
        prop_oneof![
            proptest::collection::vec(item, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

const WIDE: Limits = Limits { message_bytes: 1 << 20, ttl_max: Duration::from_secs(9) };

proptest! {
    #[test]
    fn any_payload_goes_through_byte_for_byte(payload in json_text(), from in ".{0,60}") {
        let from_json = json::quote(&from);
        let body = format!("{{\"from\":{from_json},\"to\":\"b\",\"payload\":\n{payload} }}");
        let draft = draft(body.as_bytes(), None, &WIDE).expect("a legal draft");
        prop_assert_eq!(&draft.payload.json, payload.as_bytes());
        let framed = format!("{{\"type\":\"send\",{}", &body[1..]);
        let Ok(Frame::Send { draft: same, .. }) = frame(&framed, &WIDE) else { panic!("{framed}") };
        prop_assert_eq!(&same, &draft);

        let mut letter = letter(1, &draft.from, "", &payload);
        Arc::get_mut(&mut letter.message).expect("nobody else has it").shape = draft.payload.shape;
        let mut out = Vec::new();
        write_message(&letter, &mut out);
        let object = json::object(std::str::from_utf8(&out).expect("UTF-8")).expect("JSON");
        prop_assert_eq!(object.get("payload"), Some(&*payload));
        let named = object.get("from").and_then(json::string);
        prop_assert_eq!(named.as_deref(), Some(&*from));

        // The same message at an x0 receiver.
        out.clear();
        x0::write_message(&letter, &mut out);
        let object = json::object(std::str::from_utf8(&out).expect("UTF-8")).expect("an object, whatever was sent");
        let sources = object.members().filter(|(key, _)| json::string(key).as_deref() == Some(x0::SOURCE)).count();
        prop_assert_eq!((sources, object.get(x0::SOURCE)), (1, Some(&*from_json)));
        if json::is_object(&payload) {
            let sent = json::object(&payload).expect("JSON");
            let others = |(key, _): &(&str, &str)| json::string(key).as_deref() != Some(x0::SOURCE);
            prop_assert!(sent.members().filter(others).eq(object.members().filter(others)), "{payload}");
        } else {
            prop_assert_eq!(object.get("payload"), Some(&*payload));
        }
    }

    #[test]
    fn no_bytes_break_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        for bytes in [&bytes, text.as_bytes()] {
            let _ = draft(bytes, Some(bytes), &LIMITS);
            let _ = draft(br#"{"to":"b","payload":1}"#, Some(bytes), &LIMITS);
            let _ = ack(bytes);
            let _ = events(Some(&text), Some(bytes), bytes, None);
        }
        let _ = poll(Some(&text));
        let _ = attach(Some(&text), None);
        let _ = frame(&text, &LIMITS);
        let _ = session_path(&format!("/v1/sessions/{text}"));
    }

    #[test]
    fn refusals_are_told_in_one_line_of_json(member in "\\PC{0,80}", value in json_text()) {
        let body = format!("{{{}:{value}}}", json::quote(&member));
        for error in [draft(body.as_bytes(), None, &LIMITS).err(), ack(body.as_bytes()).err(), frame(&body, &LIMITS).err().map(|wrong| wrong.error)] {
            let error = error.expect("each of them needs two members");
            prop_assert!(error.detail.len() < 300 && !error.detail.contains(char::is_control), "{}", error);
            let told: Value = serde_json::from_slice(&problem(&error, RequestId::default())).expect("JSON");
            prop_assert_eq!(told["detail"].as_str(), Some(&*error.detail));
        }
    }
}
