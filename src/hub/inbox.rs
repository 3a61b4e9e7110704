//! What every receiving door pulls from: hang, look, sleep; and the lease on what was handed out.

use tokio::time::Instant;

use super::{Hub, desks::Hold, desks::Place};
use crate::{
    error::Error,
    mailbox::{Letter, Max, Settle},
    message::Seq,
    metrics::Counted,
};

/// One waiting receiver. The bell hangs from its making to its drop.
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
    upto: Seq,
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
            if tokio::time::timeout_at(deadline, self.place.rung()).await.is_err() {
                return Ok(Next::Quiet);
            }
        }
    }

    /// Notes what a legacy client was shown, for [`Hub::settle_shown`].
    pub fn note_shown(&self, upto: Seq) {
        self.place.note_shown(upto, self.hub.clock().now());
    }

    /// What lies in the mailbox, if this is the receiver that is served now.
    async fn look(&self, max: Max) -> Result<Option<Mail>, Error> {
        let Some(hold) = self.place.hold() else { return Ok(None) };
        let letters = self.hub.0.store.read(hold.session(), Seq(0), max).await?;
        let Some(last) = letters.last() else {
            hold.nothing_there();
            return Ok(None);
        };
        let now = self.hub.clock().now();
        for letter in &letters {
            let waited_ms = now.0.saturating_sub(letter.message.accepted.0);
            self.hub.0.metrics.delivery.observe(waited_ms as f64 / 1e3);
        }
        let lease = Lease { hub: self.hub.clone(), hold: Some(hold), upto: last.seq, messages: letters.len() };
        Ok(Some(Mail { letters, lease }))
    }
}

impl Lease {
    /// The newest message under this lease.
    pub fn upto(&self) -> Seq {
        self.upto
    }

    /// The receiver has it.
    ///
    /// # Errors
    /// As the store's; the mail is then delivered again.
    pub async fn settle(mut self) -> Result<(), Error> {
        if let Some(hold) = self.hold.take() {
            self.hub.settle(hold, Settle::UpTo(self.upto)).await?;
        }
        Ok(())
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
