//! The pure heart: one session's bounded queue with rising [`Seq`]. No clock, no lock, no I/O.
//!
//! Reading never removes. A message leaves by settlement, expiry, purge or overflow, and whoever causes it is told how
//! many left, and which. A message comes in two steps: room is reserved for it, and when it is safe it takes its place.

use std::{collections::VecDeque, sync::Arc};

use crate::message::{Arrival, Message, Seq, UnixMs};

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

/// One session's queue.
#[derive(Clone, Debug)]
pub struct Mailbox {
    queue: VecDeque<Letter>,
    last: Seq,
    /// The last place given to a message that is on its way.
    promised: Seq,
    bytes: usize,
    /// Room for messages that are on their way.
    reserved: Removed,
    /// Whether a message was ever in it.
    used: bool,
    /// No message in the queue expires before this.
    calm_until: UnixMs,
    touched: UnixMs,
}

impl Mailbox {
    /// An empty mailbox, touched `now`; its first message comes after `last`.
    pub fn new(last: Seq, now: UnixMs) -> Self {
        Self {
            queue: VecDeque::new(),
            last,
            promised: last,
            bytes: 0,
            reserved: Removed::default(),
            used: false,
            calm_until: UnixMs(u64::MAX),
            touched: now,
        }
    }

    /// The mailbox of which only the last place is known, empty.
    pub fn known(last: Seq, touched: UnixMs) -> Self {
        Self { used: true, ..Self::new(last, touched) }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nothing is in it, nor on its way to it.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reserved.messages == 0
    }

    /// Whether no message was ever in it.
    pub fn is_unused(&self) -> bool {
        !self.used
    }

    /// Every message, oldest first.
    pub fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.queue.iter()
    }

    /// Whether its last place can be told from the messages in it.
    pub fn shows_last(&self) -> bool {
        self.queue.back().is_some_and(|letter| letter.seq == self.last)
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

    /// Reserves room for a message. With `drop_oldest` there is room for whatever is not beyond the capacity alone.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or if the message alone is beyond the capacity.
    pub fn reserve(&mut self, cost: usize, capacity: Capacity) -> Result<(), Full> {
        let messages = self.queue.len() + self.reserved.messages;
        let bytes = self.bytes + self.reserved.bytes;
        let alone = cost > capacity.bytes || capacity.messages == 0;
        if alone || (!capacity.drop_oldest && (messages >= capacity.messages || bytes + cost > capacity.bytes)) {
            return Err(Full { messages: self.queue.len(), bytes: self.bytes });
        }
        self.reserved += Removed { messages: 1, bytes: cost };
        Ok(())
    }

    /// Gives the room of a message back that does not come.
    pub fn give_back(&mut self, cost: usize) {
        self.reserved.messages -= 1;
        self.reserved.bytes -= cost;
    }

    /// The next message's place, if it becomes safe.
    pub fn promise(&mut self) -> Seq {
        self.promised = self.promised.next();
        self.promised
    }

    /// None of the messages that were promised a place comes.
    pub fn break_promises(&mut self) {
        self.promised = self.last;
    }

    /// Puts a message for which room is reserved behind all others. With `drop_oldest`, what has to leave for it is
    /// returned, and added to `left`.
    pub fn place(&mut self, letter: Letter, capacity: Capacity, left: &mut Vec<Arrival>) -> Removed {
        let cost = letter.message.cost();
        self.give_back(cost);
        let mut removed = Removed::default();
        while capacity.drop_oldest
            && !self.queue.is_empty()
            && (self.queue.len() >= capacity.messages || self.bytes + cost > capacity.bytes)
        {
            removed += self.pop_front(left);
        }
        self.restore(letter);
        removed
    }

    /// Puts a message behind all others that was in a mailbox before, whatever the limits are now.
    pub fn restore(&mut self, letter: Letter) {
        self.last = self.last.max(letter.seq);
        self.promised = self.promised.max(self.last);
        self.used = true;
        self.bytes += letter.message.cost();
        self.calm_until = self.calm_until.min(letter.message.expires);
        self.queue.push_back(letter);
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

    /// Removes what a receiver has; what is not there (any more) is passed over. What left is added to `left`.
    pub fn settle(&mut self, what: &Settle, left: &mut Vec<Arrival>) -> Removed {
        let mut removed = Removed::default();
        match what {
            Settle::UpTo(upto) => {
                while self.queue.front().is_some_and(|letter| letter.seq <= *upto) {
                    removed += self.pop_front(left);
                }
            }
            Settle::Only(seqs) => {
                removed = self.remove_where(|letter| seqs.binary_search(&letter.seq).is_ok(), left);
            }
        }
        self.shrink();
        removed
    }

    /// Removes what expired at `now` or before, and adds it to `left`.
    pub fn expire(&mut self, now: UnixMs, left: &mut Vec<Arrival>) -> Removed {
        if now < self.calm_until {
            return Removed::default();
        }
        let removed = self.remove_where(|letter| letter.message.expires <= now, left);
        self.calm_until = self.queue.iter().map(|letter| letter.message.expires).min().unwrap_or(UnixMs(u64::MAX));
        self.shrink();
        removed
    }

    /// Removes everything, and adds it to `left`.
    pub fn purge(&mut self, left: &mut Vec<Arrival>) -> Removed {
        self.settle(&Settle::UpTo(Seq(u64::MAX)), left)
    }

    fn pop_front(&mut self, left: &mut Vec<Arrival>) -> Removed {
        let Some(letter) = self.queue.pop_front() else { return Removed::default() };
        left.push(letter.arrival);
        let bytes = letter.message.cost();
        self.bytes -= bytes;
        Removed { messages: 1, bytes }
    }

    fn remove_where(&mut self, gone: impl Fn(&Letter) -> bool, left: &mut Vec<Arrival>) -> Removed {
        let mut removed = Removed::default();
        self.queue.retain(|letter| {
            let leaves = gone(letter);
            if leaves {
                left.push(letter.arrival);
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
