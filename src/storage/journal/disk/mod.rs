//! A journal on disk: one writer thread makes everything that waits safe at once. docs/storage.md has the file's format
//! and what a crash leaves at each step.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Change, Closed, Journal, Memory, Sending};
use crate::{
    error::{Error, Kind},
    lifecycle,
    settings::SyncRule,
    storage::JournalFigures,
};

mod changes;
mod file;
mod frame;
mod ground;
mod log;
mod mark;
mod overlay;
mod queue;
mod record;
mod writer;

#[cfg(test)]
mod prove;
#[cfg(test)]
mod shaky;
#[cfg(test)]
mod tests;

pub use ground::{Directory, prepare};
pub(in crate::storage) use ground::{MODE, sync_directory};

use ground::Ground;
use queue::Queue;
use writer::Writer;

/// How long a change waits for a commit that it can join.
const PATIENCE: Duration = Duration::from_millis(10);

/// A journal in one file.
pub struct Disk {
    queue: Arc<Queue>,
    rule: SyncRule,
    patience: Duration,
    /// Taken by the writer.
    ground: Mutex<Option<Box<dyn Ground>>>,
}

impl Disk {
    /// A journal in `directory`, safe by `rule`.
    pub fn new(directory: Directory, rule: SyncRule) -> Self {
        Self::on(Box::new(directory), rule, PATIENCE)
    }

    fn on(ground: Box<dyn Ground>, rule: SyncRule, patience: Duration) -> Self {
        Self { queue: Arc::default(), rule, patience, ground: Mutex::new(Some(ground)) }
    }
}

impl Journal for Disk {
    fn start(&self, memory: Arc<dyn Memory>) -> Result<(), Error> {
        let failed = |why: String| Error::new(Kind::StorageFailed, why);
        let ground = self.ground.lock().take().ok_or_else(|| failed("the journal was started before".to_owned()))?;
        let writer = Writer::open(Arc::clone(&self.queue), memory, ground, self.rule, self.patience).map_err(failed)?;
        lifecycle::thread("journal", move || writer.run()).map_err(|error| failed(format!("no thread: {error}")))
    }

    fn append(&self, sending: Box<dyn Sending>) {
        self.queue.offer(sending);
    }

    fn note(&self, change: Change) {
        self.queue.note(change);
    }

    fn barrier(&self, safe: Closed) {
        self.queue.barrier(safe, self.rule == SyncRule::Always);
    }

    fn figures(&self) -> JournalFigures {
        self.queue.counts.figures()
    }

    fn trouble(&self) -> Option<&'static str> {
        self.queue.trouble()
    }

    fn close(&self, closed: Closed) {
        self.queue.close(closed);
    }
}
