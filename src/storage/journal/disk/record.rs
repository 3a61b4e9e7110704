//! What a row of the journal's file holds, byte for byte as docs/storage.md says. Numbers are little-endian.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    cursor::{Epoch, Reason},
    id::{Digest, Key},
    mailbox::{Letter, Lost},
    message::{Arrival, Message, Seq, Shape, UnixMs},
    storage::journal::{Kept, KeptKey, Known},
};

/// Takes numbers and texts off the front of a row; `None` where there are too few bytes.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn of(row: &'a [u8]) -> Self {
        Self(row)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn digest(&mut self) -> Option<Digest> {
        self.array().map(u128::from_le_bytes).map(Digest)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    pub fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    pub fn text(&mut self, bytes: usize) -> Option<&'a str> {
        str::from_utf8(self.bytes(bytes)?).ok()
    }
}

/// A length in bytes of something that is much shorter: it was in a request.
pub fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes a message's row into `row`.
pub fn message(kept: &Kept, row: &mut Vec<u8>) {
    let Letter { seq, message, .. } = &kept.letter;
    let session = kept.of.as_str();
    row.clear();
    row.push(match message.shape {
        Shape::Object => 0,
        Shape::Other => 1,
        Shape::Marked => 2,
    });
    row.extend(seq.0.to_le_bytes());
    row.extend(kept.epoch.0.to_le_bytes());
    row.extend(message.accepted.0.to_le_bytes());
    row.extend(message.expires.0.to_le_bytes());
    row.extend(message.id.as_bytes());
    row.extend(length(session.len()));
    row.extend(length(message.kind.len()));
    row.extend(length(message.from.len()));
    row.extend(session.as_bytes());
    row.extend(message.kind.as_bytes());
    row.extend(message.from.as_bytes());
    row.extend(&message.payload);
}

/// A message's row: whose mailbox, which life of it, and the message.
pub fn read_message(arrival: Arrival, row: &[u8]) -> Option<(&str, Epoch, Letter)> {
    let mut row = Reader(row);
    let shape = match row.u8()? {
        0 => Shape::Object,
        1 => Shape::Other,
        2 => Shape::Marked,
        _ => return None,
    };
    let (seq, epoch) = (Seq(row.u64()?), Epoch(row.u64()?));
    let (accepted, expires) = (UnixMs(row.u64()?), UnixMs(row.u64()?));
    let id = row.uuid()?;
    let (session, kind, from) = (row.length()?, row.length()?, row.length()?);
    let session = row.text(session)?;
    let (kind, from) = (row.text(kind)?.into(), row.text(from)?.into());
    let payload = Bytes::copy_from_slice(row.0);
    let message = Arc::new(Message { id, from, kind, accepted, expires, payload, shape });
    Some((session, epoch, Letter { seq, arrival, message }))
}

/// A mailbox's row.
pub fn mailbox(known: &Known) -> Vec<u8> {
    let mut row = Vec::with_capacity(32 + 17 * known.lost.len());
    for number in [known.epoch.0, known.last.0, known.touched.0, known.seen.0] {
        row.extend(number.to_le_bytes());
    }
    for lost in &known.lost {
        row.push(match lost.reason {
            Reason::Expired => 0,
            Reason::Purged => 1,
            Reason::Overflow => 2,
            Reason::Taken => 3,
            Reason::Epoch => 4,
        });
        row.extend(lost.from.0.to_le_bytes());
        row.extend(lost.to.0.to_le_bytes());
    }
    row
}

/// Reads a mailbox's row.
pub fn read_mailbox(row: &[u8]) -> Option<Known> {
    let mut row = Reader(row);
    let (epoch, last) = (Epoch(row.u64()?), Seq(row.u64()?));
    let (touched, seen) = (UnixMs(row.u64()?), UnixMs(row.u64()?));
    let mut lost = Vec::new();
    while !row.0.is_empty() {
        let reason = match row.u8()? {
            0 => Reason::Expired,
            1 => Reason::Purged,
            2 => Reason::Overflow,
            3 => Reason::Taken,
            4 => Reason::Epoch,
            _ => return None,
        };
        lost.push(Lost { from: Seq(row.u64()?), to: Seq(row.u64()?), reason });
    }
    Some(Known { epoch, last, touched, seen, lost })
}

