//! The pure heart: one session's bounded queue with rising [`Seq`]. No clock, no lock, no I/O.
//!
//! Reading never removes. A message leaves by settlement, expiry, purge or overflow, and whoever causes it is told how
//! many left, and which; who reads on from a cursor is told where something is missing, and why. A message comes in two
//! steps: room is reserved for it, and when it is safe it takes its place.

use std::collections::VecDeque;

use crate::{
    cursor::{Cursor, Epoch, Gap, Reason},
    message::{Arrival, Seq, UnixMs},
};

mod missing;
mod terms;

pub use missing::{Lost, Missing, RANGES_MAX};
pub use terms::{Ahead, Batch, Capacity, Full, Letter, Max, Removed, Settle};

/// One session's queue.
#[derive(Clone, Debug)]
pub struct Mailbox {
    queue: VecDeque<Letter>,
    /// What left undelivered, and is not behind every receiver yet.
    missing: Missing,
    missing_changed: bool,
    epoch: Epoch,
    last: Seq,
    /// The last place given to a message that is on its way.
    promised: Seq,
    bytes: usize,
    /// Room for messages that are on their way.
    reserved: Removed,
    /// Whether a message was ever in it, or somebody holds a cursor of it.
    used: bool,
    /// No message in the queue expires before this.
    calm_until: UnixMs,
    touched: UnixMs,
    /// The last contact of a receiver.
    seen: UnixMs,
}

impl Mailbox {
    /// An empty mailbox, touched `now`.
    pub fn new(epoch: Epoch, now: UnixMs) -> Self {
        Self {
            queue: VecDeque::new(),
            missing: Missing::default(),
            missing_changed: false,
            epoch,
            last: Seq(0),
            promised: Seq(0),
            bytes: 0,
            reserved: Removed::default(),
            used: false,
            calm_until: UnixMs(u64::MAX),
            touched: now,
            seen: UnixMs(0),
        }
    }

    /// A mailbox that was there before, its messages not back yet.
    pub fn known(epoch: Epoch, last: Seq, missing: Missing) -> Self {
        Self { used: true, last, promised: last, missing, ..Self::new(epoch, UnixMs(0)) }
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

    /// Whether no message was ever in it, and nobody knows a position in it.
    pub fn is_unused(&self) -> bool {
        !self.used
    }

    /// Somebody gets to know a position in it: it stays. Returns whether that is new.
    pub fn make_known(&mut self) -> bool {
        !std::mem::replace(&mut self.used, true)
    }

    /// Which life of the session's mailbox this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What was seen of it before is of no meaning any more.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// What left undelivered, and is not behind every receiver yet.
    pub fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Whether that has changed since this was asked last.
    pub fn take_missing_changed(&mut self) -> bool {
        std::mem::take(&mut self.missing_changed)
    }

    fn lose(&mut self, seq: Seq, reason: Reason, oldest: Seq) {
        self.missing.add(seq, reason, oldest);
        self.missing_changed = true;
    }

    /// The stored acknowledgement: everything up to it has reached a receiver, or is known by one to be missing.
    pub fn acknowledged(&self) -> Cursor {
        let first = [self.queue.front().map(|letter| letter.seq), self.missing.first()].into_iter().flatten().min();
        self.at(first.map_or(self.last, |first| Seq(first.0 - 1)))
    }

    fn at(&self, seq: Seq) -> Cursor {
        Cursor { epoch: self.epoch, seq }
    }

    /// Every message, oldest first.
    pub fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.queue.iter()
    }

    /// Whether all that is to be known of it can be told from the messages in it.
    pub fn is_told_by_letters(&self) -> bool {
        self.missing.is_empty() && self.queue.back().is_some_and(|letter| letter.seq == self.last)
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

    /// The last time that somebody received from it; 0: nobody has.
    pub fn seen(&self) -> UnixMs {
        self.seen
    }

    /// Notes that a receiver was here.
    pub fn see(&mut self, now: UnixMs) {
        self.seen = self.seen.max(now);
        self.touch(now);
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
            let Some((oldest, one)) = self.pop_front(left) else { break };
            removed += one;
            self.lose(oldest, Reason::Overflow, oldest.next());
        }
        self.take_in(letter);
        removed
    }

    /// Puts a message behind all others that was in the mailbox before, whatever the limits are now.
    pub fn restore(&mut self, letter: Letter) {
        // Of a hole between messages of which nothing is known, all that is sure is that nobody has to wait for it.
        if let Some(before) = self.queue.back().map(|letter| letter.seq)
            && before.next() < letter.seq
            && self.missing.at_or_after(before.next()).is_none_or(|lost| lost.from > letter.seq)
        {
            let to = Seq(letter.seq.0 - 1);
            self.missing.add_range(Lost { from: before.next(), to, reason: Reason::Expired });
        }
        self.take_in(letter);
    }

    fn take_in(&mut self, letter: Letter) {
        self.last = self.last.max(letter.seq);
        self.promised = self.promised.max(self.last);
        self.used = true;
        self.bytes += letter.message.cost();
        self.calm_until = self.calm_until.min(letter.message.expires);
        self.queue.push_back(letter);
    }

    /// The oldest messages after `after`, in order, as far as `max` allows; holes are passed over.
    pub fn read(&self, after: Seq, max: Max) -> Vec<Letter> {
        self.run(after, max, false)
    }

