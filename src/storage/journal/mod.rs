//! How bytes become safe under a local store, and come back after a restart.

use std::sync::Arc;

use crate::{
    error::Error,
    id::SessionId,
    mailbox::Letter,
    message::{Arrival, Seq, UnixMs},
};

mod disk;
mod null;

pub use disk::{Directory, Disk, prepare};
pub use null::Null;

/// A message that has room in its mailbox and waits to be safe. It is either kept, or promised and then arrives, or
/// refused; once each, and from any thread.
pub trait Sending: Send {
    /// It needed no safety: it takes its place now.
    fn keep(self: Box<Self>);

    /// The place that it is to take. Called in journal order.
    fn promise(&mut self, arrival: Arrival) -> Kept;

    /// It is safe, at the place that was promised.
    fn arrive(self: Box<Self>);

    /// It is not safe and does not come. Of those that were promised a place and have not arrived, none comes.
    fn refuse(self: Box<Self>, why: Error);
}

/// A message at its place in a mailbox.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whose mailbox.
    pub of: SessionId,
    /// The message.
    pub letter: Letter,
}

/// What is to be known of a mailbox when it is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its newest message's place.
    pub last: Seq,
    /// The last contact.
    pub touched: UnixMs,
}

/// Something that needs no safety of its own: if it is lost, a message comes twice.
#[derive(Debug)]
pub enum Change {
    /// Messages left a mailbox, and what is to be known of it if that is not seen from those that stay.
    Left(Vec<Arrival>, Option<(SessionId, Known)>),
    /// An empty mailbox is forgotten. New ones begin after the last place of any such.
    Forgotten(SessionId, Seq),
}

/// All mailboxes, as a journal sees them.
pub trait Memory: Send + Sync {
    /// New mailboxes begin after this place.
    fn restore_forgotten(&self, last: Seq);

    /// Brings back an empty mailbox.
    ///
    /// # Errors
    /// There cannot be such a mailbox.
    fn restore_mailbox(&self, of: &str, known: Known) -> Result<(), Error>;

    /// Brings back a message; its mailbox's come in order.
    ///
    /// # Errors
    /// There cannot be such a mailbox.
    fn restore(&self, of: &str, letter: Letter) -> Result<(), Error>;

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
    /// The last place in any mailbox that was forgotten.
    pub forgotten: Seq,
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

    /// Why nothing can be made safe just now, if nothing can.
    fn trouble(&self) -> Option<&'static str>;

    /// Makes all that was taken safe, and ends; what comes later is refused.
    fn close(&self, closed: Closed);
}
