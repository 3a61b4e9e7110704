//! `wire::v1::frame`: a WebSocket frame is what its JSON says, or is refused for a fault that it has, by its own name.

use x0_relay::{
    cursor::Cursor,
    error::Kind,
    wire::v1::{self, Frame, Misframed, REFERENCE_BYTES_MAX},
};

use super::{
    judge::{Node, Shape, Verdict, judge, written},
    outcome,
    sending::{LIMITS, Sending},
};

const SEND: &[&str] = &["type", "ref", "to", "payload", "from", "message_type", "ttl", "key"];

/// Checks one frame.
pub fn check(bytes: &[u8]) -> bool {
    // What is no UTF-8 is no text frame, and never comes here.
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let frame = v1::frame(text, &LIMITS);
    match (&frame, judge(bytes)) {
        (Ok(frame), Verdict::Object(object)) => is_meant(frame, &object),
        (Ok(frame), verdict) => panic!("{frame:?} out of {verdict:?}"),
        (Err(Misframed { reference, error }), verdict) => {
            assert!(verdict.allows(error.kind), "{error:?}");
            if let Verdict::Object(object) = &verdict {
                assert!(has_fault(object, error.kind), "{error:?}");
                assert_eq!(reference.as_deref(), name(object).unwrap_or_default());
            }
            outcome::is_told_to_v1(error);
            let answer = v1::error_frame(reference.as_deref(), error);
            let answer = written(&answer);
            assert_eq!(answer.last("ref").map(|value| value.raw), reference.as_deref());
        }
    }
    frame.is_ok()
}

/// The frame's name: none, one as JSON, or one that cannot be.
fn name<'a>(object: &'a Node<'_>) -> Result<Option<&'a str>, ()> {
    let Some(value) = object.last("ref") else { return Ok(None) };
    let number = value.raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let legal = (number || matches!(value.shape, Shape::String(_))) && value.raw.len() <= REFERENCE_BYTES_MAX;
    if legal { Ok(Some(value.raw)) } else { Err(()) }
}

fn text(object: &Node<'_>, name: &str) -> Option<String> {
    object.last(name)?.text()
}

/// The members of each type of frame.
fn names(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "send" => Some(SEND),
        "ack" => Some(&["type", "ref", "cursor"]),
        "auth" => Some(&["type", "ref", "token"]),
        "ping" => Some(&["type", "ref"]),
        _ => None,
    }
}

fn sending<'a>(object: &'a Node<'a>, names: &'static [&'static str]) -> Sending<'a> {
    Sending { object, kind: "message_type", names }
}

fn is_meant(frame: &Frame, object: &Node<'_>) {
    let kind = text(object, "type").unwrap_or_default();
    assert!(names(&kind).is_some_and(|names| sending(object, names).has_right_members()), "{frame:?}");
    match frame {
        Frame::Send { reference, draft } => {
            assert_eq!((kind.as_str(), Ok(reference.as_deref())), ("send", name(object)));
            sending(object, SEND).is(draft);
            assert_eq!(draft.key(None).is_some(), object.last("key").is_some());
        }
        Frame::Ack(cursor) => {
            let said = text(object, "cursor").map(|text| Cursor::parse(&text));
            assert_eq!((kind.as_str(), said), ("ack", Some(Ok(*cursor))));
        }
        Frame::Auth { reference, token } => {
            assert_eq!((kind.as_str(), Ok(reference.as_deref())), ("auth", name(object)));
            assert_eq!(text(object, "token").as_deref(), Some(&*token.0));
        }
        Frame::Ping => assert_eq!(kind, "ping"),
    }
}

fn has_fault(object: &Node<'_>, kind: Kind) -> bool {
    let said = text(object, "type").unwrap_or_default();
    let Some(names) = names(&said) else { return kind == Kind::BadRequest };
    let sending = sending(object, names);
    match kind {
        Kind::BadRequest if name(object).is_err() || !sending.has_right_members() => true,
        Kind::BadRequest if said == "ack" => text(object, "cursor").is_none(),
        Kind::BadRequest if said == "auth" => text(object, "token").is_none(),
        Kind::InvalidCursor => {
            said == "ack" && text(object, "cursor").is_some_and(|text| Cursor::parse(&text).is_err())
        }
        _ => said == "send" && sending.has_fault(kind),
    }
}
