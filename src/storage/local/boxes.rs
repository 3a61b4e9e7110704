//! The mailboxes themselves: locks and limits.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    Limits,
    keys::{Forgotten, KEY_BYTES, Keys},
};
use crate::{
    cursor::{Cursor, Epoch},
    error::{Error, Kind},
    id::{BySession, SessionId},
    lifecycle::Clock,
    mailbox::{Batch, Capacity, Full, Letter, Mailbox, Max, RANGES_MAX, Removed, Settle},
    message::{Arrival, Message, Seq, UnixMs},
    storage::{
        MayMake, Ring, Swept,
        journal::{Change, Journal, Kept, Known},
    },
};

/// What an empty mailbox costs, beside its name.
const MAILBOX_OVERHEAD_BYTES: usize = 256;
/// Locks, so that sessions seldom wait for each other.
const SHARDS: usize = 64;

pub type Shard = HashMap<SessionId, Mailbox, BySession>;

pub struct Boxes<J> {
    pub shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Mailboxes made so far, from which epochs are drawn.
    births: AtomicU64,
    pub keys: Keys,
    limits: Limits,
    pub mailboxes: AtomicUsize,
    pub messages: AtomicUsize,
    pub bytes: AtomicUsize,
    /// Keys forgotten early since the last sweep told of them.
    pub early_untold: AtomicUsize,
    /// Messages that expired since the last sweep told of them.
    pub expired_untold: AtomicUsize,
    pub clock: Clock,
    ring: Arc<dyn Ring>,
    pub journal: J,
}

