//! `wire::v1::draft`: a message is what its JSON says, byte for byte, or is refused for a fault that it has. What stands
//! before a NUL, which no JSON has, is the header `Idempotency-Key`.

use x0_relay::{error::Kind, id::Digest, wire::v1};

use super::{
    judge::{Node, Verdict, judge},
    outcome,
    sending::{LIMITS, Sending},
};

const NAMES: &[&str] = &["to", "payload", "from", "type", "ttl", "key"];

/// Checks one body.
pub fn check(bytes: &[u8]) -> bool {
    let (header, body) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (Some(&bytes[..at]), &bytes[at + 1..]),
        None => (None, bytes),
    };
    let draft = v1::draft(body, header, &LIMITS);
    match (&draft, judge(body)) {
        (Ok(draft), Verdict::Object(object)) => {
            let sending = Sending { object: &object, kind: "type", names: NAMES };
            sending.is(draft);
            let keys = keys(header, &object);
            assert!(keys.iter().all(|key| key.is_ok() && *key == keys[0]), "{keys:?}");
            assert_eq!(draft.key(None).is_some(), !keys.is_empty());
            if let (Some(Ok(key)), Some(known)) = (keys.first(), draft.key(Some("p"))) {
                let sender = Digest::of(&[b"principal", b"p"]);
                assert_eq!(known.sender, sender);
                assert_eq!(known.digest, Digest::of(&[&sender.0.to_le_bytes(), key.as_bytes()]));
            }
        }
        (Ok(draft), verdict) => panic!("{draft:?} out of {verdict:?}"),
        (Err(error), verdict) => {
            assert!(verdict.allows(error.kind), "{error:?}");
            if let Verdict::Object(object) = verdict {
                let sending = Sending { object: &object, kind: "type", names: NAMES };
                let keys = keys(header, &object);
                let odd_keys = keys.iter().any(|key| key.is_err() || *key != keys[0]);
                assert!(sending.has_fault(error.kind) || (error.kind == Kind::BadRequest && odd_keys), "{error:?}");
            }
            outcome::is_told_to_v1(error);
        }
    }
    draft.is_ok()
}

/// The keys that are given: at most two, which must be the same.
fn keys(header: Option<&[u8]>, object: &Node<'_>) -> Vec<Result<String, ()>> {
    let header = header.map(|value| {
        let value = std::str::from_utf8(value).map_err(|_| ())?.trim_matches([' ', '\t', '\n', '\r', '\u{c}']);
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Ok(inner.unwrap_or(value).to_owned())
    });
    let member = object.last("key").map(|key| key.text().ok_or(()));
    let legal =
        |key: Result<String, ()>| key.and_then(|key| if (1..=255).contains(&key.len()) { Ok(key) } else { Err(()) });
    header.into_iter().chain(member).map(legal).collect()
}
