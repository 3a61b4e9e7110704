//! Mailboxes in this process's memory; a [`Journal`] beneath decides how safe they are.

use std::{
    collections::{HashMap, hash_map::RandomState},
    future::ready,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{
    Appended, Later, MailboxInfo, Ring, Store, Swept, Totals,
    journal::{Event, Journal},
};
use crate::{
    error::{Error, Kind},
    id::SessionId,
    lifecycle::Clock,
    mailbox::{Capacity, Full, Letter, Mailbox, Max, Removed, Settle},
    message::{Message, Seq, UnixMs},
};

/// What an empty mailbox costs, beside its name.
const MAILBOX_OVERHEAD_BYTES: usize = 256;
/// Locks, so that sessions seldom wait for each other.
const SHARDS: usize = 64;

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In one mailbox.
    pub mailbox: Capacity,
    /// Mailboxes.
    pub sessions: usize,
    /// Bytes in all mailboxes together, as [`Totals::bytes`] counts them.
    pub memory: usize,
    /// An empty mailbox is forgotten after this many milliseconds without a contact.
    pub forget_after_ms: u64,
}

/// The store of one process.
pub struct Local<J> {
    boxes: Arc<Boxes>,
    journal: J,
}

struct Boxes {
    shards: Vec<Mutex<HashMap<SessionId, Mailbox>>>,
    hasher: RandomState,
    limits: Limits,
    mailboxes: AtomicUsize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The highest place in any mailbox that was forgotten. New ones start behind it, so that whoever still knows a
    /// place in an old one removes nothing from its successor.
    last_forgotten: AtomicU64,
    /// Messages that expired since the last sweep told of them.
    expired_untold: AtomicUsize,
    clock: Clock,
    ring: Arc<dyn Ring>,
}

impl<J: Journal> Local<J> {
    /// A store without mailboxes, which rings `ring` for every message.
    pub fn new(journal: J, limits: Limits, clock: Clock, ring: Arc<dyn Ring>) -> Self {
        let boxes = Boxes {
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
        };
        Self { boxes: Arc::new(boxes), journal }
    }
}

impl Boxes {
    fn shard(&self, session: &SessionId) -> MutexGuard<'_, HashMap<SessionId, Mailbox>> {
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

    fn discharge(&self, removed: Removed) -> Removed {
        self.messages.fetch_sub(removed.messages, Relaxed);
        self.bytes.fetch_sub(removed.bytes, Relaxed);
        removed
    }

    /// Removes what has expired; the next sweep tells of it.
    fn expire(&self, mailbox: &mut Mailbox, now: UnixMs) {
        let expired = self.discharge(mailbox.expire(now));
        self.expired_untold.fetch_add(expired.messages, Relaxed);
    }

    /// A new mailbox's own cost, reserved.
    fn charge_mailbox(&self, session: &SessionId) -> Result<(), Error> {
        if self.mailboxes.fetch_add(1, Relaxed) >= self.limits.sessions {
            self.mailboxes.fetch_sub(1, Relaxed);
            let detail =
                format!("the relay keeps at most {} mailboxes (sessions); try again later", self.limits.sessions);
            return Err(Error::new(Kind::TooManySessions, detail));
        }
        self.charge(mailbox_cost(session)).inspect_err(|_| {
            self.mailboxes.fetch_sub(1, Relaxed);
        })
    }

    /// Puts a safe message into its mailbox.
    fn apply(&self, to: &SessionId, message: Message) -> Result<Appended, Error> {
        let now = message.accepted;
        let cost = message.cost();
        let mut shard = self.shard(to);
        let mailbox = match shard.get_mut(to) {
            Some(mailbox) => {
                self.expire(mailbox, now);
                self.charge(cost)?;
                mailbox
            }
            None => {
                self.charge(cost)?;
                self.charge_mailbox(to).inspect_err(|_| {
                    self.bytes.fetch_sub(cost, Relaxed);
                })?;
                let last = Seq(self.last_forgotten.load(Relaxed));
                shard.entry(to.clone()).or_insert_with(|| Mailbox::new(last, now))
            }
        };
        match mailbox.push(Arc::new(message), self.limits.mailbox) {
            Ok((seq, dropped)) => {
                mailbox.touch(now);
                self.messages.fetch_add(1, Relaxed);
                self.discharge(dropped);
                Ok(Appended { seq, dropped })
            }
            Err(full) => {
                self.bytes.fetch_sub(cost, Relaxed);
                Err(self.no_room(to, full))
            }
        }
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
    fn with<T: Default>(&self, of: &SessionId, change: impl FnOnce(&mut Mailbox) -> T) -> T {
        let now = self.clock.now();
        let mut shard = self.shard(of);
        let Some(mailbox) = shard.get_mut(of) else { return T::default() };
        self.expire(mailbox, now);
        mailbox.touch(now);
        change(mailbox)
    }

    fn sweep_shard(&self, shard: &mut HashMap<SessionId, Mailbox>, now: UnixMs, swept: &mut Swept) {
        shard.retain(|session, mailbox| {
            self.expire(mailbox, now);
            let forget = mailbox.is_empty() && mailbox.touched().0 + self.limits.forget_after_ms <= now.0;
            if forget {
                swept.forgotten += 1;
                self.last_forgotten.fetch_max(mailbox.last().0, Relaxed);
                self.mailboxes.fetch_sub(1, Relaxed);
                self.bytes.fetch_sub(mailbox_cost(session), Relaxed);
            }
            !forget
        });
    }
}

fn mailbox_cost(session: &SessionId) -> usize {
    MAILBOX_OVERHEAD_BYTES + session.as_str().len()
}

fn now<T: Send + 'static>(result: Result<T, Error>) -> Later<T> {
    Box::pin(ready(result))
}

