//! How the process lives: its clock, its tasks and threads, its phases. Nothing else spawns.

use std::{
    future::pending,
    io,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinHandle},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::message::UnixMs;

/// Wall-clock time that a paused tokio clock pauses too, and that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_ms: u64,
    start: Instant,
}

impl Clock {
    /// A clock that shows the system's time now and goes on from there.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), start: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.wall_ms).after(self.start.elapsed())
    }

    /// How long it has run.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Where the process is between start and end. Only ever goes down this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Not yet accepting.
    Starting,
    /// Serving.
    Ready,
    /// Still serving, but asking load balancers to look elsewhere.
    Notice,
    /// No new connections are taken.
    Closing,
    /// Waiting receivers are answered, requests end, and with them their connections.
    Draining,
    /// Every request has its answer, or its time is up.
    Done,
}

impl Phase {
    /// Its name, for logs and `/readyz`.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Notice => "notice",
            Phase::Closing => "closing",
            Phase::Draining => "draining",
            Phase::Done => "done",
        }
    }
}

/// What another relay gets when it takes this one's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOver {
    /// The sockets, and every message that is accepted until the end.
    Messages,
    /// The sockets alone.
    Sockets,
}

/// The process's phase and tasks. Cheap to clone.
///
/// A process has one life, unless another relay was to take its place and could not: then its doors open again in a new
/// one ([`Lifecycle::again`]).
#[derive(Clone, Debug)]
pub struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    /// Set in a life that ends because another relay takes this one's place.
    hand_over: Arc<OnceLock<HandOver>>,
    tasks: TaskTracker,
    /// What has to end before the process may.
    busy: Crowd,
    end: Arc<Notify>,
    /// The time.
    pub clock: Clock,
}

impl Lifecycle {
    /// A process that is starting.
    pub fn start() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
            hand_over: Arc::default(),
            tasks: TaskTracker::new(),
            busy: Crowd::default(),
            end: Arc::new(Notify::new()),
            clock: Clock::start(),
        }
    }

    /// Another life of the same process, which is starting.
    pub fn again(&self) -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Starting)), hand_over: Arc::default(), ..self.clone() }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether answers should end their connections.
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// From now on this life ends because another relay takes its place.
    pub fn hand_over(&self, what: HandOver) {
        // Twice is once: it is the same end.
        let _ = self.hand_over.set(what);
    }

    /// Waits until `phase` is reached in a life that another relay ends by taking its place; for ever in others.
    pub async fn handed_over(&self, phase: Phase) {
        self.reached(phase).await;
        if self.hand_over.get().is_none() {
            pending().await
        }
    }

    /// Whether messages are accepted: until the drain, or as long as another relay will find them.
    pub fn takes_messages(&self) -> bool {
        let phase = self.phase();
        phase < Phase::Draining || (phase < Phase::Done && self.hand_over.get() == Some(&HandOver::Messages))
    }

    /// Whether what waits is better left to the relay that takes this one's place.
    pub fn leaves_messages(&self) -> bool {
        self.is_draining() && self.hand_over.get() == Some(&HandOver::Messages)
    }

    /// Goes on to `phase`, never back.
    pub fn enter(&self, phase: Phase) {
        let moved = self.phase.send_if_modified(|now| {
            let forward = phase > *now;
            *now = (*now).max(phase);
            forward
        });
        if moved {
            tracing::info!(phase = phase.name(), "phase");
        }
    }

    /// Waits until `phase` or a later one is entered.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Asks for an orderly end.
    pub fn ask_to_end(&self) {
        self.end.notify_one();
    }

    /// Waits until somebody asks for an orderly end.
    pub async fn asked_to_end(&self) {
        self.end.notified().await;
    }

    /// Counts something that has to end before the process may, until the guard is dropped.
    pub fn busy(&self) -> Busy {
        self.busy.join()
    }

    /// Waits until nothing has to end any more.
    pub async fn idle(&self) {
        self.busy.gone().await;
    }

    /// Starts a task that ends when its handle is dropped.
    #[must_use = "dropping the handle ends the task"]
    pub fn spawn<F>(&self, task: F) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Task(Some(self.spawn_raw(task).abort_handle()))
    }

    /// Starts a task that ends by itself or with the process, such as a connection.
    pub fn spawn_detached<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.spawn_raw(task));
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn spawn_raw<F>(&self, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }
}

/// Starts a thread for what blocks: it ends when `work` does. Whoever starts one sees to it that it is told to end.
///
/// # Errors
/// The system has none to spare.
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// A running task; dropping this ends it.
#[derive(Debug)]
pub struct Task(Option<AbortHandle>);

impl Task {
    /// Lets the task go on until it ends by itself, or the process does.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// A number of things whose end somebody waits for. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Crowd(Arc<watch::Sender<usize>>);

impl Crowd {
    /// One more, until the guard is dropped.
    pub fn join(&self) -> Busy {
        self.0.send_modify(|count| *count += 1);
        Busy(Arc::clone(&self.0))
    }

    /// Waits until there is none.
    pub async fn gone(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One of a [`Crowd`].
#[derive(Debug)]
pub struct Busy(Arc<watch::Sender<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_never_go_back() {
        let life = Lifecycle::start();
        life.enter(Phase::Draining);
        life.enter(Phase::Ready);
        assert_eq!(life.phase(), Phase::Draining);
        life.reached(Phase::Notice).await;
    }

    #[test]
    fn messages_are_taken_until_the_drain_or_until_their_new_keeper_has_them() {
        let takes = |what: Option<HandOver>| {
            let life = Lifecycle::start();
            what.into_iter().for_each(|what| life.hand_over(what));
            [Phase::Ready, Phase::Closing, Phase::Draining, Phase::Done].map(|phase| {
                life.enter(phase);
                (life.takes_messages(), life.leaves_messages())
            })
        };
        let (both_not, takes_alone) = ((false, false), (true, false));
        assert_eq!(takes(None), [takes_alone, takes_alone, both_not, both_not]);
        assert_eq!(takes(Some(HandOver::Sockets)), [takes_alone, takes_alone, both_not, both_not]);
        assert_eq!(takes(Some(HandOver::Messages)), [takes_alone, takes_alone, (true, true), (false, true)]);
    }

    #[tokio::test]
    async fn a_new_life_begins_at_the_beginning_and_shares_what_has_to_end() {
        let old = Lifecycle::start();
        old.hand_over(HandOver::Messages);
        old.enter(Phase::Done);
        old.handed_over(Phase::Done).await;
        let busy = old.busy();
        let new = old.again();
        assert_eq!((old.phase(), new.phase()), (Phase::Done, Phase::Starting));
        new.enter(Phase::Done);
        let now = std::time::Duration::ZERO;
        assert!(tokio::time::timeout(now, new.handed_over(Phase::Done)).await.is_err(), "nobody takes its place");
        assert!(tokio::time::timeout(now, new.idle()).await.is_err());
        drop(busy);
        new.idle().await;
    }

    #[tokio::test]
    async fn a_dropped_handle_ends_its_task() {
        let life = Lifecycle::start();
        let (guard, gone) = tokio::sync::oneshot::channel::<()>();
        let task = life.spawn(async move {
            let _held = guard;
            std::future::pending::<()>().await;
        });
        drop(task);
        assert!(gone.await.is_err());
    }
}