/// The bytes of a key's row.
pub const KEY_BYTES: usize = 68;

/// The row of a key that was written with the message `first`.
pub fn key(first: Arrival, kept: &KeptKey) -> [u8; KEY_BYTES] {
    let mut row = [0; KEY_BYTES];
    row[..8].copy_from_slice(&first.0.to_le_bytes());
    row[8..24].copy_from_slice(&kept.key.sender.0.to_le_bytes());
    row[24..40].copy_from_slice(&kept.key.body.0.to_le_bytes());
    row[40..56].copy_from_slice(kept.id.as_bytes());
    row[56..60].copy_from_slice(&kept.recipients.to_le_bytes());
    row[60..].copy_from_slice(&kept.expires.0.to_le_bytes());
    row
}

/// Reads a key's row.
pub fn read_key(digest: Digest, row: &[u8]) -> Option<(Arrival, KeptKey)> {
    let mut row = Reader(row);
    let first = Arrival(row.u64()?);
    let key = Key { digest, sender: row.digest()?, body: row.digest()? };
    let kept = KeptKey { key, id: row.uuid()?, recipients: row.u32()?, expires: UnixMs(row.u64()?) };
    Some((first, kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;

    fn kept(shape: Shape) -> Kept {
        let message = Arc::new(Message {
            id: Uuid::from_u128(7),
            from: "ä".into(),
            kind: "käse".into(),
            accepted: UnixMs(3),
            expires: UnixMs(u64::MAX),
            payload: Bytes::from_static(b"{\"n\":1e400}"),
            shape,
        });
        let letter = Letter { seq: Seq(9), arrival: Arrival(11), message };
        Kept { of: SessionId::new("b\u{0}ß").expect("id"), epoch: Epoch(5), letter }
    }

    #[test]
    fn rows_read_as_they_were_written() {
        for shape in [Shape::Object, Shape::Marked, Shape::Other] {
            let (kept, mut row) = (kept(shape), vec![1, 2, 3]);
            message(&kept, &mut row);
            assert_eq!(read_message(Arrival(11), &row), Some((kept.of.as_str(), kept.epoch, kept.letter.clone())));
        }
        let lost = Reason::ALL.map(|reason| Lost { from: Seq(1), to: Seq(2), reason }).to_vec();
        let known = Known { epoch: Epoch(1), last: Seq(2), touched: UnixMs(3), seen: UnixMs(4), lost };
        assert_eq!(read_mailbox(&mailbox(&known)), Some(known));
        let kept = KeptKey {
            key: Key { digest: Digest(1), sender: Digest(2), body: Digest(u128::MAX) },
            id: Uuid::from_u128(4),
            recipients: 5,
            expires: UnixMs(6),
        };
        assert_eq!(read_key(Digest(1), &key(Arrival(9), &kept)), Some((Arrival(9), kept)));
    }

    #[test]
    fn a_row_that_is_cut_off_or_made_up_is_none() {
        let mut row = Vec::new();
        message(&kept(Shape::Other), &mut row);
        let payload = row.len() - 11;
        assert!((0..payload).all(|end| read_message(Arrival(1), &row[..end]).is_none()));
        for (at, byte) in [(0, 3), (49, 255), (61, 0xff)] {
            let mut row = row.clone();
            row[at] = byte;
            assert_eq!(read_message(Arrival(1), &row), None, "byte {at}");
        }
        assert_eq!(read_mailbox(&[0; 33]), None);
        assert_eq!(read_mailbox(&[5; 49]), None);
        assert_eq!(read_key(Digest(1), &[0; KEY_BYTES - 1]), None);
    }
}
