//! What receivers ask for: queries, the bodies that may stand for them, and the paths of sessions.

use std::{borrow::Cow, time::Duration};

use super::{
    super::{form, json},
    bad, members, shown, string,
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    id::{Secret, SessionId},
};

/// The longest wait that a poll may ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most messages that a poll may ask for.
pub const LIMIT_MAX: usize = 1000;

/// `GET /v1/messages`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Poll {
    /// Whose messages.
    pub session: SessionId,
    /// What the receiver has.
    pub after: Option<Cursor>,
    /// How long it waits for one.
    pub wait: Option<Duration>,
    /// How many it wants at most.
    pub limit: Option<usize>,
}

/// `GET` and `POST /v1/events`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Events {
    /// Whose messages.
    pub session: SessionId,
    /// What the receiver has.
    pub after: Option<Cursor>,
    /// Whether it acknowledges by itself what it has.
    pub explicit: bool,
}

/// `GET /v1/ws`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attach {
    /// Whose messages.
    pub session: SessionId,
    /// What the receiver has.
    pub after: Option<Cursor>,
}

/// `POST /v1/tickets`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TicketFor {
    /// The session that it is for; or that session, signed.
    pub session: SessionId,
}

/// `POST /v1/ack`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Whose messages.
    pub session: SessionId,
    /// What the receiver has.
    pub cursor: Cursor,
}

/// Reads the query of a poll.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn poll(query: Option<&str>) -> Result<Poll, Error> {
    let [session, after, wait, limit] = parameters(query, ["session", "after", "wait", "limit"])?;
    Ok(Poll {
        session: read_session(session.as_deref())?,
        after: after.as_deref().map(|text| read_cursor("after", text)).transpose()?,
        wait: wait.as_deref().map(read_wait).transpose()?,
        limit: limit.as_deref().map(read_limit).transpose()?,
    })
}

/// Reads the query, the header `Last-Event-ID` and the body of a request for events.
///
/// The header wins over `after`: an `EventSource` that comes back repeats its first URL.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn events(
    query: Option<&str>,
    last_event_id: Option<&[u8]>,
    body: &[u8],
    of_ticket: Option<&SessionId>,
) -> Result<Events, Error> {
    const NAMES: [&str; 3] = ["session", "after", "ack"];
    let mut said = parameters(query, NAMES)?;
    if !body.trim_ascii().is_empty() {
        let object = json::object(json::text(body)?)?;
        for ((name, value), place) in NAMES.into_iter().zip(members(&object, NAMES)?).zip(&mut said) {
            let Some(value) = value else { continue };
            if place.replace(string(name, value)?.into_owned()).is_some() {
                return Err(bad(format!("{name} is in the query and in the body; one of them is enough")));
            }
        }
    }
    let [session, after, ack] = said;
    let after = after.as_deref().map(|text| read_cursor("after", text)).transpose()?;
    let last = match last_event_id.map(<[u8]>::trim_ascii).filter(|id| !id.is_empty()) {
        Some(id) => Some(read_cursor("Last-Event-ID", &String::from_utf8_lossy(id))?),
        None => None,
    };
    let explicit = match ack.as_deref() {
        None => false,
        Some("explicit") => true,
        Some(other) => return Err(bad(format!("ack is {}; \"explicit\" is expected, or nothing", shown(other)))),
    };
    Ok(Events { session: read_session_or(session.as_deref(), of_ticket)?, after: last.or(after), explicit })
}

/// The ticket in a query, if there is one.
///
/// # Errors
/// [`Kind::BadRequest`]: it is there twice, or cannot be decoded.
pub fn ticket(query: Option<&str>) -> Result<Option<Secret>, Error> {
    let [ticket] = parameters(query, ["ticket"])?;
    Ok(ticket.map(|ticket| Secret(ticket.into())))
}

/// Reads the body of a request for a ticket.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn ticket_for(body: &[u8]) -> Result<TicketFor, Error> {
    let object = json::object(json::text(body)?)?;
    let [session] = members(&object, ["session"])?;
    let session = session.map(|value| string("session", value)).transpose()?;
    Ok(TicketFor { session: read_session(session.as_deref())? })
}

