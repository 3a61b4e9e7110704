//! The journal's file: its tables, and how they are read and written. docs/storage.md says the same byte for byte, with
//! what [`record`] says of a row.

use std::{collections::HashMap, fmt, io};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableError, WriteTransaction,
};
use uuid::Uuid;

use super::{
    ground::Backend,
    overlay::Overlay,
    record::{self, KEY_BYTES},
};
use crate::{
    id::{Digest, SessionId},
    message::{Arrival, UnixMs},
    storage::journal::{Change, Kept, KeptKey, Known, Memory, Record, Snapshot},
};

/// What we write, and the only thing that we read.
const FORMAT: u64 = 2;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Arrival to message.
const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
/// Session to what the messages do not tell of its mailbox.
const MAILBOXES: TableDefinition<&str, &[u8]> = TableDefinition::new("mailboxes");
/// Digest to idempotency key.
const KEYS: TableDefinition<u128, &[u8; KEY_BYTES]> = TableDefinition::new("keys");

const META_FORMAT: &str = "format";
const META_FILE: &str = "file";
const META_LOOSE: &str = "loose";

/// The mailboxes are in memory, so pages are hardly read twice.
const CACHE_BYTES: usize = 32 << 20;

/// A file that cannot be used (any more).
#[derive(Debug)]
pub struct Broken {
    /// Whether the disk has no room.
    pub full: bool,
    /// Whether the disk failed, and not what is on it.
    pub disk: bool,
    why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl<E: Into<redb::Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        let error = error.into();
        let no_room = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        let full = matches!(&error, redb::Error::Io(error) if no_room.contains(&error.kind()));
        Self { full, disk: matches!(error, redb::Error::Io(_)), why: error.to_string() }
    }
}

fn unfit(why: impl Into<String>) -> Broken {
    Broken { full: false, disk: false, why: why.into() }
}

/// What the next transaction is to change.
#[derive(Default, Debug)]
pub struct Changes {
    messages: Vec<Kept>,
    left: Vec<Arrival>,
    /// `None`: forgotten.
    mailboxes: HashMap<SessionId, Option<Known>>,
    /// `None`: forgotten. With the first of the messages that it was used for.
    keys: HashMap<Digest, Option<(Arrival, KeptKey)>>,
    /// See [`Replayed::loose`].
    pub loose: Option<bool>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.left.is_empty()
            && self.mailboxes.is_empty()
            && self.keys.is_empty()
            && self.loose.is_none()
    }

    /// Adds what was noted after all this.
    pub fn note(&mut self, change: Change) {
        match change {
            Change::Left(arrivals) => self.left.extend(arrivals),
            Change::Known(session, known) => _ = self.mailboxes.insert(session, Some(known)),
            Change::Forgotten(session) => _ = self.mailboxes.insert(session, None),
            Change::Keys(digests) => self.keys.extend(digests.into_iter().map(|digest| (digest, None))),
        }
    }

    /// Adds what happened after all this.
    pub fn append(&mut self, later: Self) {
        self.messages.extend(later.messages);
        self.left.extend(later.left);
        self.mailboxes.extend(later.mailboxes);
        self.keys.extend(later.keys);
        self.loose = later.loose.or(self.loose);
    }

    /// Adds what was promised after all this, beginning with the arrival `first`.
    pub fn record(&mut self, first: Arrival, record: Record) {
        self.messages.extend(record.messages);
        self.keys.extend(record.key.map(|kept| (kept.key.digest, Some((first, kept)))));
    }
}

/// What a file told of itself.
pub struct Replayed {
    /// The next free arrival.
    pub next: Arrival,
    /// Whether receivers may have seen places that the file knows nothing of.
    pub loose: bool,
    /// Keys that nobody needs any more.
    pub stale: Vec<Digest>,
}

/// An open journal.
pub struct File {
    db: Database,
    /// Its name among all journals.
    pub id: u64,
}

