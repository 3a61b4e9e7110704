//! What is between the relay's tasks and the journal's thread. It has no limit of its own, because memory bounds it: a
//! sending has its room reserved, and what left was there.
//!
//! Changes are noted under a mailbox's lock, and take this one. So nothing here calls out under its lock.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::changes::Changes;
use crate::{
    error::{Error, Kind},
    storage::{
        JournalFigures,
        journal::{Change, Closed, Sending},
    },
};

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    woken: Condvar,
    pub counts: Counts,
}

#[derive(Default)]
struct State {
    sendings: VecDeque<Box<dyn Sending>>,
    changes: Changes,
    /// When the first of the changes was noted.
    since: Option<Instant>,
    barriers: Vec<Closed>,
    trouble: Option<&'static str>,
    closing: Vec<Closed>,
    /// How the thread has ended.
    ended: Option<Result<(), Error>>,
}

impl State {
    fn turn_away(&mut self) -> Turned {
        Turned { sendings: std::mem::take(&mut self.sendings), barriers: std::mem::take(&mut self.barriers) }
    }
}

/// What the thread is to do next.
pub struct Work {
    pub sendings: VecDeque<Box<dyn Sending>>,
    pub changes: Changes,
    /// When the first of the changes was noted.
    pub since: Option<Instant>,
    /// Who waits for the changes.
    pub barriers: Vec<Closed>,
    pub closing: bool,
}

/// Who cannot be served.
#[derive(Default)]
pub struct Turned {
    pub sendings: VecDeque<Box<dyn Sending>>,
    pub barriers: Vec<Closed>,
}

impl Turned {
    /// Tells all of them that nothing can be made safe.
    pub fn away(&mut self, trouble: &'static str) {
        while let Some(sending) = self.sendings.pop_front() {
            sending.refuse(not_accepted(trouble));
        }
        self.barriers.drain(..).for_each(|safe| safe(Err(not_settled(trouble))));
    }
}

fn not_accepted(trouble: &'static str) -> Error {
    Error::new(Kind::StorageFailed, format!("{trouble}; send it again later"))
}

fn not_settled(trouble: &'static str) -> Error {
    Error::new(Kind::StorageFailed, format!("{trouble}; what was removed now may be delivered after a restart"))
}

fn at_the_end() -> Error {
    Error::new(Kind::Draining, "the relay is about to end; try again")
}

impl Queue {
    /// Takes a sending, or refuses it.
    pub fn offer(&self, sending: Box<dyn Sending>) {
        let mut state = self.state.lock();
        let why = if !state.closing.is_empty() || matches!(state.ended, Some(Ok(()))) {
            at_the_end()
        } else if let Some(trouble) = state.trouble {
            not_accepted(trouble)
        } else {
            state.sendings.push_back(sending);
            if state.sendings.len() == 1 {
                self.woken.notify_one();
            }
            return;
        };
        drop(state);
        sending.refuse(why);
    }

    /// Takes a change.
    pub fn note(&self, change: Change) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.changes.note(change);
        if state.since.is_none() {
            state.since = Some(Instant::now());
            self.woken.notify_one();
        }
    }

    /// Tells when all that was noted before is on the disk; or, if nobody has to wait for that, that it will be.
    pub fn barrier(&self, safe: Closed, wait: bool) {
        let mut state = self.state.lock();
        let answer = if let Some(trouble) = state.trouble {
            Err(not_settled(trouble))
        } else if state.ended.is_some() {
            Err(at_the_end())
        } else if wait {
            state.barriers.push(safe);
            self.woken.notify_one();
            return;
        } else {
            Ok(())
        };
        drop(state);
        safe(answer);
    }

    pub fn trouble(&self) -> Option<&'static str> {
        self.state.lock().trouble
    }

    /// Asks the thread to end.
    pub fn close(&self, closed: Closed) {
        let mut state = self.state.lock();
        if let Some(result) = state.ended.clone() {
            drop(state);
            return closed(result);
        }
        state.closing.push(closed);
        self.woken.notify_one();
    }

    /// Waits for something to do: sendings and barriers at once, changes after `patience` or with whatever comes before,
    /// and what is due at `due`.
    pub fn next(&self, patience: Duration, due: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        while state.sendings.is_empty() && state.barriers.is_empty() && state.closing.is_empty() {
            let deadline = [due, state.since.map(|since| since + patience)].into_iter().flatten().min();
            match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.woken.wait(&mut state),
                Some(Duration::ZERO) => break,
                Some(left) => _ = self.woken.wait_for(&mut state, left),
            }
        }
        Work {
            sendings: std::mem::take(&mut state.sendings),
            changes: std::mem::take(&mut state.changes),
            since: state.since.take(),
            barriers: std::mem::take(&mut state.barriers),
            closing: !state.closing.is_empty(),
        }
    }

    /// What was noted until now is of no interest.
    pub fn forget_changes(&self) {
        let mut state = self.state.lock();
        state.since = None;
        let changes = std::mem::take(&mut state.changes);
        drop(state);
        drop(changes);
    }

    /// Says what is wrong, and returns who waits for what cannot be done because of it.
    #[must_use = "they wait"]
    pub fn set_trouble(&self, trouble: &'static str) -> Turned {
        let mut state = self.state.lock();
        state.trouble = Some(trouble);
        state.turn_away()
    }

    /// Nothing is wrong any more.
    pub fn clear_trouble(&self) {
        self.state.lock().trouble = None;
    }

    /// Waits. Returns early, with `true`, if the thread is to end.
    pub fn pause(&self, pause: Duration) -> bool {
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

    /// The thread has ended: nobody waits for it any more.
    pub fn end(&self, result: &Result<(), Error>, trouble: &'static str) {
        let mut state = self.state.lock();
        state.ended = Some(result.clone());
        state.trouble.get_or_insert(trouble);
        let mut turned = state.turn_away();
        let closing = std::mem::take(&mut state.closing);
        let changes = std::mem::take(&mut state.changes);
        drop(state);
        drop(changes);
        turned.away(trouble);
        closing.into_iter().for_each(|closed| closed(result.clone()));
    }
}

/// What was done.
#[derive(Default)]
pub struct Counts {
    commits: AtomicU64,
    commit_us: AtomicU64,
    failures: AtomicU64,
    file_bytes: AtomicU64,
}

impl Counts {
    /// Counts a commit that began at `start`, and how long the file is if it may have become longer.
    pub fn committed(&self, start: Instant, file_bytes: Option<u64>) {
        let us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.commit_us.fetch_add(us, Relaxed);
        if let Some(bytes) = file_bytes {
            self.file_bytes.store(bytes, Relaxed);
        }
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub fn opened(&self, file_bytes: u64) {
        self.file_bytes.store(file_bytes, Relaxed);
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Relaxed)
    }

    pub fn figures(&self) -> JournalFigures {
        JournalFigures {
            commits: self.commits.load(Relaxed),
            commit_us: self.commit_us.load(Relaxed),
            failures: self.failures.load(Relaxed),
            file_bytes: self.file_bytes.load(Relaxed),
        }
    }
}
