//! Pairs of a sender and a receiver, each as fast as it can: the next message goes out when an earlier one has arrived.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::ArgMatches;
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    Bench, Counts, OPENING,
    process::{self, Sample},
    report::{Progress, Report, Times},
    value,
    wires::{Mark, Receiver, Sender},
};
use crate::{
    cli::{Done, Failure},
    lifecycle::Task,
};

/// Not measured, at the beginning.
const WARM_UP: Duration = Duration::from_secs(1);
/// A pair that delivers nothing for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(3);

struct Pair {
    bench: Arc<Bench>,
    all: Arc<All>,
    to: String,
    bytes: usize,
    in_flight: usize,
    /// How many more may be sent.
    room: Semaphore,
    /// Sent and not asked for yet, where the target has no mail of its own.
    sent: Semaphore,
    last_ns: AtomicU64,
}

struct All {
    counts: Counts,
    times: Mutex<Times>,
    disordered: AtomicU64,
    opened: Semaphore,
    opening: Semaphore,
}

/// Measures.
pub async fn run(matches: &ArgMatches) -> Done {
    let pairs = value(matches, "pairs");
    let bench = Bench::start(matches, pairs * 2).await?;
    let all = Arc::new(All {
        counts: Counts::default(),
        times: Mutex::new(Times::new()?),
        disordered: AtomicU64::new(0),
        opened: Semaphore::new(0),
        opening: Semaphore::new(OPENING),
    });
    let pair = |index: usize| {
        let in_flight = value(matches, "in-flight");
        Arc::new(Pair {
            bench: Arc::clone(&bench),
            all: Arc::clone(&all),
            to: format!("{}-{index}", bench.name),
            bytes: value(matches, "bytes"),
            in_flight,
            room: Semaphore::new(0),
            sent: Semaphore::new(0),
            last_ns: AtomicU64::new(0),
        })
    };
    let pairs: Vec<Arc<Pair>> = (0..pairs).map(pair).collect();
    let tasks: Vec<Task> = pairs
        .iter()
        .flat_map(|pair| {
            let (sending, receiving) = (Arc::clone(pair), Arc::clone(pair));
            [bench.life.spawn(sending.send()), bench.life.spawn(receiving.receive())]
        })
        .collect();
    measure(&bench, &all, &pairs).await?.print(bench.json)?;
    drop(tasks);
    Ok(())
}

async fn measure(bench: &Bench, all: &All, pairs: &[Arc<Pair>]) -> Result<Report, Failure> {
    let progress = Progress::start();
    progress.say("opening connections");
    let ends = u32::try_from(pairs.len() * 2).unwrap_or(u32::MAX);
    let opened = tokio::time::timeout(Duration::from_secs(60), all.opened.acquire_many(ends)).await;
    if opened.is_err() {
        let why = all.counts.trouble.lock().clone().unwrap_or_else(|| "not all within a minute".to_owned());
        return Err(Failure::failed(format!("connections could not be opened: {why}")));
    }
    for pair in pairs {
        pair.room.add_permits(pair.in_flight);
    }
    sleep(WARM_UP).await;
    *all.times.lock() = Times::new()?;
    let (before, own, from, start) = (bench.sample(), process::own(), all.counts.delivered(), Instant::now());
    let (mut seen, mut slowest, mut fastest) = (from, u64::MAX, 0);
    while start.elapsed() < bench.seconds {
        sleep(Duration::from_secs(1).min(bench.seconds.saturating_sub(start.elapsed()))).await;
        let now = all.counts.delivered();
        (slowest, fastest) = (slowest.min(now - seen), fastest.max(now - seen));
        progress.rate("throughput", start.elapsed(), bench.seconds, now - seen);
        seen = now;
    }
    let (passed, delivered) = (start.elapsed(), all.counts.delivered() - from);
    let costs = Costs { before, after: bench.sample(), own: process::own().saturating_sub(own) };
    let now_ns = bench.now_ns();
    let stuck = pairs.iter().filter(|pair| {
        now_ns.saturating_sub(pair.last_ns.load(Relaxed)) > u64::try_from(STUCK_AFTER.as_nanos()).unwrap_or(u64::MAX)
    });
    let stuck = if bench.seconds > STUCK_AFTER { stuck.count() } else { 0 };
    drop(progress);
    let mut report = bench.report("throughput");
    report.count("pairs", pairs.len() as u64);
    report.count("in_flight", pairs[0].in_flight as u64);
    report.count("bytes", pairs[0].bytes as u64);
    report.count("messages", delivered);
    report.figure("messages_per_second", delivered as f64 / passed.as_secs_f64());
    report.count("slowest_second", slowest);
    report.count("fastest_second", fastest);
    costs.tell(&mut report, delivered, passed);
    report.count("disordered", all.disordered.load(Relaxed));
    report.count("stuck_pairs", stuck as u64);
    all.counts.tell(&mut report);
    report.times("send_to_receive", &all.times.lock());
    Ok(report)
}

