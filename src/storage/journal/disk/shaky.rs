//! A disk for tests: it fails when told to, loses at a crash what was not synced, in part or in whole, and does not write
//! what a sync that failed should have written, though it goes on showing it.

use std::{fmt, io, sync::Arc};

use parking_lot::Mutex;
use redb::StorageBackend;

use super::{
    ground::{Backend, Ground},
    mark::Mark,
};

/// A write or a new length.
#[derive(Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Step {
    fn run(&self, bytes: &mut Vec<u8>) {
        match self {
            Step::Length(length) => bytes.resize(usize::try_from(*length).expect("small"), 0),
            Step::Write(at, data) => {
                let at = usize::try_from(*at).expect("small");
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

/// One file: what is on the disk, what the system shows, and what it has yet to write.
#[derive(Default, Clone)]
struct Image {
    safe: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Step>,
}

impl Image {
    /// What is on the disk after a crash: of what was not synced each step if `kept` says so, and the last one half, not
    /// counting zeros at its end.
    fn after_a_crash(&self, kept: &mut dyn FnMut() -> bool) -> Self {
        let mut bytes = self.safe.clone();
        for (n, step) in self.since.iter().enumerate() {
            match step {
                Step::Write(at, data) if n + 1 == self.since.len() => {
                    let filled = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    Step::Write(*at, data[..filled / 2].to_vec()).run(&mut bytes);
                }
                step if kept() => step.run(&mut bytes),
                _ => {}
            }
        }
        Self { safe: bytes.clone(), now: bytes, since: Vec::new() }
    }
}

/// What is wrong with the disk.
#[derive(Default, Clone, Copy, Debug)]
pub struct Faults {
    pub sync_fails: bool,
    pub write_fails: bool,
    /// No file may be longer.
    pub full_at: Option<u64>,
    /// A file that is not the journal yet has no room.
    pub fresh_fails: bool,
    pub rename_fails: bool,
    /// A rename is done, but nobody can make sure of that.
    pub names_fail: bool,
    pub mark_fails: bool,
    /// Not a disk's fault: whoever syncs panics.
    pub sync_panics: bool,
}

type Shared = Arc<Mutex<Image>>;

/// What was done to the journal since a moment, and how it was then.
#[derive(Default)]
pub struct Diary {
    before: Image,
    /// `None`: a sync.
    steps: Vec<Option<Step>>,
}

impl Diary {
    /// Writes and syncs.
    pub fn counts(&self) -> (usize, usize) {
        let writes = self.steps.iter().filter(|step| step.is_some()).count();
        (writes, self.steps.len() - writes)
    }

    /// The disk at each moment of that time: after a kill, and after two crashes, of which one loses all that was not
    /// synced, and the other what `dice` says.
    pub fn moments(&self, mut dice: impl FnMut() -> bool) -> Vec<Shaky> {
        let mut image = self.before.clone();
        let mut moments = Vec::new();
        for step in &self.steps {
            match step {
                Some(step) => {
                    step.run(&mut image.now);
                    image.since.push(step.clone());
                }
                None => (image.safe, image.since) = (image.now.clone(), Vec::new()),
            }
            let crashes = [image.after_a_crash(&mut || false), image.after_a_crash(&mut dice)];
            moments.extend([image.clone()].into_iter().chain(crashes).map(Shaky::with));
        }
        moments
    }
}

#[derive(Default)]
struct Inner {
    journal: Option<Shared>,
    /// What is the journal after a crash.
    safe_journal: Option<Shared>,
    fresh: Option<Shared>,
    mark: Option<Mark>,
    safe_mark: Option<Mark>,
    faults: Faults,
    syncs: usize,
    /// For what a failed sync has written all the same.
    dice: u64,
    diary: Option<Diary>,
}

fn copy(image: Option<&Shared>) -> Option<Shared> {
    image.map(|image| Arc::new(Mutex::new(image.lock().clone())))
}

/// A disk with one directory. Cheap to clone.
#[derive(Default, Clone)]
pub struct Shaky(Arc<Mutex<Inner>>);

impl Shaky {
    /// A good disk with this journal.
    pub fn holding(journal: Vec<u8>) -> Self {
        Self::with(Image { safe: journal.clone(), now: journal, since: Vec::new() })
    }

    fn with(journal: Image) -> Self {
        let journal = Some(Arc::new(Mutex::new(journal)));
        Self(Arc::new(Mutex::new(Inner { safe_journal: journal.clone(), journal, ..Inner::default() })))
    }

    /// The journal's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().journal.as_ref().map(|image| image.lock().now.clone()).unwrap_or_default()
    }

    pub fn set(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// For what failed syncs write all the same.
    pub fn set_dice(&self, dice: u64) {
        self.0.lock().dice = dice;
    }

    /// Begins to write down all that is done to the journal.
    pub fn begin_diary(&self) {
        let mut inner = self.0.lock();
        let before = inner.journal.as_ref().map(|image| image.lock().clone()).unwrap_or_default();
        inner.diary = Some(Diary { before, steps: Vec::new() });
    }

    /// What was done since.
    pub fn end_diary(&self) -> Diary {
        self.0.lock().diary.take().unwrap_or_default()
    }

    /// Syncs that were asked for so far.
    pub fn syncs(&self) -> usize {
        self.0.lock().syncs
    }

    /// How many hold this disk: we, and a journal that has not ended.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether something is written down of a journal that failed.
    pub fn is_marked(&self) -> bool {
        self.0.lock().mark.is_some()
    }

    /// Whether a file lies there that is not the journal.
    pub fn has_fresh(&self) -> bool {
        self.0.lock().fresh.is_some()
    }

    /// A good disk as it is after the power went; `kept` says for each thing that was not synced whether it is there.
    pub fn after_a_crash(&self, mut kept: impl FnMut() -> bool) -> Self {
        let inner = self.0.lock();
        let journal = if kept() { &inner.journal } else { &inner.safe_journal };
        let mark = if kept() { inner.mark } else { inner.safe_mark };
        let journal = journal.as_ref().map(|image| Arc::new(Mutex::new(image.lock().after_a_crash(&mut kept))));
        let safe_journal = journal.clone();
        Self(Arc::new(Mutex::new(Inner { journal, safe_journal, mark, safe_mark: mark, ..Inner::default() })))
    }

    /// A good disk as it is after the relay alone was killed: the system still shows, and may still write, what it did.
    pub fn after_a_kill(&self) -> Self {
        let inner = self.0.lock();
        let journal = copy(inner.journal.as_ref());
        let is_safe = match (&inner.journal, &inner.safe_journal) {
            (Some(journal), Some(safe)) => Arc::ptr_eq(journal, safe),
            _ => false,
        };
        let safe_journal = if is_safe { journal.clone() } else { copy(inner.safe_journal.as_ref()) };
        let Inner { mark, safe_mark, dice, .. } = *inner;
        Self(Arc::new(Mutex::new(Inner { journal, safe_journal, mark, safe_mark, dice, ..Inner::default() })))
    }

    fn backend(&self, image: Shared) -> Backend {
        Backend::new(Open { disk: self.clone(), image })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.faults.names_fail {
            return Err(io::Error::other("the sync of the directory was made to fail"));
        }
        inner.safe_journal = inner.journal.clone();
        Ok(())
    }
}

impl Ground for Shaky {
    fn name(&self) -> String {
        "on a shaky disk".to_owned()
    }

    fn open(&mut self) -> io::Result<Option<Backend>> {
        self.sync_names()?;
        let journal = self.0.lock().journal.clone();
        Ok(journal.map(|image| self.backend(image)))
    }

    fn fresh(&mut self) -> io::Result<Backend> {
        let image = Shared::default();
        self.0.lock().fresh = Some(Arc::clone(&image));
        Ok(self.backend(image))
    }

    fn adopt(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.faults.rename_fails {
            return Err(io::Error::other("the rename was made to fail"));
        }
        inner.journal = inner.fresh.take();
        drop(inner);
        self.sync_names()
    }

    fn discard(&mut self) {
        self.0.lock().fresh = None;
    }

    fn mark(&mut self) -> io::Result<Option<Mark>> {
        Ok(self.0.lock().mark)
    }

    fn set_mark(&mut self, mark: Option<Mark>) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.mark = mark;
        if inner.faults.mark_fails {
            return Err(io::Error::other("the mark was made to fail"));
        }
        inner.safe_mark = mark;
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.lock().journal.as_ref().map_or(0, |image| image.lock().now.len() as u64)
    }

    /// Short, so that tests fill it.
    fn log_bytes(&self) -> u64 {
        16 * 4096
    }
}

/// An open file on it.
struct Open {
    disk: Shaky,
    image: Shared,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file on a shaky disk")
    }
}

impl Open {
    fn step(&self, step: Step, end: u64) -> io::Result<()> {
        let inner = self.disk.0.lock();
        let Faults { full_at, write_fails, fresh_fails, .. } = inner.faults;
        let is_fresh = inner.fresh.as_ref().is_some_and(|fresh| Arc::ptr_eq(fresh, &self.image));
        drop(inner);
        let mut image = self.image.lock();
        if write_fails || (fresh_fails && is_fresh) {
            return Err(io::Error::other("the write was made to fail"));
        }
        if full_at.is_some_and(|most| end > most && end > image.now.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        step.run(&mut image.now);
        image.since.push(step.clone());
        drop(image);
        self.write_down(Some(step));
        Ok(())
    }

    fn write_down(&self, step: Option<Step>) {
        let mut inner = self.disk.0.lock();
        let is_journal = inner.journal.as_ref().is_some_and(|journal| Arc::ptr_eq(journal, &self.image));
        if let Some(diary) = inner.diary.as_mut().filter(|_| is_journal) {
            diary.steps.push(step);
        }
    }
}

impl StorageBackend for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image.lock();
        let at = usize::try_from(offset).expect("small");
        let there = image.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(Step::Length(len), len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        inner.syncs += 1;
        let Faults { sync_fails, sync_panics, .. } = inner.faults;
        let mut dice = inner.dice;
        inner.dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        drop(inner);
        assert!(!sync_panics, "the sync was made to panic");
        let mut image = self.image.lock();
        let Image { safe, since, .. } = &mut *image;
        for step in since.drain(..) {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The rest is never written, whatever the next sync says.
            if !sync_fails || dice >> 63 == 1 {
                step.run(safe);
            }
        }
        drop(image);
        if sync_fails {
            return Err(io::Error::other("the sync was made to fail"));
        }
        self.write_down(None);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(Step::Write(offset, data.to_vec()), offset + data.len() as u64)
    }
}
