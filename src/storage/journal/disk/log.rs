//! The log in the journal's file: small commits are appended here, one write and one sync each, and later folded into the
//! tables together. docs/storage.md says what a record holds, byte for byte.

use std::sync::Arc;

use redb::StorageBackend;

use super::{
    changes::Changes,
    file::{Broken, io, unfit},
    frame::{BLOCK, CHECK_BYTES, Head, check},
    ground::Backend,
    record::{self, KEY_BYTES, Reader},
};
use crate::{id::SessionId, message::Arrival, storage::journal::Kept};

/// The bytes before a record's entries: the file's id, the record's number, the bytes of its entries, and the check.
const PREFIX_BYTES: usize = 24 + CHECK_BYTES;

const MESSAGE: u8 = 1;
const LEFT: u8 = 2;
const KNOWN: u8 = 3;
const FORGOTTEN: u8 = 4;
const KEY_USED: u8 = 5;
const KEY_FORGOTTEN: u8 = 6;
const LOOSE: u8 = 7;

pub struct Log {
    base: Arc<Backend>,
    head: Head,
    file: u64,
    /// The next record's.
    number: u64,
    /// Where it goes.
    at: u64,
    record: Vec<u8>,
}

impl Log {
    /// An empty one: its first record has the number `next`, which no other had.
    pub fn empty(base: Arc<Backend>, head: Head, file: u64, next: u64) -> Self {
        Self { base, head, file, number: next, at: BLOCK as u64, record: Vec::new() }
    }

    /// Opens a log, of which the tables have everything before the record `next`. Returns what its later records change.
    ///
    /// # Errors
    /// It cannot be read, or a record is not whole which is not the last.
    pub fn open(base: Arc<Backend>, head: Head, file: u64, next: u64) -> Result<(Self, Changes), Broken> {
        let mut log = Self::empty(base, head, file, next);
        let room = usize::try_from(head.log_bytes).map_err(|_| unfit("its log is larger than memory"))?;
        let mut bytes = vec![0; room];
        log.base.read(BLOCK as u64, &mut bytes).map_err(io)?;
        let (mut changes, mut at) = (Changes::default(), 0);
        while at < bytes.len() {
            let Some((number, entries)) = read_prefix(&bytes[at..], file).filter(|(number, _)| *number >= next) else {
                at += BLOCK;
                continue;
            };
            if number != log.number || BLOCK as u64 + at as u64 != log.at {
                return Err(unfit(format!("record {} of its log is damaged, and later ones are not", log.number)));
            }
            let later = read(entries).ok_or_else(|| unfit(format!("record {number} of its log is not one")))?;
            changes.append(later);
            at += blocks(PREFIX_BYTES + entries.len());
            (log.number, log.at) = (number + 1, BLOCK as u64 + at as u64);
        }
        Ok((log, changes))
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.number
    }

    /// Whether the tables have everything.
    pub fn is_empty(&self) -> bool {
        self.at == BLOCK as u64
    }

    /// Whether it is time to fold it into the tables: the next record may find no room.
    pub fn is_nearly_full(&self) -> bool {
        self.head.tables() - self.at < self.head.log_bytes / 8
    }

    /// Writes a record; it is on disk when this returns. Writes nothing, and returns `false`, if there is no room for it, or
    /// it is so large that the tables may as well have it at once.
    pub fn append(&mut self, changes: &Changes) -> Result<bool, Broken> {
        self.record.clear();
        self.record.resize(PREFIX_BYTES, 0);
        let most = PREFIX_BYTES + usize::try_from(self.most()).unwrap_or(usize::MAX);
        if !write(changes, &mut self.record, most) {
            self.record = Vec::new();
            return Ok(false);
        }
        let length = self.record.len() - PREFIX_BYTES;
        let end = self.at + blocks(self.record.len()) as u64;
        let Some(length) =
            u32::try_from(length).ok().filter(|_| end <= self.head.tables() && end - self.at <= self.most())
        else {
            self.record = Vec::new();
            return Ok(false);
        };
        self.record[..8].copy_from_slice(&self.file.to_le_bytes());
        self.record[8..16].copy_from_slice(&self.number.to_le_bytes());
        self.record[16..24].copy_from_slice(&u64::from(length).to_le_bytes());
        let check = check(&[&self.record[..24], &self.record[PREFIX_BYTES..]]);
        self.record[24..PREFIX_BYTES].copy_from_slice(&check);
        // Whole blocks, so that no block is read before it is written.
        self.record.resize(blocks(self.record.len()), 0);
        self.base.write(self.at, &self.record).map_err(io)?;
        self.base.sync_data().map_err(io)?;
        (self.number, self.at) = (self.number + 1, end);
        Ok(true)
    }