impl<J: Journal> Store for Local<J> {
    fn append(&self, to: SessionId, message: Message) -> Later<Appended> {
        let (answer, result) = oneshot::channel();
        let boxes = Arc::clone(&self.boxes);
        let done = move |Event::Append(to, message): Event, safe: Result<(), Error>| {
            let applied = safe.and_then(|()| boxes.apply(&to, message));
            if applied.is_ok() {
                boxes.ring.ring(&to);
            }
            // Nobody waits any more: the sender hung up. The message is in its mailbox all the same.
            let _ = answer.send(applied);
        };
        self.journal.append(Event::Append(to, message), Box::new(done));
        Box::pin(async move {
            result.await.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the journal gave no answer; try again")))
        })
    }

    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Vec<Letter>> {
        now(Ok(self.boxes.with(of, |mailbox| mailbox.read(after, max))))
    }

    fn settle(&self, of: &SessionId, what: &Settle) -> Later<Removed> {
        now(Ok(self.boxes.with(of, |mailbox| self.boxes.discharge(mailbox.settle(what)))))
    }

    fn purge(&self, of: &SessionId) -> Later<Removed> {
        now(Ok(self.boxes.with(of, |mailbox| self.boxes.discharge(mailbox.purge()))))
    }

    fn sweep(&self) -> Later<Swept> {
        let time = self.boxes.clock.now();
        let mut swept = Swept::default();
        for shard in &self.boxes.shards {
            self.boxes.sweep_shard(&mut shard.lock(), time, &mut swept);
        }
        swept.expired = self.boxes.expired_untold.swap(0, Relaxed);
        now(Ok(swept))
    }

    fn survey(&self, max: usize) -> Later<(Totals, Vec<MailboxInfo>)> {
        let mut list = Vec::new();
        if max > 0 {
            for shard in &self.boxes.shards {
                list.extend(shard.lock().iter().map(|(session, mailbox)| MailboxInfo {
                    session: session.clone(),
                    messages: mailbox.len(),
                    bytes: mailbox.bytes(),
                    oldest: mailbox.oldest().map(|letter| letter.message.accepted),
                    touched: mailbox.touched(),
                }));
            }
            list.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.session.cmp(&b.session)));
            list.truncate(max);
        }
        let totals = Totals {
            mailboxes: self.boxes.mailboxes.load(Relaxed),
            messages: self.boxes.messages.load(Relaxed),
            bytes: self.boxes.bytes.load(Relaxed),
        };
        now(Ok((totals, list)))
    }

    fn close(&self) -> Later<()> {
        now(self.journal.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::Shape, storage::Null};
    use bytes::Bytes;

    struct Deaf;
    impl Ring for Deaf {
        fn ring(&self, _: &SessionId) {}
    }

    fn store(sessions: usize, memory: usize) -> Local<Null> {
        let mailbox = Capacity { messages: 2, bytes: 10_000, drop_oldest: false };
        let limits = Limits { mailbox, sessions, memory, forget_after_ms: 1_000 };
        Local::new(Null, limits, Clock::start(), Arc::new(Deaf))
    }

    async fn send(store: &Local<Null>, to: &str, bytes: usize) -> Result<Appended, Error> {
        let now = store.boxes.clock.now();
        let message = Message {
            id: uuid::Uuid::nil(),
            from: "a".into(),
            accepted: now,
            expires: UnixMs(now.0 + 500),
            payload: Bytes::from(vec![b'1'; bytes]),
            shape: Shape::Other,
        };
        store.append(SessionId::new(to)?, message).await
    }

    async fn totals(store: &Local<Null>) -> Totals {
        store.survey(0).await.expect("memory").0
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_message_costs_nothing() {
        let store = store(2, 3_000);
        send(&store, "b", 10).await.expect("room");
        send(&store, "b", 10).await.expect("room");
        let before = totals(&store).await;
        assert_eq!(send(&store, "b", 10).await.expect_err("full").kind, Kind::MailboxFull);
        assert_eq!(send(&store, "b", 9_990).await.expect_err("full").kind, Kind::MemoryFull);
        assert_eq!(totals(&store).await, before);
        send(&store, "c", 10).await.expect("another mailbox has room");
        assert_eq!(send(&store, "d", 10).await.expect_err("third mailbox").kind, Kind::TooManySessions);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_given_back_in_full() {
        let store = store(10, 100_000);
        for to in ["b", "c", "d"] {
            send(&store, to, 100).await.expect("room");
        }
        store.purge(&SessionId::new("c").expect("id")).await.expect("memory");
        tokio::time::advance(std::time::Duration::from_millis(600)).await;
        let swept = store.sweep().await.expect("memory");
        assert_eq!((swept.expired, swept.forgotten), (2, 0));
        tokio::time::advance(std::time::Duration::from_millis(1_000)).await;
        assert_eq!(store.sweep().await.expect("memory").forgotten, 3);
        assert_eq!(totals(&store).await, Totals::default());
    }
}
