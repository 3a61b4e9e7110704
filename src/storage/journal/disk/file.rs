//! The journal's file: its tables, and how they are read and written. docs/storage.md says the same byte for byte, with
//! what [`record`] says of a row.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    io::ErrorKind,
    sync::Arc,
};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableError, WriteTransaction,
};
use uuid::Uuid;

use super::{
    changes::Changes,
    frame::{Behind, Head},
    ground::Backend,
    log::Log,
    overlay::Overlay,
    record::{self, KEY_BYTES},
};
use crate::{
    id::{Digest, SessionId},
    message::{Arrival, UnixMs},
    storage::journal::{Kept, KeptKey, Memory, Snapshot},
};

/// What we write.
const FORMAT: u64 = 3;
/// What we read too: tables alone.
const FORMAT_OF_TABLES: u64 = 2;

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
const META_LOG: &str = "log";

/// A fold of so many rows keeps no sender waiting for long.
const FOLD_ROWS: usize = 4096;

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
        let no_room = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
        let full = matches!(&error, redb::Error::Io(error) if no_room.contains(&error.kind()));
        Self { full, disk: matches!(error, redb::Error::Io(_)), why: error.to_string() }
    }
}

pub fn unfit(why: impl Into<String>) -> Broken {
    Broken { full: false, disk: false, why: why.into() }
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
    /// `None`: a file of the format before, which has none.
    log: Option<Log>,
    /// What the log has and the tables have not.
    logged: Changes,
}

