//! What one session's receivers saw, one connection after another, held against what was sent: message `n` of the
//! session, counted from 0, is `seq` n + 1, for one sender sends them in order.

use std::{collections::BTreeMap, fmt::Debug, ops::AddAssign};

use super::Message;

/// The sums that a proof prints and asserts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    pub accepted: usize,
    pub delivered: usize,
    /// Came again while unacknowledged, as the same message: legitimate.
    pub repeated: usize,
    /// Came again although the relay had confirmed the acknowledgement.
    pub repeated_after_ack: usize,
    /// One place, two messages.
    pub changed: usize,
    /// Came for the first time, and not as the next one.
    pub out_of_order: usize,
    pub lost: usize,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.repeated_after_ack += other.repeated_after_ack;
        self.changed += other.changed;
        self.out_of_order += other.out_of_order;
        self.lost += other.lost;
    }
}

impl Figures {
    /// Fails on whatever the guarantees forbid.
    #[track_caller]
    pub fn assert_kept(&self, details: &impl Debug) {
        let forbidden = [self.repeated_after_ack, self.changed, self.out_of_order, self.lost];
        assert_eq!(forbidden, [0; 4], "{self:#?} {details:#?}");
        assert_eq!(self.delivered, self.accepted, "{self:#?} {details:#?}");
    }
}

/// One session's.
#[derive(Default, Debug)]
pub struct Ledger {
    /// By place: the message's id, and its number.
    seen: BTreeMap<u64, (String, u64)>,
    figures: Figures,
    /// The last place of which the relay has confirmed the acknowledgement.
    floor: u64,
}

impl Ledger {
    /// A message on a connection that was opened (a poll that was sent) when `floor` was confirmed.
    pub fn read(&mut self, message: &Message, floor: u64) {
        let Message { id, seq, .. } = message;
        let known = (id.clone(), message.number());
        let next = self.seen.last_key_value().map_or(1, |(last, _)| last + 1);
        match self.seen.get(seq) {
            Some(before) if *before != known => self.figures.changed += 1,
            Some(_) => {
                self.figures.repeated += 1;
                self.figures.repeated_after_ack += usize::from(*seq <= floor);
            }
            None => {
                let wrong = *seq != next || known.1 + 1 != *seq;
                self.figures.out_of_order += usize::from(wrong);
                self.seen.insert(*seq, known);
            }
        }
    }

    /// The relay has confirmed that it knows everything up to this place to be had.
    pub fn confirm(&mut self, seq: u64) {
        self.floor = self.floor.max(seq);
    }

    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The last place that was read; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.seen.last_key_value().map_or(0, |(last, _)| *last)
    }

    /// The id of the message at this place, if it was read.
    pub fn id(&self, seq: u64) -> Option<&str> {
        self.seen.get(&seq).map(|(id, _)| id.as_str())
    }

    /// Held against the number of messages that were accepted.
    pub fn figures(&self, accepted: u64) -> Figures {
        let lost = (1..=accepted).filter(|seq| !self.seen.contains_key(seq)).count();
        let accepted = usize::try_from(accepted).expect("few");
        Figures { accepted, delivered: self.seen.len(), lost, ..self.figures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_sees_what_is_lost_repeated_changed_and_out_of_order() {
        let mut ledger = Ledger::default();
        let message = |seq: u64, id: &str| Message {
            id: id.into(),
            seq,
            from: String::new(),
            word: "message".into(),
            ts: 1,
            payload: super::super::numbered(seq - 1),
        };
        for (seq, id) in [(1, "a"), (2, "b"), (2, "b"), (2, "c"), (5, "e"), (4, "d")] {
            ledger.read(&message(seq, id), 0);
        }
        ledger.confirm(2);
        ledger.read(&message(1, "a"), ledger.floor());
        let want = Figures {
            accepted: 6,
            delivered: 4,
            repeated: 2,
            repeated_after_ack: 1,
            changed: 1,
            out_of_order: 2,
            lost: 2,
        };
        assert_eq!(ledger.figures(6), want);
        assert_eq!((ledger.last(), ledger.id(5)), (5, Some("e")));
    }
}
