//! The pure heart: one session's bounded queue with rising [`Seq`]. No clock, no lock, no I/O.
//!
//! Reading never removes. A message leaves by settlement, expiry, purge or overflow, and whoever causes it is told how
//! many left.

use std::{collections::VecDeque, sync::Arc};

use crate::message::{Message, Seq, UnixMs};

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

/// Which messages a receiver has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settle {
    /// All up to this one.
    UpTo(Seq),
    /// Just these, in rising order.
    Only(Vec<Seq>),
}

/// A message at its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Its place.
    pub seq: Seq,
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

/// One session's queue.
#[derive(Clone, Debug)]
pub struct Mailbox {
    queue: VecDeque<Letter>,
    last: Seq,
    bytes: usize,
    /// No message in the queue expires before this.
    calm_until: UnixMs,
    touched: UnixMs,
}

impl Mailbox {
    /// An empty mailbox, touched `now`; its first message comes after `last`.
    pub fn new(last: Seq, now: UnixMs) -> Self {
        Self { queue: VecDeque::new(), last, bytes: 0, calm_until: UnixMs(u64::MAX), touched: now }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes in it, as [`Message::cost`] counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest message's place, even if that message has left.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// The oldest message.
    pub fn oldest(&self) -> Option<&Letter> {
        self.queue.front()
    }

    /// The last time that somebody sent to it or received from it.
    pub fn touched(&self) -> UnixMs {
        self.touched
    }

    /// Notes that somebody was here.
    pub fn touch(&mut self, now: UnixMs) {
        self.touched = self.touched.max(now);
    }

    /// Puts a message behind all others; with `drop_oldest`, what had to leave for it is returned.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or if the message alone is beyond the capacity.
    pub fn push(&mut self, message: Arc<Message>, capacity: Capacity) -> Result<(Seq, Removed), Full> {
        let cost = message.cost();
        let full = Full { messages: self.queue.len(), bytes: self.bytes };
        if cost > capacity.bytes || capacity.messages == 0 {
            return Err(full);
        }
        let mut removed = Removed::default();
        while self.queue.len() >= capacity.messages || self.bytes + cost > capacity.bytes {
            if !capacity.drop_oldest {
                return Err(full);
            }
            removed += self.pop_front();
        }
        self.last = self.last.next();
        self.bytes += cost;
        self.calm_until = self.calm_until.min(message.expires);
        self.queue.push_back(Letter { seq: self.last, message });
        Ok((self.last, removed))
    }

    /// The oldest messages after `after`, in order, as far as `max` allows.
    pub fn read(&self, after: Seq, max: Max) -> Vec<Letter> {
        let start = self.queue.partition_point(|letter| letter.seq <= after);
        let mut bytes = 0;
        let mut batch = Vec::new();
        for letter in self.queue.iter().skip(start).take(max.messages) {
            bytes += letter.message.size();
            if bytes > max.bytes && !batch.is_empty() {
                break;
            }
            batch.push(letter.clone());
        }
        batch
    }

    /// Removes what a receiver has; what is not there (any more) is passed over.
    pub fn settle(&mut self, what: &Settle) -> Removed {
        let mut removed = Removed::default();
        match what {
            Settle::UpTo(upto) => {
                while self.queue.front().is_some_and(|letter| letter.seq <= *upto) {
                    removed += self.pop_front();
                }
            }
            Settle::Only(seqs) => {
                removed = self.remove_where(|letter| seqs.binary_search(&letter.seq).is_ok());
            }
        }
        self.shrink();
        removed
    }

    /// Removes what expired at `now` or before.
    pub fn expire(&mut self, now: UnixMs) -> Removed {
        if now < self.calm_until {
            return Removed::default();
        }
        let removed = self.remove_where(|letter| letter.message.expires <= now);
        self.calm_until = self.queue.iter().map(|letter| letter.message.expires).min().unwrap_or(UnixMs(u64::MAX));
        self.shrink();
        removed
    }

    /// Removes everything.
    pub fn purge(&mut self) -> Removed {
        self.settle(&Settle::UpTo(Seq(u64::MAX)))
    }

    fn pop_front(&mut self) -> Removed {
        let Some(letter) = self.queue.pop_front() else { return Removed::default() };
        let bytes = letter.message.cost();
        self.bytes -= bytes;
        Removed { messages: 1, bytes }
    }

    fn remove_where(&mut self, gone: impl Fn(&Letter) -> bool) -> Removed {
        let mut removed = Removed::default();
        self.queue.retain(|letter| {
            let leaves = gone(letter);
            if leaves {
                removed += Removed { messages: 1, bytes: letter.message.cost() };
            }
            !leaves
        });
        self.bytes -= removed.bytes;
        removed
    }

    /// A mailbox that was full once does not keep the room for ever.
    fn shrink(&mut self) {
        if self.queue.capacity() > 64 && self.queue.len() < self.queue.capacity() / 4 {
            self.queue.shrink_to(self.queue.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests;
