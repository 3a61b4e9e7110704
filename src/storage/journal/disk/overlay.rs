//! A file that is read and never written: what is written over it stays in memory. A journal that failed is opened in
//! this way, because a repair that builds on what the disk may have lost would spoil what it did not lose.

use std::{collections::HashMap, fmt, io};

use parking_lot::Mutex;
use redb::StorageBackend;

use super::ground::Backend;

const BLOCK: u64 = 4096;

pub struct Overlay {
    under: Backend,
    state: Mutex<State>,
}

struct State {
    length: u64,
    /// Of the file beneath, so much counts: the rest was cut off.
    under: u64,
    /// By their place divided by [`BLOCK`].
    blocks: HashMap<u64, Box<[u8]>>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "over {:?}", self.under)
    }
}

impl Overlay {
    pub fn over(under: Backend) -> io::Result<Self> {
        let length = under.len()?;
        Ok(Self { under, state: Mutex::new(State { length, under: length, blocks: HashMap::new() }) })
    }

    /// A block as the file beneath has it, with zeros behind its end.
    fn read_under(&self, block: u64, end: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(end.saturating_sub(block * BLOCK)).map_or(out.len(), |there| there.min(out.len()));
        let (from_under, zeros) = out.split_at_mut(there);
        zeros.fill(0);
        if from_under.is_empty() { Ok(()) } else { self.under.read(block * BLOCK, from_under) }
    }

    /// Runs `on` on every block that a range touches, with the part of it and of the range.
    fn each_block(
        offset: u64,
        length: usize,
        mut on: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let from = usize::try_from(at % BLOCK).map_err(io::Error::other)?;
            let count = (BLOCK as usize - from).min(length - done);
            on(at / BLOCK, from..from + count, done..done + count)?;
            done += count;
        }
        Ok(())
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Self::each_block(offset, out.len(), |block, part, range| match state.blocks.get(&block) {
            Some(bytes) => {
                out[range].copy_from_slice(&bytes[part]);
                Ok(())
            }
            None => {
                let mut bytes = [0; BLOCK as usize];
                self.read_under(block, state.under, &mut bytes)?;
                out[range].copy_from_slice(&bytes[part]);
                Ok(())
            }
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if length < state.length {
            state.under = state.under.min(length);
            state.blocks.retain(|block, _| block * BLOCK < length);
            if let Some(last) = state.blocks.get_mut(&(length / BLOCK)) {
                let kept = usize::try_from(length % BLOCK).map_err(io::Error::other)?;
                last[kept..].fill(0);
            }
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        Self::each_block(offset, data.len(), |block, part, range| {
            if !state.blocks.contains_key(&block) {
                let mut bytes = vec![0; BLOCK as usize].into_boxed_slice();
                self.read_under(block, state.under, &mut bytes)?;
                state.blocks.insert(block, bytes);
            }
            if let Some(bytes) = state.blocks.get_mut(&block) {
                bytes[part].copy_from_slice(&data[range]);
            }
            Ok(())
        })?;
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.under.close()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    fn file(bytes: &[u8]) -> Backend {
        let file = InMemoryBackend::new();
        file.set_len(bytes.len() as u64).expect("memory");
        file.write(0, bytes).expect("memory");
        Backend::new(file)
    }

    fn all(file: &dyn StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len().expect("memory")).expect("small")];
        file.read(0, &mut bytes).expect("memory");
        bytes
    }

    proptest! {
        #[test]
        fn it_reads_like_a_file_that_was_written(
            length in 0..20_000_usize,
            steps in proptest::collection::vec((any::<bool>(), 0..20_000_usize, 0..9_000_usize, any::<u8>()), 0..12),
        ) {
            let before: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let overlay = Overlay::over(file(&before)).expect("memory");
            let mut model = before.clone();
            for (cuts, at, count, byte) in steps {
                if cuts {
                    model.resize(at, 0);
                    overlay.set_len(at as u64).expect("memory");
                } else {
                    model.resize(model.len().max(at + count), 0);
                    model[at..at + count].fill(byte);
                    overlay.write(at as u64, &vec![byte; count]).expect("memory");
                }
                prop_assert_eq!(&all(&overlay), &model);
            }
            prop_assert_eq!(all(&overlay.under), before);
        }
    }
}
