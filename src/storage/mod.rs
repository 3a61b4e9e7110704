//! Where mailboxes live: the seam between delivery and whatever keeps the mail.
//!
//! [`Local`] keeps it in this process. A distributed engine would be one more [`Store`].

use std::{pin::Pin, sync::Arc};

use crate::{
    error::Error,
    id::SessionId,
    mailbox::{Letter, Max, Removed, Settle},
    message::{Message, Seq, UnixMs},
};

mod journal;
mod local;

pub use journal::{Directory, Disk, Journal, Null, prepare};
pub use local::{Limits, Local};

/// A result that may take a while. Dropping it does not undo what was asked for.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A store's way to say that mail has come. Called after the mail can be read.
pub trait Ring: Send + Sync {
    /// There is something new for this session.
    fn ring(&self, session: &SessionId);
}

/// An accepted message's place, and what had to leave for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its place.
    pub seq: Seq,
    /// What `drop-oldest` removed.
    pub dropped: Removed,
}

/// What [`Store::sweep`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Messages that have expired since the last sweep.
    pub expired: usize,
    /// Mailboxes forgotten.
    pub forgotten: usize,
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
    /// Why no message can be accepted just now, if none can.
    pub trouble: Option<&'static str>,
}

/// Where mailboxes live. Each call does its work whether or not its result is awaited.
pub trait Store: Send + Sync {
    /// Puts a message into a mailbox, safe by the store's rule before the result is there; then rings.
    ///
    /// # Errors
    /// `MailboxFull`, `TooManySessions`, `MemoryFull`, `StorageFailed`: nothing was kept.
    fn append(&self, to: SessionId, message: Message) -> Later<Appended>;

    /// The oldest unexpired messages after `after`.
    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Vec<Letter>>;

    /// Removes what a receiver has.
    fn settle(&self, of: &SessionId, what: &Settle) -> Later<Removed>;

    /// Removes everything in a mailbox.
    fn purge(&self, of: &SessionId) -> Later<Removed>;

    /// Removes what has expired, and forgets mailboxes that were empty and untouched for long.
    fn sweep(&self) -> Later<Swept>;

    /// All mailboxes together, and up to `max` mailboxes, those with most messages first.
    fn survey(&self, max: usize) -> Later<(Totals, Vec<MailboxInfo>)>;

    /// Makes everything safe and ends; nothing is accepted afterwards.
    fn close(&self) -> Later<()>;
}

/// The one place where stores are told apart no more.
pub type AnyStore = Arc<dyn Store>;
