//! Receivers whose connections are cut at random, half of them with a reset: what is lost, repeated or stuck.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::ArgMatches;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Bench, Counts, OPENING,
    ledger::Ledger,
    report::{Progress, Report},
    value,
    wires::{Mark, Receiver, Sender},
};
use crate::{
    cli::{Done, Failure},
    lifecycle::Task,
};

/// Connections that send.
const SENDERS: usize = 16;
/// A message that has not come for so long, though its receiver came back again and again, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(15);
/// How long receivers come back, uncut, after the last message.
const TAIL: Duration = Duration::from_secs(30);

struct All {
    bench: Arc<Bench>,
    counts: Counts,
    ledger: Ledger,
    bytes: usize,
    rate: usize,
    cut_every: Duration,
    cuts: AtomicU64,
    cutting: AtomicBool,
    sending: AtomicBool,
    opening: Semaphore,
}

/// Measures.
pub async fn run(matches: &ArgMatches) -> Done {
    let sessions = value(matches, "sessions");
    let bench = Bench::start(matches, sessions + SENDERS).await?;
    if bench.floor {
        return Err(Failure::usage("the floor keeps no messages, so none can be lost"));
    }
    let all = Arc::new(All {
        bench: Arc::clone(&bench),
        counts: Counts::default(),
        ledger: Ledger::new(sessions),
        bytes: value(matches, "bytes"),
        rate: value(matches, "rate"),
        cut_every: Duration::from_millis(value(matches, "cut-every") as u64),
        cuts: AtomicU64::new(0),
        cutting: AtomicBool::new(true),
        sending: AtomicBool::new(true),
        opening: Semaphore::new(OPENING),
    });
    let receivers = (0..sessions).map(|index| bench.life.spawn(Arc::clone(&all).receive(index)));
    let mut tasks: Vec<Task> = receivers.collect();
    tasks.extend((0..SENDERS).map(|index| bench.life.spawn(Arc::clone(&all).send(index, sessions))));
    let report = all.measure(sessions).await;
    drop(tasks);
    report.print(bench.json)
}

impl All {
    async fn measure(&self, sessions: usize) -> Report {
        let progress = Progress::start();
        let (bench, start) = (&self.bench, Instant::now());
        while start.elapsed() < bench.seconds {
            sleep(Duration::from_secs(1).min(bench.seconds.saturating_sub(start.elapsed()))).await;
            self.ledger.look_for_stuck(bench.now_ns(), STUCK_AFTER);
            progress.rate("churn", start.elapsed(), bench.seconds, self.rate as u64);
        }
        self.sending.store(false, Relaxed);
        self.cutting.store(false, Relaxed);
        let end = Instant::now();
        progress.say("until everything has come");
        loop {
            sleep(Duration::from_millis(500)).await;
            self.ledger.look_for_stuck(bench.now_ns(), STUCK_AFTER);
            if self.ledger.missing() == 0 || end.elapsed() > TAIL {
                break;
            }
        }
        let mut report = bench.report("churn");
        report.count("sessions", sessions as u64);
        report.count("rate", self.rate as u64);
        report.count("bytes", self.bytes as u64);
        report.count("cuts", self.cuts.load(Relaxed));
        report.count("accepted", self.counts.accepted());
        report.count("delivered", self.counts.delivered());
        self.ledger.tell(&mut report);
        self.counts.tell(&mut report);
        report
    }

    fn session(&self, index: usize) -> String {
        format!("{}-{index}", self.bench.name)
    }

    async fn send(self: Arc<Self>, index: usize, sessions: usize) {
        let sent = async {
            let name = format!("{}-s{index}", self.bench.name);
            let mut sender = Sender::open(&self.bench.target, self.bench.over, name).await?;
            let step = Duration::from_secs(1) * u32::try_from(SENDERS).unwrap_or(1)
                / u32::try_from(self.rate).unwrap_or(u32::MAX);
            let mut due = Instant::now();
            // A session is sent to by one sender alone, so that its messages have an order.
            let mut mine = (index..sessions).step_by(SENDERS).cycle();
            while let Some(session) = mine.next().filter(|_| self.sending.load(Relaxed)) {
                sleep_until(due).await;
                due += step;
                let number = self.ledger.next(session);
                let mark = Mark { number, due_ns: self.bench.now_ns() };
                sender.send(&self.session(session), std::iter::once(mark), self.bytes).await?;
                self.counts.accepted.fetch_add(1, Relaxed);
                self.ledger.accepted(session, number, self.bench.now_ns());
            }
            Ok::<_, io::Error>(())
        };
        if let Err(why) = sent.await {
            self.counts.broke(&why);
        }
    }

    async fn receive(self: Arc<Self>, index: usize) {
        let bench = &self.bench;
        let mut cursor: Option<String> = None;
        let mut random = Random(index as u64 + bench.now_ns());
        loop {
            let cut_at = match self.cutting.load(Relaxed) {
                // From nothing to twice the middle.
                true => Instant::now() + self.cut_every * 2 * (random.next() % 1_000) / 1_000,
                false => Instant::now() + Receiver::PATIENCE,
            };
            let opened = async {
                let _turn = self.opening.acquire().await;
                Receiver::open(&bench.target, bench.over, self.session(index), cursor.clone()).await
            };
            let mut receiver = match opened.await {
                Ok(receiver) => receiver,
                Err(why) => {
                    self.counts.broke(&why);
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let until_cut = timeout_at(cut_at, async {
                loop {
                    receiver.ask().await?;
                    let goes_on = receiver
                        .next(|mark| {
                            self.ledger.received(index, mark);
                            self.counts.delivered.fetch_add(1, Relaxed);
                        })
                        .await?;
                    if !goes_on {
                        return Ok::<_, io::Error>(());
                    }
                }
            });
            match until_cut.await {
                Err(_) => _ = self.cuts.fetch_add(1, Relaxed),
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    self.counts.broke(&why);
                    sleep(Duration::from_millis(100)).await;
                }
            }
            cursor = receiver.cut(random.next().is_multiple_of(2));
        }
    }
}

/// Numbers without a pattern that matters here (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 |= 1;
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap_or_default()
    }
}
