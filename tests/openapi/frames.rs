//! What is written and read of WebSocket frames, bodies and events fits the schemas, and the other way round.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use x0_relay::{
    cursor::{Cursor, Epoch, Gap, Reason},
    error::{Error, Kind},
    id::SessionId,
    mailbox::{Batch, Letter},
    message::{Message, Seq, Shape, UnixMs},
    wire::v1::{self, Extra, Goodbye, Limits},
};

use super::schema::Api;

const LIMITS: Limits = Limits { message_bytes: 1000, ttl_max: Duration::from_secs(3600) };
const CURSOR: &str = "00c3f1a2b49d0e1f.7";

#[track_caller]
fn fits(api: &Api, schema: &str, bytes: &[u8]) -> Value {
    let value = serde_json::from_slice(bytes).expect("JSON");
    if let Some(misfit) = api.misfit(api.schema(schema), &value) {
        panic!("{schema}: {misfit}");
    }
    value
}

fn batches() -> Vec<Batch> {
    let message = Message {
        id: uuid::Uuid::now_v7(),
        from: "a".into(),
        kind: "chat".into(),
        accepted: UnixMs(1_780_000_000_123),
        expires: UnixMs(0),
        payload: bytes::Bytes::from_static(b"[1]"),
        shape: Shape::Other,
    };
    let letter = Letter { seq: Seq(7), arrival: Default::default(), message: Arc::new(message) };
    let cursor = Cursor { epoch: Epoch(1), seq: Seq(7) };
    let gaps = Reason::ALL.map(|reason| Gap { range: Some((Seq(3), Seq(6))), reason }).map(Some);
    let unknown = Some(Gap { range: None, reason: Reason::Epoch });
    let gaps = gaps.into_iter().chain([None, unknown]);
    gaps.flat_map(|gap| [vec![letter.clone()], Vec::new()].map(|letters| Batch { gap, letters, cursor, more: true }))
        .collect()
}

#[test]
fn frames_of_the_relay_fit() {
    let api = Api::read();
    let (session, id) = (SessionId::new("tab \"b\"").expect("legal"), uuid::Uuid::now_v7());
    let error = Error { about: vec!["b".into()], ..Error::new(Kind::MailboxFull, "no room") };
    let mut frames = vec![
        ("welcome", v1::welcome(&session, Cursor::default(), 256)),
        ("sent", v1::sent(None, &id, 1, false)),
        ("sent", v1::sent(Some("\"r\""), &id, 2, true)),
        ("sent", v1::sent(Some("-1.5e3"), &id, 2, true)),
        ("error", v1::error_frame(Some("7"), &error)),
        ("error", v1::error_frame(None, &Error::new(Kind::NotJson, "no JSON"))),
        ("pong", v1::pong()),
        ("expiring", v1::expiring(Duration::from_millis(59_900))),
        ("authenticated", v1::authenticated(None, UnixMs(1_780_000_000_123))),
        ("authenticated", v1::authenticated(Some("7"), UnixMs(1))),
        ("goodbye", v1::goodbye(Goodbye::Expired, None)),
        ("goodbye", v1::goodbye(Goodbye::Revoked, None)),
        ("goodbye", v1::goodbye(Goodbye::Superseded, None)),
        ("goodbye", v1::goodbye(Goodbye::Drain, Some(Duration::from_millis(2700)))),
    ];
    frames.extend(batches().iter().map(|batch| ("messages", v1::messages_frame(batch))));
    for (kind, frame) in frames {
        assert_eq!(fits(&api, "ServerFrame", &frame)["type"], kind);
    }
}

#[test]
fn answers_with_any_batch_fit() {
    let api = Api::read();
    let extras = [
        Extra::default(),
        Extra { superseded: true, ..Extra::default() },
        Extra { retry_after: Some(Duration::from_millis(1)), ..Extra::default() },
    ];
    for (batch, extra) in batches().iter().flat_map(|batch| extras.map(|extra| (batch, extra))) {
        let answer = fits(&api, "Batch", &v1::answer(batch, extra));
        assert_eq!(answer.get("gap").is_some(), batch.gap.is_some());
    }
}

/// Values of every type, right and wrong ones for every member.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(60.0),
        json!(""),
        json!("x"),
        json!("a b"),
        json!("relay:gap"),
        json!("session:"),
        json!("session:a:b"),
        json!("user:a"),
        json!(CURSOR),
        json!("x".repeat(256)),
        json!("x".repeat(257)),
        json!([]),
        json!(["x", "session:y"]),
        json!(["x", 1]),
        json!([["x"]]),
        json!({}),
        json!({"x": 1}),
    ]
}

/// The parser takes an object exactly if it fits the schema, whichever member is exchanged, added or left out; and it
/// knows the same members.
fn agrees(schema: &str, legal: &Value, parse: impl Fn(&str) -> Result<(), Error>) {
    let api = Api::read();
    let check = |object: &Value| {
        let (text, misfit) = (object.to_string(), api.misfit(api.schema(schema), object));
        assert_eq!(parse(&text).is_ok(), misfit.is_none(), "{schema}: {text}: {misfit:?}");
        misfit.is_none()
    };
    assert!(check(legal), "{legal}");
    let members = api.schema(schema)["properties"].as_object().expect("members");
    let mut with = legal.clone();
    with["unknown"] = json!(1);
    let detail = parse(&with.to_string()).expect_err("an unknown member").detail;
    let known: BTreeSet<&str> = detail.split_once("there are ").expect("names").1.split(", ").collect();
    assert_eq!(known, members.keys().map(String::as_str).collect(), "{schema}");
    let (mut taken, mut refused) = (0, 0);
    for name in members.keys().map(String::as_str).chain(["unknown"]) {
        let mut without = legal.clone();
        without.as_object_mut().expect("an object").remove(name);
        for mut object in [without].into_iter().chain(values().into_iter().map(|value| json!({ name: value }))) {
            for (other, value) in legal.as_object().expect("an object").iter().filter(|(other, _)| *other != name) {
                object[other] = value.clone();
            }
            if check(&object) { taken += 1 } else { refused += 1 }
        }
    }
    assert!(taken > 1 && refused > 20, "{schema}: {taken} taken, {refused} refused");
}

#[test]
fn bodies_are_read_as_they_are_described() {
    let send = json!({"to": "session:b", "payload": 1, "from": "a", "type": "chat", "ttl": 60, "key": "k"});
    agrees("Send", &send, |text| v1::draft(text.as_bytes(), None, &LIMITS).map(drop));
    agrees("Ack", &json!({"session": "s", "cursor": CURSOR}), |text| v1::ack(text.as_bytes()).map(drop));
    let asked = json!({"session": "s", "after": CURSOR, "ack": "explicit"});
    agrees("EventsAsked", &asked, |text| {
        // What is missing in the body may stand in the query.
        let query = if text.contains(r#""session":"#) { None } else { Some("session=s") };
        v1::events(query, None, text.as_bytes(), None).map(drop)
    });
}

#[test]
fn frames_of_clients_are_read_as_they_are_described() {
    let parse = |text: &str| v1::frame(text, &LIMITS).map(drop).map_err(|misframed| misframed.error);
    agrees(
        "SendFrame",
        &json!({"type": "send", "ref": 1, "to": ["b"], "payload": {}, "from": "a", "message_type": "chat", "ttl": 60, "key": "k"}),
        parse,
    );
    agrees("AckFrame", &json!({"type": "ack", "cursor": CURSOR}), parse);
    agrees("AuthFrame", &json!({"type": "auth", "ref": "r", "token": "t"}), parse);
    agrees("PingFrame", &json!({"type": "ping"}), parse);
}
