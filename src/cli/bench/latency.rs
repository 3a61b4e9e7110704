//! From sending to receiving, at a steady rate, among sessions that wait.
//!
//! Each message has a moment when it is due, whatever became of those before it, and its time counts from then: a server
//! that stops for a second is not excused from what would have been sent in it.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::ArgMatches;
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use parking_lot::Mutex;
use tokio::{
    io::unix::AsyncFd,
    sync::{Semaphore, mpsc},
    time::{Instant, sleep},
};

use super::{
    Bench, Counts, OPENING,
    ledger::Ledger,
    process,
    report::{Progress, Report, Times},
    throughput::Costs,
    value,
    wires::{Mark, Receiver, Sender},
};
use crate::{
    cli::{Done, Failure},
    lifecycle::Task,
};

/// Not measured, at the beginning.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long connections may take to be opened.
const PATIENCE: Duration = Duration::from_secs(180);
/// A message that was accepted and has not come to a session that waits is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(3);
/// How long what is under way at the end may take.
const TAIL: Duration = Duration::from_secs(10);
/// Messages that are due and not yet sent on one connection; more are an overload, and end the measurement.
const BACKLOG: usize = 4_096;

struct All {
    bench: Arc<Bench>,
    counts: Counts,
    ledger: Ledger,
    bytes: usize,
    receive: Mutex<Times>,
    answer: Mutex<Times>,
    /// The floor's answers to polls.
    poll: Mutex<Times>,
    waiting: AtomicUsize,
    opening: Semaphore,
    measuring: AtomicBool,
}

impl All {
    fn note(&self, times: &Mutex<Times>, due_ns: u64) {
        if self.measuring.load(Relaxed) {
            times.lock().note(self.bench.now_ns().saturating_sub(due_ns));
        }
    }

    fn session(&self, index: usize) -> String {
        format!("{}-parked-{index}", self.bench.name)
    }
}

/// What a sender is to send.
struct Job {
    session: usize,
    due_ns: u64,
}

/// Measures.
pub async fn run(matches: &ArgMatches) -> Done {
    let [parked, rate, senders] = ["parked", "rate", "senders"].map(|name| value(matches, name));
    let bench = Bench::start(matches, parked + 2 * senders).await?;
    let all = Arc::new(All {
        bench: Arc::clone(&bench),
        counts: Counts::default(),
        ledger: Ledger::new(parked),
        bytes: value(matches, "bytes"),
        receive: Mutex::new(Times::new()?),
        answer: Mutex::new(Times::new()?),
        poll: Mutex::new(Times::new()?),
        waiting: AtomicUsize::new(0),
        opening: Semaphore::new(OPENING),
        measuring: AtomicBool::new(false),
    });
    let waiters: Vec<Task> = (0..parked).map(|index| bench.life.spawn(Arc::clone(&all).wait(index))).collect();
    let progress = Progress::start();
    all.until_waiting(parked, &progress).await?;
    let mut ways = Vec::with_capacity(senders);
    let mut tasks: Vec<Task> = waiters;
    for index in 0..senders {
        let (way, jobs) = mpsc::channel(BACKLOG);
        ways.push(way);
        tasks.push(bench.life.spawn(Arc::clone(&all).send(index, jobs)));
    }
    let report = all.measure(parked, rate, ways, &progress).await?;
    drop((tasks, progress));
    report.print(bench.json)
}

