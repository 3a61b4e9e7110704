//! The journal's one thread: takes what waits, makes it safe, lets it arrive; and when the disk fails, starts afresh.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    changes::Changes,
    file::{Broken, File, Replayed, io},
    ground::Ground,
    mark::{Mark, NONE_REFUSED},
    queue::{Queue, Turned, Work},
};
use crate::{
    error::{Error, Kind},
    lifecycle::Clock,
    message::Arrival,
    settings::SyncRule,
    storage::journal::{Change, Closed, Memory, Sending},
};

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
const CLOSED: &str = "the journal is closed";
const PANICKED: &str = "the journal has ended by a fault of the relay, as the log says: restart it";

fn trouble(broken: &Broken) -> &'static str {
    if broken.full { FULL } else { FAILED }
}

/// Who is being served.
#[derive(Default)]
struct Hand {
    /// What has not arrived yet, each with the first of its arrivals.
    sendings: VecDeque<(Arrival, Box<dyn Sending>)>,
    barriers: Vec<Closed>,
}

pub struct Writer {
    queue: Arc<Queue>,
    memory: Arc<dyn Memory>,
    ground: Box<dyn Ground>,
    /// `None` while it is broken.
    file: Option<File>,
    next: Arrival,
    rule: SyncRule,
    /// How long a change waits for a commit that it can join.
    patience: Duration,
    hand: Hand,
    /// What the next commit is to write. With an interval, what has arrived and is not safe yet is in it.
    changes: Changes,
    unsynced_bytes: usize,
    /// When that is to be safe.
    due: Option<Instant>,
    /// A compaction failed: not again before the file is this long.
    compact_from: u64,
}

/// Why there is no new file.
enum NotAnew {
    /// It could not be written. The one before is what it was.
    Unwritten(Broken),
    /// It did not take the place of the one before, or nobody knows.
    Unplaced(Broken),
}

impl NotAnew {
    fn broken(self) -> Broken {
        match self {
            NotAnew::Unwritten(broken) | NotAnew::Unplaced(broken) => broken,
        }
    }
}

impl Writer {
    /// Opens the journal, or makes a new one, and brings back what is in it.
    pub fn open(
        queue: Arc<Queue>,
        memory: Arc<dyn Memory>,
        ground: Box<dyn Ground>,
        rule: SyncRule,
        patience: Duration,
    ) -> Result<Self, String> {
        let name = ground.name();
        let mut writer = Self {
            queue,
            memory,
            ground,
            file: None,
            next: Arrival(1),
            rule,
            patience,
            hand: Hand::default(),
            changes: Changes::default(),
            unsynced_bytes: 0,
            due: None,
            compact_from: COMPACT_FROM,
        };
        writer.begin().map_err(|broken| format!("cannot use the journal {name}: {broken}"))?;
        Ok(writer)
    }

    fn begin(&mut self) -> Result<(), Broken> {
        let mark = self.ground.mark().map_err(io)?;
        let Some(backend) = self.ground.open().map_err(io)? else {
            return self.rewrite(self.is_loose()).map_err(NotAnew::broken);
        };
        let trusted = mark.is_none();
        let file = File::open(backend, trusted).inspect_err(|broken| {
            if broken.disk && trusted {
                // What redb wrote in order to repair it may look as if it were on the disk.
                self.set_mark(Some(Mark::ANY));
            }
        })?;
        let refused = mark.filter(|mark| mark.is_of(file.id)).map_or(NONE_REFUSED, |mark| mark.refused);
        let Replayed { next, loose, stale } = file.replay(&*self.memory, refused, Clock::start().now())?;
        self.next = next;
        self.changes.note(Change::Keys(stale));
        if loose {
            tracing::warn!(
                "the relay did not end in order, with an interval for sync: every mailbox begins a new epoch"
            );
            // A mailbox's row counts more than its messages' rows: these need not be written anew.
            for (session, known) in self.memory.begin_epochs() {
                self.changes.note(Change::Known(session, known));
            }
        }
        self.file = Some(file);
        self.queue.counts.opened(self.ground.len());
        let is_old = self.file.as_ref().is_some_and(File::is_old);
        let begun = if !trusted || is_old {
            // What was refused may not come back. And what is not trusted is not written to.
            self.rewrite(self.is_loose()).map_err(NotAnew::broken)
        } else if loose || self.is_loose() {
            self.changes.loose = Some(self.is_loose());
            self.commit()
        } else {
            self.compact(u64::MAX)
        };
        if let Err(broken) = begun {
            // What came back can be received meanwhile. Whoever starts after a crash finds all as it was found here.
            self.turn_away(&broken);
        }
        Ok(())
    }

    /// Whether receivers get to see places that the file knows nothing of yet.
    fn is_loose(&self) -> bool {
        matches!(self.rule, SyncRule::Every(_))
    }

