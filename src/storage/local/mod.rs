//! Mailboxes in this process's memory; a [`Journal`] beneath decides how safe they are.

use std::{
    future::ready,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::sync::oneshot;

use super::{Appended, Later, MailboxInfo, Ring, Store, Swept, Totals, journal::Journal};
use crate::{
    error::{Error, Kind},
    id::SessionId,
    lifecycle::Clock,
    mailbox::{Capacity, Letter, Max, Removed, Settle},
    message::{Message, Seq},
};

mod boxes;

use boxes::{Boxes, Parcel};

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
pub struct Local<J: Journal> {
    boxes: Arc<Boxes<J>>,
}

impl<J: Journal> Local<J> {
    /// A store of the mailboxes that the journal has kept, which rings `ring` for every new message.
    ///
    /// # Errors
    /// The journal cannot bring back what it has kept.
    pub fn new(journal: J, limits: Limits, clock: Clock, ring: Arc<dyn Ring>) -> Result<Self, Error> {
        let boxes = Arc::new(Boxes::new(journal, limits, clock, ring));
        boxes.journal.start(boxes.clone())?;
        Ok(Self { boxes })
    }
}

impl<J: Journal> Drop for Local<J> {
    fn drop(&mut self) {
        // A journal's thread holds the mailboxes, so it has to be told.
        self.boxes.journal.close(Box::new(drop));
    }
}

fn now<T: Send + 'static>(result: Result<T, Error>) -> Later<T> {
    Box::pin(ready(result))
}

/// What the journal's thread will say.
fn later<T: Send + 'static>(result: oneshot::Receiver<Result<T, Error>>) -> Later<T> {
    Box::pin(async move {
        result.await.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the journal gave no answer; try again")))
    })
}

impl<J: Journal> Store for Local<J> {
    fn append(&self, to: SessionId, message: Message) -> Later<Appended> {
        if let Err(error) = self.boxes.prepare(&to, &message) {
            return now(Err(error));
        }
        let (answer, result) = oneshot::channel();
        let (boxes, message) = (Arc::clone(&self.boxes), Arc::new(message));
        self.boxes.journal.append(Box::new(Parcel { boxes, to, message, promised: None, answer }));
        later(result)
    }

    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Vec<Letter>> {
        now(Ok(self.boxes.with(of, |mailbox, _| mailbox.read(after, max))))
    }

    fn settle(&self, of: &SessionId, what: &Settle) -> Later<Removed> {
        now(Ok(self.boxes.with(of, |mailbox, left| self.boxes.discharge(mailbox.settle(what, left)))))
    }

    fn purge(&self, of: &SessionId) -> Later<Removed> {
        now(Ok(self.boxes.with(of, |mailbox, left| self.boxes.discharge(mailbox.purge(left)))))
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
            trouble: self.boxes.journal.trouble(),
        };
        now(Ok((totals, list)))
    }

    fn close(&self) -> Later<()> {
        let (answer, result) = oneshot::channel();
        let closed = move |result| {
            // Whoever asked may have gone.
            let _ = answer.send(result);
        };
        self.boxes.journal.close(Box::new(closed));
        later(result)
    }
}

#[cfg(test)]
mod tests;
