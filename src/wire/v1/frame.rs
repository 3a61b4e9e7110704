//! WebSocket frames: one JSON object each.

use std::time::Duration;

use uuid::Uuid;

use super::{
    super::json,
    Limits,
    ask::read_cursor_member,
    bad,
    draft::{Draft, Parts},
    members, shown, string,
    tell::{self, Goodbye},
    type_of,
};
use crate::{
    cursor::Cursor,
    error::Error,
    id::{Secret, SessionId},
    mailbox::Batch,
    message::UnixMs,
};

/// The longest `ref`, in bytes of JSON.
pub const REFERENCE_BYTES_MAX: usize = 128;

/// What a client says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// To send a message.
    Send {
        /// The frame's name, as JSON: its answer has it too.
        reference: Option<String>,
        /// The message.
        draft: Draft,
    },
    /// It has everything up to here.
    Ack(Cursor),
    /// It shows newer credentials.
    Auth {
        /// The frame's name, as JSON.
        reference: Option<String>,
        /// A token, or a signed session.
        token: Secret,
    },
    /// To get a pong.
    Ping,
}

/// A frame that is no request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misframed {
    /// The frame's name, as JSON, as far as it has one.
    pub reference: Option<String>,
    /// What is wrong with it.
    pub error: Error,
}

/// Reads a frame.
///
/// # Errors
/// Whatever is wrong with it; see [`crate::error::Kind`].
pub fn frame(text: &str, limits: &Limits) -> Result<Frame, Misframed> {
    let nameless = |error| Misframed { reference: None, error };
    let object = json::text(text.as_bytes()).and_then(json::object).map_err(nameless)?;
    let reference = object.get("ref").map(read_reference).transpose().map_err(nameless)?;
    let read = || match object.get("type").map(|value| string("type", value)).transpose()?.as_deref() {
        Some("send") => {
            let names = ["type", "ref", "to", "payload", "from", "message_type", "ttl", "key"];
            let [_, _, to, payload, from, kind, ttl, key] = members(&object, names)?;
            let draft = Parts { to, payload, from, kind: ("message_type", kind), ttl, key }.read(limits)?;
            Ok(Frame::Send { reference: reference.clone(), draft })
        }
        Some("ack") => {
            let [_, _, cursor] = members(&object, ["type", "ref", "cursor"])?;
            Ok(Frame::Ack(read_cursor_member(cursor)?))
        }
        Some("auth") => {
            let [_, _, token] = members(&object, ["type", "ref", "token"])?;
            let token = token.ok_or_else(|| bad("token is missing"))?;
            let token = Secret(string("token", token)?.into());
            Ok(Frame::Auth { reference: reference.clone(), token })
        }
        Some("ping") => members(&object, ["type", "ref"]).map(|_| Frame::Ping),
        Some(other) => {
            Err(bad(format!("type is {}; \"send\", \"ack\", \"auth\" or \"ping\" is expected", shown(other))))
        }
        None => Err(bad("type is missing; \"send\", \"ack\", \"auth\" or \"ping\" is expected")),
    };
    read().map_err(|error| Misframed { reference: reference.clone(), error })
}

fn read_reference(value: &str) -> Result<String, Error> {
    let what = type_of(value);
    if !matches!(what, "a string" | "a number") || value.len() > REFERENCE_BYTES_MAX {
        let bytes = value.len();
        return Err(bad(format!(
            "ref is {what} of {bytes} bytes; a string or a number of at most {REFERENCE_BYTES_MAX} bytes is expected"
        )));
    }
    Ok(value.to_owned())
}

/// The first frame: which session this is, where its stream begins, and how many messages may be unacknowledged.
pub fn welcome(session: &SessionId, cursor: Cursor, window: usize) -> Vec<u8> {
    let session = json::quote(session.bare());
    format!(r#"{{"type":"welcome","session":{session},"cursor":"{cursor}","window":{window}}}"#).into_bytes()
}

/// Messages, and what is missing before them.
pub fn messages_frame(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(tell::room(batch));
    out.extend_from_slice(br#"{"type":"messages","#);
    tell::write_batch(batch, &mut out);
    out.push(b'}');
    out
}

/// The answer to a message that was accepted.
pub fn sent(reference: Option<&str>, id: &Uuid, recipients: usize, duplicate: bool) -> Vec<u8> {
    let reference = named(reference);
    format!(r#"{{"type":"sent",{reference}"id":"{id}","recipients":{recipients},"duplicate":{duplicate}}}"#)
        .into_bytes()
}

/// The answer to a frame that was refused.
pub fn error_frame(reference: Option<&str>, error: &Error) -> Vec<u8> {
    format!(r#"{{"type":"error",{}{}}}"#, named(reference), tell::described(error)).into_bytes()
}

/// `ref` as a member, if there is one.
fn named(reference: Option<&str>) -> String {
    reference.map_or_else(String::new, |reference| format!(r#""ref":{reference},"#))
}

/// The credentials end in so long.
pub fn expiring(left: Duration) -> Vec<u8> {
    format!(r#"{{"type":"expiring","in":{}}}"#, left.as_secs()).into_bytes()
}

/// The answer to newer credentials: until when they are good.
pub fn authenticated(reference: Option<&str>, expires: UnixMs) -> Vec<u8> {
    format!(r#"{{"type":"authenticated",{}"expires":{}}}"#, named(reference), expires.0).into_bytes()
}

/// The answer to a ping.
pub fn pong() -> Vec<u8> {
    br#"{"type":"pong"}"#.to_vec()
}

/// The last frame.
pub fn goodbye(reason: Goodbye, retry_after: Option<Duration>) -> Vec<u8> {
    format!(r#"{{"type":"goodbye",{}}}"#, tell::farewell(reason, retry_after)).into_bytes()
}
