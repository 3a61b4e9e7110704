//! How bytes become safe under a local store.

use crate::{error::Error, id::SessionId, message::Message};

/// Something that is to be made safe.
#[derive(Debug)]
pub enum Event {
    /// A message for a mailbox.
    Append(SessionId, Message),
}

/// Takes an event back when it is safe, or with the reason why it is not. Called once, in journal order.
pub type Done = Box<dyn FnOnce(Event, Result<(), Error>) + Send>;

/// Makes events safe in the order in which they come.
pub trait Journal: Send + Sync + 'static {
    /// Takes an event; `done` is called with it, from any thread, once it is safe.
    fn append(&self, event: Event, done: Done);

    /// Makes all that was taken safe.
    ///
    /// # Errors
    /// Whatever kept the last events from being safe.
    fn close(&self) -> Result<(), Error>;
}

/// Memory is the only copy: everything is as safe as it gets at once.
#[derive(Debug, Default)]
pub struct Null;

impl Journal for Null {
    fn append(&self, event: Event, done: Done) {
        done(event, Ok(()));
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