/// Reads the query of a request for a WebSocket. With a ticket the session need not be named.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn attach(query: Option<&str>, of_ticket: Option<&SessionId>) -> Result<Attach, Error> {
    let [session, after] = parameters(query, ["session", "after"])?;
    let after = after.as_deref().map(|text| read_cursor("after", text)).transpose()?;
    Ok(Attach { session: read_session_or(session.as_deref(), of_ticket)?, after })
}

/// Reads the body of an acknowledgement.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn ack(body: &[u8]) -> Result<Ack, Error> {
    let object = json::object(json::text(body)?)?;
    let [session, cursor] = members(&object, ["session", "cursor"])?;
    let session = session.map(|value| string("session", value)).transpose()?;
    let session = read_session(session.as_deref())?;
    Ok(Ack { session, cursor: read_cursor_member(cursor)? })
}

/// The member `cursor` of something that acknowledges.
pub(super) fn read_cursor_member(value: Option<&str>) -> Result<Cursor, Error> {
    let value = value.ok_or_else(|| bad("cursor is missing; it says up to where you have the messages"))?;
    read_cursor("cursor", &string("cursor", value)?)
}

/// The session of a path below `/v1/sessions/`, and whether its messages are meant; `None` for any other path.
pub fn session_path(path: &str) -> Option<(Result<SessionId, Error>, bool)> {
    let rest = path.strip_prefix("/v1/sessions/")?;
    let (id, messages) = match rest.split_once('/') {
        None => (rest, false),
        Some((id, "messages")) => (id, true),
        Some(_) => return None,
    };
    let id = form::unescape("the session in the path", id).and_then(|id| read_session(Some(&id)));
    Some((id, messages))
}

/// The values of the parameters of these names, decoded; others are passed over.
fn parameters<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<String>; N], Error> {
    let mut values = [const { None }; N];
    for (name, value) in form::pairs(query.unwrap_or_default()) {
        let name = form::decode("a name in the query", name).unwrap_or(Cow::Borrowed(name));
        let Some(place) = names.iter().position(|known| *known == name) else { continue };
        let value = form::decode(&name, value)?.into_owned();
        if values[place].replace(value).is_some() {
            return Err(bad(format!("{name} is in the query twice")));
        }
    }
    Ok(values)
}

fn read_session(id: Option<&str>) -> Result<SessionId, Error> {
    let id =
        id.ok_or_else(|| Error::new(Kind::InvalidSession, "session is missing; it says whose messages are meant"))?;
    SessionId::new(id)
}

/// The session that is named, or that of the ticket. If both are there, they have to be the same.
fn read_session_or(id: Option<&str>, of_ticket: Option<&SessionId>) -> Result<SessionId, Error> {
    match (id, of_ticket) {
        (None, Some(session)) => Ok(session.clone()),
        (id, bound) => {
            let session = read_session(id)?;
            match bound.is_none_or(|bound| *bound == session) {
                true => Ok(session),
                false => Err(Error::new(Kind::Forbidden, "the ticket is for another session")),
            }
        }
    }
}

fn read_cursor(name: &str, text: &str) -> Result<Cursor, Error> {
    Cursor::parse(text).map_err(|error| Error::new(error.kind, format!("{name} is {}: {}", shown(text), error.detail)))
}

fn read_wait(text: &str) -> Result<Duration, Error> {
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse().ok().filter(|seconds| decimal && (0.0..=WAIT_MAX.as_secs_f64()).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        bad(format!(
            "wait is {}; seconds from 0 to {} are expected, such as 10 or 2.5",
            shown(text),
            WAIT_MAX.as_secs()
        ))
    })
}

fn read_limit(text: &str) -> Result<usize, Error> {
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| decimal && (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| bad(format!("limit is {}; a number from 1 to {LIMIT_MAX} is expected", shown(text))))
}
