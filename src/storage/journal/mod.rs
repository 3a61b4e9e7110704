//! How bytes become safe under a local store, and come back after a restart.

use std::sync::Arc;

use uuid::Uuid;

use super::JournalFigures;
use crate::{
    cursor::Epoch,
    error::Error,
    id::{Digest, Key, SessionId},
    mailbox::{Letter, Lost},
    message::{Arrival, Seq, UnixMs},
};

mod disk;
mod null;

pub use disk::{Directory, Disk, prepare};
pub(super) use disk::{MODE, sync_directory};
pub use null::Null;

/// What has its room in memory and waits to be safe: a message for one or more mailboxes, and its key. It is either
/// kept, or promised and then arrives, or refused; once each, and from any thread.
pub trait Sending: Send {
    /// It needed no safety: it takes its place now.
    fn keep(self: Box<Self>);

    /// What is to be made safe: the first of its messages has the number `first`, the next the next. Called in journal
    /// order.
    fn promise(&mut self, first: Arrival) -> Record;

    /// It is safe, at the places that were promised.
    fn arrive(self: Box<Self>);

    /// It is not safe and does not come. Of those that were promised a place and have not arrived, none comes.
    fn refuse(self: Box<Self>, why: Error);
}

/// What is made safe together.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// A message for each of its receivers.
    pub messages: Vec<Kept>,
    /// Its idempotency key.
    pub key: Option<KeptKey>,
}

/// A message at its place in a mailbox.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whose mailbox.
    pub of: SessionId,
    /// Which life of it.
    pub epoch: Epoch,
    /// The message.
    pub letter: Letter,
}

/// An idempotency key that was used, and the answer it got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptKey {
    /// The key.
    pub key: Key,
    /// The message's id.
    pub id: Uuid,
    /// How many mailboxes it went to.
    pub recipients: u32,
    /// When it may be forgotten.
    pub expires: UnixMs,
}

/// What is to be known of a mailbox beside its messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Which life of it.
    pub epoch: Epoch,
    /// Its newest message's place.
    pub last: Seq,
    /// The last contact.
    pub touched: UnixMs,
    /// The last contact of a receiver; 0: none.
    pub seen: UnixMs,
    /// What left undelivered, in rising order, at most [`crate::mailbox::RANGES_MAX`] ranges.
    pub lost: Vec<Lost>,
}

/// Something that needs no safety of its own: if it is lost, a message comes twice.
#[derive(Debug)]
pub enum Change {
    /// Messages left a mailbox.
    Left(Vec<Arrival>),
    /// What is to be known of a mailbox has changed, in more than its messages tell.
    Known(SessionId, Known),
    /// An empty mailbox is forgotten.
    Forgotten(SessionId),
    /// Idempotency keys are forgotten.
    Keys(Vec<Digest>),
}

/// All mailboxes, as a journal sees them.
pub trait Memory: Send + Sync {
    /// Brings back a mailbox, its messages to follow.
    ///
    /// # Errors
    /// There cannot be such a mailbox.
    fn restore_mailbox(&self, of: &str, known: Known) -> Result<(), Error>;

    /// Brings back a message; its mailbox's come in order, after the mailbox itself.
    ///
    /// # Errors
    /// There cannot be such a mailbox.
    fn restore(&self, of: &str, epoch: Epoch, letter: Letter) -> Result<(), Error>;

    /// Brings back an idempotency key.
    fn restore_key(&self, key: KeptKey);

    /// Begins a new epoch in every mailbox: what receivers have seen may not be what came back. Returns what is to be known
    /// of them.
    fn begin_epochs(&self) -> Vec<(SessionId, Known)>;

    /// Everything that is to be known after a restart.
    fn snapshot(&self) -> Snapshot;

    /// About how many bytes a [`Memory::snapshot`] writes.
    fn bytes(&self) -> usize;
}

/// All mailboxes at a moment. What changes meanwhile is told to the journal as a [`Change`].
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Messages in the order of their arrival.
    pub messages: Vec<Kept>,
    /// Mailboxes of which the messages do not tell enough.
    pub mailboxes: Vec<(SessionId, Known)>,
    /// Idempotency keys.
    pub keys: Vec<KeptKey>,
}

/// Told once that everything is safe, or why not.
pub type Closed = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Makes messages safe in the order in which they come.
pub trait Journal: Send + Sync + 'static {
    /// Brings back what was kept, and begins. Called once, before anything else.
    ///
    /// # Errors
    /// What was kept cannot be read.
    fn start(&self, memory: Arc<dyn Memory>) -> Result<(), Error>;

    /// Takes a message.
    fn append(&self, sending: Box<dyn Sending>);

    /// Notes a change of mailboxes, in the order in which they happen. Never waits.
    fn note(&self, change: Change);

    /// Tells when all that was noted before is safe, or why it is not.
    fn barrier(&self, safe: Closed);

    /// What it has done.
    fn figures(&self) -> JournalFigures;

    /// Why nothing can be made safe just now, if nothing can.
    fn trouble(&self) -> Option<&'static str>;

    /// Makes all that was taken safe, and ends; what comes later is refused.
    fn close(&self, closed: Closed);
}
