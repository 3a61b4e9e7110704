//! The use cases: send, receive, remove, operate. Knows no sockets.
//!
//! The order of a send is the whole story of durability: append (which makes the message safe), ring, answer. The order
//! of a receiver is the whole story of liveness: *hang* a bell, *look* into the mailbox, *sleep* ([`Inbox::next`]).

use std::{future::ready, sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    gate::{self, Admission},
    id::{Key, SessionId},
    lifecycle::{Clock, Lifecycle},
    mailbox::{Batch, Letter, Max, Settle},
    message::{Message, Seq, Shape, UnixMs},
    metrics::{JournalLevels, Levels, Loss, Metrics},
    storage::{AnyStore, JournalFigures, MailboxInfo, Page, Posting, Ring, Totals},
};

mod desks;
mod inbox;
mod repeats;

pub use crate::storage::{Accepted, Haste, Later};
pub use desks::{Desks, Hold, Place};
pub use inbox::{Event, Inbox, Lease, Mail, Next, Stream};
pub use repeats::{Asked, Known};

/// How often what has expired is removed from mailboxes that nobody touches.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What a sender hands in.
#[derive(Clone, Debug)]
pub struct Draft {
    /// A word for the receiver; empty for the usual one.
    pub kind: Box<str>,
    /// JSON, byte for byte.
    pub payload: Bytes,
    /// What `payload` is.
    pub shape: Shape,
    /// How long it may wait, if the sender says; never longer than the relay allows.
    pub ttl: Option<Duration>,
    /// Against accepting it twice.
    pub key: Option<Key>,
}

/// How long messages may wait.
#[derive(Clone, Copy, Debug)]
pub struct Ttl {
    /// If the sender does not say.
    pub usual: Duration,
    /// The longest that it may say.
    pub most: Duration,
}

/// One session, as an operator sees it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its mailbox.
    pub mailbox: MailboxInfo,
    /// Receivers waiting for its mail.
    pub receivers: usize,
}

/// Mailboxes and who waits for them. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    store: AnyStore,
    desks: Arc<Desks>,
    life: Lifecycle,
    metrics: Arc<Metrics>,
    ttl: Ttl,
}

/// A hub that has no store yet: what the store rings.
#[derive(Default)]
pub struct Bells(Arc<Desks>);

impl Bells {
    /// What a store is to ring.
    pub fn ring(&self) -> Arc<dyn Ring> {
        self.0.clone()
    }
}

impl Hub {
    /// A hub over a store that rings `bells`.
    pub fn new(store: AnyStore, bells: Bells, life: Lifecycle, metrics: Arc<Metrics>, ttl: Ttl) -> Self {
        Self(Arc::new(Inner { store, desks: bells.0, life, metrics, ttl }))
    }

    /// The same mailboxes and receivers in another life of this process.
    pub fn in_life(&self, life: Lifecycle) -> Self {
        Self(Arc::new(Inner { life, ..(*self.0).clone() }))
    }

    /// The time.
    pub fn clock(&self) -> Clock {
        self.0.life.clock
    }

    /// Accepts a message. The work begins with the call, in the order of the calls, and is done even if the result is
    /// not awaited.
    ///
    /// # Errors
    /// As [`crate::storage::Store::append`], and [`Kind::Draining`]: nothing was kept.
    pub fn send(&self, admission: Admission<gate::Send>, draft: Draft) -> Later<Accepted> {
        if !self.0.life.takes_messages() {
            // What is in memory alone would end with the process; and what is not, nobody here could receive any more.
            return Box::pin(ready(Err(Error::new(
                Kind::Draining,
                "the relay is about to end and takes no more messages; send it again",
            ))));
        }
        let accepted = self.clock().now();
        let Draft { kind, payload, shape, ttl, key } = draft;
        let gate::Send { from, to, by } = admission.into_intent();
        let expires = accepted.after(ttl.map_or(self.0.ttl.usual, |ttl| ttl.min(self.0.ttl.most)));
        let message = Message { id: Uuid::now_v7(), from, kind, accepted, expires, payload, shape };
        let appended = self.0.store.append_if(Posting { to, message, key }, &|| by.found());
        let metrics = Arc::clone(&self.0.metrics);
        Box::pin(async move {
            let accepted = appended.await?;
            if accepted.duplicate {
                metrics.duplicates.inc();
            } else {
                metrics.accepted.inc_by(accepted.recipients as u64);
                metrics.lose(Loss::Overflow, accepted.dropped.messages);
            }
            Ok(accepted)
        })
    }

    /// Makes the caller the session's newest receiver, one that waits behind newer ones.
    pub fn inbox(&self, admission: &Admission<gate::Receive>) -> Inbox {
        Inbox::open(self.clone(), self.hang(&admission.intent().of, false))
    }

