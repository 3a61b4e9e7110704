//! Names: sessions, requests, and the keys by which senders name what they send.

use std::{
    cmp::Ordering,
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use uuid::Uuid;

use crate::error::{Error, Kind};

/// The longest session id, in bytes of UTF-8.
pub const SESSION_BYTES_MAX: usize = 256;

/// The longest name of an organisation, in bytes.
pub const ORG_BYTES_MAX: usize = 64;

/// What the ids of an organisation's sessions begin with inside of the relay. Unicode has set it aside for such use, and
/// no id from outside may begin with it, so nobody can spell another's id.
const WITHIN: char = '\u{10FFFF}';

/// One receiver's name, usually one browser tab: non-empty UTF-8, at most [`SESSION_BYTES_MAX`] bytes. Inside of the
/// relay it may have its organisation in front, and is then another name than the same one without.
///
/// Control characters are legal in it, so it is shown with [`fmt::Display`], which escapes them, and leaves out the
/// signature of a signed session. Cheap to clone, and to look up: it is hashed once, when it is made, with a key that
/// nobody knows, so that nobody can choose ids that fall together.
#[derive(Clone)]
pub struct SessionId {
    text: Arc<str>,
    hash: u64,
}

/// The key of this process.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Builds a map by session; it takes the hash that a [`SessionId`] has.
pub type BySession = BuildHasherDefault<Ready>;

/// Passes on the hash that something has already.
#[derive(Default, Debug)]
pub struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only whole hashes come here; anything else still gets a hash.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl SessionId {
    /// Checks and keeps a session id from outside.
    ///
    /// # Errors
    /// [`Kind::InvalidSession`] if it is empty, longer than [`SESSION_BYTES_MAX`] bytes, or begins with U+10FFFF.
    pub fn new(id: &str) -> Result<Self, Error> {
        match id.len() {
            0 => Err(Error::new(Kind::InvalidSession, "a session id may not be empty")),
            n if n > SESSION_BYTES_MAX => Err(Error::new(
                Kind::InvalidSession,
                format!("a session id may have at most {SESSION_BYTES_MAX} bytes, this one has {n}"),
            )),
            _ if id.starts_with(WITHIN) => {
                Err(Error::new(Kind::InvalidSession, "a session id may not begin with the noncharacter U+10FFFF"))
            }
            _ => Ok(Self::of(id)),
        }
    }

    /// An id that this relay has written down itself, with its organisation if it has one.
    ///
    /// # Errors
    /// [`Kind::InvalidSession`]: it cannot have.
    pub fn kept(id: &str) -> Result<Self, Error> {
        let kept = Self::of(id);
        Self::new(kept.bare()).map(|_| kept)
    }

    /// The same id in an organisation's space; the empty name is nobody's, where ids are as they come.
    #[must_use]
    pub fn within(&self, org: &str) -> Self {
        match (org, self.org()) {
            ("", None) => self.clone(),
            ("", Some(_)) => Self::of(self.bare()),
            _ => self.elsewhere(org),
        }
    }

    /// The same id as it is addressed in an organisation's space, or with the empty name in nobody's.
    #[must_use]
    pub fn elsewhere(&self, org: &str) -> Self {
        Self::of(&format!("{WITHIN}{org}/{}", self.bare()))
    }

    /// The id as it is kept; with the organisation, if it has one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn of(id: &str) -> Self {
        Self { text: id.into(), hash: KEY.hash_one(id) }
    }

    /// Which of `shards` it belongs to. Other bits of the hash than a map uses, so that a shard's map is spread evenly.
    pub fn shard(&self, shards: usize) -> usize {
        usize::try_from((self.hash >> 40) & 0xffff).unwrap_or(0) % shards
    }

    fn parts(&self) -> (Option<&str>, &str) {
        match self.text.strip_prefix(WITHIN).and_then(|rest| rest.split_once('/')) {
            Some((org, id)) => (Some(org), id),
            None => (None, &self.text),
        }
    }

    /// The id as it is known outside.
    pub fn bare(&self) -> &str {
        self.parts().1
    }

    /// The organisation whose session it is, if it is one's.
    pub fn org(&self) -> Option<&str> {
        self.parts().0
    }
}

