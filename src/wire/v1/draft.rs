//! What is sent: the body of `POST /v1/messages`, and the frame `send`, which has the same members.

use std::{borrow::Cow, collections::HashSet, time::Duration};

use bytes::Bytes;

use super::{
    super::{
        Payload,
        json::{self, Object},
        x0,
    },
    Limits, bad, members, shown, string, type_of,
};
use crate::{
    error::{Error, Kind},
    id::{self, Digest, SessionId, is_org},
    message::{KIND, Shape},
};

/// The most receivers of one message.
pub const ADDRESSES_MAX: usize = 256;
/// The longest `from`, in bytes of UTF-8.
pub const FROM_BYTES_MAX: usize = 256;
/// The longest type of a message.
pub const KIND_BYTES_MAX: usize = 64;
/// The longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// A message as it was sent, and to whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The receivers in the order in which they were named, none of them twice.
    pub to: Vec<SessionId>,
    /// Who sends it, as the sender says; empty if it did not.
    pub from: Box<str>,
    /// A word for the receiver; empty for the usual one, [`KIND`].
    pub kind: Box<str>,
    /// How long it is to be kept, if the sender says so.
    pub ttl: Option<Duration>,
    /// What is sent.
    pub payload: Payload,
    key: Option<Box<str>>,
}

impl Draft {
    /// The key against accepting it twice, if it has one. Without a principal the sender is known by `from` and `to`.
    pub fn key(&self, principal: Option<&str>) -> Option<id::Key> {
        let key = self.key.as_deref()?;
        let receivers = self.receivers();
        let sender = match principal {
            Some(principal) => Digest::of(&[b"principal", principal.as_bytes()]),
            None => Digest::of(&[b"from", self.from.as_bytes(), &receivers]),
        };
        // A time to live that is not given is another one than any that is.
        let ttl = self.ttl.map_or_else(Vec::new, |ttl| ttl.as_secs().to_le_bytes().to_vec());
        let body = [&receivers, self.from.as_bytes(), self.kind.as_bytes(), &ttl, &self.payload.json];
        let digest = Digest::of(&[&sender.0.to_le_bytes(), key.as_bytes()]);
        Some(id::Key { digest, sender, body: Digest::of(&body) })
    }

    /// The receivers in bounded room; their order does not count.
    fn receivers(&self) -> [u8; 16] {
        let mut to: Vec<&[u8]> = self.to.iter().map(|to| to.as_str().as_bytes()).collect();
        to.sort_unstable();
        Digest::of(&to).0.to_le_bytes()
    }
}

/// Reads the body of `POST /v1/messages`, with the value of the header `Idempotency-Key`.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn draft(body: &[u8], header_key: Option<&[u8]>, limits: &Limits) -> Result<Draft, Error> {
    let object = json::object(json::text(body)?)?;
    let [to, payload, from, kind, ttl, key] = members(&object, ["to", "payload", "from", "type", "ttl", "key"])?;
    let mut draft = Parts { to, payload, from, kind: ("type", kind), ttl, key }.read(limits)?;
    if let Some(header) = header_key {
        let header = unquoted_key(header)?;
        match &draft.key {
            Some(member) if **member != *header => {
                return Err(bad("the header Idempotency-Key and the member key differ; one of them is enough"));
            }
            _ => draft.key = Some(header.into()),
        }
    }
    Ok(draft)
}

/// The members of something that is sent, as they stood in the text.
pub(super) struct Parts<'a> {
    pub to: Option<&'a str>,
    pub payload: Option<&'a str>,
    pub from: Option<&'a str>,
    /// What the member is called, which in a frame is not `type`; and its value.
    pub kind: (&'static str, Option<&'a str>),
    pub ttl: Option<&'a str>,
    pub key: Option<&'a str>,
}

impl Parts<'_> {
    pub(super) fn read(self, limits: &Limits) -> Result<Draft, Error> {
        Ok(Draft {
            to: addresses(self.to)?,
            from: self.from.map_or(Ok(Box::default()), read_from)?,
            kind: self.kind.1.map_or(Ok(Box::default()), |value| read_kind(self.kind.0, value))?,
            ttl: self.ttl.map(|value| read_ttl(value, limits)).transpose()?,
            key: self.key.map(read_key).transpose()?,
            payload: read_payload(self.payload, limits)?,
        })
    }
}