impl File {
    /// Writes a new journal into an empty file. It is on disk when this returns.
    pub fn create(backend: Backend, snapshot: &Snapshot, loose: bool) -> Result<Self, Broken> {
        // The part of the id that is drawn by chance.
        let id = Uuid::now_v7().as_u64_pair().1;
        let file = Self { db: database(backend)?, id };
        file.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            for (name, value) in [(META_FORMAT, FORMAT), (META_FILE, id), (META_LOOSE, loose.into())] {
                meta.insert(name, value)?;
            }
            insert(transaction, &snapshot.messages, &[])?;
            let mut mailboxes = transaction.open_table(MAILBOXES)?;
            for (session, known) in &snapshot.mailboxes {
                mailboxes.insert(session.as_str(), record::mailbox(known).as_slice())?;
            }
            let mut keys = transaction.open_table(KEYS)?;
            for kept in &snapshot.keys {
                keys.insert(kept.key.digest.0, &record::key(Arrival(0), kept))?;
            }
            Ok(())
        })?;
        Ok(file)
    }

    /// Opens a journal that was written before, and looks at all of its checksums. One that is not to be `trusted` is not
    /// written.
    pub fn open(backend: Backend, trusted: bool) -> Result<Self, Broken> {
        if backend.len().is_ok_and(|len| len == 0) {
            return Err(unfit("it is empty, which no journal ever is"));
        }
        let backend = if trusted { backend } else { Backend(Box::new(Overlay::over(backend)?)) };
        let db = database(backend)?;
        let meta = match db.begin_read()?.open_table(META) {
            Ok(meta) => Some(meta),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let value = |name| match &meta {
            Some(meta) => Ok::<_, Broken>(meta.get(name)?.map(|value| value.value())),
            None => Ok(None),
        };
        match (value(META_FORMAT)?, value(META_FILE)?) {
            (Some(FORMAT), Some(id)) => Ok(Self { db, id }),
            (None | Some(FORMAT), _) => Err(unfit("it is a redb database, but not a journal of x0-relay")),
            (Some(other), _) => Err(unfit(format!(
                "it has format {other}, and this version of x0-relay reads format {FORMAT} alone: start the version that \
                 wrote it"
            ))),
        }
    }

    /// Brings back what is in it, but for messages that were refused after all, from `refused` on, and keys that have
    /// expired `now`.
    pub fn replay(&self, memory: &dyn Memory, refused: Arrival, now: UnixMs) -> Result<Replayed, Broken> {
        let failed = |error: crate::error::Error| unfit(format!("a record cannot be brought back: {error}"));
        let transaction = self.db.begin_read()?;
        let loose = transaction.open_table(META)?.get(META_LOOSE)?.is_some_and(|loose| loose.value() != 0);
        for row in table(&transaction, MAILBOXES)?.iter()? {
            let (session, row) = row?;
            let known = record::read_mailbox(row.value()).ok_or_else(|| {
                unfit(format!("the record of mailbox \"{}\" is not one", session.value().escape_debug()))
            })?;
            memory.restore_mailbox(session.value(), known).map_err(failed)?;
        }
        let mut last = Arrival(0);
        for row in table(&transaction, MESSAGES)?.range(..refused.0)? {
            let (arrival, row) = row?;
            let arrival = Arrival(arrival.value());
            let (session, epoch, letter) = record::read_message(arrival, row.value())
                .ok_or_else(|| unfit(format!("the record of message {} is not one", arrival.0)))?;
            memory.restore(session, epoch, letter).map_err(failed)?;
            last = arrival;
        }
        let (mut stale, mut keys) = (Vec::new(), Vec::new());
        for row in table(&transaction, KEYS)?.iter()? {
            let (digest, row) = row?;
            let digest = Digest(digest.value());
            let (first, kept) =
                record::read_key(digest, row.value()).ok_or_else(|| unfit("a key's record is not one"))?;
            last = last.max(first);
            if first >= refused || kept.expires <= now {
                stale.push(digest);
            } else {
                keys.push(kept);
            }
        }
        // As they were used.
        keys.sort_by_key(|kept| kept.expires);
        keys.into_iter().for_each(|kept| memory.restore_key(kept));
        Ok(Replayed { next: Arrival(last.0 + 1), loose, stale })
    }

    /// Makes changes safe, all or none.
    pub fn commit(&self, mut changes: Changes) -> Result<(), Broken> {
        // In the order of the trees.
        changes.left.sort_unstable();
        let mut mailboxes: Vec<_> = changes.mailboxes.into_iter().collect();
        mailboxes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut keys: Vec<_> = changes.keys.into_iter().collect();
        keys.sort_unstable_by_key(|(digest, _)| *digest);
        self.write(|transaction| {
            insert(transaction, &changes.messages, &changes.left)?;
            let mut table = transaction.open_table(MESSAGES)?;
            for arrival in &changes.left {
                table.remove(arrival.0)?;
            }
            let mut table = transaction.open_table(MAILBOXES)?;
            for (session, known) in &mailboxes {
                match known {
                    Some(known) => table.insert(session.as_str(), record::mailbox(known).as_slice())?,
                    None => table.remove(session.as_str())?,
                };
            }
            let mut table = transaction.open_table(KEYS)?;
            for (digest, used) in &keys {
                match used {
                    Some((first, kept)) => table.insert(digest.0, &record::key(*first, kept))?,
                    None => table.remove(digest.0)?,
                };
            }
            if let Some(loose) = changes.loose {
                transaction.open_table(META)?.insert(META_LOOSE, u64::from(loose))?;
            }
            Ok(())
        })
    }

    /// Ends it, so that the next start need not look at all of it. Nothing is lost if that fails.
    pub fn close(self) -> Result<(), Broken> {
        Ok(self.db.close()?)
    }

    /// One transaction, on disk when this returns.
    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), Broken>) -> Result<(), Broken> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        change(&transaction)?;
        Ok(transaction.commit()?)
    }
}

fn database(backend: Backend) -> Result<Database, Broken> {
    Ok(Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(backend)?)
}

fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<ReadOnlyTable<K, V>, Broken> {
    Ok(transaction.open_table(table)?)
}

/// Writes messages, but for those that have `left` already, which are in rising order.
fn insert(transaction: &WriteTransaction, messages: &[Kept], left: &[Arrival]) -> Result<(), Broken> {
    let mut table = transaction.open_table(MESSAGES)?;
    let mut row = Vec::new();
    for kept in messages.iter().filter(|kept| left.binary_search(&kept.letter.arrival).is_err()) {
        record::message(kept, &mut row);
        table.insert(kept.letter.arrival.0, row.as_slice())?;
    }
    Ok(())
}
