//! Mailboxes in this process's memory; a [`Journal`] beneath decides how safe they are.

use std::{
    future::ready,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::sync::oneshot;

use super::{
    Accepted, Haste, Later, MailboxInfo, MayMake, Page, Posting, Ring, Store, Swept, Totals,
    journal::{Journal, KeptKey},
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    id::SessionId,
    lifecycle::Clock,
    mailbox::{Batch, Capacity, Mailbox, Max, Removed, Settle},
    message::{Seq, UnixMs},
};

mod boxes;
mod keys;
mod memory;
mod parcel;

use boxes::Boxes;
use keys::Claim;
use parcel::Parcel;

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

impl<J: Journal> Local<J> {
    /// Claims the key, if there is one, and reserves all room.
    fn prepare(&self, posting: &Posting, may_make: MayMake<'_>) -> Result<Claim, Error> {
        let Posting { to, message, key } = posting;
        let Some(key) = key else {
            return self.boxes.prepare_all(to, message, may_make).map(|()| Claim::New);
        };
        let claim = self.boxes.keys.claim(key, message.accepted)?;
        if !matches!(claim, Claim::New) {
            return Ok(claim);
        }
        let prepared = self
            .boxes
            .charge_key()
            .and_then(|()| self.boxes.prepare_all(to, message, may_make).inspect_err(|_| self.boxes.discharge_key()));
        prepared.map(|()| claim).inspect_err(|error| {
            let refused: Result<KeptKey, Error> = Err(error.clone());
            self.boxes.keys.settle(key, &refused);
        })
    }
}

impl<J: Journal> Local<J> {
    /// Says what was removed; at once, or when it is safe.
    fn when_safe(&self, removed: Removed, haste: Haste) -> Later<Removed> {
        if haste == Haste::Soon {
            return now(Ok(removed));
        }
        let (answer, result) = oneshot::channel();
        let safe = move |result: Result<(), Error>| {
            // Whoever asked may have gone.
            let _ = answer.send(result.map(|()| removed));
        };
        self.boxes.journal.barrier(Box::new(safe));
        later(result)
    }
}

fn info(session: &SessionId, mailbox: &Mailbox) -> MailboxInfo {
    MailboxInfo {
        session: session.clone(),
        messages: mailbox.len(),
        bytes: mailbox.bytes(),
        oldest: mailbox.oldest().map(|letter| letter.message.accepted),
        touched: mailbox.touched(),
        seen: Some(mailbox.seen()).filter(|seen| *seen > UnixMs(0)),
    }
}

impl<J: Journal> Store for Local<J> {
    fn append_if(&self, posting: Posting, may_make: MayMake<'_>) -> Later<Accepted> {
        match self.prepare(&posting, may_make) {
            Err(error) => now(Err(error)),
            Ok(Claim::Duplicate(accepted)) => now(Ok(accepted)),
            Ok(Claim::UnderWay(result)) => later(result),
            Ok(Claim::New) => {
                let (parcel, result) = Parcel::new(&self.boxes, posting);
                self.boxes.journal.append(Box::new(parcel));
                later(result)
            }
        }
    }

    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Page> {
        let page = |mailbox: &mut Mailbox| Page { epoch: mailbox.epoch(), letters: mailbox.read(after, max) };
        now(Ok(self.boxes.with(of, |mailbox, _| page(mailbox))))
    }

    fn batch_if(&self, of: &SessionId, after: Option<Cursor>, max: Max, may_make: MayMake<'_>) -> Later<Batch> {
        now(self.boxes.batch(of, after, max, may_make))
    }

    fn settle(&self, of: &SessionId, what: &Settle, haste: Haste) -> Later<Removed> {
        match self.boxes.settle(of, what) {
            Ok(removed) => self.when_safe(removed, haste),
            refused => now(refused),
        }
    }

    fn purge(&self, of: &SessionId, haste: Haste) -> Later<Removed> {
        let removed = self.boxes.with(of, |mailbox, left| self.boxes.discharge(mailbox.purge(left)));
        self.when_safe(removed, haste)
    }

    fn sweep(&self) -> Later<Swept> {
        let time = self.boxes.clock.now();
        let mut swept = Swept::default();
        for shard in &self.boxes.shards {
            self.boxes.sweep_shard(&mut shard.lock(), time, &mut swept);
        }
        self.boxes.note_forgotten(self.boxes.keys.expire(time));
        swept.expired = self.boxes.expired_untold.swap(0, Relaxed);
        swept.keys_early = self.boxes.early_untold.swap(0, Relaxed);
        now(Ok(swept))
    }

    fn look(&self, of: &SessionId) -> Later<Option<MailboxInfo>> {
        let time = self.boxes.clock.now();
        let shard = self.boxes.shard(of);
        now(Ok(shard.get(of).map(|mailbox| {
            let waiting = mailbox.letters().filter(|letter| letter.message.expires > time).count();
            MailboxInfo { messages: waiting, ..info(of, mailbox) }
        })))
    }

    fn survey(&self, max: usize) -> Later<(Totals, Vec<MailboxInfo>)> {
        let mut list = Vec::new();
        if max > 0 {
            for shard in &self.boxes.shards {
                list.extend(shard.lock().iter().map(|(session, mailbox)| info(session, mailbox)));
            }
            list.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.session.cmp(&b.session)));
            list.truncate(max);
        }
        let totals = Totals {
            mailboxes: self.boxes.mailboxes.load(Relaxed),
            messages: self.boxes.messages.load(Relaxed),
            bytes: self.boxes.bytes.load(Relaxed),
            keys: self.boxes.keys.len(),
            journal: self.boxes.journal.figures(),
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
