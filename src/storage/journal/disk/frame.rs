//! How the journal's file is laid out: a head, the log, and behind them the tables, which redb keeps.

use std::{io, sync::Arc};

use redb::StorageBackend;
use ring::digest::{Context, SHA256};

use super::ground::Backend;

/// What the log is divided into, and the bytes of the head. What was synced is in blocks that are not written again.
pub const BLOCK: usize = 4096;

/// The first bytes of a file with a head.
const MAGIC: [u8; 8] = *b"x0relay\n";

/// Of a digest so much is written down.
pub const CHECK_BYTES: usize = 16;

/// Against accidents: a block that was half written, or that the disk has changed.
pub fn check(parts: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&context.finish().as_ref()[..CHECK_BYTES]);
    check
}

/// What the first block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The file's format.
    pub format: u64,
    /// How long the log is, in bytes: a multiple of [`BLOCK`].
    pub log_bytes: u64,
}

impl Head {
    /// Reads it; `None` if the file begins with something else.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(base: &Backend) -> io::Result<Option<Self>> {
        let mut bytes = [0; BLOCK];
        if base.len()? < BLOCK as u64 {
            return Ok(None);
        }
        base.read(0, &mut bytes)?;
        if bytes[..8] != MAGIC {
            return Ok(None);
        }
        let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let head = Self { format: number(8), log_bytes: number(16) };
        let is_whole = bytes == head.bytes() && base.len()? > head.tables();
        if is_whole { Ok(Some(head)) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn bytes(self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.format.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.log_bytes.to_le_bytes());
        let check = check(&[&bytes[..24]]);
        bytes[24..24 + CHECK_BYTES].copy_from_slice(&check);
        bytes
    }

    /// Writes it into an empty file, and a log that is empty: its room is taken, and its blocks have been written, so that a
    /// sync of the log has nothing but the log to write.
    pub fn write(self, base: &Backend) -> io::Result<()> {
        base.set_len(self.tables())?;
        base.write(0, &self.bytes())?;
        let zeros = [0; 64 * BLOCK];
        let mut at = BLOCK as u64;
        while at < self.tables() {
            let count = usize::try_from(self.tables() - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            base.write(at, &zeros[..count])?;
            at += count as u64;
        }
        Ok(())
    }

    /// Where the tables begin.
    pub fn tables(self) -> u64 {
        BLOCK as u64 + self.log_bytes
    }
}

/// The part of a file behind an offset, as redb sees it.
#[derive(Debug)]
pub struct Behind {
    pub base: Arc<Backend>,
    pub offset: u64,
}

impl StorageBackend for Behind {
    fn len(&self) -> io::Result<u64> {
        Ok(self.base.len()?.saturating_sub(self.offset))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.base.read(self.offset + offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.base.set_len(self.offset + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.base.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.base.write(self.offset + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.base.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn a_head_reads_as_it_was_written_or_not_at_all() {
        let base = Backend::new(InMemoryBackend::new());
        assert_eq!(Head::read(&base).expect("memory"), None, "nothing");
        let head = Head { format: 3, log_bytes: 8 * BLOCK as u64 };
        head.write(&base).expect("memory");
        assert!(Head::read(&base).is_err(), "it ends before its tables");
        base.set_len(head.tables() + 1).expect("memory");
        assert_eq!(Head::read(&base).expect("memory"), Some(head));
        for at in [8, 17, 24, 39, 40, 4095] {
            base.write(at, &[77]).expect("memory");
            assert!(Head::read(&base).is_err(), "byte {at}");
            base.write(0, &head.bytes()).expect("memory");
        }
        base.write(3, &[77]).expect("memory");
        assert_eq!(Head::read(&base).expect("memory"), None, "something else");
    }
}
