//! Who was sent what, and who has got it: what is lost, repeated, out of order or stuck.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{report::Report, wires::Mark};

/// One session's numbers, each the newest of its kind.
#[derive(Default)]
struct Line {
    sent: AtomicU64,
    accepted: AtomicU64,
    accepted_ns: AtomicU64,
    received: AtomicU64,
    /// The newest that was counted as stuck.
    stuck: AtomicU64,
}

/// All sessions. Each is sent to by one sender, one message after the other.
pub struct Ledger {
    lines: Vec<Line>,
    repeated: AtomicU64,
    disordered: AtomicU64,
    stuck: AtomicU64,
}

impl Ledger {
    /// Of so many sessions.
    pub fn new(sessions: usize) -> Self {
        let lines = (0..sessions).map(|_| Line::default()).collect();
        Self { lines, repeated: AtomicU64::new(0), disordered: AtomicU64::new(0), stuck: AtomicU64::new(0) }
    }

    /// The number of the next message for a session.
    pub fn next(&self, session: usize) -> u64 {
        self.lines[session].sent.fetch_add(1, Relaxed) + 1
    }

    /// It was accepted.
    pub fn accepted(&self, session: usize, number: u64, now_ns: u64) {
        self.lines[session].accepted_ns.store(now_ns, Relaxed);
        self.lines[session].accepted.fetch_max(number, Relaxed);
    }

    /// It has come. Returns whether for the first time.
    pub fn received(&self, session: usize, mark: Mark) -> bool {
        let last = self.lines[session].received.fetch_max(mark.number, Relaxed);
        if mark.number <= last {
            self.repeated.fetch_add(1, Relaxed);
        } else if mark.number != last + 1 {
            // One in between is lost, or comes later and is counted as repeated then.
            self.disordered.fetch_add(mark.number - last - 1, Relaxed);
        }
        mark.number > last
    }

    /// Counts the sessions whose newest accepted message has not come `within` the time.
    pub fn look_for_stuck(&self, now_ns: u64, within: Duration) {
        let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        for line in &self.lines {
            let accepted = line.accepted.load(Relaxed);
            let late = now_ns.saturating_sub(line.accepted_ns.load(Relaxed)) > within;
            if late && line.received.load(Relaxed) < accepted && line.stuck.swap(accepted, Relaxed) < accepted {
                self.stuck.fetch_add(1, Relaxed);
            }
        }
    }

    /// Messages that were accepted and have not come.
    pub fn missing(&self) -> u64 {
        let missing = |line: &Line| line.accepted.load(Relaxed).saturating_sub(line.received.load(Relaxed));
        self.lines.iter().map(missing).sum()
    }

    /// Says it. A message that was overtaken counts as lost.
    pub fn tell(&self, report: &mut Report) {
        report.count("lost", self.missing() + self.disordered.load(Relaxed));
        report.count("repeated", self.repeated.load(Relaxed));
        report.count("stuck", self.stuck.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_repeated_and_stuck_is_counted() {
        let ledger = Ledger::new(1);
        let mark = |number| Mark { number, due_ns: 0 };
        for number in 1..=5 {
            assert_eq!(ledger.next(0), number);
            ledger.accepted(0, number, number);
        }
        assert!(ledger.received(0, mark(1)) && !ledger.received(0, mark(1)));
        assert!(ledger.received(0, mark(3)), "2 is lost");
        ledger.look_for_stuck(5, Duration::from_nanos(1));
        (0..2).for_each(|_| ledger.look_for_stuck(9, Duration::from_nanos(1)));
        assert_eq!(ledger.missing(), 2);
        let counts = [&ledger.repeated, &ledger.disordered, &ledger.stuck].map(|count| count.load(Relaxed));
        assert_eq!(counts, [1, 1, 1]);
    }
}
