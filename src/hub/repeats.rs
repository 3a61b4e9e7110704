//! Clients that have an answer and ask for it again: they are slowed, so that one that never moves on does not spin.
//!
//! Honest clients ask again too: their connection broke before they had read the answer. So an answer counts only once
//! its client itself has shown that it has it. That its kernel has it, or a proxy's, is not enough; if the same
//! connection then asks for the same again, it is.

use std::time::Duration;

use crate::{cursor::Cursor, message::UnixMs};

/// How far back answers are remembered.
const MEMORY_MS: u64 = 10_000;
/// How often an answer may have been had within [`MEMORY_MS`] before the next one is held back.
const FREE: u32 = 2;
/// How long they are held back, at first and at most.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(5);

/// What an answer begins at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The place.
    pub at: Cursor,
    /// Whether the client named it. If not, it is the stored acknowledgement: a page that was loaded anew asks for that,
    /// and must not slow the one that knows where it is.
    pub named: bool,
    /// The connection's number.
    pub connection: u64,
}

/// How it is known that an answer has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// The client went on, or ended in order.
    ByClient,
    /// Its kernel has it.
    ByKernel,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Answered {
    at: Cursor,
    times: u32,
    when: UnixMs,
    /// The connection whose kernel has one more.
    perhaps: Option<u64>,
}

impl Answered {
    fn count(&mut self, now: UnixMs) {
        (self.times, self.when, self.perhaps) = (self.times.saturating_add(1), now, None);
    }
}

/// The answers that one session's clients had last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repeats {
    named: Option<Answered>,
    unnamed: Option<Answered>,
}

impl Repeats {
    fn slot(&mut self, asked: Asked) -> &mut Option<Answered> {
        if asked.named { &mut self.named } else { &mut self.unnamed }
    }

    /// How long an answer is to be held back.
    pub fn hold_back(&mut self, asked: Asked, now: UnixMs) -> Duration {
        let slot = self.slot(asked);
        let Some(answered) = slot.as_mut().filter(|before| before.at == asked.at && is_recent(before.when, now)) else {
            return Duration::ZERO;
        };
        if answered.perhaps == Some(asked.connection) {
            answered.count(now);
        }
        match answered.times.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(times) => (FIRST * (1 << times.min(8))).min(MOST),
        }
    }

    /// Notes that an answer in which there was something has arrived.
    pub fn note(&mut self, asked: Asked, known: Known, now: UnixMs) {
        let slot = self.slot(asked);
        let same = slot.filter(|before| before.at == asked.at && is_recent(before.when, now));
        let answered = slot.insert(same.unwrap_or(Answered { at: asked.at, times: 0, when: now, perhaps: None }));
        match known {
            Known::ByClient => answered.count(now),
            Known::ByKernel => answered.perhaps = Some(asked.connection),
        }
    }

    /// Forgets what is of no use any more.
    pub fn forget(&mut self, now: UnixMs) {
        for slot in [&mut self.named, &mut self.unnamed] {
            *slot = slot.filter(|answered| is_recent(answered.when, now));
        }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_recent(when: UnixMs, now: UnixMs) -> bool {
    when.0 + MEMORY_MS > now.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    fn asked(seq: u64, named: bool, connection: u64) -> Asked {
        Asked { at: Cursor { seq: Seq(seq), ..Cursor::default() }, named, connection }
    }

    /// How many seconds each of these answers is held back, a millisecond apart, each noted as it is known.
    fn held_back(repeats: &mut Repeats, answers: impl IntoIterator<Item = (Asked, Known)>) -> Vec<u64> {
        let answer = |(n, (asked, known))| {
            let now = UnixMs(50_000 + n as u64);
            let wait = repeats.hold_back(asked, now).as_secs();
            repeats.note(asked, known, now);
            wait
        };
        answers.into_iter().enumerate().map(answer).collect()
    }

    #[test]
    fn the_third_answer_to_one_cursor_is_held_back() {
        let mut repeats = Repeats::default();
        let same = asked(7, true, 1);
        assert_eq!(held_back(&mut repeats, [(same, Known::ByClient); 6]), [0, 0, 1, 2, 4, 5]);
        assert_eq!(repeats.hold_back(asked(8, true, 1), UnixMs(50_006)), Duration::ZERO, "it moves on");
        assert_eq!(repeats.hold_back(same, UnixMs(60_005)), Duration::ZERO, "ten seconds later");
        repeats.forget(UnixMs(60_005));
        assert!(repeats.is_empty());
    }

    #[test]
    fn who_names_no_cursor_does_not_slow_who_names_the_same_place() {
        let mut repeats = Repeats::default();
        let both = [false, false, true, false, true, true].map(|named| (asked(7, named, 1), Known::ByClient));
        assert_eq!(held_back(&mut repeats, both), [0, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn what_a_kernel_took_counts_only_if_its_connection_asks_again() {
        let mut repeats = Repeats::default();
        let broken = (1..9).map(|connection| (asked(7, true, connection), Known::ByKernel));
        assert_eq!(held_back(&mut repeats, broken), [0; 8], "each time on a new connection: the one before broke");
        let mut repeats = Repeats::default();
        let same = [(asked(7, true, 1), Known::ByKernel); 5];
        assert_eq!(held_back(&mut repeats, same), [0, 0, 1, 2, 4], "it goes on, so it has had it");
    }
}
