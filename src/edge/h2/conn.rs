//! What the requests of one HTTP/2 connection share.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::super::{socket::Fate, tls::Under, turn::Caller};
use crate::{
    id::{RequestId, SessionId},
    settings,
};

/// A client that resets more requests than this, and most of those that it makes, is not served any more.
const RESETS_MAX: u32 = 1_000;
/// What hyper still writes once nothing is open is written by then.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// One connection.
pub struct Conn {
    pub caller: Caller,
    under: Arc<Under>,
    requests: AtomicU32,
    answered: AtomicU32,
    cancelled: AtomicU32,
    flooded: Notify,
    /// Requests without an answer, and answers that are under way or not yet proved to have arrived.
    open: watch::Sender<usize>,
    /// How often hyper has come to the end of its turn with everything in the kernel's hands.
    turns: watch::Sender<u64>,
    ended: watch::Sender<bool>,
    state: Mutex<State>,
}

struct State {
    idle_since: Instant,
    blocked_since: Option<Instant>,
    /// The task that hyper runs in.
    task: Option<Waker>,
    /// Who waits for a request of a session.
    listening: Vec<Weak<Ask>>,
}

/// A session's request, and whether that session has made another since it was answered.
pub struct Ask {
    session: SessionId,
    again: Notify,
}

impl Ask {
    /// Waits for another request of this session on this connection.
    pub async fn again(&self) {
        self.again.notified().await;
    }
}

impl Conn {
    pub fn new(caller: Caller, under: Arc<Under>) -> Self {
        let state = State { idle_since: Instant::now(), blocked_since: None, task: None, listening: Vec::new() };
        Self {
            caller,
            under,
            requests: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            flooded: Notify::new(),
            open: watch::Sender::new(0),
            turns: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            state: Mutex::new(state),
        }
    }

    /// A request has come.
    pub fn begin(self: &Arc<Self>) -> (RequestId, Asking) {
        let request = self.requests.fetch_add(1, Relaxed) + 1;
        (RequestId { connection: self.caller.connection, request }, Asking { open: self.hold(), answered: false })
    }

    /// Keeps the connection from counting as idle until the guard is dropped.
    pub fn hold(self: &Arc<Self>) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(Arc::clone(self))
    }

    /// How many such guards there are, as that changes.
    pub fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    /// A session asks: whoever has answered it before on this connection hears of it.
    pub fn ask(&self, session: &SessionId) -> Arc<Ask> {
        for before in self.state.lock().listening.iter().filter_map(Weak::upgrade) {
            if before.session == *session {
                before.again.notify_one();
            }
        }
        Arc::new(Ask { session: session.clone(), again: Notify::new() })
    }

    /// From now on this one hears when its session asks again.
    pub fn listen(&self, ask: &Arc<Ask>) {
        let mut state = self.state.lock();
        state.listening.retain(|other| other.strong_count() > 0);
        state.listening.push(Arc::downgrade(ask));
    }

    /// The socket took bytes, or could not.
    pub fn write_blocked(&self, blocked: bool) {
        let mut state = self.state.lock();
        state.blocked_since = if blocked { state.blocked_since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// hyper has come to the end of its turn, which `task` can begin anew.
    pub fn turn_ended(&self, task: &Waker) {
        let mut state = self.state.lock();
        match &mut state.task {
            Some(old) => old.clone_from(task),
            none => *none = Some(task.clone()),
        }
        let whole = state.blocked_since.is_none();
        drop(state);
        if whole {
            self.turns.send_modify(|count| *count += 1);
        }
    }

    /// Waits until what h2 was given before this call, and may send, is with the kernel, and tells how many bytes the
    /// kernel has then been given in all. `stall`: how long that may take.
    ///
    /// In its turn hyper collects what there is, writes it, and flushes. A turn that ends now may have collected before;
    /// the one after it has not.
    pub async fn sent(&self, stall: Duration) -> io::Result<u64> {
        let mut turns = self.turns.subscribe();
        let mut ended = self.ended.subscribe();
        for _ in 0..2 {
            let before = *turns.borrow_and_update();
            let task = self.state.lock().task.clone();
            task.inspect(Waker::wake_by_ref);
            let next = async {
                tokio::select! {
                    _ = turns.wait_for(|count| *count > before) => io::Result::Ok(()),
                    _ = ended.wait_for(|ended| *ended) => Err(io::ErrorKind::ConnectionReset.into()),
                }
            };
            timeout(stall, next).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        }
        Ok(self.under.sent())
    }

    /// What has become of the first `mark` bytes that the kernel was given.
    pub fn fate(&self, mark: u64) -> Fate {
        // In this order: what is sent between the two looks makes it look worse, not better.
        let sent = self.under.sent();
        match self.under.fate() {
            Fate::OnItsWay(waiting) => {
                let arrived = sent.saturating_sub(u64::try_from(waiting).unwrap_or(0));
                let missing = mark.saturating_sub(arrived);
                if missing == 0 {
                    Fate::Acknowledged
                } else {
                    Fate::OnItsWay(i32::try_from(missing).unwrap_or(i32::MAX))
                }
            }
            fate => fate,
        }
    }

    /// The connection is over.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether nobody would miss it: nothing has been open for a while.
    pub fn can_make_room(&self, idle: bool) -> bool {
        idle && self.state.lock().idle_since + SETTLED_AFTER <= Instant::now()
    }

    /// When to ask the other questions again.
    pub fn look_at(&self, idle: bool, limits: &settings::Http) -> Instant {
        let (now, state) = (Instant::now(), self.state.lock());
        match state.blocked_since {
            Some(since) => since + limits.write_timeout,
            None if idle && state.idle_since + SETTLED_AFTER > now => state.idle_since + SETTLED_AFTER,
            None if idle => state.idle_since + limits.idle_timeout,
            None => now + limits.write_timeout,
        }
    }

    /// Whether its client takes nothing, or has not asked for anything for long.
    pub fn is_useless(&self, idle: bool, limits: &settings::Http) -> bool {
        let (now, state) = (Instant::now(), self.state.lock());
        state.blocked_since.is_some_and(|since| since + limits.write_timeout <= now)
            || idle && state.idle_since + limits.idle_timeout <= now
    }

    /// Waits until the client resets its requests faster than they can be served.
    pub async fn flooded(&self) {
        self.flooded.notified().await;
    }
}

/// Something is open on the connection.
pub struct Open(Arc<Conn>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state.lock().idle_since = Instant::now();
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// A request without an answer.
pub struct Asking {
    open: Open,
    answered: bool,
}

impl Asking {
    /// It has one.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let conn = &self.open.0;
        if self.answered {
            conn.answered.fetch_add(1, Relaxed);
            return;
        }
        let cancelled = conn.cancelled.fetch_add(1, Relaxed) + 1;
        if cancelled > RESETS_MAX && cancelled > conn.answered.load(Relaxed) {
            conn.flooded.notify_one();
        }
    }
}
