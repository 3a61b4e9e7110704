//! The journal's one thread: takes what waits, makes it safe, lets it arrive; and when the disk fails, starts afresh.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Shared, Work,
    file::{Broken, File},
    ground::Ground,
    not_safe,
};
use crate::{
    error::{Error, Kind},
    message::Arrival,
    settings::SyncRule,
    storage::journal::{Kept, Memory, Sending},
};

/// How long a change waits for a commit that it can join.
const PATIENCE: Duration = Duration::from_millis(10);
/// With an interval, so many bytes are not kept waiting: what memory's limit does not count any more may be among them.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
/// Between attempts to start afresh.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A file below this is not worth a compaction.
const COMPACT_FROM: u64 = 32 << 20;
/// How many times larger than what it holds a file may be.
const COMPACT_RATIO: u64 = 4;
/// Writing so much anew keeps no sender waiting for long.
const COMPACT_QUICK: u64 = 16 << 20;

const FULL: &str = "the journal cannot be written: the disk is full";
const FAILED: &str = "the journal cannot be written: the disk fails, as the log says";

pub struct Writer {
    shared: Arc<Shared>,
    memory: Arc<dyn Memory>,
    ground: Box<dyn Ground>,
    /// `None` while it is broken.
    file: Option<File>,
    next: Arrival,
    rule: SyncRule,
    /// With an interval: what has arrived and is not safe yet.
    unsynced: Vec<Kept>,
    unsynced_bytes: usize,
    due: Option<Instant>,
    /// A compaction failed: not again before the file is this long.
    compact_from: u64,
}

/// However the writer ends, nobody waits for it any more.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        state.trouble.get_or_insert("the journal is closed");
        let (sendings, closing) = (std::mem::take(&mut state.sendings), std::mem::take(&mut state.closing));
        drop(state);
        let why = || Error::new(Kind::StorageFailed, "the journal has ended");
        sendings.into_iter().for_each(|sending| sending.refuse(why()));
        closing.into_iter().for_each(|closed| closed(Err(why())));
    }
}

impl Writer {
    /// Opens the journal, or makes a new one, and brings back what is in it.
    pub fn open(
        shared: Arc<Shared>,
        memory: Arc<dyn Memory>,
        mut ground: Box<dyn Ground>,
        rule: SyncRule,
    ) -> Result<Self, String> {
        let name = ground.name();
        let failed = |error: &dyn std::fmt::Display| format!("cannot use the journal {name}: {error}");
        let backend = ground.open().map_err(|error| failed(&error))?;
        let is_new = backend.is_none();
        let file = backend.map(File::open).transpose().map_err(|error| failed(&error))?;
        let next = file.as_ref().map(|file| file.replay(&*memory)).transpose().map_err(|error| failed(&error))?;
        let mut writer = Self {
            shared,
            memory,
            ground,
            file,
            next: next.unwrap_or(Arrival(1)),
            rule,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            due: None,
            compact_from: COMPACT_FROM,
        };
        if is_new {
            writer.rewrite().map_err(|error| failed(&error))?;
        }
        Ok(writer)
    }

    /// A file that is mostly empty is written anew.
    pub fn compact_at_start(&mut self) {
        self.compact(u64::MAX);
    }

    /// Works until the journal is closed.
    pub fn run(mut self) {
        let end = End(Arc::clone(&self.shared));
        let patience = match self.rule {
            SyncRule::Always => PATIENCE,
            SyncRule::Every(interval) => interval,
        };
        loop {
            let Work { sendings, closing } = self.shared.next(patience, self.due);
            match self.rule {
                SyncRule::Always => self.take(sendings),
                SyncRule::Every(interval) => self.take_at_once(sendings, interval, closing),
            }
            if closing {
                break;
            }
        }
        let result = match self.file {
            Some(_) => Ok(()),
            None => Err(Error::new(
                Kind::StorageFailed,
                match self.rule {
                    SyncRule::Always => "what was settled since the disk failed may come twice",
                    SyncRule::Every(_) => "what was accepted last may be lost, what was settled last may come twice",
                },
            )),
        };
        let closing = std::mem::take(&mut self.shared.state.lock().closing);
        // The file and the directory are free before anybody hears of it.
        drop(self);
        drop(end);
        closing.into_iter().for_each(|closed| closed(result.clone()));
    }

