//! What a journal's file lies on: a directory that is ours alone. Tests put something shakier in its place.

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use redb::{StorageBackend, backends::FileBackend};

use super::{
    frame::BLOCK,
    mark::{MARK_BYTES, Mark},
};
use crate::error::{Error, Kind};

/// The journal's name in its directory.
const FILE: &str = "journal.redb";
/// A journal that is not whole yet.
const FRESH: &str = "journal.new";
/// What is to be known of a journal that failed.
const MARK: &str = "journal.mark";
/// Locked as long as a relay uses the directory.
const LOCK: &str = "lock";

/// What is folded into the tables at once: some 20,000 small messages, if they come many at a time.
const LOG_BYTES: u64 = 2048 * BLOCK as u64;

/// Mail is for the relay's eyes.
pub const MODE: u32 = 0o600;

/// Where a journal's file lies.
pub trait Ground: Send {
    /// For messages to people.
    fn name(&self) -> String;

    /// The journal, if there is one. It is there for good: no crash brings the one before it back.
    fn open(&mut self) -> io::Result<Option<Backend>>;

    /// An empty file that takes the journal's place when it is adopted, or never.
    fn fresh(&mut self) -> io::Result<Backend>;

    /// Puts the fresh file, which is synced, into the journal's place, for good. If that fails, either may be there.
    fn adopt(&mut self) -> io::Result<()>;

    /// Gives back the room of a fresh file that was not adopted.
    fn discard(&mut self);

    /// What was written down of a journal that failed.
    fn mark(&mut self) -> io::Result<Option<Mark>>;

    /// Writes that down, or that there is nothing to be known. Needs no room on the disk.
    fn set_mark(&mut self, mark: Option<Mark>) -> io::Result<()>;

    /// The journal's length in bytes.
    fn len(&self) -> u64;

    /// How long a new journal's log is, in bytes: a multiple of [`BLOCK`].
    fn log_bytes(&self) -> u64 {
        LOG_BYTES
    }
}

/// A file's bytes, whatever holds them. Once it could not be written or synced it is not written again, whoever tries:
/// nobody knows then what is on the disk and what is not.
pub struct Backend {
    bytes: Box<dyn StorageBackend>,
    failed: AtomicBool,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

impl Backend {
    pub fn new(bytes: impl StorageBackend) -> Self {
        Self { bytes: Box::new(bytes), failed: AtomicBool::new(false) }
    }

    fn change(&self, change: impl FnOnce(&dyn StorageBackend) -> io::Result<()>) -> io::Result<()> {
        if self.failed.load(Relaxed) {
            return Err(io::Error::other("it could not be written before"));
        }
        change(&*self.bytes).inspect_err(|_| self.failed.store(true, Relaxed))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|bytes| bytes.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|bytes| bytes.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|bytes| bytes.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.bytes.close()
    }
}

/// A directory on disk, locked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    mark: fs::File,
    /// Unlocked when it is closed.
    _lock: fs::File,
}

/// Makes the directory if it is missing, for its owner alone. Called while there are still the rights to.
///
/// # Errors
/// The system's, with the path.
pub fn prepare(path: &Path, owner: Option<u32>, group: Option<u32>) -> Result<(), Error> {
    let failed =
        |what: &str, error: io::Error| failed(&format!("cannot {what} the data directory {}", path.display()), &error);
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            chown(path, owner, group).map_err(|error| failed("hand over", error))?;
            // Else it may be gone after a power cut, with all that is in it.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_directory(parent).map_err(|error| failed("make sure of", error))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make", error)),
    }
}

/// Makes sure of what is in a directory.
///
/// # Errors
/// The system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(Kind::StorageFailed, format!("{what}: {error}"))
}

impl Directory {
    /// Takes the directory for this process.
    ///
    /// # Errors
    /// Another process has it, or the system does not let us.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let unwritable = |error: io::Error| failed(&format!("cannot write in the data directory {shown}"), &error);
        let options = |read| {
            let mut options = fs::File::options();
            options.read(read).write(true).create(true).truncate(false).mode(MODE);
            options
        };
        let lock = options(false).open(path.join(LOCK)).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::new(
                    Kind::StorageFailed,
                    format!(
                        "another relay uses the data directory {shown}: end it first, or give this one a directory of \
                         its own"
                    ),
                ));
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(failed(&format!("cannot lock the data directory {shown}"), &error));
            }
        }
        let mark = options(true).open(path.join(MARK)).map_err(unwritable)?;
        // Its room is taken while there is some.
        if mark.metadata().map_err(unwritable)?.len() < MARK_BYTES as u64 {
            mark.write_all_at(&Mark::bytes(None), 0).and_then(|()| mark.sync_all()).map_err(unwritable)?;
        }
        Ok(Self { path: path.to_owned(), mark, _lock: lock })
    }

    fn backend(file: fs::File) -> io::Result<Backend> {
        FileBackend::new(file).map(Backend::new).map_err(io::Error::other)
    }
}

impl Ground for Directory {
    fn name(&self) -> String {
        self.path.join(FILE).display().to_string()
    }

    fn open(&mut self) -> io::Result<Option<Backend>> {
        self.discard();
        // A relay may have been killed after it renamed a file, and before it made sure of that.
        sync_directory(&self.path)?;
        match fs::File::options().read(true).write(true).open(self.path.join(FILE)) {
            Ok(file) => Self::backend(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fresh(&mut self) -> io::Result<Backend> {
        let path = self.path.join(FRESH);
        Self::backend(fs::File::options().read(true).write(true).create(true).truncate(true).mode(MODE).open(path)?)
    }

    fn adopt(&mut self) -> io::Result<()> {
        fs::rename(self.path.join(FRESH), self.path.join(FILE))?;
        sync_directory(&self.path)
    }

    fn discard(&mut self) {
        match fs::remove_file(self.path.join(FRESH)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "{FRESH} is of no use and cannot be removed"),
        }
    }

    fn mark(&mut self) -> io::Result<Option<Mark>> {
        let mut bytes = [0; MARK_BYTES];
        self.mark.read_exact_at(&mut bytes, 0)?;
        Ok(Mark::read(&bytes))
    }

    fn set_mark(&mut self, mark: Option<Mark>) -> io::Result<()> {
        self.mark.write_all_at(&Mark::bytes(mark), 0)?;
        self.mark.sync_data()
    }

    fn len(&self) -> u64 {
        fs::metadata(self.path.join(FILE)).map_or(0, |metadata| metadata.len())
    }
}