fn addresses(value: Option<&str>) -> Result<Vec<SessionId>, Error> {
    let wrong = |what: &str| bad(format!("to is {what}; \"session:ID\" is expected, or an array of such strings"));
    let value = value.ok_or_else(|| wrong("missing"))?;
    if value.starts_with('"') {
        return Ok(vec![address("to", value)?]);
    }
    let items = json::array(value).ok_or_else(|| wrong(type_of(value)))?;
    let mut known = HashSet::new();
    let mut to = Vec::with_capacity(items.len().min(ADDRESSES_MAX));
    for (index, item) in items.into_iter().enumerate() {
        let id = address(&format!("to[{index}]"), item)?;
        if known.insert(id.clone()) {
            to.push(id);
        }
    }
    match to.len() {
        0 => Err(Error::new(Kind::InvalidAddress, "to is an empty array; a message has at least one receiver")),
        n if n > ADDRESSES_MAX => {
            let detail = format!("a message may go to {ADDRESSES_MAX} addresses, this one has {n}");
            Err(Error::new(Kind::InvalidAddress, detail))
        }
        _ => Ok(to),
    }
}

/// `session:ID`, or an id without a colon.
fn address(name: &str, value: &str) -> Result<SessionId, Error> {
    let text = string(name, value)?;
    let wrong = |what: &str| {
        let detail = format!("{name}, {}: {what}", shown(&text));
        Error::new(Kind::InvalidAddress, detail)
    };
    let id = match text.split_once(':') {
        None => &*text,
        Some(("session", id)) => id,
        Some(("org", rest)) => {
            let (org, id) = rest
                .split_once('/')
                .filter(|(org, _)| org.is_empty() || is_org(org))
                .ok_or_else(|| wrong("\"org:NAME/ID\" is expected: a session of an organisation"))?;
            return SessionId::new(id).map(|id| id.elsewhere(org)).map_err(|error| wrong(&error.detail));
        }
        Some(_) => {
            return Err(wrong(
                "before the first colon stands a kind of address, and of these there are \"session\" and \"org\"; \
                 \"session:ID\" is expected",
            ));
        }
    };
    SessionId::new(id).map_err(|error| wrong(&error.detail))
}

fn read_from(value: &str) -> Result<Box<str>, Error> {
    let from = string("from", value)?;
    if from.len() > FROM_BYTES_MAX {
        return Err(bad(format!("from may have at most {FROM_BYTES_MAX} bytes, this has {}", from.len())));
    }
    Ok(from.into())
}

fn read_kind(name: &str, value: &str) -> Result<Box<str>, Error> {
    let kind = string(name, value)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if kind.is_empty() || kind.len() > KIND_BYTES_MAX || !kind.bytes().all(legal) {
        let detail = format!(
            "{name} may have 1 to {KIND_BYTES_MAX} of the characters A-Z a-z 0-9 . _ -; it is {}",
            shown(&kind)
        );
        return Err(bad(detail));
    }
    Ok(if kind == KIND { Box::default() } else { kind.into() })
}

fn read_ttl(value: &str, limits: &Limits) -> Result<Duration, Error> {
    let most = limits.ttl_max.as_secs();
    let seconds = whole(value).filter(|seconds| (1..=most).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        let what = if type_of(value) == "a number" { shown(value) } else { type_of(value).to_owned() };
        bad(format!("ttl is {what}; whole seconds from 1 to {most} (ttl-max) are expected"))
    })?;
    Ok(Duration::from_secs(seconds))
}

/// A JSON number that is whole, however it is written; `None` if it is not, negative, or beyond what can be told exactly.
fn whole(value: &str) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    value.parse().ok().or_else(|| {
        let number: f64 = value.parse().ok().filter(|_| type_of(value) == "a number")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, and without a fraction")]
        (number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number)).then_some(number as u64)
    })
}

fn read_key(value: &str) -> Result<Box<str>, Error> {
    let key = string("key", value)?;
    check_key("key", &key)?;
    Ok(key.into())
}

/// One pair of quotes around a header's value is not part of the key.
fn unquoted_key(value: &[u8]) -> Result<Cow<'_, str>, Error> {
    const NAME: &str = "the header Idempotency-Key";
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let key = std::str::from_utf8(value).map_err(|_| bad(format!("{NAME} is not UTF-8")))?;
    check_key(NAME, key)?;
    Ok(key.into())
}

fn check_key(name: &str, key: &str) -> Result<(), Error> {
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(()),
        n => Err(bad(format!("{name} may have 1 to {KEY_BYTES_MAX} bytes, this has {n}"))),
    }
}

fn read_payload(value: Option<&str>, limits: &Limits) -> Result<Payload, Error> {
    let value = value.ok_or_else(|| bad("payload is missing; any JSON value is expected"))?;
    let most = limits.message_bytes;
    if value.len() > most {
        let detail = format!("payload has {} bytes, a message may have {most} (message-bytes)", value.len());
        return Err(Error::new(Kind::TooLarge, detail));
    }
    let object: Option<Object<'_>> = json::is_object(value).then(|| json::object(value)).transpose()?;
    let shape = match object {
        None => Shape::Other,
        Some(object) if object.has(x0::SOURCE) => Shape::Marked,
        Some(_) => Shape::Object,
    };
    Ok(Payload { json: Bytes::copy_from_slice(value.as_bytes()), shape })
}
