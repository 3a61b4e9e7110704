//! When x0's client has an answer: the rules that decide, by events, whether mail is settled or put back.
//!
//! 1. A request read after the answer was written whole, and acknowledged: it has it.
//! 2. The connection ends in order, and everything is acknowledged: it has it. Reset: it has not.
//! 3. Acknowledged, and [`CALM`] later still without a reset: it has it.
//! 4. Nothing acknowledged for [`PATIENCE`]: it has not, and the connection is of no use.
//!
//! That another receiver waits for this mail proves nothing: its request may be older than the answer, and read late.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{
    line::Line,
    socket::{ANSWER_MAX, Fate},
};

/// How long after its acknowledgement an answer may still turn out to be lost.
pub const CALM: Duration = Duration::from_millis(100);
/// How long nothing may be acknowledged.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long, if the connection ends with this answer.
pub const PATIENCE_CLOSING: Duration = Duration::from_secs(2);
/// The first and the longest pause between two looks at what the kernel holds.
pub const PAUSE_FIRST: Duration = Duration::from_millis(1);
pub const PAUSE_LAST: Duration = Duration::from_millis(100);
/// Bytes of a next request that are read before this one is decided.
const READ_AHEAD_BYTES: usize = 4096;

/// What was found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The client has its answer.
    pub has_it: bool,
    /// It said so itself, by a request or its end (rules 1 and 2).
    pub said_so: bool,
    /// The connection can serve another request.
    pub open: bool,
}

impl Proof {
    const HAS_NOT: Self = Self { has_it: false, said_so: false, open: false };

    const fn has_it(said_so: bool, open: bool) -> Self {
        Self { has_it: true, said_so, open }
    }
}

/// What a look at the socket is owed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Happened {
    /// The peer has sent something.
    Request,
    /// The peer will send nothing more. It may still read.
    End,
    /// Time has passed.
    Pause,
}

/// Waits until it is known whether the answer just written whole has arrived. `closing`: the connection ends with it,
/// and the peer is told so as soon as it has acknowledged the answer.
pub async fn prove(line: &mut impl Line, closing: bool) -> Proof {
    // Bytes that were here before the answer prove nothing, and neither does an end.
    let mut listening = line.is_quiet();
    let mut open = !closing;
    let mut acknowledged = false;
    let start = Instant::now();
    // A reader that takes something, however slowly, is alive.
    let (mut least, mut progress) = (i32::MAX, start);
    let mut pause = PAUSE_FIRST;
    let mut look_at = start + pause;
    loop {
        let happened = tokio::select! {
            biased;
            read = line.hear(READ_AHEAD_BYTES), if listening => match read {
                Ok(0) => Happened::End,
                Ok(_) => Happened::Request,
                Err(_) => return Proof::HAS_NOT,
            },
            () = sleep_until(look_at) => Happened::Pause,
        };
        if happened == Happened::End {
            (listening, open) = (false, false);
        }
        // Whatever happened, it is the socket that knows.
        let fate = line.fate();
        if let Fate::OnItsWay(waiting) = fate
            && waiting < least
        {
            (least, progress) = (waiting, Instant::now());
        }
        match (fate, happened) {
            (Fate::Reset, _) => return Proof::HAS_NOT,
            // What ended us is behind the acknowledgement, which is seen once: our own end is not counted.
            (_, Happened::Pause) if acknowledged => return Proof::has_it(false, open),
            (Fate::Acknowledged, Happened::Pause) => {
                acknowledged = true;
                look_at = Instant::now() + CALM;
                if closing && line.end().await.is_err() {
                    return Proof::HAS_NOT;
                }
            }
            (Fate::Acknowledged, _) => return Proof::has_it(true, open),
            (Fate::OnItsWay(_), _) if acknowledged => return Proof::has_it(true, open),
            (Fate::OnItsWay(_), Happened::Pause) => {
                let patience = if open { PATIENCE } else { PATIENCE_CLOSING };
                let give_up = (progress + patience).min(start + ANSWER_MAX);
                if Instant::now() >= give_up {
                    return Proof::HAS_NOT;
                }
                pause = (pause * 2).min(PAUSE_LAST);
                look_at = (Instant::now() + pause).min(give_up);
            }
            // It was sent before the answer came.
            (Fate::OnItsWay(_), Happened::Request) => listening = false,
            (Fate::OnItsWay(_), Happened::End) => {}
        }
    }
}