    /// What comes after a cursor, or after the stored acknowledgement.
    ///
    /// # Errors
    /// [`Ahead`].
    pub fn batch(&self, after: Option<Cursor>, max: Max) -> Result<Batch, Ahead> {
        let (at, mut gap) = match after {
            None => (self.acknowledged().seq, None),
            Some(Cursor { epoch, .. }) if epoch != self.epoch => {
                (self.acknowledged().seq, Some(Gap { range: None, reason: Reason::Epoch }))
            }
            Some(Cursor { seq, .. }) if seq > self.last => return Err(Ahead { last: self.last }),
            Some(Cursor { seq, .. }) => (seq, None),
        };
        let mut end = at;
        let mut letters = Vec::new();
        match self.hole_after(at) {
            // One gap at a time: this one is told next.
            Some(_) if gap.is_some() => {}
            Some((from, to, reason)) => {
                gap = Some(Gap { range: Some((from, to)), reason });
                end = to;
                letters = self.run(to, max, true);
            }
            None => letters = self.run(at, max, true),
        }
        end = letters.last().map_or(end, |letter| letter.seq);
        Ok(Batch { gap, letters, cursor: self.at(end), more: end < self.last })
    }

    /// The messages missing right after a place, and why, if the next one is.
    fn hole_after(&self, at: Seq) -> Option<(Seq, Seq, Reason)> {
        let from = at.next();
        let next = self.queue.get(self.queue.partition_point(|letter| letter.seq <= at));
        let end = next.map_or(self.last, |letter| Seq(letter.seq.0 - 1));
        if from > end {
            return None;
        }
        Some(match self.missing.at_or_after(from) {
            Some(lost) if lost.from <= from => (from, lost.to.min(end), lost.reason),
            Some(lost) => (from, Seq(lost.from.0 - 1).min(end), Reason::Taken),
            None => (from, end, Reason::Taken),
        })
    }

    /// Messages after `after`, up to the next hole if they are to be `unbroken`.
    fn run(&self, after: Seq, max: Max, unbroken: bool) -> Vec<Letter> {
        let start = self.queue.partition_point(|letter| letter.seq <= after);
        let (mut bytes, mut at) = (0, after);
        let mut batch = Vec::new();
        for letter in self.queue.iter().skip(start).take(max.messages) {
            bytes += letter.message.size();
            if (bytes > max.bytes && !batch.is_empty()) || (unbroken && letter.seq != at.next()) {
                break;
            }
            at = letter.seq;
            batch.push(letter.clone());
        }
        batch
    }

    /// Removes what a receiver has; what is not there (any more) is passed over. What left is added to `left`.
    pub fn settle(&mut self, what: &Settle, left: &mut Vec<Arrival>) -> Removed {
        let mut removed = Removed::default();
        match what {
            Settle::UpTo(upto) if upto.epoch == self.epoch => {
                while self.queue.front().is_some_and(|letter| letter.seq <= upto.seq) {
                    removed += self.pop_front(left).map_or(Removed::default(), |(_, one)| one);
                }
                self.missing_changed |= self.missing.forget(upto.seq);
            }
            Settle::Only(epoch, seqs) if *epoch == self.epoch => {
                removed = self.remove_where(|letter| seqs.binary_search(&letter.seq).is_ok(), left, None);
            }
            Settle::UpTo(_) | Settle::Only(..) => {}
        }
        self.shrink();
        removed
    }

    /// Removes what expired at `now` or before, and adds it to `left`.
    pub fn expire(&mut self, now: UnixMs, left: &mut Vec<Arrival>) -> Removed {
        if now < self.calm_until {
            return Removed::default();
        }
        let removed = self.remove_where(|letter| letter.message.expires <= now, left, Some(Reason::Expired));
        self.calm_until = self.queue.iter().map(|letter| letter.message.expires).min().unwrap_or(UnixMs(u64::MAX));
        self.shrink();
        removed
    }

    /// Removes everything, and adds it to `left`.
    pub fn purge(&mut self, left: &mut Vec<Arrival>) -> Removed {
        let removed = self.remove_where(|_| true, left, Some(Reason::Purged));
        self.shrink();
        removed
    }

    fn pop_front(&mut self, left: &mut Vec<Arrival>) -> Option<(Seq, Removed)> {
        let letter = self.queue.pop_front()?;
        left.push(letter.arrival);
        let bytes = letter.message.cost();
        self.bytes -= bytes;
        Some((letter.seq, Removed { messages: 1, bytes }))
    }

    fn remove_where(
        &mut self,
        gone: impl Fn(&Letter) -> bool,
        left: &mut Vec<Arrival>,
        lost: Option<Reason>,
    ) -> Removed {
        let mut removed = Removed::default();
        let mut seqs = Vec::new();
        self.queue.retain(|letter| {
            let leaves = gone(letter);
            if leaves {
                left.push(letter.arrival);
                removed += Removed { messages: 1, bytes: letter.message.cost() };
                seqs.push(letter.seq);
            }
            !leaves
        });
        self.bytes -= removed.bytes;
        if let Some(reason) = lost {
            let oldest = self.queue.front().map_or(self.last.next(), |letter| letter.seq);
            seqs.into_iter().for_each(|seq| self.lose(seq, reason, oldest));
        }
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