/// Whether a text may be an organisation's name: 1 to [`ORG_BYTES_MAX`] of the characters `A-Z a-z 0-9 . _ -`.
pub fn is_org(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ORG_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal)
}

/// The characters of a signature of a signed session: an HMAC-SHA-256 in base64url.
pub const SIGNATURE_CHARS: usize = 43;

/// What stands before the signature of what reads like a signed session, `ID.EXPIRY.SIGNATURE`: `ID.EXPIRY`.
pub fn unsigned(text: &str) -> Option<&str> {
    let (rest, signature) = text.rsplit_once('.')?;
    let (_, expiry) = rest.rsplit_once('.')?;
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let signed = signature.len() == SIGNATURE_CHARS && signature.bytes().all(base64url);
    (signed && !expiry.is_empty() && expiry.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for SessionId {}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for SessionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SessionId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (org, id) = self.parts();
        if let Some(org) = org {
            write!(f, "{org}/")?;
        }
        match unsigned(id) {
            Some(rest) => write!(f, "{}.…", rest.escape_debug()),
            None => write!(f, "{}", id.escape_debug()),
        }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Credentials from outside: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(secret)")
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
    fn sessions_are_told_apart_by_their_text_and_spread_over_shards() {
        let id = |text: &str| SessionId::new(text).expect("an id");
        assert_eq!(id("a"), id("a"));
        assert!(id("a") < id("b") && id("a") != id("b") && id("a").within("x") != id("a"));
        let mut maps = vec![std::collections::HashSet::<SessionId, BySession>::default(); 64];
        for n in 0..6_400 {
            let id = id(&n.to_string());
            assert!(maps[id.shard(64)].insert(id.clone()), "{id}");
            assert!(maps[id.shard(64)].contains(&id), "{id}");
        }
        let sizes = maps.iter().map(|map| map.len());
        assert!(sizes.clone().min() > Some(30) && sizes.max() < Some(250));
    }

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
    fn an_organisations_session_is_another_than_any_from_outside() {
        let (bare, acme) = (SessionId::new("t").expect("an id"), SessionId::new("t").expect("an id").within("acme"));
        assert_ne!(bare, acme);
        assert_eq!((acme.org(), acme.bare(), bare.org(), bare.bare()), (Some("acme"), "t", None, "t"));
        assert!(SessionId::new(acme.as_str()).is_err(), "nobody can spell it");
        assert_eq!(SessionId::kept(acme.as_str()), Ok(acme.clone()));
        assert_eq!(acme.within("other").within("acme"), acme);
        assert_eq!(SessionId::new("a/b").expect("an id").within("x").bare(), "a/b");
        assert!(is_org("a.B_9-") && !is_org("") && !is_org("a/b") && !is_org("ä"));
    }

    #[test]
    fn what_is_shown_of_a_signed_session_has_no_signature() {
        let signed = format!("tab.1.1790000000.{}", "A".repeat(SIGNATURE_CHARS));
        let id = SessionId::new(&signed).expect("legal");
        assert_eq!((id.to_string(), format!("{id:?}")), ("tab.1.1790000000.…".into(), "\"tab.1.1790000000.…\"".into()));
        for other in ["a.b.c", "1.2", "a.1.short", &signed[1..signed.len() - 1]] {
            assert_eq!(SessionId::new(other).expect("legal").to_string(), other);
        }
    }

    #[test]
    fn shown_ids_cannot_forge_log_lines() {
        let id = SessionId::new("a\nb\u{1b}[2J").expect("legal");
        assert_eq!(id.to_string(), "a\\nb\\u{1b}[2J");
    }
}
