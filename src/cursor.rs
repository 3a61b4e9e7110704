//! Positions in a mailbox's stream, and what is told where messages are missing.

use std::fmt;

use crate::{
    error::{Error, Kind},
    message::Seq,
};

/// One life of a mailbox. It changes when the mailbox's past is gone, and with it the meaning of every [`Seq`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// Everything up to a message, in one life of a mailbox.
///
/// Clients take its text as it is: 16 hexadecimal digits, a dot, a decimal number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cursor {
    /// Which life.
    pub epoch: Epoch,
    /// The last message of what is meant; 0 is before the first.
    pub seq: Seq,
}

/// The digits of an epoch.
const EPOCH_DIGITS: usize = 16;
/// The digits of the largest seq.
const SEQ_DIGITS_MAX: usize = 20;

impl Cursor {
    /// Reads a cursor that was handed out as text.
    ///
    /// # Errors
    /// [`Kind::InvalidCursor`] if it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(Kind::InvalidCursor, "this is no cursor of this relay; pass one on exactly as it was received")
        };
        let (epoch, seq) = text.split_once('.').ok_or_else(wrong)?;
        let hexadecimal = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        let epoch_fits = epoch.len() == EPOCH_DIGITS && epoch.bytes().all(hexadecimal);
        let seq_fits = seq.len() <= SEQ_DIGITS_MAX && seq.bytes().all(|digit| digit.is_ascii_digit());
        match (epoch_fits && seq_fits, u64::from_str_radix(epoch, 16), seq.parse()) {
            (true, Ok(epoch), Ok(seq)) => Ok(Self { epoch: Epoch(epoch), seq: Seq(seq) }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.epoch.0, self.seq.0)
    }
}

/// Why a message cannot be delivered any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Its time was up.
    Expired,
    /// Somebody removed it.
    Purged,
    /// It made room for newer ones.
    Overflow,
    /// Another receiver of the session has it.
    Taken,
    /// The mailbox's past is gone.
    Epoch,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Expired, Self::Purged, Self::Overflow, Self::Taken, Self::Epoch];

    /// Its name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::Purged => "purged",
            Reason::Overflow => "overflow",
            Reason::Taken => "taken",
            Reason::Epoch => "epoch",
        }
    }
}

/// Messages behind a cursor that cannot be delivered any more. The same cursor gets the same gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The first and the last of them, unless nobody knows.
    pub range: Option<(Seq, Seq)>,
    /// Why.
    pub reason: Reason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        for cursor in [
            Cursor::default(),
            Cursor { epoch: Epoch(0xc3f1_a2b4_9d0e_1f22), seq: Seq(17) },
            Cursor { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX) },
        ] {
            assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "7",
            ".",
            "0.0",
            "000000000000000g.1",
            "0000000000000001.",
            "0000000000000001.-1",
            "0000000000000001.+1",
            "0000000000000001.99999999999999999999",
            "+000000000000001.1",
            "000000000000000A.1",
            "0000000000000001.1 ",
        ] {
            assert_eq!(Cursor::parse(text).map_err(|error| error.kind), Err(Kind::InvalidCursor), "{text}");
        }
    }
}
