//! When x0's client has an answer: the rules that decide, by events, whether mail is settled or put back.
//!
//! 1. A request read after the answer was written whole, and acknowledged: it has it.
//! 2. The connection ends in order with everything acknowledged: it has it; reset or unacknowledged: it has not.
//! 3. Acknowledged and still open [`CALM`] later without a reset: it has it.
//! 4. Another receiver waits for this mail: acknowledged is enough.
//! 5. Not acknowledged after [`PATIENCE`]: it has not, and the connection is of no use.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{post::Lease, socket::Socket};

/// How long after its acknowledgement an answer may still turn out to be lost.
pub const CALM: Duration = Duration::from_millis(100);
/// How long an acknowledgement may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long, if the connection ends with this answer.
const PATIENCE_CLOSING: Duration = Duration::from_secs(2);
/// The first and the longest pause between two looks at what the kernel holds.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LAST: Duration = Duration::from_millis(100);
/// Bytes of a next request that are read before this one is decided.
const READ_AHEAD_BYTES: usize = 4096;

/// What was found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The client has its answer.
    pub has_it: bool,
    /// The connection can serve another request.
    pub open: bool,
}

const fn proof(has_it: bool, open: bool) -> Proof {
    Proof { has_it, open }
}

/// Waits until it is known whether the answer just written whole has arrived. `closing`: the connection ends with it.
pub async fn prove(socket: &mut Socket, lease: &Lease, closing: bool) -> Proof {
    // Bytes that were here before the answer prove nothing.
    let mut read_ahead = !socket.unread.is_empty();
    let give_up = Instant::now() + if closing { PATIENCE_CLOSING } else { PATIENCE };
    let mut acknowledged: Option<Instant> = None;
    let mut pause = PAUSE_FIRST;
    let mut look_at = Instant::now() + pause;
    loop {
        tokio::select! {
            biased;
            read = socket.read_more(READ_AHEAD_BYTES), if !read_ahead => match read {
                Ok(0) => return proof(socket.all_acknowledged(), false),
                Ok(_) if socket.all_acknowledged() => return proof(true, true),
                Ok(_) => read_ahead = true,
                Err(_) => return proof(false, false),
            },
            () = lease.wanted() => {
                if socket.all_acknowledged() && !socket.is_reset() {
                    return proof(true, true);
                }
            }
            () = sleep_until(look_at) => {
                let now = Instant::now();
                if socket.is_reset() {
                    return proof(false, false);
                }
                if acknowledged.is_some() {
                    return proof(true, true);
                }
                if socket.all_acknowledged() {
                    if closing {
                        return proof(true, false);
                    }
                    acknowledged = Some(now);
                    look_at = now + CALM;
                } else if now >= give_up {
                    return proof(false, false);
                } else {
                    pause = (pause * 2).min(PAUSE_LAST);
                    look_at = (now + pause).min(give_up);
                }
            }
        }
    }
}