impl<J: Journal> Boxes<J> {
    pub fn new(journal: J, limits: Limits, clock: Clock, ring: Arc<dyn Ring>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            births: AtomicU64::new(0),
            keys: Keys::default(),
            limits,
            mailboxes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            early_untold: AtomicUsize::new(0),
            expired_untold: AtomicUsize::new(0),
            clock,
            ring,
            journal,
        }
    }

    /// An epoch that no mailbox had before, in no process: nobody can guess it, and chance does not repeat it.
    pub fn new_epoch(&self) -> Epoch {
        Epoch(self.hasher.hash_one(("epoch", self.births.fetch_add(1, Relaxed))))
    }

    pub fn shard(&self, session: &SessionId) -> MutexGuard<'_, Shard> {
        self.shards[session.shard(SHARDS)].lock()
    }

    /// Reserves room in memory.
    fn charge(&self, bytes: usize) -> Result<(), Error> {
        let before = self.bytes.fetch_add(bytes, Relaxed);
        if before + bytes > self.limits.memory {
            self.bytes.fetch_sub(bytes, Relaxed);
            let detail =
                format!("all mailboxes together may hold {} bytes (memory); try again later", self.limits.memory);
            return Err(Error::new(Kind::MemoryFull, detail));
        }
        Ok(())
    }

    pub fn discharge(&self, removed: Removed) -> Removed {
        self.messages.fetch_sub(removed.messages, Relaxed);
        self.bytes.fetch_sub(removed.bytes, Relaxed);
        removed
    }

    /// Removes what has expired; the next sweep tells of it.
    fn expire(&self, mailbox: &mut Mailbox, now: UnixMs, left: &mut Vec<Arrival>) {
        let expired = self.discharge(mailbox.expire(now, left));
        self.expired_untold.fetch_add(expired.messages, Relaxed);
    }

    /// Tells the journal what left, and what the messages that stay do not tell. Called under the mailbox's lock, so
    /// that the journal hears everything in order.
    fn note_left(&self, of: &SessionId, mailbox: &mut Mailbox, left: Vec<Arrival>) {
        if mailbox.take_missing_changed() || (!left.is_empty() && !mailbox.is_told_by_letters()) {
            self.journal.note(Change::Known(of.clone(), known(mailbox)));
        }
        // Last: a commit may come between the two, and without its messages a mailbox's newest place is to be known.
        if !left.is_empty() {
            self.journal.note(Change::Left(left));
        }
    }

    /// A new mailbox's own cost, reserved.
    fn charge_mailbox(&self, session: &SessionId) -> Result<(), Error> {
        if self.mailboxes.fetch_add(1, Relaxed) >= self.limits.sessions {
            self.mailboxes.fetch_sub(1, Relaxed);
            let detail =
                format!("the relay keeps at most {} mailboxes (sessions); try again later", self.limits.sessions);
            return Err(Error::new(Kind::TooManySessions, detail));
        }
        self.charge(mailbox_cost(session.as_str())).inspect_err(|_| _ = self.mailboxes.fetch_sub(1, Relaxed))
    }

    /// Reserves all that a message to one receiver needs, or nothing. Returns whether that made its mailbox.
    fn prepare(&self, to: &SessionId, message: &Message) -> Result<bool, Error> {
        let (now, cost) = (message.accepted, message.cost());
        let mut shard = self.shard(to);
        if let Some(mailbox) = shard.get_mut(to) {
            let mut left = Vec::new();
            self.expire(mailbox, now, &mut left);
            self.note_left(to, mailbox, left);
        }
        self.charge(cost)?;
        let reserved = match shard.get_mut(to) {
            Some(mailbox) => {
                mailbox.touch(now);
                mailbox.reserve(cost, self.limits.mailbox).map_err(|full| self.no_room(to, full)).map(|()| false)
            }
            None => self.charge_mailbox(to).and_then(|()| {
                let mut mailbox = Mailbox::new(self.new_epoch(), now);
                let reserved = mailbox.reserve(cost, self.limits.mailbox).map_err(|full| self.no_room(to, full));
                match reserved {
                    Ok(()) => _ = shard.insert(to.clone(), mailbox),
                    Err(_) => self.discharge_mailbox(to.as_str()),
                }
                reserved.map(|()| true)
            }),
        };
        reserved.inspect_err(|_| _ = self.bytes.fetch_sub(cost, Relaxed))
    }

    /// Reserves all that a message to several receivers needs, or nothing; the error names all that refuse it. Nobody
    /// pays for a mailbox before there is room for everything.
    pub fn prepare_all(&self, to: &[SessionId], message: &Message, may_make: MayMake<'_>) -> Result<(), Error> {
        let mut refused: Option<Error> = None;
        let mut prepared = Vec::with_capacity(to.len());
        let mut made = Vec::new();
        for session in to {
            match self.prepare(session, message) {
                Ok(is_new) => {
                    prepared.push(session);
                    made.extend(is_new.then_some(session));
                }
                Err(error) => refused.get_or_insert(error).about.push(session.bare().into()),
            }
        }
        if refused.is_none() {
            let about = |session: &SessionId, mut error: Error| {
                error.about.push(session.bare().into());
                error
            };
            refused = made.into_iter().find_map(|session| may_make().err().map(|error| about(session, error)));
        }
        let Some(error) = refused else { return Ok(()) };
        prepared.into_iter().for_each(|session| self.give_back(session, message.cost(), false));
        Err(error)
    }

    fn discharge_mailbox(&self, session: &str) {
        self.mailboxes.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(mailbox_cost(session), Relaxed);
    }

    /// Reserves room for a key.
    pub fn charge_key(&self) -> Result<(), Error> {
        self.charge(KEY_BYTES)
    }

    /// Gives the room of a key back that was not used.
    pub fn discharge_key(&self) {
        self.bytes.fetch_sub(KEY_BYTES, Relaxed);
    }

    /// Tells the journal of keys that are forgotten.
    pub fn note_forgotten(&self, Forgotten { digests, uses, early }: Forgotten) {
        self.early_untold.fetch_add(early, Relaxed);
        self.bytes.fetch_sub(KEY_BYTES * uses, Relaxed);
        if !digests.is_empty() {
            self.journal.note(Change::Keys(digests));
        }
    }

    /// Gives back what was reserved for a message.
    pub fn give_back(&self, to: &SessionId, cost: usize, promised: bool) {
        self.bytes.fetch_sub(cost, Relaxed);
        let mut shard = self.shard(to);
        let Some(mailbox) = shard.get_mut(to) else { return };
        mailbox.give_back(cost);
        if promised {
            mailbox.break_promises();
        }
        if mailbox.is_unused() && mailbox.is_idle() {
            shard.remove(to);
            self.discharge_mailbox(to.as_str());
        }
    }

    /// The place that a message is to take. What has room reserved keeps its mailbox.
    pub fn promise(&self, to: &SessionId) -> (Epoch, Seq) {
        self.shard(to).get_mut(to).map_or_else(Default::default, |mailbox| (mailbox.epoch(), mailbox.promise()))
    }

    /// Puts a safe message into its mailbox, at its promised place if it has one, and rings.
    pub fn place(&self, to: &SessionId, message: Arc<Message>, promised: Option<(Seq, Arrival)>) -> Removed {
        let mut shard = self.shard(to);
        let mut dropped = Removed::default();
        if let Some(mailbox) = shard.get_mut(to) {
            let (seq, arrival) = promised.unwrap_or_else(|| (mailbox.promise(), Arrival::default()));
            let mut left = Vec::new();
            dropped = mailbox.place(Letter { seq, arrival, message }, self.limits.mailbox, &mut left);
            self.messages.fetch_add(1, Relaxed);
            self.discharge(dropped);
            self.note_left(to, mailbox, left);
        }
        drop(shard);
        self.ring.ring(to);
        dropped
    }

    fn no_room(&self, to: &SessionId, full: Full) -> Error {
        let Capacity { messages, bytes, .. } = self.limits.mailbox;
        let detail = format!(
            "the mailbox of \"{to}\" holds {} messages, {} bytes; it may hold {messages} (mailbox-messages), {bytes} bytes \
             (mailbox-bytes), and its receiver has to take some first",
            full.messages, full.bytes
        );
        Error::new(Kind::MailboxFull, detail)
    }

    /// Runs `change` on a mailbox for its receiver, if there is one, after what has expired is gone.
    pub fn with<T: Default>(&self, of: &SessionId, change: impl FnOnce(&mut Mailbox, &mut Vec<Arrival>) -> T) -> T {
        let now = self.clock.now();
        let mut shard = self.shard(of);
        let Some(mailbox) = shard.get_mut(of) else { return T::default() };
        let mut left = Vec::new();
        self.expire(mailbox, now, &mut left);
        mailbox.see(now);
        let result = change(mailbox, &mut left);
        self.note_left(of, mailbox, left);
        result
    }

    /// What comes after a cursor, in a mailbox that is made if there is none: its position becomes known.
    pub fn batch(
        &self,
        of: &SessionId,
        after: Option<Cursor>,
        max: Max,
        may_make: MayMake<'_>,
    ) -> Result<Batch, Error> {
        let now = self.clock.now();
        let mut shard = self.shard(of);
        if !shard.contains_key(of) {
            self.charge_mailbox(of)?;
            may_make().inspect_err(|_| self.discharge_mailbox(of.as_str()))?;
            shard.insert(of.clone(), Mailbox::new(self.new_epoch(), now));
        }
        let Some(mailbox) = shard.get_mut(of) else { return Ok(Batch::default()) };
        let mut left = Vec::new();
        self.expire(mailbox, now, &mut left);
        mailbox.see(now);
        self.note_left(of, mailbox, left);
        if mailbox.make_known() {
            self.journal.note(Change::Known(of.clone(), known(mailbox)));
        }
        mailbox.batch(after, max).map_err(|ahead| ahead_of(of, ahead.last))
    }

    /// Removes what a receiver has.
    pub fn settle(&self, of: &SessionId, what: &Settle) -> Result<Removed, Error> {
        let settled = self.with(of, |mailbox, left| {
            if let Settle::UpTo(Cursor { epoch, seq }) = what
                && *epoch == mailbox.epoch()
                && *seq > mailbox.last()
            {
                return Some(Err(mailbox.last()));
            }
            Some(Ok(self.discharge(mailbox.settle(what, left))))
        });
        settled.unwrap_or(Ok(Removed::default())).map_err(|last| ahead_of(of, last))
    }

    pub fn sweep_shard(&self, shard: &mut Shard, now: UnixMs, swept: &mut Swept) {
        shard.retain(|session, mailbox| {
            let mut left = Vec::new();
            self.expire(mailbox, now, &mut left);
            self.note_left(session, mailbox, left);
            let forget = mailbox.is_idle() && mailbox.touched().0 + self.limits.forget_after_ms <= now.0;
            if forget {
                swept.forgotten += 1;
                self.discharge_mailbox(session.as_str());
                self.journal.note(Change::Forgotten(session.clone()));
            }
            !forget
        });
    }

    /// Runs `change` on a mailbox that comes back, whatever the limits are now.
    pub fn returning(&self, of: &str, new: Mailbox, change: impl FnOnce(&mut Mailbox)) -> Result<(), Error> {
        let session = SessionId::kept(of)?;
        let mut shard = self.shard(&session);
        if let Some(mailbox) = shard.get_mut(&session) {
            change(mailbox);
            return Ok(());
        }
        self.mailboxes.fetch_add(1, Relaxed);
        self.bytes.fetch_add(mailbox_cost(of), Relaxed);
        change(shard.entry(session).or_insert(new));
        Ok(())
    }
}

fn ahead_of(of: &SessionId, last: Seq) -> Error {
    let detail = format!(
        "the cursor is ahead of the mailbox of \"{of}\", whose newest message is {}; pass on the cursor that came with \
         the last message",
        last.0
    );
    Error::new(Kind::InvalidCursor, detail)
}

/// What is to be known of a mailbox beside its messages.
pub fn known(mailbox: &Mailbox) -> Known {
    Known {
        epoch: mailbox.epoch(),
        last: mailbox.last(),
        touched: mailbox.touched(),
        seen: mailbox.seen(),
        lost: mailbox.missing().ranges().take(RANGES_MAX).copied().collect(),
    }
}

fn mailbox_cost(session: &str) -> usize {
    MAILBOX_OVERHEAD_BYTES + session.len()
}

/// Every message in a mailbox, with what the journal writes beside it.
pub fn kept<'a>(session: &'a SessionId, mailbox: &'a Mailbox) -> impl Iterator<Item = Kept> + 'a {
    let epoch = mailbox.epoch();
    mailbox.letters().map(move |letter| Kept { of: session.clone(), epoch, letter: letter.clone() })
}
