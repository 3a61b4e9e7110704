//! What a mailbox knows of messages that left it without reaching anybody.

use std::collections::VecDeque;

use crate::{cursor::Reason, message::Seq};

/// Neighbouring messages that left undelivered for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The first of them.
    pub from: Seq,
    /// The last of them.
    pub to: Seq,
    /// Why: never [`Reason::Epoch`].
    pub reason: Reason,
}

/// Beyond this many ranges, the oldest are told as one. Between waiting messages there may be more.
pub const RANGES_MAX: usize = 64;

/// Ranges in rising order, none touching another of the same reason.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Missing(VecDeque<Lost>);

impl Missing {
    /// Brings back ranges that were in rising order.
    pub fn restore(ranges: impl IntoIterator<Item = Lost>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// The ranges.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = &Lost> {
        self.0.iter()
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first message that is missing.
    pub fn first(&self) -> Option<Seq> {
        self.0.front().map(|lost| lost.from)
    }

    /// The range that holds `seq`, or the first one behind it.
    pub fn at_or_after(&self, seq: Seq) -> Option<&Lost> {
        self.0.get(self.0.partition_point(|lost| lost.to < seq))
    }

    /// Notes a message that was not missing yet. Nothing waits before `oldest`.
    pub fn add(&mut self, seq: Seq, reason: Reason, oldest: Seq) {
        self.add_range(Lost { from: seq, to: seq, reason });
        while self.0.len() > RANGES_MAX && self.0.get(1).is_some_and(|second| second.to < oldest) {
            if let (Some(first), Some(second)) = (self.0.pop_front(), self.0.front_mut()) {
                second.from = first.from;
            }
        }
    }

    /// Notes messages that were not missing yet.
    pub fn add_range(&mut self, mut lost: Lost) {
        let mut at = self.0.partition_point(|range| range.to < lost.from);
        if let Some(before) = at.checked_sub(1).and_then(|before| self.0.get(before))
            && before.reason == lost.reason
            && before.to.next() == lost.from
        {
            lost.from = before.from;
            at -= 1;
            self.0.remove(at);
        }
        if let Some(behind) = self.0.get(at)
            && behind.reason == lost.reason
            && lost.to.next() == behind.from
        {
            lost.to = behind.to;
            self.0.remove(at);
        }
        self.0.insert(at, lost);
    }

    /// Forgets all up to `upto`: whoever asks again gets to hear that another receiver has them. Returns whether there
    /// was anything to forget.
    pub fn forget(&mut self, upto: Seq) -> bool {
        let any = self.first().is_some_and(|first| first <= upto);
        while self.0.front().is_some_and(|first| first.to <= upto) {
            self.0.pop_front();
        }
        if let Some(first) = self.0.front_mut() {
            first.from = first.from.max(upto.next());
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(from: u64, to: u64, reason: Reason) -> Lost {
        Lost { from: Seq(from), to: Seq(to), reason }
    }

    #[test]
    fn neighbours_of_one_reason_are_one() {
        let mut missing = Missing::default();
        for seq in [3, 5, 4, 9, 1] {
            missing.add(Seq(seq), Reason::Expired, Seq(1));
        }
        missing.add(Seq(2), Reason::Purged, Seq(1));
        let expected = [
            lost(1, 1, Reason::Expired),
            lost(2, 2, Reason::Purged),
            lost(3, 5, Reason::Expired),
            lost(9, 9, Reason::Expired),
        ];
        assert_eq!(missing, Missing::restore(expected));
        missing.forget(Seq(4));
        assert_eq!(missing, Missing::restore([lost(5, 5, Reason::Expired), lost(9, 9, Reason::Expired)]));
        assert_eq!(missing.at_or_after(Seq(6)), Some(&lost(9, 9, Reason::Expired)));
    }

    #[test]
    fn what_nobody_asks_for_takes_bounded_room() {
        let mut missing = Missing::default();
        for seq in 1..=1000 {
            let reason = if seq % 2 == 0 { Reason::Purged } else { Reason::Expired };
            missing.add(Seq(seq), reason, Seq(seq + 1));
        }
        assert!(missing.ranges().len() <= RANGES_MAX);
        assert_eq!(missing.first(), Some(Seq(1)));
        assert_eq!(missing.ranges().last(), Some(&lost(1000, 1000, Reason::Purged)));
    }
}
