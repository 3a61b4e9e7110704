//! Clients of protocol v1, which read strictly what the relay writes.
//!
//! - Here: what both sides say, as values.
//! - [`requests`] are the requests, and what a test does with a relay in one line.
//! - [`events`] reads server-sent events, [`socket`] speaks WebSocket frames.
//! - [`receiver`] receives through any door, x0's too, and fails at a hole that no gap explains.
//! - [`ledger`] holds what one session's receivers saw, one after another, against what was sent.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Response;

pub mod events;
pub mod ledger;
pub mod receiver;
pub mod requests;
pub mod socket;

pub use events::{EventStream, Item};
pub use ledger::Ledger;
pub use receiver::{Door, Event, Receiver};
pub use requests::{get, message_body, poll_target, post_json, send_request};
pub use socket::{Frame, Said, Socket};

/// Readers say what is wrong, so that they can be tested; whoever uses them fails.
#[track_caller]
fn or_fail<T>(read: Result<T, String>) -> T {
    match read {
        Ok(value) => value,
        // No closure: the panic is to name the test's line.
        Err(wrong) => panic!("{wrong}"),
    }
}

/// JSON with these members and no others.
fn strict<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("{e} in {text}"))
}

/// Everything up to here. Opaque to clients; tests look inside.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cursor(String);

impl Cursor {
    /// Fails unless it is `EPOCH.SEQ`: 16 hexadecimal digits and a decimal number.
    #[track_caller]
    pub fn new(text: impl Into<String>) -> Self {
        or_fail(Self::read(text))
    }

    fn read(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let right = text.split_once('.').is_some_and(|(epoch, seq)| {
            let hex = epoch.len() == 16 && epoch.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            hex && seq.parse::<u64>().is_ok_and(|n| n.to_string() == seq)
        });
        if right { Ok(Self(text)) } else { Err(format!("not a cursor: {text:?}")) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn epoch(&self) -> &str {
        &self.0[..16]
    }

    pub fn seq(&self) -> u64 {
        self.0[17..].parse().expect("checked when it was made")
    }

    /// The cursor of the same epoch behind `seq`.
    #[must_use]
    pub fn at(&self, seq: u64) -> Self {
        Self(format!("{}.{seq}", self.epoch()))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message as a receiver sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub id: String,
    pub seq: u64,
    pub from: String,
    /// The member `type`.
    pub word: String,
    pub ts: u64,
    /// Byte for byte as it came.
    pub payload: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMessage<'a> {
    id: String,
    seq: u64,
    from: String,
    r#type: String,
    ts: u64,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Message {
    /// Fails unless it has exactly the members that a message has, and each is what it must be.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        or_fail(Self::read(text))
    }

    fn read(text: &str) -> Result<Self, String> {
        let RawMessage { id, seq, from, r#type: word, ts, payload } = strict(text)?;
        if !is_uuid7(&id) || seq == 0 {
            return Err(format!("not a message: {text}"));
        }
        Ok(Self { id, seq, from, word, ts, payload: payload.get().to_owned() })
    }

    /// The `n` of a numbered payload.
    #[track_caller]
    pub fn number(&self) -> u64 {
        number(&self.payload)
    }
}

/// The payload `{"n":7}`, by which the tests that count know a message through any door.
pub fn numbered(n: u64) -> String {
    format!(r#"{{"n":{n}}}"#)
}

/// The `n` of such a payload, whatever else is in it.
#[track_caller]
pub fn number(payload: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(payload).unwrap_or_else(|e| panic!("{e}: {payload}"));
    value["n"].as_u64().unwrap_or_else(|| panic!("no number in {payload}"))
}

/// Whether this is a UUID of version 7, as text.
pub fn is_uuid7(id: &str) -> bool {
    let bytes = id.as_bytes();
    let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let form = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, b)| if [8, 13, 18, 23].contains(&at) { *b == b'-' } else { hex(b) });
    form && bytes[14] == b'7' && matches!(bytes[19], b'8' | b'9' | b'a' | b'b')
}

/// What can no longer be delivered.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The numbers of the first and last message; null where unknown. Neither may be absent.
    #[serde(deserialize_with = "Option::deserialize")]
    pub from: Option<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub to: Option<u64>,
    pub reason: String,
}

impl Gap {
    pub fn of(from: u64, to: u64, reason: &str) -> Self {
        Self { from: Some(from), to: Some(to), reason: reason.into() }
    }

    /// The one that a changed epoch makes.
    pub fn epoch() -> Self {
        Self { from: None, to: None, reason: "epoch".into() }
    }

    #[track_caller]
    pub fn parse(text: &str) -> Self {
        or_fail(strict(text).and_then(Self::checked))
    }

    /// An error unless its reason is one of the five, and its ends go with it.
    fn checked(self) -> Result<Self, String> {
        match (self.reason.as_str(), self.from, self.to) {
            ("epoch", None, None) => Ok(self),
            ("expired" | "purged" | "overflow" | "taken", Some(from), Some(to)) if 0 < from && from <= to => Ok(self),
            _ => Err(format!("not a gap: {self:?}")),
        }
    }
}

/// An answer to a v1 poll, or a WebSocket's `messages` frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    pub messages: Vec<Message>,
    pub gap: Option<Gap>,
    pub cursor: Cursor,
    pub more: bool,
    pub superseded: bool,
    pub retry_after: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBatch<'a> {
    /// A frame's; `None` in an answer.
    r#type: Option<String>,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    gap: Option<Gap>,
    cursor: String,
    more: Option<bool>,
    superseded: Option<bool>,
    retry_after: Option<f64>,
}

impl Batch {
    /// From the body of an answer to a poll.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        or_fail(Self::read(text, false))
    }

