//! A journal on disk: one writer thread makes everything that waits safe at once. docs/storage.md has the file's format
//! and what a crash leaves at each step.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::{Change, Closed, Journal, Known, Memory, Sending};
use crate::{
    error::{Error, Kind},
    id::SessionId,
    lifecycle,
    message::{Arrival, Seq},
    settings::SyncRule,
};

mod file;
mod ground;
mod writer;

#[cfg(test)]
mod prove;
#[cfg(test)]
mod shaky;
#[cfg(test)]
mod tests;

pub use ground::{Directory, prepare};

use ground::Ground;
use writer::Writer;

/// A journal in one file.
pub struct Disk {
    shared: Arc<Shared>,
    rule: SyncRule,
    /// Taken by the writer.
    ground: Mutex<Option<Box<dyn Ground>>>,
}

impl Disk {
    /// A journal in `directory`, safe by `rule`.
    pub fn new(directory: Directory, rule: SyncRule) -> Self {
        Self::on(Box::new(directory), rule)
    }

    fn on(ground: Box<dyn Ground>, rule: SyncRule) -> Self {
        Self { shared: Arc::default(), rule, ground: Mutex::new(Some(ground)) }
    }
}

impl Journal for Disk {
    fn start(&self, memory: Arc<dyn Memory>) -> Result<(), Error> {
        let failed = |why: String| Error::new(Kind::StorageFailed, why);
        let ground = self.ground.lock().take().ok_or_else(|| failed("the journal was started before".to_owned()))?;
        let mut writer = Writer::open(Arc::clone(&self.shared), memory, ground, self.rule).map_err(failed)?;
        writer.compact_at_start();
        lifecycle::thread("journal", move || writer.run()).map_err(|error| failed(format!("no thread: {error}")))
    }

    fn append(&self, sending: Box<dyn Sending>) {
        // Refused outside the lock: giving back takes a mailbox's lock, and changes are noted under that.
        if let Err((sending, why)) = self.shared.offer(sending) {
            sending.refuse(why);
        }
    }

    fn note(&self, change: Change) {
        self.shared.note(change);
    }

    fn trouble(&self) -> Option<&'static str> {
        self.shared.state.lock().trouble
    }

    fn close(&self, closed: Closed) {
        let mut state = self.shared.state.lock();
        if state.ended {
            drop(state);
            return closed(Ok(()));
        }
        state.closing.push(closed);
        self.shared.woken.notify_one();
    }
}

/// What is between the relay's tasks and the writer. It has no limit of its own, because memory bounds it: a sending has
/// its room reserved, and what left was there.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    sendings: Vec<Box<dyn Sending>>,
    changes: Changes,
    trouble: Option<&'static str>,
    closing: Vec<Closed>,
    ended: bool,
}

/// What is to be changed in the file with the next commit.
#[derive(Default, Debug)]
struct Changes {
    left: Vec<Arrival>,
    /// `None`: forgotten.
    mailboxes: HashMap<SessionId, Option<Known>>,
    forgotten: Seq,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.left.is_empty() && self.mailboxes.is_empty()
    }

    fn add(&mut self, change: Change) {
        match change {
            Change::Left(arrivals, known) => {
                self.left.extend(arrivals);
                self.mailboxes.extend(known.map(|(session, known)| (session, Some(known))));
            }
            Change::Forgotten(session, last) => {
                self.mailboxes.insert(session, None);
                self.forgotten = self.forgotten.max(last);
            }
        }
    }
}

/// What the writer is to do next.
struct Work {
    sendings: Vec<Box<dyn Sending>>,
    closing: bool,
}

type Refused = (Box<dyn Sending>, Error);

impl Shared {
    fn offer(&self, sending: Box<dyn Sending>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if let Some(trouble) = state.trouble {
            return Err((sending, not_safe(trouble)));
        }
        if !state.closing.is_empty() {
            return Err((sending, Error::new(Kind::Draining, "the relay is about to end; send it again")));
        }
        state.sendings.push(sending);
        if state.sendings.len() == 1 {
            self.woken.notify_one();
        }
        Ok(())
    }

    fn note(&self, change: Change) {
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        let first = state.changes.is_empty();
        state.changes.add(change);
        if first {
            self.woken.notify_one();
        }
    }

    /// Waits for something to do: sendings at once, changes after `patience` or with whatever comes before, and what is
    /// due at `due`.
    fn next(&self, patience: Duration, due: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        let mut deadline = due;
        while state.sendings.is_empty() && state.closing.is_empty() {
            if deadline.is_none() && !state.changes.is_empty() {
                deadline = Some(Instant::now() + patience);
            }
            match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.woken.wait(&mut state),
                Some(Duration::ZERO) => break,
                Some(left) => _ = self.woken.wait_for(&mut state, left),
            }
        }
        Work { sendings: std::mem::take(&mut state.sendings), closing: !state.closing.is_empty() }
    }

    fn changes(&self) -> Changes {
        std::mem::take(&mut self.state.lock().changes)
    }

    /// Says what is wrong, or nothing, and returns what cannot be made safe because of it.
    fn set_trouble(&self, trouble: Option<&'static str>) -> Vec<Box<dyn Sending>> {
        let mut state = self.state.lock();
        state.trouble = trouble;
        if trouble.is_some() { std::mem::take(&mut state.sendings) } else { Vec::new() }
    }

    /// Waits. Returns early, with `true`, if the journal is to be closed.
    fn pause(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !state.closing.is_empty() {
                return !state.closing.is_empty();
            }
            self.woken.wait_for(&mut state, left);
        }
    }
}

fn not_safe(trouble: &'static str) -> Error {
    Error::new(Kind::StorageFailed, format!("{trouble}; send it again later"))
}
