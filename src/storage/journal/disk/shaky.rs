//! A disk for tests: it fails when told to, and loses at a crash what was not synced, in part or in whole.

use std::{fmt, io, sync::Arc};

use parking_lot::Mutex;
use redb::StorageBackend;

use super::ground::{Backend, Ground};

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

/// One file: what is safe, and what was done since.
#[derive(Default, Clone)]
struct Image {
    safe: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Step>,
}

/// What is wrong with the disk.
#[derive(Default, Clone, Copy)]
pub struct Faults {
    pub sync_fails: bool,
    /// No file may be longer.
    pub full_at: Option<u64>,
    pub rename_fails: bool,
}

#[derive(Default)]
struct Inner {
    journal: Option<Arc<Mutex<Image>>>,
    fresh: Option<Arc<Mutex<Image>>>,
    faults: Faults,
    syncs: usize,
}

/// A disk with one directory. Cheap to clone.
#[derive(Default, Clone)]
pub struct Shaky(Arc<Mutex<Inner>>);

impl Shaky {
    pub fn set(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Syncs that were asked for so far.
    pub fn syncs(&self) -> usize {
        self.0.lock().syncs
    }

    /// The disk after the power went: of what was not synced each step is there if `kept` says so, and the last one
    /// half.
    pub fn after_a_crash(&self, mut kept: impl FnMut() -> bool) -> Self {
        let inner = self.0.lock();
        let journal = inner.journal.as_ref().map(|image| {
            let image = image.lock();
            let mut bytes = image.safe.clone();
            for (n, step) in image.since.iter().enumerate() {
                match step {
                    Step::Write(at, data) if n + 1 == image.since.len() => {
                        Step::Write(*at, data[..data.len() / 2].to_vec()).run(&mut bytes);
                    }
                    step if kept() => step.run(&mut bytes),
                    _ => {}
                }
            }
            Arc::new(Mutex::new(Image { safe: bytes.clone(), now: bytes, since: Vec::new() }))
        });
        Self(Arc::new(Mutex::new(Inner { journal, ..Inner::default() })))
    }

    fn backend(&self, image: Arc<Mutex<Image>>) -> Backend {
        Backend(Box::new(Open { disk: self.clone(), image }))
    }
}

impl Ground for Shaky {
    fn name(&self) -> String {
        "on a shaky disk".to_owned()
    }

    fn open(&mut self) -> io::Result<Option<Backend>> {
        let journal = self.0.lock().journal.clone();
        Ok(journal.map(|image| self.backend(image)))
    }

    fn fresh(&mut self) -> io::Result<Backend> {
        let image: Arc<Mutex<Image>> = Arc::default();
        self.0.lock().fresh = Some(Arc::clone(&image));
        Ok(self.backend(image))
    }

    fn adopt(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.faults.rename_fails {
            return Err(io::Error::other("the rename was made to fail"));
        }
        inner.journal = inner.fresh.take();
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.lock().journal.as_ref().map_or(0, |image| image.lock().now.len() as u64)
    }
}

/// An open file on it.
struct Open {
    disk: Shaky,
    image: Arc<Mutex<Image>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file on a shaky disk")
    }
}

impl Open {
    fn step(&self, step: Step, end: u64) -> io::Result<()> {
        let full_at = self.disk.0.lock().faults.full_at;
        let mut image = self.image.lock();
        if full_at.is_some_and(|most| end > most && end > image.now.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        step.run(&mut image.now);
        image.since.push(step);
        Ok(())
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
        if inner.faults.sync_fails {
            return Err(io::Error::other("the sync was made to fail"));
        }
        drop(inner);
        let mut image = self.image.lock();
        image.safe = image.now.clone();
        image.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(Step::Write(offset, data.to_vec()), offset + data.len() as u64)
    }
}
