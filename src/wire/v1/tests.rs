//! Examples and properties of protocol v1.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{
    cursor::{Cursor, Epoch, Gap, Reason},
    id::{RequestId, Secret, SessionId},
    mailbox::{Batch, Letter},
    message::{Message, Seq, Shape, UnixMs},
};

const LIMITS: Limits = Limits { message_bytes: 64, ttl_max: Duration::from_secs(3600) };

fn id(text: &str) -> SessionId {
    SessionId::new(text).expect("a legal id")
}

fn at(seq: u64) -> Cursor {
    Cursor { epoch: Epoch(0xc3f1), seq: Seq(seq) }
}

fn letter(seq: u64, from: &str, kind: &str, payload: &str) -> Letter {
    let message = Message {
        id: Uuid::from_u128(seq.into()),
        from: from.into(),
        kind: kind.into(),
        accepted: UnixMs(1_780_000_000_123),
        expires: UnixMs(0),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        shape: Shape::Other,
    };
    Letter { seq: Seq(seq), arrival: Default::default(), message: Arc::new(message) }
}

fn sent_as(json: &str) -> Result<Draft, Error> {
    draft(json.as_bytes(), None, &LIMITS)
}

/// The kind of the refusal, and that its sentence has `part`.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind, part: &str) {
    let error = result.expect_err(part);
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.detail.contains(part), "{error}");
    assert!(error.to_string().len() < 300 && !error.detail.contains(char::is_control), "{error}");
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_draft_has_what_was_said() {
    let draft = sent_as(
        r#" {"to":["session:b","c","session:b","session:x:y"], "payload" : { "n":1e400, "a":[ ] } ,"from":"a","type":"chat.v1","ttl":60}"#,
    )
    .expect("legal");
    assert_eq!(draft.to, [id("b"), id("c"), id("x:y")]);
    assert_eq!((&*draft.from, &*draft.kind, draft.ttl), ("a", "chat.v1", Some(Duration::from_secs(60))));
    assert_eq!(draft.payload.json, r#"{ "n":1e400, "a":[ ] }"#);
    assert_eq!(draft.key(None), None);

    let least = sent_as(r#"{"t\u006f":"session:b","payload":null,"type":"message"}"#).expect("legal");
    assert_eq!((least.to, &*least.from, &*least.kind, least.ttl), (vec![id("b")], "", "", None));
}

#[test]
fn a_payload_is_told_by_what_it_is() {
    for (payload, shape) in [
        ("{}", Shape::Object),
        (r#"{"a":{"session_src":1}}"#, Shape::Object),
        (r#"{"a":1,"session_src":1}"#, Shape::Marked),
        (r#"{"session\u005fsrc":1}"#, Shape::Marked),
        (r#"[{"session_src":1}]"#, Shape::Other),
        (r#""\ud800""#, Shape::Other),
        ("-0.0", Shape::Other),
        ("null", Shape::Other),
    ] {
        let draft = sent_as(&format!(r#"{{"to":"b","payload": {payload} }}"#)).expect(payload);
        assert_eq!((draft.payload.shape, &*draft.payload.json), (shape, payload.as_bytes()), "{payload}");
    }
}

#[test]
fn what_is_wrong_with_a_draft_is_named() {
    let with = |more: &str| sent_as(&format!(r#"{{"to":"b","payload":1{more}}}"#));
    refused(sent_as("{"), Kind::NotJson, "");
    refused(sent_as("[]"), Kind::BadRequest, "object");
    refused(sent_as(r#"{"payload":1}"#), Kind::BadRequest, "to is missing");
    refused(sent_as(r#"{"to":"b"}"#), Kind::BadRequest, "payload is missing");
    refused(sent_as(r#"{"to":7,"payload":1}"#), Kind::BadRequest, "to is a number");
    refused(sent_as(r#"{"to":[null],"payload":1}"#), Kind::BadRequest, "to[0] is null");
    refused(sent_as(r#"{"to":[],"payload":1}"#), Kind::InvalidAddress, "empty array");
    refused(sent_as(r#"{"to":["b","user:c"],"payload":1}"#), Kind::InvalidAddress, r#"to[1], "user:c""#);
    refused(sent_as(r#"{"to":"session:","payload":1}"#), Kind::InvalidAddress, "may not be empty");
    let long = "x".repeat(257);
    refused(sent_as(&format!(r#"{{"to":"{long}","payload":1}}"#)), Kind::InvalidAddress, "at most 256 bytes");
    refused(sent_as(&format!(r#"{{"to":"b","payload":"{long}"}}"#)), Kind::TooLarge, "message-bytes");
    refused(with(r#","payload":2"#), Kind::BadRequest, "payload is there twice");
    refused(with(r#","pay\u006coad":2"#), Kind::BadRequest, "payload is there twice");
    refused(with(r#","subject":2"#), Kind::BadRequest, r#""subject" is no member here"#);
    refused(with(&format!(r#","\u001b{long}":2"#)), Kind::BadRequest, r#""\u{1b}xxx"#);
    refused(with(r#","from":null"#), Kind::BadRequest, "from is null");
    refused(with(r#","from":"\ud800""#), Kind::BadRequest, "surrogate");
    refused(with(&format!(r#","from":"{long}""#)), Kind::BadRequest, "from may have at most 256");
    refused(with(r#","type":"a b""#), Kind::BadRequest, "type may have 1 to 64");
    refused(with(r#","type":"""#), Kind::BadRequest, "type may have");
    refused(with(&format!(r#","type":"{}""#, "x".repeat(65))), Kind::BadRequest, "type may have");
    refused(with(r#","key":"""#), Kind::BadRequest, "key may have 1 to 255");
    for ttl in ["0", "-1", "0.5", "3601", "1e99", "\"60\"", "true", "null", "[1]"] {
        refused(with(&format!(r#","ttl":{ttl}"#)), Kind::BadRequest, "whole seconds from 1 to 3600 (ttl-max)");
    }
    for ttl in ["60", "60.0", "6e1", "0.6E2"] {
        assert_eq!(with(&format!(r#","ttl":{ttl}"#)).expect(ttl).ttl, Some(Duration::from_secs(60)), "{ttl}");
    }
}

#[test]
fn a_message_goes_to_256_addresses() {
    let to = |n: usize| {
        let ids: Vec<String> = (0..n).map(|i| format!("s{i}")).collect();
        sent_as(&serde_json::json!({"to": ([ids.clone(), ids].concat()), "payload": 1}).to_string())
    };
    assert_eq!(to(ADDRESSES_MAX).expect("doubles count once").to.len(), ADDRESSES_MAX);
    refused(to(ADDRESSES_MAX + 1), Kind::InvalidAddress, "256 addresses, this one has 257");
}

fn key_of(json: &str, header: Option<&str>, principal: Option<&str>) -> Result<Option<crate::id::Key>, Error> {
    Ok(draft(json.as_bytes(), header.map(str::as_bytes), &LIMITS)?.key(principal))
}

#[test]
fn a_key_is_the_senders_own() {
    let base = r#"{"to":["b","c"],"payload":{"a":1},"from":"a"}"#;
    let key = |json: &str, header: &str| key_of(json, Some(header), None).expect(json).expect("it has a key");
    let first = key(base, "k");
    // The same thing said otherwise.
    for same in [
        r#"{"payload": {"a":1} ,"from":"a","to":["session:c","b","c"]}"#,
        r#"{"to":["b","c"],"payload":{"a":1},"from":"a","key":"k","type":"message"}"#,
    ] {
        assert_eq!(key(same, "\"k\""), first, "{same}");
    }
    assert_eq!(key_of(base, None, None), Ok(None));
    // Other keys and other senders.
    assert_ne!(key(base, "l").digest, first.digest);
    assert_eq!(key(base, "l").sender, first.sender);
    for sender in [r#"{"to":["b","c"],"payload":{"a":1},"from":"x"}"#, r#"{"to":"b","payload":{"a":1},"from":"a"}"#] {
        assert!(key(sender, "k").sender != first.sender && key(sender, "k").digest != first.digest, "{sender}");
    }
    let known = |json, who| key_of(json, Some("k"), Some(who)).expect("legal").expect("a key");
    assert_eq!(known(base, "p").sender, known(r#"{"to":"b","payload":1}"#, "p").sender);
    assert_ne!(known(base, "p").sender, known(base, "q").sender);
    assert_ne!(known(base, "p").sender, first.sender);
    // Other bodies under one key.
    for body in [
        r#"{"to":["b","c"],"payload":{"a":2},"from":"a"}"#,
        r#"{"to":["b","c"],"payload":{"a": 1},"from":"a"}"#,
        r#"{"to":["b","c"],"payload":{"a":1},"from":"a","type":"x"}"#,
        r#"{"to":["b","c"],"payload":{"a":1},"from":"a","ttl":9}"#,
    ] {
        assert_eq!(key(body, "k").digest, first.digest, "{body}");
        assert_ne!(key(body, "k").body, first.body, "{body}");
    }
}

#[test]
fn a_key_comes_in_one_form() {
    let json = r#"{"to":"b","payload":1,"key":"k"}"#;
    refused(key_of(json, Some("l"), None), Kind::BadRequest, "differ");
    refused(key_of(json, Some("\"\""), None), Kind::BadRequest, "1 to 255");
    refused(key_of(json, Some(&"x".repeat(256)), None), Kind::BadRequest, "1 to 255");
    refused(draft(json.as_bytes(), Some(b"\xff"), &LIMITS), Kind::BadRequest, "UTF-8");
    assert!(key_of(json, Some(" \"k\" "), None).is_ok());
    assert!(key_of(json, Some("\""), None).is_err(), "one quote is a key of its own");
}

#[test]
fn queries_of_receivers() {
    let cursor = at(17);
    assert_eq!(
        poll(Some(&format!("session=a%2Bb+c&after={cursor}&wait=2.5&limit=1000&ticket=%ff&x"))),
        Ok(Poll {
            session: id("a+b c"),
            after: Some(cursor),
            wait: Some(Duration::from_millis(2500)),
            limit: Some(1000)
        })
    );
    assert_eq!(
        poll(Some("s%65ssion=%00&wait=0")).map(|poll| (poll.session, poll.wait)),
        Ok((id("\0"), Some(Duration::ZERO)))
    );
    assert_eq!(attach(Some("session=s"), None), Ok(Attach { session: id("s"), after: None }));
    refused(poll(None), Kind::InvalidSession, "session is missing");
    refused(poll(Some("session=")), Kind::InvalidSession, "empty");
    refused(poll(Some("session=%ff")), Kind::BadRequest, "session is not percent-encoded UTF-8");
    refused(poll(Some("session=a&session=a")), Kind::BadRequest, "session is in the query twice");
    refused(poll(Some("session=a&after=")), Kind::InvalidCursor, r#"after is """#);
    refused(attach(Some("session=a&after=17"), None), Kind::InvalidCursor, r#"after is "17""#);
    for wait in ["", "-1", "61", "60.001", "1e1", "NaN", "inf", "+1", "1s", "0x1", "."] {
        refused(poll(Some(&format!("session=a&wait={wait}"))), Kind::BadRequest, "seconds from 0 to 60");
    }
    for limit in ["", "0", "1001", "-1", "+1", "1.0"] {
        refused(poll(Some(&format!("session=a&limit={limit}"))), Kind::BadRequest, "from 1 to 1000");
    }
}

#[test]
fn requests_for_events() {
    let (early, late) = (at(1), at(2));
    let query = format!("session=s&after={early}");
    let asked = |query: &str, last: Option<&str>, body: &str| {
        events(Some(query), last.map(str::as_bytes), body.as_bytes(), None)
            .map(|events| (events.after, events.explicit))
    };
    assert_eq!(asked(&query, None, ""), Ok((Some(early), false)));
    assert_eq!(asked(&query, Some(""), " \n"), Ok((Some(early), false)));
    assert_eq!(asked(&query, Some(&late.to_string()), ""), Ok((Some(late), false)), "a stream that came back");
    assert_eq!(asked("session=s&ack=explicit", None, ""), Ok((None, true)));
    let body = format!(r#"{{"session":"s","after":"{late}","ack":"explicit"}}"#);
    assert_eq!(asked("", None, &body), Ok((Some(late), true)));
    assert_eq!(asked("session=s", None, r#"{"ack":"explicit"}"#), Ok((None, true)));
    refused(asked("session=s", None, r#"{"session":"s"}"#), Kind::BadRequest, "in the query and in the body");
    refused(asked("session=s", None, r#"{"ticket":"s"}"#), Kind::BadRequest, r#""ticket" is no member"#);
    refused(asked("", None, "{}"), Kind::InvalidSession, "missing");
    refused(asked("session=s&ack=yes", None, ""), Kind::BadRequest, r#"ack is "yes""#);
    refused(asked("session=s", Some("7"), ""), Kind::InvalidCursor, "Last-Event-ID");
    refused(events(Some("session=s"), Some(b"\xff"), b"", None), Kind::InvalidCursor, "Last-Event-ID");
}

#[test]
fn acknowledgements() {
    let cursor = at(9);
    let json = |cursor: &str| ack(format!(r#"{{"session":"s","cursor":{cursor}}}"#).as_bytes());
    assert_eq!(json(&format!("\"{cursor}\"")), Ok(Ack { session: id("s"), cursor }));
    refused(json("7"), Kind::BadRequest, "cursor is a number");
    refused(json("\"7\""), Kind::InvalidCursor, r#"cursor is "7""#);
    refused(ack(br#"{"session":"s"}"#), Kind::BadRequest, "cursor is missing");
    refused(ack(br#"{"cursor":"s"}"#), Kind::InvalidSession, "session is missing");
}

#[test]
fn paths_of_sessions() {
    let of = |path: &str| session_path(path).map(|(id, messages)| (id.map_err(|error| error.kind), messages));
    assert_eq!(of("/v1/sessions/a"), Some((Ok(id("a")), false)));
    assert_eq!(of("/v1/sessions/a%2Fb+c/messages"), Some((Ok(id("a/b+c")), true)));
    assert_eq!(of("/v1/sessions/messages"), Some((Ok(id("messages")), false)));
    assert_eq!(of("/v1/sessions//messages"), Some((Err(Kind::InvalidSession), true)));
    assert_eq!(of("/v1/sessions/%ff"), Some((Err(Kind::BadRequest), false)));
    for none in ["/v1/sessions", "/v1/sessions/a/", "/v1/sessions/a/b/messages", "/v1/sessions/a/messages/"] {
        assert_eq!(of(none), None, "{none}");
    }
}

fn misframed(text: &str) -> (Option<String>, Kind, String) {
    let Misframed { reference, error } = frame(text, &LIMITS).expect_err(text);
    (reference, error.kind, error.detail.into_owned())
}

#[test]
fn frames() {
    let send = r#"{"type":"send","ref":"\u0031","to":"b","payload":{},"message_type":"chat","key":"k"}"#;
    let Ok(Frame::Send { reference, draft }) = frame(send, &LIMITS) else { panic!("refused") };
    assert_eq!((reference.as_deref(), &*draft.kind), (Some(r#""\u0031""#), "chat"));
    assert!(draft.key(None).is_some());
    assert_eq!(frame(&format!(r#"{{"type":"ack","cursor":"{}"}}"#, at(3)), &LIMITS), Ok(Frame::Ack(at(3))));
    let auth = |reference| Ok(Frame::Auth { reference, token: Secret("t".into()) });
    assert_eq!(frame(r#"{"type":"auth","token":"t"}"#, &LIMITS), auth(None));
    assert_eq!(frame(r#"{"type":"auth","ref":7,"token":"t"}"#, &LIMITS), auth(Some("7".to_owned())));
    assert_eq!(frame(r#"{"type":"ping","ref":1}"#, &LIMITS), Ok(Frame::Ping));

    assert_eq!(misframed("ping").1, Kind::NotJson);
    assert_eq!(misframed("[]").1, Kind::BadRequest);
    for (text, reference, part) in [
        (r#"{"ref":-1.50}"#, Some("-1.50"), "type is missing"),
        (r#"{"ref":"a","type":"subscribe"}"#, Some("\"a\""), r#"type is "subscribe""#),
        (r#"{"ref":"a","type":"ping","x":1}"#, Some("\"a\""), r#""x" is no member"#),
        (r#"{"ref":"a","type":"ping","ref":"b"}"#, Some("\"b\""), "ref is there twice"),
        (r#"{"ref":"a","type":"send","payload":1}"#, Some("\"a\""), "to is missing"),
        (r#"{"type":"send","to":"b","payload":1,"message_type":" "}"#, None, "message_type may have"),
        (r#"{"type":"auth"}"#, None, "token is missing"),
        (r#"{"type":"ack"}"#, None, "cursor is missing"),
        (r#"{"type":"ping","ref":{}}"#, None, "ref is an object"),
        (r#"{"type":"ping","ref":null}"#, None, "ref is null"),
    ] {
        let (had, kind, detail) = misframed(text);
        assert_eq!((had.as_deref(), kind), (reference, Kind::BadRequest), "{text}: {detail}");
        assert!(detail.contains(part), "{text}: {detail}");
    }
    let longest = format!("\"{}\"", "x".repeat(REFERENCE_BYTES_MAX - 2));
    assert_eq!(misframed(&format!(r#"{{"ref":{longest}}}"#)).0, Some(longest.clone()));
    assert_eq!(misframed(&format!(r#"{{"ref":{longest}1}}"#)).0, None);
}

#[test]
fn what_is_told() {
    let batch = Batch {
        gap: Some(Gap { range: Some((Seq(3), Seq(4))), reason: Reason::Expired }),
        letters: vec![letter(5, "a\"", "", "[1]"), letter(6, "", "chat", "{ }")],
        cursor: at(6),
        more: true,
    };
    let (first, second) = (
        r#"{"id":"00000000-0000-0000-0000-000000000005","seq":5,"from":"a\"","type":"message","ts":1780000000123,"payload":[1]}"#,
        r#"{"id":"00000000-0000-0000-0000-000000000006","seq":6,"from":"","type":"chat","ts":1780000000123,"payload":{ }}"#,
    );
    let gap = r#""gap":{"from":3,"to":4,"reason":"expired"}"#;
    let messages = format!(r#""messages":[{first},{second}],"cursor":"000000000000c3f1.6""#);
    assert_eq!(text(answer(&batch, Extra::default())), format!(r#"{{{gap},{messages},"more":true}}"#));
    assert_eq!(text(messages_frame(&batch)), format!(r#"{{"type":"messages",{gap},{messages}}}"#));
    let empty = Batch { cursor: at(6), ..Batch::default() };
    let extra = Extra { superseded: true, retry_after: Some(Duration::from_micros(2_700_400)) };
    assert_eq!(
        text(answer(&empty, extra)),
        r#"{"messages":[],"cursor":"000000000000c3f1.6","more":false,"superseded":true,"retry_after":2.7}"#
    );
    let unknown = Batch { gap: Some(Gap { range: None, reason: Reason::Epoch }), ..empty };
    assert!(text(answer(&unknown, Extra::default())).contains(r#""gap":{"from":null,"to":null,"reason":"epoch"}"#));

    let error = Error { about: vec!["b\n".into(), "c".into()], ..Error::new(Kind::MailboxFull, "no \"room\"") };
    let described = r#""title":"Mailbox full","status":507,"detail":"no \"room\"","kind":"mailbox_full","addresses":["session:b\n","session:c"]"#;
    let request = RequestId { connection: 17, request: 3 };
    assert_eq!(text(problem(&error, request)), format!(r#"{{"type":"about:blank",{described},"request":"17-3"}}"#));
    assert_eq!(text(error_frame(Some("1"), &error)), format!(r#"{{"type":"error","ref":1,{described}}}"#));
    for (frame, expected) in [
        (
            welcome(&id("s\""), at(0), 256),
            r#"{"type":"welcome","session":"s\"","cursor":"000000000000c3f1.0","window":256}"#,
        ),
        (
            sent(Some("\"r\""), &Uuid::nil(), 2, true),
            r#"{"type":"sent","ref":"r","id":"00000000-0000-0000-0000-000000000000","recipients":2,"duplicate":true}"#,
        ),
        (
            accepted(&Uuid::nil(), 1, false),
            r#"{"id":"00000000-0000-0000-0000-000000000000","recipients":1,"duplicate":false}"#,
        ),
        (pong(), r#"{"type":"pong"}"#),
        (goodbye(Goodbye::Superseded, None), r#"{"type":"goodbye","reason":"superseded"}"#),
        (
            goodbye(Goodbye::Drain, Some(Duration::from_secs(3))),
            r#"{"type":"goodbye","reason":"drain","retry_after":3}"#,
        ),
        (session(&id("s"), 3, true, Some(UnixMs(5))), r#"{"session":"s","pending":3,"attached":true,"last_seen":5}"#),
        (session(&id("s"), 0, false, None), r#"{"session":"s","pending":0,"attached":false,"last_seen":null}"#),
        (acked(3), r#"{"acked":3}"#),
        (purged(3), r#"{"purged":3}"#),
    ] {
        assert_eq!(text(frame), expected);
    }
}

mod properties;
mod stream;
