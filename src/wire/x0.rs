//! The x0 dialect: what x0's pages, forms and legacy clients say, and what they are told.

use std::borrow::Cow;

use bytes::Bytes;

pub use super::Payload;
use super::{
    form,
    json::{self, Object},
};
use crate::{
    error::{Error, Kind},
    id::SessionId,
    mailbox::Letter,
    message::Shape,
};

/// The member that says who sent a message.
pub const SOURCE: &str = "session_src";

/// What a client of this dialect can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// The handler's address alone: an empty answer.
    Nothing,
    /// SET.
    Send {
        /// The sender, as it says.
        from: SessionId,
        /// The receiver.
        to: SessionId,
        /// The message.
        payload: Payload,
    },
    /// GET.
    Receive(SessionId),
    /// DEL.
    Remove(SessionId),
    /// `getMessages.py` of the 2021-2024 clients: shows, and removes nothing.
    Show(SessionId),
    /// `delMessages.py`: removes what was shown last.
    RemoveShown(SessionId),
}

/// The addresses of this dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// `/python/MsgHandler.py`: `type` in the request says what is meant.
    Handler,
    /// `/get`.
    Get,
    /// `/set`.
    Set,
    /// `/del`.
    Del,
    /// `…/getMessages.py`.
    LegacyGet,
    /// `…/delMessages.py`.
    LegacyDel,
}

impl Path {
    /// Which of the addresses a URL's path is, if any. The oldest clients are known by their query, wherever they ask.
    pub fn of(path: &str, query: Option<&str>) -> Option<Self> {
        let says = |name: &str| query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with(name)));
        match path {
            "/" if says("Type=") && (says("Session=") || says("SYS_SESSION=")) => Some(Path::Handler),
            "/python/MsgHandler.py" => Some(Path::Handler),
            "/get" => Some(Path::Get),
            "/set" => Some(Path::Set),
            "/del" => Some(Path::Del),
            _ if path.ends_with("/getMessages.py") => Some(Path::LegacyGet),
            _ if path.ends_with("/delMessages.py") => Some(Path::LegacyDel),
            _ => None,
        }
    }

    /// Whether answers here are wrapped in `Result`.
    pub fn is_legacy(self) -> bool {
        matches!(self, Path::LegacyGet | Path::LegacyDel)
    }

    fn verb(self) -> Option<Verb> {
        match self {
            Path::Handler => None,
            Path::Get => Some(Verb::Get),
            Path::Set => Some(Verb::Set),
            Path::Del => Some(Verb::Del),
            Path::LegacyGet => Some(Verb::Show),
            Path::LegacyDel => Some(Verb::RemoveShown),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Get,
    Set,
    Del,
    Show,
    RemoveShown,
}

impl Verb {
    fn named(name: &str) -> Result<Self, Error> {
        match name {
            "GET" => Ok(Verb::Get),
            "SET" => Ok(Verb::Set),
            "DEL" => Ok(Verb::Del),
            _ => Err(Error::new(Kind::BadRequest, "type is to be \"GET\", \"SET\" or \"DEL\"")),
        }
    }

    /// The address says what is meant; where it does not, `type` does.
    fn agreed(path: Option<Verb>, said: Option<Verb>) -> Result<Self, Error> {
        match (path, said) {
            // A message must not vanish in a request that is carried out as something else.
            (Some(path), Some(Verb::Set)) if path != Verb::Set => Err(Error::new(
                Kind::BadRequest,
                "type \"SET\" at an address that is for something else; send it to /set or /python/MsgHandler.py",
            )),
            (Some(verb), _) | (None, Some(verb)) => Ok(verb),
            (None, None) => {
                Err(Error::new(Kind::BadRequest, "type is missing; it is to be \"GET\", \"SET\" or \"DEL\""))
            }
        }
    }

    fn alone(self, session: SessionId) -> Request {
        match self {
            Verb::Show => Request::Show(session),
            Verb::Del => Request::Remove(session),
            Verb::RemoveShown => Request::RemoveShown(session),
            Verb::Get | Verb::Set => Request::Receive(session),
        }
    }
}

/// Reads the body of a POST to one of the addresses.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn body(path: Path, body: &[u8], message_bytes: usize) -> Result<Request, Error> {
    let object = json::object(json::text(body)?)?;
    if path == Path::Handler && !object.has("type") && object.has("RequestData") {
        return button(&object, message_bytes);
    }
    let said = object.get("type").map(verb_of).transpose()?;
    match Verb::agreed(path.verb(), said)? {
        Verb::Set => {
            let from = match object.get("session_src") {
                Some("null") | None => session("SessionData.Value", session_data(&object)?)?,
                source => session("session_src", source)?,
            };
            let to = session("session_dst", object.get("session_dst"))?;
            let payload = payload(object.get("payload"), message_bytes)?;
            Ok(Request::Send { from, to, payload })
        }
        verb => Ok(verb.alone(session("session_src", object.get("session_src"))?)),
    }
}