    /// Works until the journal is closed.
    pub fn run(mut self) {
        let mut end = End { queue: Arc::clone(&self.queue), result: Err(Error::new(Kind::StorageFailed, PANICKED)) };
        match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(result) => end.result = result,
            Err(_) => {
                tracing::error!("the journal's thread panicked: sends are refused until the relay is started again");
                self.distrust();
                self.refuse_all(PANICKED);
            }
        }
        // The file and the directory are free before anybody hears of it.
        drop(self);
        drop(end);
    }

    fn work(&mut self) -> Result<(), Error> {
        if self.file.is_none() {
            self.heal();
        }
        let patience = match self.rule {
            SyncRule::Always => self.patience,
            SyncRule::Every(interval) => interval,
        };
        loop {
            let work = self.queue.next(patience, self.due);
            let closing = work.closing;
            let result = self.take(work);
            if closing {
                return self.close(result);
            }
            if let Err(broken) = result {
                self.turn_away(&broken);
                self.heal();
            }
        }
    }

    fn take(&mut self, Work { sendings, changes, since, barriers, closing }: Work) -> Result<(), Broken> {
        self.changes.append(changes);
        self.hand = Hand { sendings: sendings.into_iter().map(|sending| (self.next, sending)).collect(), barriers };
        match self.rule {
            SyncRule::Always => self.promise_all(),
            SyncRule::Every(interval) => {
                self.let_all_arrive();
                if !closing && !self.is_due(since, interval) {
                    return Ok(());
                }
                // At the end the file knows all that anybody has seen.
                self.changes.loose = closing.then_some(false);
            }
        }
        self.commit()?;
        while let Some((_, sending)) = self.hand.sendings.pop_front() {
            sending.arrive();
        }
        self.hand.barriers.drain(..).for_each(|safe| safe(Ok(())));
        self.fold(closing)?;
        if closing { Ok(()) } else { self.compact(COMPACT_QUICK) }
    }

    /// Gives everything its places; it arrives when it is safe.
    fn promise_all(&mut self) {
        for (first, sending) in &mut self.hand.sendings {
            let record = sending.promise(self.next);
            *first = self.next;
            self.next.0 += record.messages.len() as u64;
            self.changes.record(*first, record);
        }
    }

    /// Gives everything its place at once; it is safe after the interval at the latest.
    fn let_all_arrive(&mut self) {
        while let Some((first, sending)) = self.hand.sendings.front_mut() {
            *first = self.next;
            let record = sending.promise(self.next);
            let Some((first, sending)) = self.hand.sendings.pop_front() else { return };
            sending.arrive();
            self.next.0 += record.messages.len() as u64;
            self.unsynced_bytes += record.messages.iter().map(|kept| kept.letter.message.cost()).sum::<usize>();
            self.changes.record(first, record);
        }
    }

    /// Whether it is time for a commit. What waits for one was there `since` then, or came now.
    fn is_due(&mut self, since: Option<Instant>, interval: Duration) -> bool {
        if self.changes.is_empty() {
            return false;
        }
        let now = Instant::now();
        let due = *self.due.get_or_insert_with(|| since.unwrap_or(now) + interval);
        now >= due || self.unsynced_bytes >= UNSYNCED_BYTES_MAX
    }

    /// Writes all changes. A file that fails is not used again, nor trusted by whoever starts next.
    fn commit(&mut self) -> Result<(), Broken> {
        let changes = std::mem::take(&mut self.changes);
        (self.due, self.unsynced_bytes) = (None, 0);
        if changes.is_empty() && self.file.is_some() {
            return Ok(());
        }
        let start = Instant::now();
        let longer = self.on_file(|file| file.commit(changes))?;
        self.queue.counts.committed(start, longer.then(|| self.ground.len()));
        Ok(())
    }

    /// Writes what the log has into the tables, where there is much of it, or at the end.
    fn fold(&mut self, closing: bool) -> Result<(), Broken> {
        if self.file.as_ref().is_some_and(|file| file.has_logged(!closing)) {
            self.on_file(File::fold)?;
            self.queue.counts.opened(self.ground.len());
        }
        Ok(())
    }

    fn on_file<T>(&mut self, write: impl FnOnce(&mut File) -> Result<T, Broken>) -> Result<T, Broken> {
        let Some(file) = &mut self.file else { return Err(Broken::from(redb::StorageError::DatabaseClosed)) };
        write(file).inspect_err(|_| {
            self.queue.counts.failed();
            self.distrust();
        })
    }

    /// Writes down that the file is not to be relied on, and what in it was refused.
    fn distrust(&mut self) {
        let Some(file) = &self.file else { return };
        let refused = self.hand.sendings.front().map_or(NONE_REFUSED, |(first, _)| *first);
        self.set_mark(Some(Mark { file: file.id, refused }));
    }

    fn set_mark(&mut self, mark: Option<Mark>) {
        if let Err(error) = self.ground.set_mark(mark) {
            tracing::warn!(%error, "the mark beside the journal cannot be written");
        }
    }

    /// Refuses everything from now on.
    fn turn_away(&mut self, broken: &Broken) {
        tracing::error!(error = %broken, "the journal failed: sends are refused until it can be written anew");
        // First: giving the file up may take as long as a disk that hangs.
        self.refuse_all(trouble(broken));
        self.file = None;
    }

    fn refuse_all(&mut self, trouble: &'static str) {
        let mut waiting = self.queue.set_trouble(trouble);
        let Hand { sendings, barriers } = std::mem::take(&mut self.hand);
        Turned { sendings: sendings.into_iter().map(|(_, sending)| sending).collect(), barriers }.away(trouble);
        waiting.away(trouble);
    }

    /// Waits until a new file holds all of memory, or the journal is to be closed. A file that failed is neither read
    /// nor written again: after a failed sync nobody knows what is on the disk and what is not.
    fn heal(&mut self) {
        let mut pause = PAUSE_MIN;
        while !self.queue.pause(pause) {
            // All of this is in memory.
            self.queue.forget_changes();
            pause = (pause * 2).min(PAUSE_MAX);
            match self.rewrite(self.is_loose()) {
                Ok(()) => {
                    tracing::warn!("the journal is written anew: sends are accepted again");
                    self.queue.clear_trouble();
                    return;
                }
                Err(failed) => {
                    let broken = failed.broken();
                    tracing::error!(error = %broken, again_in = ?pause, "the journal still cannot be written");
                    self.refuse_all(trouble(&broken));
                }
            }
        }
    }

    /// Ends. What could not be written is tried once more.
    fn close(&mut self, result: Result<(), Broken>) -> Result<(), Error> {
        if let Err(broken) = result {
            if self.file.is_some() {
                self.turn_away(&broken);
            }
            if let Err(failed) = self.rewrite(false) {
                let lost = match self.rule {
                    SyncRule::Always => "what was settled since the disk failed may come twice",
                    SyncRule::Every(_) => "what was accepted last may be lost, what was settled last may come twice",
                };
                return Err(Error::new(Kind::StorageFailed, format!("{lost}: {}", failed.broken())));
            }
            tracing::warn!("the journal is written anew: nothing is lost");
        }
        if let Some(Err(broken)) = self.file.take().map(File::close) {
            tracing::warn!(error = %broken, "the journal was not closed in order: nothing is lost, the next start is slower");
        }
        Ok(())
    }

    /// Writes all of memory into a new file, which takes the journal's place. What changes meanwhile joins the next
    /// commit, in which a change that the file knows already does nothing.
    fn rewrite(&mut self, loose: bool) -> Result<(), NotAnew> {
        let (start, log_bytes) = (Instant::now(), self.ground.log_bytes());
        let written = self
            .ground
            .fresh()
            .map_err(io)
            .and_then(|fresh| File::create(fresh, log_bytes, &self.memory.snapshot(), loose));
        let file = written.map_err(|broken| {
            self.queue.counts.failed();
            self.ground.discard();
            NotAnew::Unwritten(broken)
        })?;
        self.ground.adopt().map_err(|error| {
            self.queue.counts.failed();
            NotAnew::Unplaced(io(error))
        })?;
        self.file = Some(file);
        self.compact_from = COMPACT_FROM;
        (self.changes, self.due, self.unsynced_bytes) = (Changes::default(), None, 0);
        self.queue.counts.committed(start, Some(self.ground.len()));
        if !matches!(self.ground.mark(), Ok(None)) {
            self.set_mark(None);
        }
        Ok(())
    }

    /// Writes the file anew if it is mostly empty and no more than `most` bytes are to be written.
    fn compact(&mut self, most: u64) -> Result<(), Broken> {
        let length = self.queue.counts.file_bytes();
        let kept = self.memory.bytes() as u64;
        if length < self.compact_from || length / COMPACT_RATIO < kept || kept > most {
            return Ok(());
        }
        match self.rewrite(self.is_loose()) {
            Ok(()) => {
                let after = self.queue.counts.file_bytes();
                tracing::info!(before = length, after, "the journal was compacted");
                Ok(())
            }
            Err(NotAnew::Unwritten(broken)) => {
                tracing::warn!(error = %broken, "the journal could not be compacted");
                self.compact_from = length * 2;
                Ok(())
            }
            Err(NotAnew::Unplaced(broken)) => Err(broken),
        }
    }
}

/// However the thread ends, nobody waits for it any more.
struct End {
    queue: Arc<Queue>,
    result: Result<(), Error>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.queue.end(&self.result, if self.result.is_ok() { CLOSED } else { PANICKED });
    }
}
