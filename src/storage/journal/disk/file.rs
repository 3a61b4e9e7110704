//! The journal's file: tables, records, and how they are read and written. docs/storage.md says the same byte for byte.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use uuid::Uuid;

use super::{Changes, ground::Backend};
use crate::{
    mailbox::Letter,
    message::{Arrival, Message, Seq, Shape, UnixMs},
    storage::journal::{Kept, Known, Memory, Snapshot},
};

/// What we write, and the only thing that we read.
const FORMAT: u64 = 1;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Arrival to record.
const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
/// Session to last place and last contact, if the messages do not tell.
const MAILBOXES: TableDefinition<&str, (u64, u64)> = TableDefinition::new("mailboxes");

const KEY_FORMAT: &str = "format";
const KEY_FORGOTTEN: &str = "forgotten";

/// The mailboxes are in memory, so pages are hardly read twice.
const CACHE_BYTES: usize = 32 << 20;

/// Up to the names, whose lengths it ends with.
const HEAD_BYTES: usize = 47;

/// A file that cannot be used (any more).
#[derive(Debug)]
pub struct Broken {
    /// Whether the disk has no room.
    pub full: bool,
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
        Self { full, why: error.to_string() }
    }
}

fn unfit(why: impl Into<String>) -> Broken {
    Broken { full: false, why: why.into() }
}

/// An open journal.
pub struct File {
    db: Database,
}

impl File {
    /// Writes a new journal into an empty file. It is on disk when this returns.
    pub fn create(backend: Backend, snapshot: &Snapshot) -> Result<Self, Broken> {
        let file = Self { db: database(backend)? };
        file.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            meta.insert(KEY_FORMAT, FORMAT)?;
            meta.insert(KEY_FORGOTTEN, snapshot.forgotten.0)?;
            insert(transaction, &snapshot.messages)?;
            let mut mailboxes = transaction.open_table(MAILBOXES)?;
            for (session, known) in &snapshot.mailboxes {
                mailboxes.insert(session.as_str(), (known.last.0, known.touched.0))?;
            }
            Ok(())
        })?;
        Ok(file)
    }

    /// Opens a journal that was written before.
    pub fn open(backend: Backend) -> Result<Self, Broken> {
        if redb::StorageBackend::len(&backend).is_ok_and(|len| len == 0) {
            return Err(unfit("it is empty, which no journal ever is"));
        }
        let db = database(backend)?;
        let format = match db.begin_read()?.open_table(META) {
            Ok(meta) => meta.get(KEY_FORMAT)?.map(|format| format.value()),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        match format {
            Some(FORMAT) => Ok(Self { db }),
            Some(other) => Err(unfit(format!(
                "it has format {other}, and this version of x0-relay reads format {FORMAT} alone: start the version that \
                 wrote it"
            ))),
            None => Err(unfit("it is a redb database, but not a journal of x0-relay")),
        }
    }

    /// Brings back what is in it. Returns the next free arrival.
    pub fn replay(&self, memory: &dyn Memory) -> Result<Arrival, Broken> {
        let refused = |error: crate::error::Error| unfit(format!("a record cannot be brought back: {error}"));
        let transaction = self.db.begin_read()?;
        if let Some(last) = transaction.open_table(META)?.get(KEY_FORGOTTEN)? {
            memory.restore_forgotten(Seq(last.value()));
        }
        for row in transaction.open_table(MAILBOXES)?.iter()? {
            let (session, known) = row?;
            let (last, touched) = known.value();
            let known = Known { last: Seq(last), touched: UnixMs(touched) };
            memory.restore_mailbox(session.value(), known).map_err(refused)?;
        }
        let mut next = Arrival(1);
        for row in transaction.open_table(MESSAGES)?.iter()? {
            let (arrival, record) = row?;
            let arrival = Arrival(arrival.value());
            let (session, letter) = decode(arrival, record.value())
                .ok_or_else(|| unfit(format!("the record of message {} is not one", arrival.0)))?;
            memory.restore(session, letter).map_err(refused)?;
            next = Arrival(arrival.0 + 1);
        }
        Ok(next)
    }

    /// Makes new messages and changes safe, all or none.
    pub fn commit(&self, messages: &[Kept], mut changes: Changes) -> Result<(), Broken> {
        // In the order of the tree.
        changes.left.sort_unstable();
        self.write(|transaction| {
            insert(transaction, messages)?;
            let mut table = transaction.open_table(MESSAGES)?;
            for arrival in &changes.left {
                table.remove(arrival.0)?;
            }
            let mut mailboxes = transaction.open_table(MAILBOXES)?;
            for (session, known) in &changes.mailboxes {
                match known {
                    Some(known) => mailboxes.insert(session.as_str(), (known.last.0, known.touched.0))?,
                    None => mailboxes.remove(session.as_str())?,
                };
            }
            let mut meta = transaction.open_table(META)?;
            let forgotten = meta.get(KEY_FORGOTTEN)?.map_or(0, |last| last.value());
            if changes.forgotten.0 > forgotten {
                meta.insert(KEY_FORGOTTEN, changes.forgotten.0)?;
            }
            Ok(())
        })
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
    Ok(Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

fn insert(transaction: &WriteTransaction, messages: &[Kept]) -> Result<(), Broken> {
    let mut table = transaction.open_table(MESSAGES)?;
    let mut record = Vec::new();
    for kept in messages {
        encode(kept, &mut record)?;
        table.insert(kept.letter.arrival.0, record.as_slice())?;
    }
    Ok(())
}

fn encode(kept: &Kept, record: &mut Vec<u8>) -> Result<(), Broken> {
    let Letter { seq, message, .. } = &kept.letter;
    let too_long = || unfit("a name is too long for the journal");
    let session = kept.of.as_str().as_bytes();
    record.clear();
    record.push(match message.shape {
        Shape::Object => 0,
        Shape::Other => 1,
    });
    record.extend(seq.0.to_le_bytes());
    record.extend(message.accepted.0.to_le_bytes());
    record.extend(message.expires.0.to_le_bytes());
    record.extend(message.id.as_bytes());
    record.extend(u16::try_from(session.len()).map_err(|_| too_long())?.to_le_bytes());
    record.extend(u32::try_from(message.from.len()).map_err(|_| too_long())?.to_le_bytes());
    record.extend(session);
    record.extend(message.from.as_bytes());
    record.extend(&message.payload);
    Ok(())
}

fn decode(arrival: Arrival, record: &[u8]) -> Option<(&str, Letter)> {
    let (head, rest) = record.split_at_checked(HEAD_BYTES)?;
    let u64_at = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let shape = match head[0] {
        0 => Shape::Object,
        1 => Shape::Other,
        _ => return None,
    };
    let session_len = usize::from(u16::from_le_bytes(head[41..43].try_into().ok()?));
    let from_len = usize::try_from(u32::from_le_bytes(head[43..47].try_into().ok()?)).ok()?;
    let (session, rest) = rest.split_at_checked(session_len)?;
    let (from, payload) = rest.split_at_checked(from_len)?;
    let message = Message {
        id: Uuid::from_slice(&head[25..41]).ok()?,
        from: str::from_utf8(from).ok()?.into(),
        accepted: UnixMs(u64_at(9)?),
        expires: UnixMs(u64_at(17)?),
        payload: Bytes::copy_from_slice(payload),
        shape,
    };
    Some((str::from_utf8(session).ok()?, Letter { seq: Seq(u64_at(1)?), arrival, message: Arc::new(message) }))
}
