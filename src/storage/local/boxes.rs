//! The mailboxes themselves: locks, limits, and what a journal asks of them.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::Limits;
use crate::{
    error::{Error, Kind},
    id::SessionId,
    lifecycle::Clock,
    mailbox::{Capacity, Full, Letter, Mailbox, Removed},
    message::{Arrival, Message, Seq, UnixMs},
    storage::{
        Appended, Ring, Swept,
        journal::{Change, Journal, Kept, Known, Memory, Sending, Snapshot},
    },
};

/// What an empty mailbox costs, beside its name.
const MAILBOX_OVERHEAD_BYTES: usize = 256;
/// Locks, so that sessions seldom wait for each other.
const SHARDS: usize = 64;

pub type Shard = HashMap<SessionId, Mailbox>;

pub struct Boxes<J> {
    pub shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    limits: Limits,
    pub mailboxes: AtomicUsize,
    pub messages: AtomicUsize,
    pub bytes: AtomicUsize,
    /// The highest place in any mailbox that was forgotten. New ones start behind it, so that whoever still knows a
    /// place in an old one removes nothing from its successor.
    last_forgotten: AtomicU64,
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
            limits,
            mailboxes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            last_forgotten: AtomicU64::new(0),
            expired_untold: AtomicUsize::new(0),
            clock,
            ring,
            journal,
        }
    }

    fn shard(&self, session: &str) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(session) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock()
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

    /// Tells the journal what left. Called under the mailbox's lock, so that the journal hears everything in order.
    fn note_left(&self, of: &SessionId, mailbox: &Mailbox, left: Vec<Arrival>) {
        if !left.is_empty() {
            let known = (!mailbox.shows_last()).then(|| (of.clone(), known(mailbox)));
            self.journal.note(Change::Left(left, known));
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
        self.charge(mailbox_cost(session.as_str())).inspect_err(|_| {
            self.mailboxes.fetch_sub(1, Relaxed);
        })
    }

    /// Reserves all that a message needs, or nothing.
    pub fn prepare(&self, to: &SessionId, message: &Message) -> Result<(), Error> {
        let (now, cost) = (message.accepted, message.cost());
        let mut shard = self.shard(to.as_str());
        if let Some(mailbox) = shard.get_mut(to) {
            let mut left = Vec::new();
            self.expire(mailbox, now, &mut left);
            self.note_left(to, mailbox, left);
        }
        self.charge(cost)?;
        let reserved = match shard.get_mut(to) {
            Some(mailbox) => {
                mailbox.touch(now);
                mailbox.reserve(cost, self.limits.mailbox).map_err(|full| self.no_room(to, full))
            }
            None => self.charge_mailbox(to).and_then(|()| {
                let mut mailbox = Mailbox::new(Seq(self.last_forgotten.load(Relaxed)), now);
                let reserved = mailbox.reserve(cost, self.limits.mailbox).map_err(|full| self.no_room(to, full));
                match reserved {
                    Ok(()) => _ = shard.insert(to.clone(), mailbox),
                    Err(_) => self.discharge_mailbox(to.as_str()),
                }
                reserved
            }),
        };
        reserved.inspect_err(|_| _ = self.bytes.fetch_sub(cost, Relaxed))
    }

    fn discharge_mailbox(&self, session: &str) {
        self.mailboxes.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(mailbox_cost(session), Relaxed);
    }

    /// Gives back what was reserved for a message.
    fn give_back(&self, to: &SessionId, cost: usize, promised: bool) {
        self.bytes.fetch_sub(cost, Relaxed);
        let mut shard = self.shard(to.as_str());
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

    /// The place that a message is to take.
    fn promise(&self, to: &SessionId) -> Seq {
        // What has room reserved keeps its mailbox.
        self.shard(to.as_str()).get_mut(to).map_or(Seq(0), Mailbox::promise)
    }

    /// Puts a safe message into its mailbox, at its promised place if it has one, and rings.
    fn place(&self, to: &SessionId, message: Arc<Message>, promised: Option<(Seq, Arrival)>) -> Appended {
        let mut shard = self.shard(to.as_str());
        let (mut seq, mut dropped) = (Seq(0), Removed::default());
        if let Some(mailbox) = shard.get_mut(to) {
            let (at, arrival) = promised.unwrap_or_else(|| (mailbox.promise(), Arrival::default()));
            let mut left = Vec::new();
            let letter = Letter { seq: at, arrival, message };
            (seq, dropped) = (at, mailbox.place(letter, self.limits.mailbox, &mut left));
            self.messages.fetch_add(1, Relaxed);
            self.discharge(dropped);
            self.note_left(to, mailbox, left);
        }
        drop(shard);
        self.ring.ring(to);
        Appended { seq, dropped }
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

    /// Runs `change` on a mailbox, if there is one, after what has expired is gone.
    pub fn with<T: Default>(&self, of: &SessionId, change: impl FnOnce(&mut Mailbox, &mut Vec<Arrival>) -> T) -> T {
        let now = self.clock.now();
        let mut shard = self.shard(of.as_str());
        let Some(mailbox) = shard.get_mut(of) else { return T::default() };
        let mut left = Vec::new();
        self.expire(mailbox, now, &mut left);
        mailbox.touch(now);
        let result = change(mailbox, &mut left);
        self.note_left(of, mailbox, left);
        result
    }

    pub fn sweep_shard(&self, shard: &mut Shard, now: UnixMs, swept: &mut Swept) {
        shard.retain(|session, mailbox| {
            let mut left = Vec::new();
            self.expire(mailbox, now, &mut left);
            self.note_left(session, mailbox, left);
            let forget = mailbox.is_idle() && mailbox.touched().0 + self.limits.forget_after_ms <= now.0;
            if forget {
                swept.forgotten += 1;
                self.last_forgotten.fetch_max(mailbox.last().0, Relaxed);
                self.discharge_mailbox(session.as_str());
                self.journal.note(Change::Forgotten(session.clone(), mailbox.last()));
            }
            !forget
        });
    }

    /// Runs `change` on a mailbox that comes back, whatever the limits are now.
    fn returning(&self, of: &str, new: Mailbox, change: impl FnOnce(&mut Mailbox)) -> Result<(), Error> {
        let mut shard = self.shard(of);
        if let Some(mailbox) = shard.get_mut(of) {
            change(mailbox);
            return Ok(());
        }
        self.mailboxes.fetch_add(1, Relaxed);
        self.bytes.fetch_add(mailbox_cost(of), Relaxed);
        change(shard.entry(SessionId::new(of)?).or_insert(new));
        Ok(())
    }
}

fn known(mailbox: &Mailbox) -> Known {
    Known { last: mailbox.last(), touched: mailbox.touched() }
}

fn mailbox_cost(session: &str) -> usize {
    MAILBOX_OVERHEAD_BYTES + session.len()
}

impl<J: Journal> Memory for Boxes<J> {
    fn restore_forgotten(&self, last: Seq) {
        self.last_forgotten.fetch_max(last.0, Relaxed);
    }

    fn restore_mailbox(&self, of: &str, known: Known) -> Result<(), Error> {
        self.returning(of, Mailbox::known(known.last, known.touched), |_| ())
    }

    fn restore(&self, of: &str, letter: Letter) -> Result<(), Error> {
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(letter.message.cost(), Relaxed);
        let accepted = letter.message.accepted;
        self.returning(of, Mailbox::known(Seq(0), accepted), |mailbox| {
            mailbox.touch(accepted);
            mailbox.restore(letter);
        })
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for shard in &self.shards {
            for (session, mailbox) in shard.lock().iter().filter(|(_, mailbox)| !mailbox.is_unused()) {
                let kept = |letter: &Letter| Kept { of: session.clone(), letter: letter.clone() };
                snapshot.messages.extend(mailbox.letters().map(kept));
                if !mailbox.shows_last() {
                    snapshot.mailboxes.push((session.clone(), known(mailbox)));
                }
            }
        }
        // After the mailboxes: one that is forgotten meanwhile is counted here at least.
        snapshot.forgotten = Seq(self.last_forgotten.load(Relaxed));
        snapshot.messages.sort_unstable_by_key(|kept| kept.letter.arrival);
        snapshot
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

/// A message between its reservation and its mailbox.
pub struct Parcel<J: Journal> {
    pub boxes: Arc<Boxes<J>>,
    pub to: SessionId,
    pub message: Arc<Message>,
    pub promised: Option<(Seq, Arrival)>,
    pub answer: oneshot::Sender<Result<Appended, Error>>,
}

impl<J: Journal> Sending for Parcel<J> {
    fn keep(self: Box<Self>) {
        self.arrive();
    }

    fn promise(&mut self, arrival: Arrival) -> Kept {
        let seq = self.boxes.promise(&self.to);
        self.promised = Some((seq, arrival));
        Kept { of: self.to.clone(), letter: Letter { seq, arrival, message: Arc::clone(&self.message) } }
    }

    fn arrive(self: Box<Self>) {
        let appended = self.boxes.place(&self.to, self.message, self.promised);
        // Nobody waits any more: the sender hung up. The message is in its mailbox all the same.
        let _ = self.answer.send(Ok(appended));
    }

    fn refuse(self: Box<Self>, why: Error) {
        self.boxes.give_back(&self.to, self.message.cost(), self.promised.is_some());
        let _ = self.answer.send(Err(why));
    }
}