    /// From a WebSocket's `messages` frame.
    #[track_caller]
    pub fn parse_frame(text: &str) -> Self {
        or_fail(Self::read(text, true))
    }

    fn read(text: &str, frame: bool) -> Result<Self, String> {
        let raw: RawBatch<'_> = strict(text)?;
        let wrong = |what: &str| Err(format!("{what}: {text}"));
        let RawBatch { r#type, messages, gap, cursor, more, superseded, retry_after } = raw;
        let kind = if frame {
            r#type.as_deref() == Some("messages") && superseded.is_none() && retry_after.is_none()
        } else {
            r#type.is_none() && more.is_some()
        };
        let messages: Vec<Message> = messages.iter().map(|m| Message::read(m.get())).collect::<Result<_, _>>()?;
        let gap = gap.map(Gap::checked).transpose()?;
        match () {
            () if !kind => wrong("not what was expected"),
            () if text.contains(r#""gap":null"#) => wrong("a gap is there or not"),
            () if superseded == Some(false) => wrong("superseded is true or not there"),
            () if superseded.is_some() && !(messages.is_empty() && gap.is_none()) => wrong("superseded, and not empty"),
            () => Ok(Self {
                messages,
                gap,
                cursor: Cursor::read(cursor)?,
                more: more.unwrap_or_default(),
                superseded: superseded.is_some(),
                retry_after,
            }),
        }
    }

    /// The numbers of its messages' payloads.
    #[track_caller]
    pub fn numbers(&self) -> Vec<u64> {
        self.messages.iter().map(Message::number).collect()
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.messages.iter().map(|m| m.seq).collect()
    }
}

/// The answer to an accepted message.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    pub id: String,
    pub recipients: u64,
    pub duplicate: bool,
}

/// A problem's body (RFC 9457).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub kind: String,
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What the log calls this request, if it does.
    pub request: Option<String>,
}

/// What a v1 answer must be.
impl Response {
    /// Fails unless this is JSON with this status, readable from another origin and never cached.
    #[track_caller]
    fn v1_text(&self, status: u16, media_type: &str) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        let content_type = self.header("content-type").unwrap_or_default();
        assert_eq!(content_type.split(';').next(), Some(media_type), "{self:?}");
        assert_eq!(self.header("access-control-allow-origin"), Some("*"), "{self:?}");
        assert!(self.lists("cache-control", "no-store"), "{self:?}");
        self.text()
    }

    /// The body of a 200, as JSON.
    #[track_caller]
    pub fn v1(&self) -> serde_json::Value {
        let text = self.v1_text(200, "application/json");
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The answer to a v1 poll.
    #[track_caller]
    pub fn batch(&self) -> Batch {
        Batch::parse(self.v1_text(200, "application/json"))
    }

    /// The answer to an accepted message.
    #[track_caller]
    pub fn sent(&self) -> Sent {
        let text = self.v1_text(201, "application/json");
        let sent: Sent = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert!(is_uuid7(&sent.id) && sent.recipients > 0, "{self:?}");
        sent
    }

    /// A problem of this status and kind. Fails unless it says in a sentence what is wrong, and when to come back if that helps.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> Problem {
        let text = self.v1_text(status, "application/problem+json");
        let problem: Problem = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert_eq!((problem.r#type.as_str(), problem.status, problem.kind.as_str()), ("about:blank", status, kind));
        assert!(!problem.title.is_empty() && problem.detail.len() > problem.title.len() / 2, "{problem:?}");
        if matches!(status, 429 | 503 | 507) {
            let seconds = self.header("retry-after").and_then(|v| v.parse::<u32>().ok());
            assert!(seconds.is_some_and(|s| s > 0), "no Retry-After in seconds: {self:?}");
        }
        if status == 405 {
            assert!(self.header("allow").is_some_and(|methods| !methods.is_empty()), "no Allow: {self:?}");
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"id":"0190b3c4-0000-7000-8000-000000000000","seq":7,"from":"a","type":"message","ts":1,"payload":{"n":1e400 ,"n":2}}"#;

    #[test]
    fn messages_are_read_strictly_and_keep_their_payload() {
        assert_eq!(Message::read(MESSAGE).expect("a message").payload, r#"{"n":1e400 ,"n":2}"#);
        for wrong in
            [MESSAGE.replace("\"seq\":7", "\"seq\":0"), MESSAGE.replace("7000", "4000"), MESSAGE.replace("ts", "at")]
        {
            assert!(Message::read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_read_strictly() {
        let cursor = r#""cursor":"00c3f1a2b49d0e1f.17","more":false"#;
        let whole = format!(r#"{{"messages":[],"gap":{{"from":12,"to":40,"reason":"expired"}},{cursor}}}"#);
        let batch = Batch::read(&whole, false).expect("an answer");
        assert_eq!((batch.gap, batch.cursor.seq()), (Some(Gap::of(12, 40, "expired")), 17));
        for wrong in [
            whole.replace("expired", "lost"),
            whole.replace("12", "41"),
            whole.replace(r#""to":40,"#, ""),
            whole.replace(".17", ".017"),
            whole.replace("false", "false,\"x\":1"),
            format!(r#"{{"messages":[{MESSAGE}],"superseded":true,{cursor}}}"#),
        ] {
            assert!(Batch::read(&wrong, false).is_err(), "{wrong}");
        }
    }
}