impl File {
    /// Writes a new journal into an empty file, with a log of so many bytes. It is on disk when this returns.
    pub fn create(backend: Backend, log_bytes: u64, snapshot: &Snapshot, loose: bool) -> Result<Self, Broken> {
        // The part of the id that is drawn by chance.
        let id = Uuid::now_v7().as_u64_pair().1;
        let (base, head) = (Arc::new(backend), Head { format: FORMAT, log_bytes });
        head.write(&base).map_err(io)?;
        let log = Log::empty(Arc::clone(&base), head, id, 1);
        let file = Self { db: database(base, head.tables())?, id, log: Some(log), logged: Changes::default() };
        file.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            for (name, value) in [(META_FORMAT, FORMAT), (META_FILE, id), (META_LOOSE, loose.into()), (META_LOG, 1)] {
                meta.insert(name, value)?;
            }
            insert(transaction, snapshot.messages.iter())?;
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
        let backend = if trusted { backend } else { Backend::new(Overlay::over(backend).map_err(io)?) };
        // A relay that was killed may have left something unwritten, which what is added now would build on.
        backend.sync_data().map_err(io)?;
        let base = Arc::new(backend);
        let head = Head::read(&base).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => unfit("its first bytes are damaged, or it ends in the middle"),
            _ => io(error),
        })?;
        if let Some(Head { format, .. }) = head.filter(|head| head.format != FORMAT) {
            return Err(other_format(format));
        }
        let db = database(Arc::clone(&base), head.map_or(0, Head::tables))?;
        let meta = match db.begin_read()?.open_table(META) {
            Ok(meta) => Some(meta),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let value = |name| match &meta {
            Some(meta) => Ok::<_, Broken>(meta.get(name)?.map(|value| value.value())),
            None => Ok(None),
        };
        match (head, value(META_FORMAT)?, value(META_FILE)?, value(META_LOG)?) {
            (Some(head), Some(FORMAT), Some(id), Some(next)) => {
                let (log, logged) = Log::open(base, head, id, next)?;
                Ok(Self { db, id, log: Some(log), logged })
            }
            (None, Some(FORMAT_OF_TABLES), Some(id), _) => Ok(Self { db, id, log: None, logged: Changes::default() }),
            (_, None | Some(FORMAT | FORMAT_OF_TABLES), ..) => {
                Err(unfit("it is a redb database, but not a journal of x0-relay"))
            }
            (_, Some(other), ..) => Err(other_format(other)),
        }
    }

    /// Whether it is of the format before, and is to be written anew.
    pub fn is_old(&self) -> bool {
        self.log.is_none()
    }

    /// Brings back what is in it, but for messages that were refused after all, from `refused` on, and keys that have
    /// expired `now`.
    pub fn replay(&self, memory: &dyn Memory, refused: Arrival, now: UnixMs) -> Result<Replayed, Broken> {
        let failed = |error: crate::error::Error| unfit(format!("a record cannot be brought back: {error}"));
        let transaction = self.db.begin_read()?;
        let logged = &self.logged;
        let loose = transaction.open_table(META)?.get(META_LOOSE)?.is_some_and(|loose| loose.value() != 0);
        let loose = logged.loose.unwrap_or(loose);
        let written: HashSet<&str> = logged.mailboxes.keys().map(SessionId::as_str).collect();
        for row in table(&transaction, MAILBOXES)?.iter()? {
            let (session, row) = row?;
            if written.contains(session.value()) {
                continue;
            }
            let known = record::read_mailbox(row.value()).ok_or_else(|| {
                unfit(format!("the record of mailbox \"{}\" is not one", session.value().escape_debug()))
            })?;
            memory.restore_mailbox(session.value(), known).map_err(failed)?;
        }
        for (session, known) in &logged.mailboxes {
            if let Some(known) = known {
                memory.restore_mailbox(session.as_str(), known.clone()).map_err(failed)?;
            }
        }
        let mut last = Arrival(0);
        let left: BTreeSet<Arrival> = logged.left.iter().copied().collect();
        for row in table(&transaction, MESSAGES)?.range(..refused.0)? {
            let (arrival, row) = row?;
            let arrival = Arrival(arrival.value());
            last = arrival;
            if left.contains(&arrival) {
                continue;
            }
            let (session, epoch, letter) = record::read_message(arrival, row.value())
                .ok_or_else(|| unfit(format!("the record of message {} is not one", arrival.0)))?;
            memory.restore(session, epoch, letter).map_err(failed)?;
        }
        // All of them came later.
        for (arrival, Kept { of, epoch, letter }) in logged.messages.range(..refused) {
            memory.restore(of.as_str(), *epoch, letter.clone()).map_err(failed)?;
            last = *arrival;
        }
        let (mut stale, mut keys) = (Vec::new(), Vec::new());
        let mut bring = |digest, first: Arrival, kept: KeptKey| {
            last = last.max(first);
            if first >= refused || kept.expires <= now {
                stale.push(digest);
            } else {
                keys.push(kept);
            }
        };
        for row in table(&transaction, KEYS)?.iter()? {
            let (digest, row) = row?;
            let digest = Digest(digest.value());
            let (first, kept) =
                record::read_key(digest, row.value()).ok_or_else(|| unfit("a key's record is not one"))?;
            if !logged.keys.contains_key(&digest) {
                bring(digest, first, kept);
            }
        }
        for (digest, used) in &logged.keys {
            if let Some((first, kept)) = used {
                bring(*digest, *first, *kept);
            }
        }
        // As they were used.
        keys.sort_by_key(|kept| kept.expires);
        keys.into_iter().for_each(|kept| memory.restore_key(kept));
        // What left may be in neither: it left while the file was written anew. Its place is never given out again, else
        // who gets it would leave with it.
        let last = left.last().map_or(last, |left| last.max(*left));
        Ok(Replayed { next: Arrival(last.0 + 1), loose, stale })
    }

    /// Makes changes safe, all or none. Returns whether the tables were written too.
    pub fn commit(&mut self, changes: Changes) -> Result<bool, Broken> {
        let is_logged = match &mut self.log {
            Some(log) => log.append(&changes)?,
            None => false,
        };
        self.logged.append(changes);
        if !is_logged {
            self.fold()?;
        }
        Ok(!is_logged)
    }

    /// Whether the log has anything; or so much that it is time for a [`File::fold`].
    pub fn has_logged(&self, much: bool) -> bool {
        let Some(log) = &self.log else { return false };
        if much { self.logged.len() >= FOLD_ROWS || log.is_nearly_full() } else { !log.is_empty() }
    }

    /// Writes what the log has into the tables.
    pub fn fold(&mut self) -> Result<(), Broken> {
        let Changes { messages, mut left, mailboxes, keys, loose } = std::mem::take(&mut self.logged);
        // In the order of the trees.
        left.sort_unstable();
        let mut mailboxes: Vec<_> = mailboxes.into_iter().collect();
        mailboxes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable_by_key(|(digest, _)| *digest);
        let next = self.log.as_ref().map(Log::next);
        self.write(|transaction| {
            let mut table = transaction.open_table(MESSAGES)?;
            for arrival in &left {
                table.remove(arrival.0)?;
            }
            drop(table);
            // Afterwards: what is here came after whatever left.
            insert(transaction, messages.values())?;
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
            let mut meta = transaction.open_table(META)?;
            if let Some(loose) = loose {
                meta.insert(META_LOOSE, u64::from(loose))?;
            }
            if let Some(next) = next {
                meta.insert(META_LOG, next)?;
            }
            Ok(())
        })?;
        if let Some(log) = &mut self.log {
            log.folded();
        }
        Ok(())
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

fn other_format(format: u64) -> Broken {
    unfit(format!(
        "it has format {format}, and this version of x0-relay reads formats {FORMAT_OF_TABLES} and {FORMAT} alone: start \
         the version that wrote it"
    ))
}

/// What the system says of a file.
pub fn io(error: std::io::Error) -> Broken {
    Broken::from(redb::StorageError::Io(error))
}

/// The tables in a file, from `offset` on.
fn database(base: Arc<Backend>, offset: u64) -> Result<Database, Broken> {
    let tables = Behind { base, offset };
    Ok(Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(tables)?)
}

fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<ReadOnlyTable<K, V>, Broken> {
    Ok(transaction.open_table(table)?)
}

fn insert<'a>(transaction: &WriteTransaction, messages: impl Iterator<Item = &'a Kept>) -> Result<(), Broken> {
    let mut table = transaction.open_table(MESSAGES)?;
    let mut row = Vec::new();
    for kept in messages {
        record::message(kept, &mut row);
        table.insert(kept.letter.arrival.0, row.as_slice())?;
    }
    Ok(())
}
