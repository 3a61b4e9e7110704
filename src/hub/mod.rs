//! The use cases: send, receive, remove, operate. Knows no sockets.
//!
//! The order of a send is the whole story of durability: append (which makes the message safe), ring, answer. The order
//! of a receiver is the whole story of liveness: *hang* a bell, *look* into the mailbox, *sleep* ([`Inbox::next`]).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    error::{Error, Kind},
    gate::{self, Admission},
    id::SessionId,
    lifecycle::{Clock, Lifecycle},
    mailbox::{Letter, Max, Settle},
    message::{Message, Seq, Shape, UnixMs},
    metrics::{Levels, Loss, Metrics},
    storage::{AnyStore, MailboxInfo, Ring, Totals},
};

mod desks;
mod inbox;

pub use desks::{Desks, Hold, Place};
pub use inbox::{Inbox, Lease, Mail, Next};

/// How often what has expired is removed from mailboxes that nobody touches.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What a sender hands in.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who sends, as the sender says.
    pub from: Box<str>,
    /// JSON, byte for byte.
    pub payload: Bytes,
    /// What `payload` is.
    pub shape: Shape,
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
    ttl: Duration,
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
    /// A hub over a store that rings `bells`. Messages live for `ttl`.
    pub fn new(store: AnyStore, bells: Bells, life: Lifecycle, metrics: Arc<Metrics>, ttl: Duration) -> Self {
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

    /// Accepts a message. It is taken even if the result is not awaited.
    ///
    /// # Errors
    /// As [`crate::storage::Store::append`], and [`Kind::Draining`]: nothing was kept.
    pub async fn send(&self, admission: Admission<gate::Send>, draft: Draft) -> Result<Seq, Error> {
        if !self.0.life.takes_messages() {
            // What is in memory alone would end with the process; and what is not, nobody here could receive any more.
            return Err(Error::new(
                Kind::Draining,
                "the relay is about to end and takes no more messages; send it again",
            ));
        }
        let accepted = self.clock().now();
        let Draft { from, payload, shape } = draft;
        let message =
            Message { id: Uuid::now_v7(), from, accepted, expires: accepted.after(self.0.ttl), payload, shape };
        let appended = self.0.store.append(admission.into_intent().to, message).await?;
        self.0.metrics.accepted.inc();
        self.0.metrics.lose(Loss::Overflow, appended.dropped.messages);
        Ok(appended.seq)
    }

    /// Makes the caller the session's newest receiver.
    pub fn inbox(&self, admission: &Admission<gate::Receive>) -> Inbox {
        Inbox::open(self.clone(), self.0.desks.hang(admission.intent().of.clone()))
    }

    /// One look into a mailbox by somebody who does not wait for mail: `None` if its mail is on the way to another
    /// receiver, and that is not decided `within` the time.
    pub async fn hold(&self, admission: &Admission<gate::Receive>, within: Duration) -> Option<Hold> {
        let place = self.0.desks.hang(admission.intent().of.clone());
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
    pub async fn read(&self, hold: &Hold, after: Seq, max: Max) -> Result<Vec<Letter>, Error> {
        self.0.store.read(hold.session(), after, max).await
    }

    /// Removes what a receiver has, then lets the next look.
    ///
    /// # Errors
    /// As the store's; the messages may be delivered again.
    pub async fn settle(&self, hold: Hold, what: Settle) -> Result<usize, Error> {
        let removed = self.0.store.settle(hold.session(), &what).await?;
        self.0.metrics.settled.inc_by(removed.messages as u64);
        Ok(removed.messages)
    }

    /// Removes everything in the session's mailbox. Returns how many messages that were.
    ///
    /// # Errors
    /// As the store's.
    pub async fn remove_all(&self, admission: &Admission<gate::Receive>) -> Result<usize, Error> {
        self.purge_mailbox(&admission.intent().of).await
    }

    /// Removes what a legacy client was last shown, and nothing that came later.
    ///
    /// # Errors
    /// As the store's.
    pub async fn settle_shown(&self, admission: &Admission<gate::Receive>) -> Result<usize, Error> {
        let of = &admission.intent().of;
        let Some(upto) = self.0.desks.take_shown(of) else { return Ok(0) };
        let removed = self.0.store.settle(of, &Settle::UpTo(upto)).await?;
        self.0.metrics.settled.inc_by(removed.messages as u64);
        Ok(removed.messages)
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
        let Totals { mailboxes, messages, bytes, .. } = self.totals().await?;
        let uptime = self.clock().uptime();
        self.0
            .metrics
            .text(Levels { mailboxes, messages, bytes, uptime })
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
        let now = self.clock().now();
        let waiting = self.0.desks.attached().into_iter().filter(|session| !known.contains(session));
        let bare = waiting.map(|session| MailboxInfo { session, messages: 0, bytes: 0, oldest: None, touched: now });
        let mut all: Vec<MailboxInfo> = list.into_iter().chain(bare).collect();
        let total = all.len();
        all.truncate(max);
        let info = |mailbox: MailboxInfo| SessionInfo { receivers: self.0.desks.receivers(&mailbox.session), mailbox };
        Ok((all.into_iter().map(info).collect(), total))
    }

    /// Removes everything in a mailbox, for an operator. Returns how many messages that were.
    ///
    /// # Errors
    /// As the store's.
    pub async fn purge(&self, _: &Admission<gate::Operate>, of: &SessionId) -> Result<usize, Error> {
        self.purge_mailbox(of).await
    }

    async fn purge_mailbox(&self, of: &SessionId) -> Result<usize, Error> {
        let removed = self.0.store.purge(of).await?;
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
                Ok(swept) => self.0.metrics.lose(Loss::Expired, swept.expired),
                Err(error) => tracing::warn!(%error, "sweep failed"),
            }
            let ttl_ms = u64::try_from(self.0.ttl.as_millis()).unwrap_or(u64::MAX);
            self.0.desks.sweep(UnixMs(self.clock().now().0.saturating_sub(ttl_ms)));
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
mod tests;
