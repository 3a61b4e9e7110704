//! What every receiving door pulls from: hang, look, sleep. An [`Inbox`] for receivers that cannot say what they have,
//! with a lease on what was handed out; a [`Stream`] for those that read on from a cursor.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Hub, desks::Hold, desks::Place};
use crate::{
    cursor::Cursor,
    error::Error,
    gate::Founder,
    mailbox::{Batch, Letter, Max},
    message::Seq,
    metrics::Counted,
    storage::Haste,
};

/// One waiting receiver that takes what it is given. The bell hangs from its making to its drop.
pub struct Inbox {
    hub: Hub,
    place: Place,
    _counted: Counted,
}

/// What a wait ended with.
pub enum Next {
    /// Mail, and the lease on it.
    Mail(Mail),
    /// Nothing came in time.
    Quiet,
    /// The relay is about to end.
    Draining,
}

/// Messages for a receiver, at least one, oldest first.
pub struct Mail {
    /// The messages.
    pub letters: Vec<Letter>,
    /// To be settled when the receiver has them.
    pub lease: Lease,
}

/// Mail on its way: until this is settled or dropped, nothing later of that mailbox is delivered. Dropping it puts the
/// mail back to the front of the mailbox.
pub struct Lease {
    hub: Hub,
    hold: Option<Hold>,
    upto: Cursor,
    messages: usize,
}

impl Inbox {
    pub(super) fn open(hub: Hub, place: Place) -> Self {
        let counted = Counted::new(&hub.0.metrics.receivers);
        Self { hub, place, _counted: counted }
    }

    /// Waits for mail until `deadline`. May be dropped and called again; nothing is lost by it.
    ///
    /// # Errors
    /// As the store's.
    pub async fn next(&mut self, max: Max, deadline: Instant) -> Result<Next, Error> {
        loop {
            if let Some(mail) = self.look(max).await? {
                return Ok(Next::Mail(mail));
            }
            if self.hub.0.life.is_draining() {
                return Ok(Next::Draining);
            }
            if timeout_at(deadline, self.place.rung()).await.is_err() {
                return Ok(Next::Quiet);
            }
        }
    }

    /// Notes what a legacy client was shown, for [`Hub::settle_shown`].
    pub fn note_shown(&self, upto: Cursor) {
        self.place.note_shown(upto, self.hub.clock().now());
    }

    /// What lies in the mailbox, if this is the receiver that is served now.
    async fn look(&self, max: Max) -> Result<Option<Mail>, Error> {
        let Some(hold) = self.place.hold() else { return Ok(None) };
        let page = self.hub.0.store.read(hold.session(), Seq(0), max).await?;
        let Some(last) = page.letters.last() else {
            hold.nothing_there();
            return Ok(None);
        };
        self.hub.observe(&page.letters);
        let upto = Cursor { epoch: page.epoch, seq: last.seq };
        let lease = Lease { hub: self.hub.clone(), hold: Some(hold), upto, messages: page.letters.len() };
        Ok(Some(Mail { letters: page.letters, lease }))
    }
}

impl Lease {
    /// The newest message under this lease.
    pub fn upto(&self) -> Cursor {
        self.upto
    }

    /// The receiver has it.
    ///
    /// # Errors
    /// As the store's; the mail is then delivered again.
    #[expect(clippy::manual_async_fn, reason = "an async function holds what it is given twice")]
    pub fn settle(mut self) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            let settled = match &self.hold {
                Some(hold) => self.hub.settle_upto(hold.session(), self.upto, Haste::Soon).await,
                None => Ok(0),
            };
            drop(self.hold.take());
            settled.map(drop)
        }
    }

    /// The mail was only shown: it stays, and others may have it.
    pub fn release(mut self) {
        self.hold = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.hold.is_some() {
            self.hub.0.metrics.returned.inc_by(self.messages as u64);
        }
    }
}

/// One receiver that reads on from a cursor: the session's only one of its kind, until a newer receiver comes.
pub struct Stream {
    hub: Hub,
    place: Place,
    by: Founder,
    /// Kept while mail is on its way to a receiver that cannot say what it has.
    hold: Option<Hold>,
    _counted: Counted,
}

/// What a stream's wait ended with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Something came after the cursor.
    Batch(Batch),
    /// Nothing came in time.
    Quiet,
    /// A newer receiver has come; this one is to be told after a while.
    Superseded(Duration),
    /// The relay is about to end.
    Draining,
}

impl Stream {
    pub(super) fn open(hub: Hub, place: Place, by: Founder) -> Self {
        let counted = Counted::new(&hub.0.metrics.receivers);
        Self { hub, place, by, hold: None, _counted: counted }
    }