/// What the server and this process have spent.
pub struct Costs {
    /// The server, if it is known.
    pub before: Option<Sample>,
    /// And at the end.
    pub after: Option<Sample>,
    /// This process.
    pub own: Duration,
}

impl Costs {
    /// Says it for each of `messages`, and as a share of the time that passed.
    pub fn tell(&self, report: &mut Report, messages: u64, passed: Duration) {
        let share = |busy: Duration| busy.as_secs_f64() / passed.as_secs_f64() * 100.0;
        let each = |busy: Duration| busy.as_secs_f64() * 1e6 / messages.max(1) as f64;
        if let (Some(before), Some(after)) = (self.before, self.after) {
            let busy = after.busy_since(&before);
            report.figure("server_cpu_us_each", each(busy));
            report.figure("server_cpu_percent", share(busy));
            report.figure("server_resident_mib", after.resident_bytes as f64 / f64::from(1 << 20));
        }
        report.figure("client_cpu_us_each", each(self.own));
        report.figure("client_cpu_percent", share(self.own));
    }
}

impl Pair {
    async fn send(self: Arc<Self>) {
        let from = format!("{}-s", self.to);
        let opened = async {
            let _turn = self.all.opening.acquire().await;
            Sender::open(&self.bench.target, self.bench.over, from).await
        };
        let mut sender = match opened.await {
            Ok(sender) => sender,
            Err(why) => return self.all.counts.broke(&why),
        };
        self.all.opened.add_permits(1);
        let mut number = 0;
        loop {
            let Ok(room) = self.room.acquire().await else { return };
            room.forget();
            let mut messages = 1;
            while !self.bench.over.polls() && messages < self.in_flight {
                let Ok(room) = self.room.try_acquire() else { break };
                room.forget();
                messages += 1;
            }
            let due_ns = self.bench.now_ns();
            let marks = (1..=messages as u64).map(|ahead| Mark { number: number + ahead, due_ns });
            if self.bench.floor {
                self.sent.add_permits(1);
            }
            if let Err(why) = sender.send(&self.to, marks, self.bytes).await {
                return self.all.counts.broke(&why);
            }
            self.all.counts.accepted.fetch_add(messages as u64, Relaxed);
            number += messages as u64;
        }
    }

    async fn receive(self: Arc<Self>) {
        let opened = async {
            let _turn = self.all.opening.acquire().await;
            Receiver::open(&self.bench.target, self.bench.over, self.to.clone(), None).await
        };
        let mut receiver = match opened.await {
            Ok(receiver) => receiver,
            Err(why) => return self.all.counts.broke(&why),
        };
        self.all.opened.add_permits(1);
        let mut last = 0;
        loop {
            if self.bench.floor {
                let Ok(sent) = self.sent.acquire().await else { return };
                sent.forget();
            }
            let got = match receiver.ask().await {
                Ok(()) => self.take(&mut receiver, &mut last).await,
                Err(why) => Err(why),
            };
            match got {
                Ok(true) => {}
                Ok(false) => return self.all.counts.broke(&std::io::Error::other("the server ended the connection")),
                Err(why) => return self.all.counts.broke(&why),
            }
        }
    }

    async fn take(&self, receiver: &mut Receiver, last: &mut u64) -> std::io::Result<bool> {
        let (bench, mut got) = (&self.bench, 0);
        let goes_on = receiver
            .next(|mark| {
                got += 1;
                if bench.floor {
                    return;
                }
                self.all.times.lock().note(bench.now_ns().saturating_sub(mark.due_ns));
                if mark.number != *last + 1 {
                    self.all.disordered.fetch_add(1, Relaxed);
                }
                *last = mark.number;
            })
            .await?;
        self.last_ns.store(bench.now_ns(), Relaxed);
        self.all.counts.delivered.fetch_add(got as u64, Relaxed);
        self.room.add_permits(got);
        Ok(goes_on)
    }
}
