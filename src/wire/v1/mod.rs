//! Protocol v1: what newer clients say over HTTP, server-sent events and WebSocket, and what they are told.
//!
//! Nothing is guessed here: a member that is unknown, there twice or of another type is refused by name, so that no
//! client believes to have said what nobody heard.

use std::{borrow::Cow, time::Duration};

use super::json::{self, Object};
use crate::error::{Error, Kind};

mod ask;
mod draft;
mod event;
mod frame;
mod tell;

pub use ask::{
    Ack, Attach, Events, LIMIT_MAX, Poll, TicketFor, WAIT_MAX, ack, attach, events, poll, session_path,
    ticket as ticket_in, ticket_for,
};
pub use draft::{ADDRESSES_MAX, Draft, FROM_BYTES_MAX, KEY_BYTES_MAX, KIND_BYTES_MAX, draft};
pub use event::{COMMENT, events_expiring, events_goodbye, events_head, write_events};
pub use frame::{
    Frame, Misframed, REFERENCE_BYTES_MAX, authenticated, error_frame, expiring, frame, goodbye, messages_frame, pong,
    sent, welcome,
};
pub use tell::{Extra, Goodbye, accepted, acked, answer, problem, purged, session, ticket, write_message};

/// What settings allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest payload, in bytes.
    pub message_bytes: usize,
    /// The longest time that a message may be kept.
    pub ttl_max: Duration,
}

fn bad(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Kind::BadRequest, detail)
}

/// How much of a client's text is shown to it again.
const SHOWN_CHARS: usize = 40;

/// A client's text inside a sentence: in quotes, escaped, and not all of it if it is long.
fn shown(text: &str) -> String {
    let mut escaped = text.chars().flat_map(char::escape_debug);
    let mut short: String = escaped.by_ref().take(SHOWN_CHARS).collect();
    if escaped.next().is_some() {
        short.push('…');
    }
    format!("\"{short}\"")
}

/// The values of the members of these names, as they stood in the text; any other member is refused.
fn members<'a, const N: usize>(object: &Object<'a>, names: [&str; N]) -> Result<[Option<&'a str>; N], Error> {
    let mut values = [None; N];
    for (key, value) in object.members() {
        let name = json::string(key).unwrap_or(Cow::Borrowed(key));
        let Some(place) = names.iter().position(|known| *known == name) else {
            return Err(bad(format!("{} is no member here; there are {}", shown(&name), names.join(", "))));
        };
        if values[place].replace(value).is_some() {
            return Err(bad(format!("the member {name} is there twice")));
        }
    }
    Ok(values)
}

/// What a value is, for whoever sent it in the place of something else.
fn type_of(value: &str) -> &'static str {
    match value.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A member that is a string.
fn string<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, Error> {
    json::string(value).ok_or_else(|| {
        let what = if value.starts_with('"') { "a string with half a surrogate pair" } else { type_of(value) };
        bad(format!("{name} is {what}; a string of Unicode characters is expected"))
    })
}

#[cfg(test)]
mod tests;
