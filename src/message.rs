//! A message as it lies in a mailbox.

use bytes::Bytes;
use uuid::Uuid;

/// Its place in a mailbox: rising by one from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Its number in the journal: rising over all mailboxes, in the order of acceptance. Means nothing in memory alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Arrival(pub u64);

/// Milliseconds since 1970-01-01 UTC, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// This time and `duration` more.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms))
    }
}

/// What a payload is, so that the x0 wire knows without reading it again how to add `session_src`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// An object without a member `session_src`.
    Object,
    /// An object with such a member.
    Marked,
    /// Any other value.
    Other,
}

/// What was sent, before it has a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// UUIDv7 (RFC 9562), given by the relay.
    pub id: Uuid,
    /// Who sent it, as the sender says; empty if it did not.
    pub from: Box<str>,
    /// A word for the receiver; empty for the usual one, [`KIND`].
    pub kind: Box<str>,
    /// When the relay accepted it.
    pub accepted: UnixMs,
    /// When it may be dropped undelivered.
    pub expires: UnixMs,
    /// JSON, byte for byte as it came, without white space around it.
    pub payload: Bytes,
    /// What `payload` is.
    pub shape: Shape,
}

/// The type of a message whose sender names none.
pub const KIND: &str = "message";

/// What a message costs beside its payload and sender: the struct, its place in a queue, the allocations' heads.
pub const MESSAGE_OVERHEAD_BYTES: usize = 192;

impl Message {
    /// Its type, as the receiver reads it.
    pub fn kind(&self) -> &str {
        if self.kind.is_empty() { KIND } else { &self.kind }
    }

    /// About what it takes in an answer, in bytes.
    pub fn size(&self) -> usize {
        self.payload.len() + self.from.len() + self.kind.len()
    }

    /// The bytes it is charged with against the limits on mailboxes and memory.
    pub fn cost(&self) -> usize {
        self.size() + MESSAGE_OVERHEAD_BYTES
    }
}
