//! Where mailboxes live: the seam between delivery and whatever keeps the mail.
//!
//! [`Local`] keeps it in this process. A distributed engine would be one more [`Store`].

use std::{pin::Pin, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    cursor::{Cursor, Epoch},
    error::Error,
    id::{Key, SessionId},
    mailbox::{Batch, Letter, Max, Removed, Settle},
    message::{Message, Seq, UnixMs},
};

mod journal;
mod local;
pub mod whole;

pub use journal::{Directory, Disk, Journal, Null, prepare};
pub use local::{Limits, Local};

/// A result that may take a while. Dropping it does not undo what was asked for.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A store's way to say that mail has come. Called after the mail can be read.
pub trait Ring: Send + Sync {
    /// There is something new for this session.
    fn ring(&self, session: &SessionId);
}

/// How long a key is remembered.
pub const KEY_LIVES: Duration = Duration::from_secs(600);
/// How many keys of one sender are remembered; the oldest make room.
pub const KEYS_MAX: usize = 100_000;

/// Asked before a mailbox is made, and never otherwise; an error keeps it from being made.
pub type MayMake<'a> = &'a dyn Fn() -> Result<(), Error>;

/// A message and where it goes: to all of them, or to none.
#[derive(Clone, Debug)]
pub struct Posting {
    /// The receivers, none of them twice.
    pub to: Vec<SessionId>,
    /// What is sent.
    pub message: Message,
    /// Against accepting it twice.
    pub key: Option<Key>,
}

/// What became of an accepted message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The message's id: that of the first one, if this is a duplicate.
    pub id: Uuid,
    /// Mailboxes that it went to.
    pub recipients: usize,
    /// Whether its key had been used before, and nothing was done.
    pub duplicate: bool,
    /// What `drop-oldest` removed.
    pub dropped: Removed,
}

/// Messages, whatever is missing between them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The mailbox's epoch.
    pub epoch: Epoch,
    /// The messages, oldest first.
    pub letters: Vec<Letter>,
}

/// Whether a removal is on disk before it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Haste {
    /// By the store's rule, as with messages.
    Safe,
    /// Soon; a crash before that brings the messages back.
    Soon,
}

/// What [`Store::sweep`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Messages that have expired since the last sweep.
    pub expired: usize,
    /// Mailboxes forgotten.
    pub forgotten: usize,
    /// Idempotency keys forgotten before their time, to make room for newer ones of the same sender.
    pub keys_early: usize,
}

/// One mailbox, as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailboxInfo {
    /// Whose it is.
    pub session: SessionId,
    /// Messages waiting.
    pub messages: usize,
    /// Bytes waiting, with overhead.
    pub bytes: usize,
    /// When its oldest message was accepted.
    pub oldest: Option<UnixMs>,
    /// The last contact.
    pub touched: UnixMs,
    /// The last contact of a receiver, if there was one.
    pub seen: Option<UnixMs>,
}

/// What a journal has done since it was opened; all 0 without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JournalFigures {
    /// Commits that reached the disk.
    pub commits: u64,
    /// Time spent in them, in microseconds.
    pub commit_us: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
}

/// All mailboxes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Mailboxes, empty ones too.
    pub mailboxes: usize,
    /// Messages waiting.
    pub messages: usize,
    /// Bytes waiting, with overhead, and what the mailboxes themselves cost.
    pub bytes: usize,
    /// Idempotency keys remembered.
    pub keys: usize,
    /// What the journal has done.
    pub journal: JournalFigures,
    /// Why no message can be accepted just now, if none can.
    pub trouble: Option<&'static str>,
}

/// Where mailboxes live. Each call does its work whether or not its result is awaited.
pub trait Store: Send + Sync {
    /// Puts a message into mailboxes, safe by the store's rule before the result is there; then rings.
    ///
    /// # Errors
    /// `MailboxFull`, `TooManySessions`, `MemoryFull`, `StorageFailed`, `KeyReused`, or what `may_make` says: nothing was
    /// kept.
    fn append_if(&self, posting: Posting, may_make: MayMake<'_>) -> Later<Accepted>;

    /// The oldest unexpired messages after `after`, of whichever epoch.
    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Page>;

    /// What comes after a cursor, or after the stored acknowledgement. Makes the mailbox if there is none.
    ///
    /// # Errors
    /// `InvalidCursor`, `TooManySessions`, `MemoryFull`, or what `may_make` says.
    fn batch_if(&self, of: &SessionId, after: Option<Cursor>, max: Max, may_make: MayMake<'_>) -> Later<Batch>;

    /// [`Store::append_if`] for somebody who may make any mailbox.
    #[cfg(test)]
    fn append(&self, posting: Posting) -> Later<Accepted> {
        self.append_if(posting, &|| Ok(()))
    }

    /// [`Store::batch_if`] for somebody who may make any mailbox.
    #[cfg(test)]
    fn batch(&self, of: &SessionId, after: Option<Cursor>, max: Max) -> Later<Batch> {
        self.batch_if(of, after, max, &|| Ok(()))
    }

    /// Removes what a receiver has.
    ///
    /// # Errors
    /// `InvalidCursor` for one that is ahead of its mailbox; `StorageFailed`: it is removed, but may come back.
    fn settle(&self, of: &SessionId, what: &Settle, haste: Haste) -> Later<Removed>;

    /// Removes everything in a mailbox.
    ///
    /// # Errors
    /// `StorageFailed`: it is removed, but may come back.
    fn purge(&self, of: &SessionId, haste: Haste) -> Later<Removed>;

    /// Removes what has expired, and forgets mailboxes that were empty and untouched for long.
    fn sweep(&self) -> Later<Swept>;

    /// One mailbox, if there is one.
    fn look(&self, of: &SessionId) -> Later<Option<MailboxInfo>>;

    /// All mailboxes together, and up to `max` mailboxes, those with most messages first.
    fn survey(&self, max: usize) -> Later<(Totals, Vec<MailboxInfo>)>;

    /// Makes everything safe and ends; nothing is accepted afterwards.
    fn close(&self) -> Later<()>;
}

/// The one place where stores are told apart no more.
pub type AnyStore = Arc<dyn Store>;
