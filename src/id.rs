//! Names: sessions, requests, and the keys by which senders name what they send.

use std::{fmt, sync::Arc};

use uuid::Uuid;

use crate::error::{Error, Kind};

/// The longest session id, in bytes of UTF-8.
pub const SESSION_BYTES_MAX: usize = 256;

/// One receiver's name, usually one browser tab: non-empty UTF-8, at most [`SESSION_BYTES_MAX`] bytes.
///
/// Control characters are legal in it, so it is shown with [`fmt::Display`], which escapes them.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Checks and keeps a session id.
    ///
    /// # Errors
    /// [`Kind::InvalidSession`] if it is empty or longer than [`SESSION_BYTES_MAX`] bytes.
    pub fn new(id: &str) -> Result<Self, Error> {
        match id.len() {
            0 => Err(Error::new(Kind::InvalidSession, "a session id may not be empty")),
            n if n > SESSION_BYTES_MAX => Err(Error::new(
                Kind::InvalidSession,
                format!("a session id may have at most {SESSION_BYTES_MAX} bytes, this one has {n}"),
            )),
            _ => Ok(Self(id.into())),
        }
    }

    /// The id as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A request's name in logs and error answers: the connection's number and the request's number on it, `17-3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestId {
    /// The connection, counted from the start of the process.
    pub connection: u64,
    /// The request, counted from 1 on its connection.
    pub request: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.connection, self.request)
    }
}

/// What stands for names and texts of unbounded length in bounded room: a version 5 UUID (RFC 9562), which is the first
/// 122 bits of a SHA-1. Nobody finds a second text for somebody else's digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of these parts, each of which counts with its length.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut text = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part);
        }
        Self(Uuid::new_v5(&Uuid::nil(), &text).as_u128())
    }
}

/// An idempotency key: what is sent with the same one again is not accepted again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Who uses it, and the key itself.
    pub digest: Digest,
    /// Who uses it.
    pub sender: Digest,
    /// What it is used for.
    pub body: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_counts() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_eq!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"ab", b"c"]));
    }

    #[test]
    fn a_session_id_has_1_to_256_bytes() {
        assert!(SessionId::new("").is_err());
        assert!(SessionId::new(&"ä".repeat(128)).is_ok());
        assert!(SessionId::new(&"ä".repeat(129)).is_err());
    }

    #[test]
    fn shown_ids_cannot_forge_log_lines() {
        let id = SessionId::new("a\nb\u{1b}[2J").expect("legal");
        assert_eq!(id.to_string(), "a\\nb\\u{1b}[2J");
    }
}
