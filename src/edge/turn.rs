//! What a connection knows about the request that hyper has in hand: its stage, its deadline, and whether it is to park.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{cors::Access, guests::Guest, outside::Outside};
use crate::{id::RequestId, settings};

/// hyper's buffers are given back when nothing has come for this long.
const IDLE_IN_HYPER: Duration = Duration::from_secs(1);
/// How often a request under way is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing of a request has come.
    Idle,
    /// Part of a request head has come.
    Head,
    /// The handler works.
    Busy,
    /// The handler has answered, the answer is being written.
    Answering,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Since when, noted when it is first asked for: most stages are over before that, and clocks cost.
    since: Option<Instant>,
    blocked_since: Option<Instant>,
    park: Option<Box<(Outside, Access)>>,
}

/// Who has a connection, as far as the connection says.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The connection's number.
    pub connection: u64,
    /// Where it comes from; an IPv4 address is one, whatever socket it came to.
    pub peer: IpAddr,
    /// Whether TLS is spoken on it.
    pub secure: bool,
    /// Its place among all connections.
    pub guest: Arc<Guest>,
}

/// Shared by the connection, its socket and its handler.
#[derive(Debug)]
pub struct Turn {
    /// Whose connection it is.
    pub caller: Caller,
    requests: AtomicU32,
    state: Mutex<State>,
}

/// What the clock says about the request in hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Look again then.
    At(Instant),
    /// Nothing has come: hyper can go.
    Idle,
    /// The head takes too long.
    SlowHead,
    /// The peer does not take its answer.
    Stalled,
}

impl Turn {
    /// The first request of a connection is about to come.
    pub fn new(caller: Caller) -> Self {
        let state = State { stage: Stage::Idle, since: None, blocked_since: None, park: None };
        Self { caller, requests: AtomicU32::new(0), state: Mutex::new(state) }
    }

    /// The request under way.
    pub fn request_id(&self) -> RequestId {
        RequestId { connection: self.caller.connection, request: self.requests.load(Relaxed) }
    }

    /// hyper waits for a request.
    pub fn expect(&self) {
        self.enter(Stage::Idle);
    }

    /// A request head is whole.
    pub fn begin(&self) -> RequestId {
        self.enter(Stage::Busy);
        let request = self.requests.fetch_add(1, Relaxed) + 1;
        RequestId { connection: self.caller.connection, request }
    }

    /// The handler has its answer.
    pub fn answered(&self) {
        self.enter(Stage::Answering);
    }

    /// The request is to wait outside of hyper; `access`: who may read its answer.
    pub fn park(&self, park: Outside, access: Access) {
        self.state.lock().park = Some(Box::new((park, access)));
    }

    /// The request that is to wait, once everything before it is written.
    pub fn take_park(&self) -> Option<Box<(Outside, Access)>> {
        let mut state = self.state.lock();
        if state.blocked_since.is_some() { None } else { state.park.take() }
    }

    /// The socket gave these bytes. Empty lines are no part of a request yet.
    pub fn bytes_read(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        if state.stage == Stage::Idle && bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            (state.stage, state.since) = (Stage::Head, None);
        }
    }

    /// The socket took bytes, or could not.
    pub fn write_blocked(&self, blocked: bool) {
        let mut state = self.state.lock();
        state.blocked_since = if blocked { state.blocked_since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Everything that hyper had to write is written.
    pub fn flushed(&self) {
        let mut state = self.state.lock();
        if state.stage == Stage::Answering {
            (state.stage, state.since) = (Stage::Idle, None);
        }
    }

    fn enter(&self, stage: Stage) {
        let mut state = self.state.lock();
        (state.stage, state.since) = (stage, None);
    }

    /// What is to be done about the request now. A stage's time runs from the first look at it, which comes within
    /// [`LOOK_EVERY`] of its beginning.
    pub fn verdict(&self, limits: &settings::Http) -> Verdict {
        let now = Instant::now();
        let mut state = self.state.lock();
        let began = *state.since.get_or_insert(now);
        let due = |at: Instant, verdict: Verdict| if at <= now { verdict } else { Verdict::At(at) };
        match (state.stage, state.blocked_since) {
            (_, Some(since)) => due(since + limits.write_timeout, Verdict::Stalled),
            (Stage::Idle, None) => due(began + IDLE_IN_HYPER, Verdict::Idle),
            (Stage::Head, None) => match due(began + limits.header_timeout, Verdict::SlowHead) {
                // It may be over sooner, and the next begun.
                Verdict::At(at) => Verdict::At(at.min(now + LOOK_EVERY)),
                verdict => verdict,
            },
            (Stage::Busy | Stage::Answering, None) => Verdict::At(now + LOOK_EVERY),
        }
    }
}
