//! What is written down of a journal that failed, for a relay that starts before it is written anew.
//!
//! After a failed sync nobody knows what of the last commit is on the disk: the system shows what was written, and may
//! never write it. And of what it shows, the messages of that commit were refused.

use crate::message::Arrival;

/// The bytes of a mark.
pub const MARK_BYTES: usize = 24;

/// Against marks that were half written.
const CHECK: u64 = u64::from_be_bytes(*b"refused:");

/// A journal that is to be looked at byte for byte, and written anew before anything is added to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which journal, or 0: any.
    pub file: u64,
    /// The first message of it that was refused after all.
    pub refused: Arrival,
}

/// No message.
pub const NONE_REFUSED: Arrival = Arrival(u64::MAX);

impl Mark {
    /// A journal of which nothing else is known.
    pub const ANY: Self = Self { file: 0, refused: NONE_REFUSED };

    /// Whether `file` is meant.
    pub fn is_of(&self, file: u64) -> bool {
        [0, file].contains(&self.file)
    }

    /// A mark as it is written; zeros, if there is none.
    pub fn bytes(mark: Option<Self>) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        if let Some(mark) = mark {
            bytes[..8].copy_from_slice(&mark.file.to_le_bytes());
            bytes[8..16].copy_from_slice(&mark.refused.0.to_le_bytes());
            bytes[16..].copy_from_slice(&mark.check().to_le_bytes());
        }
        bytes
    }

    /// Reads a mark. One that was half written stands for any journal.
    pub fn read(bytes: &[u8; MARK_BYTES]) -> Option<Self> {
        if *bytes == Self::bytes(None) {
            return None;
        }
        let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mark = Self { file: number(0), refused: Arrival(number(8)) };
        Some(if mark.check() == number(16) { mark } else { Self::ANY })
    }

    fn check(self) -> u64 {
        self.file ^ self.refused.0.rotate_left(32) ^ CHECK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written_and_half_of_one_as_any() {
        let mark = Mark { file: 0x1234_5678_9abc_def0, refused: Arrival(77) };
        let bytes = Mark::bytes(Some(mark));
        assert_eq!(Mark::read(&bytes), Some(mark));
        assert_eq!(Mark::read(&Mark::bytes(None)), None);
        for kept in [1, 8, 12, 16, 20] {
            let mut torn = Mark::bytes(None);
            torn[..kept].copy_from_slice(&bytes[..kept]);
            assert_eq!(Mark::read(&torn), Some(Mark::ANY), "{kept} bytes");
        }
        assert!(mark.is_of(mark.file) && !mark.is_of(1) && Mark::ANY.is_of(1));
    }
}