fn verb_of(value: &str) -> Result<Verb, Error> {
    Verb::named(&json::string(value).unwrap_or_default())
}

fn session_data<'a>(object: &Object<'a>) -> Result<Option<&'a str>, Error> {
    match object.get("SessionData").filter(|value| json::is_object(value)) {
        Some(data) => Ok(json::object(data)?.get("Value")),
        None => Ok(None),
    }
}

fn session(name: &str, value: Option<&str>) -> Result<SessionId, Error> {
    let wrong =
        |what: &str| Err(Error::new(Kind::InvalidSession, format!("{name} is {what}; a session id is expected")));
    match value {
        None => wrong("missing"),
        Some("null") => wrong("null"),
        Some(value) => match json::string(value) {
            Some(id) => {
                SessionId::new(&id).map_err(|error| Error::new(error.kind, format!("{name}: {}", error.detail)))
            }
            None => wrong("no string of Unicode characters"),
        },
    }
}

fn payload(value: Option<&str>, message_bytes: usize) -> Result<Payload, Error> {
    let refused =
        |what: &str| Err(Error::new(Kind::PayloadNotObject, format!("payload is {what}; a JSON object is expected")));
    let Some(value) = value else { return refused("missing") };
    if !json::is_object(value) {
        return refused("no object");
    }
    // The relay alone says who sent a message. A member of that name is spelled out or escaped: where neither is to be
    // seen the members, which have been read as JSON already, need not be told apart.
    let json = if value.contains(SOURCE) || value.contains('\\') {
        let object = json::object(value)?;
        object.has(SOURCE).then(|| Bytes::from(object.without(SOURCE)))
    } else {
        None
    };
    let json = json.unwrap_or_else(|| Bytes::copy_from_slice(value.as_bytes()));
    if json.len() > message_bytes {
        let detail = format!("payload has {} bytes, a message may have {message_bytes} (message-bytes)", json.len());
        return Err(Error::new(Kind::TooLarge, detail));
    }
    Ok(Payload { json, shape: Shape::Object })
}

/// The form that x0's button posts.
fn button(object: &Object<'_>, message_bytes: usize) -> Result<Request, Error> {
    let member = |object: &Object<'_>, name: &str| -> Result<String, Error> {
        match object.get(name) {
            Some(value) if json::is_object(value) => Ok(value.to_owned()),
            _ => Err(Error::new(Kind::BadRequest, format!("the form's {name} is missing, or no object"))),
        }
    };
    let request = member(object, "RequestData")?;
    let request = json::object(&request)?;
    let user = member(&request, "FormlistSelectDstUser")?;
    let to = session("DstUserSession", json::object(&user)?.get("DstUserSession"))?;
    let from = session("SessionData.Value", session_data(object)?)?;
    let data = member(&request, "FormlistExchangeData")?;
    let message = format!(
        r#"{{"msg-type":"net-message","method-id":"set-data","dst-object":"FormlistExchangeData","payload":{data}}}"#
    );
    let payload = payload(Some(&message), message_bytes)?;
    Ok(Request::Send { from, to, payload })
}