    /// Waits until `deadline` for what comes after the cursor, or after the stored acknowledgement. May be dropped and
    /// called again; nothing is lost by it.
    ///
    /// # Errors
    /// As [`crate::storage::Store::batch`].
    pub async fn next(&mut self, after: Option<Cursor>, max: Max, deadline: Instant) -> Result<Event, Error> {
        self.wait(after, max, deadline, false).await
    }

    /// As [`Stream::next`], for a receiver that cannot say what it has: until [`Stream::release`], whoever comes next
    /// waits to hear what has become of it.
    ///
    /// # Errors
    /// As [`crate::storage::Store::batch`].
    pub async fn next_leased(&mut self, after: Option<Cursor>, max: Max, deadline: Instant) -> Result<Event, Error> {
        self.wait(after, max, deadline, true).await
    }

    async fn wait(&mut self, after: Option<Cursor>, max: Max, deadline: Instant, keep: bool) -> Result<Event, Error> {
        loop {
            if let Some(wait) = self.place.superseded() {
                return Ok(Event::Superseded(wait));
            }
            if let Some(batch) = self.look(after, max, keep).await? {
                return Ok(Event::Batch(batch));
            }
            if self.hub.0.life.is_draining() {
                return Ok(Event::Draining);
            }
            if timeout_at(deadline, self.place.rung()).await.is_err() {
                return Ok(Event::Quiet);
            }
        }
    }

    async fn look(&mut self, after: Option<Cursor>, max: Max, keep: bool) -> Result<Option<Batch>, Error> {
        // Mail that is on its way already keeps its hold, whatever this look finds. One that is taken for this look goes
        // with it, if it is broken off.
        let hold = if self.hold.is_none() { self.place.hold() } else { None };
        if hold.is_none() && self.hold.is_none() {
            return Ok(None);
        }
        let batch = self.hub.0.store.batch_if(self.place.session(), after, max, &|| self.by.found()).await;
        let found = batch.as_ref().is_ok_and(|batch| !batch.is_empty());
        match hold {
            Some(hold) if keep && found => self.hold = Some(hold),
            // What was found stays in the mailbox until it is acknowledged: the next may look, and so may we.
            Some(hold) => hold.nothing_there(),
            None => {}
        }
        let batch = batch?;
        if !found {
            return Ok(None);
        }
        self.hub.observe(&batch.letters);
        if let Some(gap) = batch.gap {
            self.hub.0.metrics.gap(gap.reason);
        }
        Ok(Some(batch))
    }

    /// Waits for what ends this receiver, whatever comes for it: [`Event::Superseded`], [`Event::Draining`] or, at the
    /// deadline, [`Event::Quiet`].
    pub async fn ended(&mut self, deadline: Instant) -> Event {
        loop {
            if let Some(wait) = self.place.superseded() {
                return Event::Superseded(wait);
            }
            if self.hub.0.life.is_draining() {
                return Event::Draining;
            }
            if timeout_at(deadline, self.place.rung()).await.is_err() {
                return Event::Quiet;
            }
        }
    }

    /// Waits as [`Stream::ended`], and no longer than until the bell rings, for whatever reason: [`Event::Quiet`] too.
    pub async fn stirred(&mut self, deadline: Instant) -> Event {
        if self.place.superseded().is_none() && !self.hub.0.life.is_draining() {
            // Whether it rang or the time is up: whoever asked looks again.
            let _ = timeout_at(deadline, self.place.rung()).await;
        }
        match self.place.superseded() {
            Some(wait) => Event::Superseded(wait),
            None if self.hub.0.life.is_draining() => Event::Draining,
            None => Event::Quiet,
        }
    }

    /// Where it begins if it names no cursor: the stored acknowledgement.
    ///
    /// # Errors
    /// As [`crate::storage::Store::batch`].
    pub async fn start(&self) -> Result<Cursor, Error> {
        let none = Max { messages: 0, bytes: 0 };
        let batch = self.hub.0.store.batch_if(self.place.session(), None, none, &|| self.by.found()).await?;
        // A gap at the start has not been told yet.
        Ok(match batch.gap.and_then(|gap| gap.range) {
            Some((from, _)) => Cursor { seq: Seq(from.0 - 1), ..batch.cursor },
            None => batch.cursor,
        })
    }

    /// The receiver has everything up to the cursor.
    ///
    /// # Errors
    /// As [`crate::storage::Store::settle`].
    pub async fn acknowledge(&self, upto: Cursor) -> Result<usize, Error> {
        self.hub.settle_upto(self.place.session(), upto, Haste::Soon).await
    }

    /// Nothing is on its way any more: `returned` messages come again, the others are acknowledged.
    pub fn release(&mut self, returned: usize) {
        self.hub.0.metrics.returned.inc_by(returned as u64);
        self.hold = None;
    }
}