impl All {
    async fn until_waiting(&self, parked: usize, progress: &Progress) -> Result<(), Failure> {
        let start = Instant::now();
        while self.waiting.load(Relaxed) < parked {
            let now = self.waiting.load(Relaxed);
            progress.say(&format!("waiting  {now} of {parked}"));
            if start.elapsed() > PATIENCE {
                let why = self.counts.trouble.lock().clone().unwrap_or_else(|| "no reason was given".to_owned());
                return Err(Failure::failed(format!("only {now} of {parked} sessions wait: {why}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn measure(
        &self,
        parked: usize,
        rate: usize,
        ways: Vec<mpsc::Sender<Job>>,
        progress: &Progress,
    ) -> Result<Report, Failure> {
        let bench = &self.bench;
        let mut ticks = Ticks::start(rate).map_err(Failure::failed)?;
        let (mut own, mut before, mut from, mut start) = (process::own(), bench.sample(), 0, Instant::now());
        let (mut sent, mut looked) = (0_usize, Instant::now());
        let begin = Instant::now();
        // A stride without a common divisor with most numbers: neighbours in time are not neighbours in place.
        let stride = 7_919;
        loop {
            let measuring = self.measuring.load(Relaxed);
            if !measuring && begin.elapsed() >= WARM_UP {
                (own, before, from, start) = (process::own(), bench.sample(), self.counts.delivered(), Instant::now());
                self.measuring.store(true, Relaxed);
            }
            if measuring && start.elapsed() >= bench.seconds {
                break;
            }
            let due = ticks.next().await.map_err(Failure::failed)?;
            for due_ns in due.map(|at| u64::try_from((at - bench.start).as_nanos()).unwrap_or(u64::MAX)) {
                let session = sent.wrapping_mul(stride) % parked;
                let way = &ways[session % ways.len()];
                if way.try_send(Job { session, due_ns }).is_err() {
                    let why = self.counts.trouble.lock().clone();
                    let why = why.unwrap_or_else(|| format!("{BACKLOG} messages wait on one connection"));
                    return Err(Failure::failed(format!("{rate} messages a second are too many: {why}")));
                }
                sent += 1;
            }
            if looked.elapsed() >= Duration::from_secs(1) {
                looked = Instant::now();
                self.ledger.look_for_stuck(bench.now_ns(), STUCK_AFTER);
                progress.rate("latency", begin.elapsed(), bench.seconds + WARM_UP, rate as u64);
            }
        }
        let passed = start.elapsed();
        let costs = Costs { before, after: bench.sample(), own: process::own().saturating_sub(own) };
        let delivered = self.counts.delivered() - from;
        drop(ways);
        self.finish().await;
        let mut report = bench.report("latency");
        report.count("parked", parked as u64);
        report.count("rate", rate as u64);
        report.count("bytes", self.bytes as u64);
        let messages = if bench.floor { (passed.as_secs_f64() * rate as f64) as u64 } else { delivered };
        report.figure("messages_per_second", messages as f64 / passed.as_secs_f64());
        costs.tell(&mut report, messages, passed);
        if !bench.floor {
            self.ledger.tell(&mut report);
        }
        self.counts.tell(&mut report);
        report.times("send_to_answer", &self.answer.lock());
        report.times("poll_to_answer", &self.poll.lock());
        report.times("send_to_receive", &self.receive.lock());
        Ok(report)
    }

    /// Waits for what is under way.
    async fn finish(&self) {
        let start = Instant::now();
        while !self.bench.floor && start.elapsed() < TAIL {
            sleep(Duration::from_millis(200)).await;
            self.ledger.look_for_stuck(self.bench.now_ns(), STUCK_AFTER);
            if self.ledger.missing() == 0 && start.elapsed() > Duration::from_millis(500) {
                return;
            }
        }
    }

    async fn send(self: Arc<Self>, index: usize, mut jobs: mpsc::Receiver<Job>) {
        let bench = &self.bench;
        let name = format!("{}-s{index}", bench.name);
        let opened = async {
            let sender = Sender::open(&bench.target, bench.over, name.clone()).await?;
            // The floor delivers nothing, so it is asked for as much as is sent.
            let poller = match bench.floor {
                true => Some(Receiver::open(&bench.target, bench.over, name, None).await?),
                false => None,
            };
            Ok::<_, io::Error>((sender, poller))
        };
        let (mut sender, mut poller) = match opened.await {
            Ok(opened) => opened,
            Err(why) => return self.counts.broke(&why),
        };
        while let Some(Job { session, due_ns }) = jobs.recv().await {
            let number = self.ledger.next(session);
            let mark = Mark { number, due_ns };
            let to = self.session(session);
            if let Err(why) = sender.send(&to, std::iter::once(mark), self.bytes).await {
                return self.counts.broke(&why);
            }
            self.note(&self.answer, due_ns);
            self.counts.accepted.fetch_add(1, Relaxed);
            self.ledger.accepted(session, number, bench.now_ns());
            if let Some(poller) = &mut poller {
                let asked_ns = bench.now_ns();
                let answered = async {
                    poller.ask().await?;
                    poller.next(|_| ()).await
                };
                if let Err(why) = answered.await {
                    return self.counts.broke(&why);
                }
                self.note(&self.poll, asked_ns);
            }
        }
    }

    async fn wait(self: Arc<Self>, index: usize) {
        let bench = &self.bench;
        let (mut cursor, mut counted) = (None, false);
        loop {
            let opened = async {
                let _turn = self.opening.acquire().await;
                let mut receiver =
                    Receiver::open(&bench.target, bench.over, self.session(index), cursor.take()).await?;
                receiver.ask().await?;
                Ok::<_, io::Error>(receiver)
            };
            let broke = match opened.await {
                Ok(mut receiver) => {
                    if !std::mem::replace(&mut counted, true) {
                        self.waiting.fetch_add(1, Relaxed);
                    }
                    let broke = self.receive(index, &mut receiver).await;
                    cursor = receiver.cut(false);
                    broke
                }
                Err(why) => why,
            };
            self.counts.broke(&broke);
            // A server that is gone is not to be stormed.
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Receives until the connection breaks.
    async fn receive(&self, index: usize, receiver: &mut Receiver) -> io::Error {
        loop {
            let got = receiver
                .next(|mark| {
                    if self.ledger.received(index, mark) {
                        self.note(&self.receive, mark.due_ns);
                    }
                    self.counts.delivered.fetch_add(1, Relaxed);
                })
                .await;
            match got {
                Ok(true) => {}
                Ok(false) => return io::Error::other("the server ended the connection"),
                Err(why) => return why,
            }
            if let Err(why) = receiver.ask().await {
                return why;
            }
        }
    }
}

/// A steady beat, finer than the runtime's timers, whose unit is a millisecond.
struct Ticks {
    timer: AsyncFd<OwnedFd>,
    next: Instant,
    period: Duration,
}

impl Ticks {
    fn start(rate: usize) -> io::Result<Self> {
        let period = Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX);
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // Waking more often than this costs more than it tells.
        let beat = period.max(Duration::from_micros(100));
        timer.set(Expiration::Interval(TimeSpec::from(beat)), TimerSetTimeFlags::empty())?;
        // SAFETY: an OwnedFd is the only owner of its descriptor, which stays the same and open until it is dropped.
        let timer = unsafe { AsyncFd::register(OwnedFd::from(timer)) }?;
        Ok(Self { timer, next: Instant::now() + period, period })
    }

    /// The moments that have come since the last call, at least one.
    async fn next(&mut self) -> io::Result<impl Iterator<Item = Instant> + use<>> {
        while Instant::now() < self.next {
            let mut ready = self.timer.readable().await?;
            let read = ready.try_io(|timer| {
                let mut count = [0; 8];
                let read = nix::unistd::read(timer.get_ref(), &mut count);
                read.map_err(io::Error::from)
            });
            // What it would block for has been waited for already.
            if let Ok(result) = read {
                result?;
            }
        }
        let (first, period) = (self.next, self.period);
        let passed = Instant::now().saturating_duration_since(first);
        let count = 1 + u32::try_from(passed.as_nanos() / period.as_nanos().max(1)).unwrap_or(u32::MAX - 1);
        self.next = first + period * count;
        Ok((0..count).map(move |index| first + period * index))
    }
}