/// Reads the query string of a GET to one of the addresses; unknown parameters are ignored, the last of doubles counts.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn query(path: Path, query: &str, message_bytes: usize) -> Result<Request, Error> {
    let (mut said, mut source, mut destination, mut message) = (None, None, None, None);
    for (name, value) in form::pairs(query) {
        let place = match name {
            "Type" | "type" => &mut said,
            "Session" | "session_src" | "SYS_SESSION" => &mut source,
            "DestinationSession" | "session_dst" => &mut destination,
            "Payload" | "payload" => &mut message,
            _ => continue,
        };
        *place = Some((name, value));
    }
    if path == Path::Handler && [said, source, destination, message].iter().all(Option::is_none) {
        return Ok(Request::Nothing);
    }
    let id = |missing: &str, given: Option<(&str, &str)>| {
        let Some((name, value)) = given else {
            return Err(Error::new(Kind::InvalidSession, format!("{missing} is missing from the query")));
        };
        let id = form::decode(name, value)?;
        SessionId::new(&id).map_err(|error| Error::new(error.kind, format!("{name}: {}", error.detail)))
    };
    let said = said.map(|(name, value)| Verb::named(&form::decode(name, value)?)).transpose()?;
    match Verb::agreed(path.verb(), said)? {
        Verb::Set => {
            let from = id("SYS_SESSION", source)?;
            let to = id("DestinationSession", destination)?;
            let message = message.map_or(Ok(Cow::default()), |(name, value)| form::decode(name, value))?;
            // `message` may be no JSON at all, which is the same to its sender.
            json::text(message.as_bytes())?;
            let text = message.trim_matches([' ', '\t', '\r', '\n']);
            if json::object(text).is_err() {
                return Err(Error::new(Kind::PayloadNotObject, "Payload is to be a JSON object, percent-encoded"));
            }
            Ok(Request::Send { from, to, payload: payload(Some(text), message_bytes)? })
        }
        verb => Ok(verb.alone(id("session_src", source)?)),
    }
}

/// The answer to an accepted SET.
pub const ACCEPTED: &str = r#"{"messages": null, "status": "ok"}"#;
/// The answer to a GET that found nothing, and to every DEL.
pub const NOTHING: &str = r#"{"messages": null}"#;
/// The same for legacy clients.
pub const LEGACY_NOTHING: &str = r#"{"Result": {"messages": null}}"#;

/// The longest text around the messages of an answer.
pub const FRAME_BYTES: usize = r#"{"messages": []}"#.len();

/// Appends one message as its receiver gets it: the payload, with the sender as its last member and its only one of that
/// name. A payload that is no object goes into one, as `payload`.
pub fn write_message(letter: &Letter, out: &mut Vec<u8>) {
    let message = &letter.message;
    match message.shape {
        Shape::Object => open(&message.payload, out),
        Shape::Marked => match std::str::from_utf8(&message.payload).map(json::object) {
            Ok(Ok(object)) => open(object.without(SOURCE).as_bytes(), out),
            // It was read as an object when it came.
            Ok(Err(_)) | Err(_) => wrap(&message.payload, out),
        },
        Shape::Other => wrap(&message.payload, out),
    }
    out.extend_from_slice(b"\"session_src\":");
    json::write_quoted(&message.from, out);
    out.push(b'}');
}

/// An object up to where one more member can be written.
fn open(object: &[u8], out: &mut Vec<u8>) {
    let end = object.iter().rposition(|byte| *byte == b'}').unwrap_or(0);
    let members = &object[..end];
    out.extend_from_slice(members);
    if members.iter().skip(1).any(|byte| !byte.is_ascii_whitespace()) {
        out.push(b',');
    }
}

fn wrap(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"payload\":");
    out.extend_from_slice(value);
    out.push(b',');
}

/// Messages as a JSON array.
pub fn array(letters: &[Letter]) -> Vec<u8> {
    let bytes: usize = letters.iter().map(|letter| letter.message.cost()).sum();
    let mut out = Vec::with_capacity(bytes);
    out.push(b'[');
    for (index, letter) in letters.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_message(letter, &mut out);
    }
    out.push(b']');
    out
}

/// An answer with messages, from their array.
pub fn mail(array: &[u8], legacy: bool) -> Vec<u8> {
    let (head, tail): (&[u8], &[u8]) =
        if legacy { (b"{\"Result\": {\"messages\": ", b"}}") } else { (b"{\"messages\": ", b"}") };
    [head, array, tail].concat()
}

/// The error object. `null_messages` keeps x0's own front waiting.
pub fn error(error: &Error, null_messages: bool) -> String {
    let messages = if null_messages { "\"messages\": null, " } else { "" };
    // To x0's pages their session is who they are.
    let kind = if error.kind.is_about_identity() { Kind::InvalidSession } else { error.kind };
    format!(
        r#"{{{messages}"error": true, "exception_id": {}, "exception": {}, "detail": {}}}"#,
        json::quote(kind.x0_name()),
        json::quote(kind.title()),
        json::quote(&error.detail),
    )
}

/// The error object for legacy clients, which look for `Result` and stop for good without it.
pub fn legacy_error(cause: &Error) -> String {
    format!(r#"{{"Result": {}}}"#, error(cause, true))
}

#[cfg(test)]
mod tests;