    fn most(&self) -> u64 {
        self.head.log_bytes / 4
    }

    /// The tables have everything.
    pub fn folded(&mut self) {
        self.at = BLOCK as u64;
    }
}

/// Bytes rounded up to blocks.
fn blocks(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK)
}

/// A whole record of a file: its number and its entries.
fn read_prefix(bytes: &[u8], file: u64) -> Option<(u64, &[u8])> {
    let mut reader = Reader::of(bytes);
    let (id, number, length) = (reader.u64()?, reader.u64()?, reader.u64()?);
    if id != file {
        return None;
    }
    let found = reader.bytes(CHECK_BYTES)?;
    let entries = reader.bytes(usize::try_from(length).ok()?)?;
    (found == check(&[&bytes[..24], entries])).then_some((number, entries))
}

/// Whether that is all: `false` as soon as it is more than `most` bytes, whose rest is not written.
fn write(changes: &Changes, out: &mut Vec<u8>, most: usize) -> bool {
    let mut row = Vec::new();
    for (arrival, kept) in &changes.messages {
        record::message(kept, &mut row);
        out.push(MESSAGE);
        out.extend(arrival.0.to_le_bytes());
        out.extend(record::length(row.len()));
        out.extend(&row);
        if out.len() > most {
            return false;
        }
    }
    for arrival in &changes.left {
        if out.len() > most {
            return false;
        }
        out.push(LEFT);
        out.extend(arrival.0.to_le_bytes());
    }
    for (session, known) in &changes.mailboxes {
        if out.len() > most {
            return false;
        }
        out.push(if known.is_some() { KNOWN } else { FORGOTTEN });
        out.extend(record::length(session.as_str().len()));
        out.extend(session.as_str().as_bytes());
        if let Some(known) = known {
            let row = record::mailbox(known);
            out.extend(record::length(row.len()));
            out.extend(row);
        }
    }
    for (digest, used) in &changes.keys {
        if out.len() > most {
            return false;
        }
        out.push(if used.is_some() { KEY_USED } else { KEY_FORGOTTEN });
        out.extend(digest.0.to_le_bytes());
        if let Some((first, kept)) = used {
            out.extend(record::key(*first, kept));
        }
    }
    if let Some(loose) = changes.loose {
        out.extend([LOOSE, u8::from(loose)]);
    }
    true
}

/// Reads a record's entries; `None` if they are not.
fn read(entries: &[u8]) -> Option<Changes> {
    let mut reader = Reader::of(entries);
    let mut changes = Changes::default();
    while !reader.is_empty() {
        match reader.u8()? {
            MESSAGE => {
                let arrival = Arrival(reader.u64()?);
                let length = reader.length()?;
                let (of, epoch, letter) = record::read_message(arrival, reader.bytes(length)?)?;
                changes.messages.insert(arrival, Kept { of: SessionId::kept(of).ok()?, epoch, letter });
            }
            LEFT => changes.left.push(Arrival(reader.u64()?)),
            tag @ (KNOWN | FORGOTTEN) => {
                let length = reader.length()?;
                let session = SessionId::kept(reader.text(length)?).ok()?;
                let known = if tag == FORGOTTEN {
                    None
                } else {
                    let length = reader.length()?;
                    Some(record::read_mailbox(reader.bytes(length)?)?)
                };
                changes.mailboxes.insert(session, known);
            }
            KEY_USED => {
                let digest = reader.digest()?;
                changes.keys.insert(digest, Some(record::read_key(digest, reader.bytes(KEY_BYTES)?)?));
            }
            KEY_FORGOTTEN => _ = changes.keys.insert(reader.digest()?, None),
            LOOSE => changes.loose = Some(reader.u8()? != 0),
            _ => return None,
        }
    }
    Some(changes)
}
