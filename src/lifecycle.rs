//! How the process lives: its clock, its tasks and threads, its phases. Nothing else spawns.

use std::{
    io,
    sync::Arc,
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

/// The process's phase and tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    tasks: TaskTracker,
    /// What has to end before the process may.
    busy: Arc<watch::Sender<usize>>,
    end: Arc<Notify>,
    /// The time.
    pub clock: Clock,
}

impl Lifecycle {
    /// A process that is starting.
    pub fn start() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
            tasks: TaskTracker::new(),
            busy: Arc::new(watch::Sender::new(0)),
            end: Arc::new(Notify::new()),
            clock: Clock::start(),
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether answers should end their connections.
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
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
        self.busy.send_modify(|count| *count += 1);
        Busy(Arc::clone(&self.busy))
    }

    /// Waits until nothing has to end any more.
    pub async fn idle(&self) {
        let _ = self.busy.subscribe().wait_for(|count| *count == 0).await;
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

/// Something that has to end before the process may.
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