    /// Makes the caller the session's newest receiver, one that newer ones send away.
    pub fn stream(&self, admission: &Admission<gate::Receive>) -> Stream {
        let gate::Receive { of, by } = admission.intent();
        Stream::open(self.clone(), self.hang(of, true), by.clone())
    }

    fn hang(&self, session: &SessionId, yields: bool) -> Place {
        let (place, superseded) = self.0.desks.hang(session.clone(), yields, self.clock().now());
        self.0.metrics.superseded.inc_by(superseded as u64);
        place
    }

    /// Notes how long messages have waited that are handed out.
    fn observe(&self, letters: &[Letter]) {
        let now = self.clock().now();
        for letter in letters {
            let waited_ms = now.0.saturating_sub(letter.message.accepted.0);
            self.0.metrics.delivery.observe(waited_ms as f64 / 1e3);
        }
    }

    /// One look into a mailbox by somebody who does not wait for mail: `None` if its mail is on the way to another
    /// receiver, and that is not decided `within` the time.
    pub async fn hold(&self, admission: &Admission<gate::Receive>, within: Duration) -> Option<Hold> {
        let place = self.hang(&admission.intent().of, false);
        let hold = async {
            loop {
                match place.hold() {
                    Some(hold) => return hold,
                    None => place.rung().await,
                }
            }
        };
        tokio::time::timeout(within, hold).await.ok()
    }

    /// What lies after `after` in a mailbox that is held.
    ///
    /// # Errors
    /// As the store's.
    pub async fn read(&self, hold: &Hold, after: Seq, max: Max) -> Result<Page, Error> {
        self.0.store.read(hold.session(), after, max).await
    }

    /// Removes what a receiver has, then lets the next look.
    ///
    /// # Errors
    /// As the store's; the messages may be delivered again.
    pub async fn settle(&self, hold: Hold, what: Settle) -> Result<usize, Error> {
        self.settle_as(hold.session(), &what, Haste::Soon).await
    }

    async fn settle_upto(&self, of: &SessionId, upto: Cursor, haste: Haste) -> Result<usize, Error> {
        self.settle_as(of, &Settle::UpTo(upto), haste).await
    }

    async fn settle_as(&self, of: &SessionId, what: &Settle, haste: Haste) -> Result<usize, Error> {
        let removed = self.0.store.settle(of, what, haste).await?;
        self.0.metrics.settled.inc_by(removed.messages as u64);
        Ok(removed.messages)
    }

    /// The session's receiver has everything up to a cursor. Returns how many messages that settled.
    ///
    /// # Errors
    /// As [`crate::storage::Store::settle`].
    pub async fn acknowledge(
        &self,
        admission: &Admission<gate::Receive>,
        upto: Cursor,
        haste: Haste,
    ) -> Result<usize, Error> {
        let of = &admission.intent().of;
        let messages = self.settle_upto(of, upto, haste).await?;
        if messages > 0 {
            // A receiver whose window was full has room again.
            self.0.desks.ring(of);
        }
        Ok(messages)
    }

    /// What comes after a cursor, for somebody who does not wait and is no receiver.
    ///
    /// # Errors
    /// As [`crate::storage::Store::batch`].
    pub async fn glance(
        &self,
        admission: &Admission<gate::Receive>,
        after: Option<Cursor>,
        max: Max,
    ) -> Result<Batch, Error> {
        let gate::Receive { of, by } = admission.intent();
        self.0.store.batch_if(of, after, max, &|| by.found()).await
    }

    /// How long an answer is to be held back, because the session's receiver has had it again and again.
    pub fn hold_back(&self, admission: &Admission<gate::Receive>, asked: Asked) -> Duration {
        let wait = self.0.desks.hold_back(&admission.intent().of, asked, self.clock().now());
        if !wait.is_zero() {
            self.0.metrics.repeats.inc();
        }
        wait
    }

    /// Notes that the session's receiver has an answer in which there was something.
    pub fn note_answered(&self, admission: &Admission<gate::Receive>, asked: Asked, known: Known) {
        self.0.desks.note_answered(&admission.intent().of, asked, known, self.clock().now());
    }

    /// What is known of a session, whether or not it has a mailbox.
    ///
    /// # Errors
    /// As the store's.
    pub async fn session(&self, admission: &Admission<gate::Receive>) -> Result<SessionInfo, Error> {
        let of = &admission.intent().of;
        let mailbox = self.0.store.look(of).await?.unwrap_or_else(|| self.no_mailbox(of.clone()));
        Ok(SessionInfo { mailbox, receivers: self.0.desks.receivers(of) })
    }

