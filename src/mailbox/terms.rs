//! What is said to a mailbox, and what it answers.

use std::sync::Arc;

use crate::{
    cursor::{Cursor, Epoch, Gap},
    message::{Arrival, Message, Seq},
};

/// How much one mailbox may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// The most messages.
    pub messages: usize,
    /// The most bytes, as [`Message::cost`] counts them.
    pub bytes: usize,
    /// Whether the oldest make room for the newest.
    pub drop_oldest: bool,
}

/// How much one read returns. The first message always comes, whatever its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Max {
    /// The most messages.
    pub messages: usize,
    /// The most bytes, as [`Message::size`] counts them.
    pub bytes: usize,
}

/// Which messages a receiver has. What belongs to another life of the mailbox is not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settle {
    /// All up to this one.
    UpTo(Cursor),
    /// Just these, in rising order.
    Only(Epoch, Vec<Seq>),
}

/// What comes after a cursor: at most one gap, then messages without a hole between them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// What is missing before the messages.
    pub gap: Option<Gap>,
    /// The messages, oldest first.
    pub letters: Vec<Letter>,
    /// The position behind all this.
    pub cursor: Cursor,
    /// Whether there is more behind that: messages, or another gap.
    pub more: bool,
}

impl Batch {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.gap.is_none() && self.letters.is_empty()
    }
}

/// A cursor beyond the newest message, which nobody was ever given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ahead {
    /// The newest message's place.
    pub last: Seq,
}

/// A message at its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Its place.
    pub seq: Seq,
    /// Its number in the journal.
    pub arrival: Arrival,
    /// What was sent.
    pub message: Arc<Message>,
}

/// How much left a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Messages.
    pub messages: usize,
    /// Bytes, as [`Message::cost`] counts them.
    pub bytes: usize,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// A push that found no room: the mailbox is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// Messages in the mailbox.
    pub messages: usize,
    /// Bytes in the mailbox.
    pub bytes: usize,
}
