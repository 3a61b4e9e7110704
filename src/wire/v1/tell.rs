//! What clients are told: messages, answers, problems (RFC 9457).

use std::time::Duration;

use uuid::Uuid;

use super::super::json;
use crate::{
    cursor::Gap,
    error::Error,
    id::{RequestId, SessionId},
    mailbox::{Batch, Letter},
    message::UnixMs,
};

/// About what one message takes beside its payload and sender.
const AROUND_MESSAGE_BYTES: usize = 160;
/// About what an answer takes beside its messages.
const AROUND_BATCH_BYTES: usize = 256;

/// Why a stream ends that could have gone on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goodbye {
    /// Another receiver of this session has come.
    Superseded,
    /// The relay is about to end.
    Drain,
    /// The credentials have expired.
    Expired,
    /// The credentials were revoked.
    Revoked,
}

impl Goodbye {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Goodbye::Superseded => "superseded",
            Goodbye::Drain => "drain",
            Goodbye::Expired => "expired",
            Goodbye::Revoked => "revoked",
        }
    }
}

/// What an answer to a poll says beside what is in the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extra {
    /// Another receiver of this session has come.
    pub superseded: bool,
    /// The relay is about to end: when to come back.
    pub retry_after: Option<Duration>,
}

/// Appends one message as its receiver gets it.
pub fn write_message(letter: &Letter, out: &mut Vec<u8>) {
    let message = &letter.message;
    let head = format!(
        r#"{{"id":"{}","seq":{},"from":{},"type":{},"ts":{},"payload":"#,
        message.id,
        letter.seq.0,
        json::quote(&message.from),
        json::quote(message.kind()),
        message.accepted.0,
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&message.payload);
    out.push(b'}');
}

/// About how long a batch is when it is written.
pub(super) fn room(batch: &Batch) -> usize {
    let messages: usize = batch.letters.iter().map(|letter| letter.message.size() + AROUND_MESSAGE_BYTES).sum();
    messages + AROUND_BATCH_BYTES
}

/// Appends the members `gap`, `messages` and `cursor`.
pub(super) fn write_batch(batch: &Batch, out: &mut Vec<u8>) {
    if let Some(gap) = &batch.gap {
        out.extend_from_slice(format!(r#""gap":{},"#, missing(gap)).as_bytes());
    }
    out.extend_from_slice(br#""messages":["#);
    for (index, letter) in batch.letters.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_message(letter, out);
    }
    out.extend_from_slice(format!(r#"],"cursor":"{}""#, batch.cursor).as_bytes());
}

/// What is missing, as an object.
pub(super) fn missing(gap: &Gap) -> String {
    let reason = gap.reason.name();
    match gap.range {
        Some((from, to)) => format!(r#"{{"from":{},"to":{},"reason":"{reason}"}}"#, from.0, to.0),
        None => format!(r#"{{"from":null,"to":null,"reason":"{reason}"}}"#),
    }
}

/// The answer to a poll.
pub fn answer(batch: &Batch, extra: Extra) -> Vec<u8> {
    let mut out = Vec::with_capacity(room(batch));
    out.push(b'{');
    write_batch(batch, &mut out);
    out.extend_from_slice(format!(r#","more":{}"#, batch.more).as_bytes());
    if extra.superseded {
        out.extend_from_slice(br#","superseded":true"#);
    }
    if let Some(after) = extra.retry_after {
        out.extend_from_slice(format!(r#","retry_after":{}"#, seconds(after)).as_bytes());
    }
    out.push(b'}');
    out
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

/// The members of a goodbye.
pub(super) fn farewell(reason: Goodbye, retry_after: Option<Duration>) -> String {
    let after = retry_after.map_or_else(String::new, |after| format!(r#","retry_after":{}"#, seconds(after)));
    format!(r#""reason":"{}"{after}"#, reason.name())
}

/// The answer to a message that was accepted.
pub fn accepted(id: &Uuid, recipients: usize, duplicate: bool) -> Vec<u8> {
    format!(r#"{{"id":"{id}","recipients":{recipients},"duplicate":{duplicate}}}"#).into_bytes()
}

/// The answer to a request for a ticket.
pub fn ticket(ticket: &str, session: &SessionId, life: Duration) -> Vec<u8> {
    let session = json::quote(session.bare());
    format!(r#"{{"ticket":"{ticket}","session":{session},"expires_in":{}}}"#, life.as_secs()).into_bytes()
}

/// The answer to an acknowledgement.
pub fn acked(messages: usize) -> Vec<u8> {
    format!(r#"{{"acked":{messages}}}"#).into_bytes()
}

/// The answer to a purge.
pub fn purged(messages: usize) -> Vec<u8> {
    format!(r#"{{"purged":{messages}}}"#).into_bytes()
}

/// What is known of a session: messages waiting, whether a receiver is there, and when the last one was.
pub fn session(session: &SessionId, pending: usize, attached: bool, last_seen: Option<UnixMs>) -> Vec<u8> {
    let session = json::quote(session.bare());
    let seen = last_seen.map_or_else(|| "null".to_owned(), |seen| seen.0.to_string());
    format!(r#"{{"session":{session},"pending":{pending},"attached":{attached},"last_seen":{seen}}}"#).into_bytes()
}

/// A refusal as `application/problem+json`.
pub fn problem(error: &Error, request: RequestId) -> Vec<u8> {
    format!(r#"{{"type":"about:blank",{},"request":"{request}"}}"#, described(error)).into_bytes()
}

/// The members by which a refusal is told.
pub(super) fn described(error: &Error) -> String {
    let addresses = if error.about.is_empty() {
        String::new()
    } else {
        let addresses: Vec<String> =
            error.about.iter().map(|session| json::quote(&format!("session:{session}"))).collect();
        format!(r#","addresses":[{}]"#, addresses.join(","))
    };
    let after = error.retry.as_ref().map(|retry| format!(r#","retry_after":{}"#, seconds(retry.after)));
    let after = after.unwrap_or_default();
    format!(
        r#""title":{},"status":{},"detail":{},"kind":"{}"{addresses}{after}"#,
        json::quote(error.kind.title()),
        error.kind.status(),
        json::quote(&error.detail),
        error.kind.label(),
    )
}