    fn no_mailbox(&self, session: SessionId) -> MailboxInfo {
        MailboxInfo { session, messages: 0, bytes: 0, oldest: None, touched: self.clock().now(), seen: None }
    }

    /// Removes everything in the session's mailbox. Returns how many messages that were.
    ///
    /// # Errors
    /// As [`crate::storage::Store::purge`].
    pub async fn remove_all(&self, admission: &Admission<gate::Receive>, haste: Haste) -> Result<usize, Error> {
        self.purge_mailbox(&admission.intent().of, haste).await
    }

    /// Removes what a legacy client was last shown, and nothing that came later.
    ///
    /// # Errors
    /// As the store's.
    pub async fn settle_shown(&self, admission: &Admission<gate::Receive>) -> Result<usize, Error> {
        let of = &admission.intent().of;
        let Some(upto) = self.0.desks.take_shown(of) else { return Ok(0) };
        self.settle_upto(of, upto, Haste::Soon).await
    }

    /// All mailboxes together.
    ///
    /// # Errors
    /// As the store's.
    pub async fn totals(&self) -> Result<Totals, Error> {
        Ok(self.0.store.survey(0).await?.0)
    }

    /// Why no message can be accepted just now, if none can.
    pub async fn trouble(&self) -> Option<&'static str> {
        self.totals().await.map_or(Some("the store gives no answer"), |totals| totals.trouble)
    }

    /// All figures as text, for `/metrics`.
    ///
    /// # Errors
    /// As the store's.
    pub async fn metrics_text(&self) -> Result<String, Error> {
        let Totals { mailboxes, messages, bytes, keys, journal, .. } = self.totals().await?;
        let uptime = self.clock().uptime();
        let JournalFigures { commits, commit_us, failures, file_bytes } = journal;
        let journal = JournalLevels { commits, commit_us, failures, file_bytes };
        self.0
            .metrics
            .text(Levels { mailboxes, messages, bytes, keys, journal, uptime })
            .map_err(|_| Error::new(Kind::Internal, "the figures could not be written down"))
    }

    /// Up to `max` sessions, those with most messages first; sessions without a mailbox that are waited for, after them.
    /// And how many there are in all.
    ///
    /// # Errors
    /// As the store's.
    pub async fn sessions(&self, _: &Admission<gate::Operate>, max: usize) -> Result<(Vec<SessionInfo>, usize), Error> {
        let (_, list) = self.0.store.survey(usize::MAX).await?;
        let known: std::collections::HashSet<SessionId> = list.iter().map(|info| info.session.clone()).collect();
        let waiting = self.0.desks.attached().into_iter().filter(|session| !known.contains(session));
        let bare = waiting.map(|session| self.no_mailbox(session));
        let mut all: Vec<MailboxInfo> = list.into_iter().chain(bare).collect();
        let total = all.len();
        all.truncate(max);
        let info = |mailbox: MailboxInfo| SessionInfo { receivers: self.0.desks.receivers(&mailbox.session), mailbox };
        Ok((all.into_iter().map(info).collect(), total))
    }

    /// Removes everything in a mailbox, for an operator, and for good. Returns how many messages that were.
    ///
    /// # Errors
    /// As [`crate::storage::Store::purge`].
    pub async fn purge(&self, _: &Admission<gate::Operate>, of: &SessionId) -> Result<usize, Error> {
        self.purge_mailbox(of, Haste::Safe).await
    }

    async fn purge_mailbox(&self, of: &SessionId, haste: Haste) -> Result<usize, Error> {
        let removed = self.0.store.purge(of, haste).await?;
        self.0.metrics.lose(Loss::Purged, removed.messages);
        Ok(removed.messages)
    }

    /// Wakes every receiver, so that it sees that the relay is draining.
    pub fn wake_all(&self) {
        self.0.desks.ring_all();
    }

    /// Removes what has expired, every few seconds, for ever.
    pub async fn sweep(self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            match self.0.store.sweep().await {
                Ok(swept) => {
                    self.0.metrics.lose(Loss::Expired, swept.expired);
                    self.0.metrics.keys_early.inc_by(swept.keys_early as u64);
                }
                Err(error) => tracing::warn!(%error, "sweep failed"),
            }
            let ttl_ms = u64::try_from(self.0.ttl.usual.as_millis()).unwrap_or(u64::MAX);
            let now = self.clock().now();
            self.0.desks.sweep(UnixMs(now.0.saturating_sub(ttl_ms)), now);
        }
    }

    /// Makes everything safe; nothing is accepted afterwards.
    ///
    /// # Errors
    /// As the store's.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.store.close().await
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