    /// Everything is safe before it arrives.
    fn take(&mut self, mut sendings: Vec<Box<dyn Sending>>) {
        let changes = self.shared.changes();
        if sendings.is_empty() && changes.is_empty() {
            return;
        }
        let kept: Vec<Kept> = sendings.iter_mut().map(|sending| sending.promise(take_next(&mut self.next))).collect();
        match self.commit(&kept, changes) {
            Ok(()) => {
                sendings.into_iter().for_each(Sending::arrive);
                self.compact(COMPACT_QUICK);
            }
            Err(broken) => self.heal(&broken, sendings),
        }
    }

    /// Everything arrives at once, and is safe after the interval at the latest.
    fn take_at_once(&mut self, sendings: Vec<Box<dyn Sending>>, interval: Duration, closing: bool) {
        for mut sending in sendings {
            let kept = sending.promise(take_next(&mut self.next));
            sending.arrive();
            self.unsynced_bytes += kept.letter.message.cost();
            self.unsynced.push(kept);
        }
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + interval);
        let may_wait = !self.unsynced.is_empty() && now < due && self.unsynced_bytes < UNSYNCED_BYTES_MAX;
        if may_wait && !closing {
            return;
        }
        (self.due, self.unsynced_bytes) = (None, 0);
        let kept = std::mem::take(&mut self.unsynced);
        let changes = self.shared.changes();
        if kept.is_empty() && changes.is_empty() {
            return;
        }
        match self.commit(&kept, changes) {
            Ok(()) => self.compact(COMPACT_QUICK),
            Err(broken) => self.heal(&broken, Vec::new()),
        }
    }

    fn commit(&self, kept: &[Kept], changes: super::Changes) -> Result<(), Broken> {
        match &self.file {
            Some(file) => file.commit(kept, changes),
            // After a failure at the very end there is nothing to write to.
            None => Err(Broken::from(redb::StorageError::DatabaseClosed)),
        }
    }

    /// Refuses everything until a new file holds all of memory. A file that failed is neither read nor written again:
    /// after a failed sync nobody knows what is on the disk and what is not.
    fn heal(&mut self, broken: &Broken, lost: Vec<Box<dyn Sending>>) {
        tracing::error!(error = %broken, "the journal failed: sends are refused until it can be written anew");
        self.file = None;
        let mut trouble = if broken.full { FULL } else { FAILED };
        let waiting = self.shared.set_trouble(Some(trouble));
        lost.into_iter().chain(waiting).for_each(|sending| sending.refuse(not_safe(trouble)));
        let mut pause = PAUSE_MIN;
        loop {
            let closing = self.shared.pause(pause);
            match self.rewrite() {
                Ok(()) => {
                    tracing::warn!("the journal is written anew: sends are accepted again");
                    self.shared.set_trouble(None);
                    return;
                }
                Err(broken) => {
                    tracing::error!(error = %broken, again_in = ?pause, "the journal still cannot be written");
                    trouble = if broken.full { FULL } else { FAILED };
                    self.shared.set_trouble(Some(trouble));
                }
            }
            if closing {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Writes all of memory into a new file, which takes the journal's place. What changes meanwhile joins the next
    /// commit, in which a change that the file knows already does nothing.
    fn rewrite(&mut self) -> Result<(), Broken> {
        let io = |error: std::io::Error| Broken::from(redb::StorageError::Io(error));
        let file = File::create(self.ground.fresh().map_err(io)?, &self.memory.snapshot())?;
        self.ground.adopt().map_err(io)?;
        self.file = Some(file);
        self.compact_from = COMPACT_FROM;
        Ok(())
    }

    /// Writes the file anew if it is mostly empty and no more than `most` bytes are to be written.
    fn compact(&mut self, most: u64) {
        let length = self.ground.len();
        let kept = self.memory.bytes() as u64;
        if length < self.compact_from || length / COMPACT_RATIO < kept || kept > most {
            return;
        }
        match self.rewrite() {
            Ok(()) => tracing::info!(before = length, after = self.ground.len(), "the journal was compacted"),
            Err(error) => {
                tracing::warn!(%error, "the journal could not be compacted");
                self.compact_from = length * 2;
            }
        }
    }
}

fn take_next(next: &mut Arrival) -> Arrival {
    std::mem::replace(next, Arrival(next.0 + 1))
}
