//! What a journal's file lies on: a directory that is ours alone. Tests put something shakier in its place.

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
};

use redb::{StorageBackend, backends::FileBackend};

use crate::error::{Error, Kind};

/// The journal's name in its directory.
const FILE: &str = "journal.redb";
/// A journal that is not whole yet.
const FRESH: &str = "journal.new";
/// Locked as long as a relay uses the directory.
const LOCK: &str = "lock";

/// Mail is for the relay's eyes.
const MODE: u32 = 0o600;

/// Where a journal's file lies.
pub trait Ground: Send {
    /// For messages to people.
    fn name(&self) -> String;

    /// The journal, if there is one.
    fn open(&mut self) -> io::Result<Option<Backend>>;

    /// An empty file that takes the journal's place when it is adopted, or never.
    fn fresh(&mut self) -> io::Result<Backend>;

    /// Puts the fresh file, which is synced, into the journal's place, for good.
    fn adopt(&mut self) -> io::Result<()>;

    /// The journal's length in bytes.
    fn len(&self) -> u64;
}

/// A file's bytes, whatever holds them.
pub struct Backend(pub Box<dyn StorageBackend>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// A directory on disk, locked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
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
        Ok(()) => chown(path, owner, group).map_err(|error| failed("hand over", error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make", error)),
    }
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
        let lock = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(path.join(LOCK))
            .map_err(|error| failed(&format!("cannot write in the data directory {shown}"), &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::new(
                Kind::StorageFailed,
                format!(
                    "another relay uses the data directory {shown}: end it first, or give this one a directory of its own"
                ),
            )),
            Err(fs::TryLockError::Error(error)) => {
                Err(failed(&format!("cannot lock the data directory {shown}"), &error))
            }
        }
    }

    fn backend(file: fs::File) -> io::Result<Backend> {
        FileBackend::new(file).map(|backend| Backend(Box::new(backend))).map_err(io::Error::other)
    }
}

impl Ground for Directory {
    fn name(&self) -> String {
        self.path.join(FILE).display().to_string()
    }

    fn open(&mut self) -> io::Result<Option<Backend>> {
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
        fs::File::open(&self.path)?.sync_all()
    }

    fn len(&self) -> u64 {
        fs::metadata(self.path.join(FILE)).map_or(0, |metadata| metadata.len())
    }
}
