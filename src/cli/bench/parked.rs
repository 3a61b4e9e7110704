//! Sessions that wait and get nothing: what each costs in memory, on its first wait and on later ones, and in processor
//! time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::ArgMatches;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    Bench, Counts, OPENING,
    process::{self, Sample},
    report::{Progress, Report},
    value,
    wires::Receiver,
};
use crate::{
    cli::{Done, Failure},
    lifecycle::Task,
};

/// How long connections and first waits, and then second ones, may take to begin.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the server may tidy up before its memory is looked at.
const CALM: Duration = Duration::from_secs(2);

#[derive(Default)]
struct All {
    counts: Counts,
    /// Sessions that wait for the first time or a later one.
    waiting: AtomicUsize,
    /// Sessions that have had an answer and wait again.
    waiting_again: AtomicUsize,
    /// Answers.
    answers: AtomicU64,
}

/// Measures.
pub async fn run(matches: &ArgMatches) -> Done {
    let sessions = value(matches, "sessions");
    let bench = Bench::start(matches, sessions).await?;
    let all = Arc::new(All::default());
    let before = bench.sample();
    let opening = Arc::new(Semaphore::new(OPENING));
    let wait = |index| bench.life.spawn(wait(Arc::clone(&bench), Arc::clone(&all), Arc::clone(&opening), index));
    let tasks: Vec<Task> = (0..sessions).map(wait).collect();
    let report = measure(&bench, &all, sessions, before).await?;
    drop(tasks);
    report.print(bench.json)
}

async fn measure(bench: &Bench, all: &All, sessions: usize, before: Option<Sample>) -> Result<Report, Failure> {
    let progress = Progress::start();
    until(&progress, all, sessions, "waiting", &all.waiting).await?;
    sleep(CALM).await;
    let first = bench.sample();
    if bench.over.polls() {
        until(&progress, all, sessions, "waiting again", &all.waiting_again).await?;
        sleep(CALM).await;
    }
    let (later, own, answers, start) = (bench.sample(), process::own(), all.answers.load(Relaxed), Instant::now());
    while start.elapsed() < bench.seconds {
        sleep(Duration::from_secs(1).min(bench.seconds.saturating_sub(start.elapsed()))).await;
        progress.say(&format!("parked  {} of {} s", start.elapsed().as_secs(), bench.seconds.as_secs()));
    }
    let (after, passed, answers) = (bench.sample(), start.elapsed(), all.answers.load(Relaxed) - answers);
    let own = process::own().saturating_sub(own);
    drop(progress);
    let mut report = bench.report("parked");
    report.count("sessions", sessions as u64);
    if let (Some(before), Some(first), Some(later), Some(after)) = (before, first, later, after) {
        let each = |sample: Sample| {
            sample.resident_bytes.saturating_sub(before.resident_bytes) as f64 / 1024.0 / sessions as f64
        };
        report.figure("server_resident_mib_before", before.resident_bytes as f64 / f64::from(1 << 20));
        report.figure("server_resident_mib", after.resident_bytes as f64 / f64::from(1 << 20));
        report.figure("kib_each_first_wait", each(first));
        if bench.over.polls() {
            report.figure("kib_each_second_wait", each(later));
        }
        report.figure("kib_each", each(after));
        let busy = after.busy_since(&later);
        report.figure("server_cpu_percent", busy.as_secs_f64() / passed.as_secs_f64() * 100.0);
        if answers > 0 {
            report.figure("server_cpu_us_per_poll", busy.as_secs_f64() * 1e6 / answers as f64);
        }
    } else {
        report.text("server", "its process was not found here; name it with --pid");
    }
    report.count("answers", answers);
    report.figure("client_cpu_percent", own.as_secs_f64() / passed.as_secs_f64() * 100.0);
    all.counts.tell(&mut report);
    Ok(report)
}

/// Waits until all sessions are counted.
async fn until(
    progress: &Progress,
    all: &All,
    sessions: usize,
    what: &str,
    count: &AtomicUsize,
) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let now = count.load(Relaxed);
        progress.say(&format!("{what}  {now} of {sessions}"));
        if now >= sessions {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let why = all.counts.trouble.lock().clone().unwrap_or_else(|| "no reason was given".to_owned());
            return Err(Failure::failed(format!("only {now} of {sessions} sessions are {what}: {why}")));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn wait(bench: Arc<Bench>, all: Arc<All>, opening: Arc<Semaphore>, index: usize) {
    // The floor lets those wait whose name says so.
    let session = format!("{}-parked-{index}", bench.name);
    let (mut cursor, mut again) = (None, false);
    let mut counted = [false; 2];
    loop {
        let opened = async {
            let _turn = opening.acquire().await;
            let mut receiver = Receiver::open(&bench.target, bench.over, session.clone(), cursor.take()).await?;
            receiver.ask().await?;
            Ok::<_, std::io::Error>(receiver)
        };
        match opened.await {
            Ok(mut receiver) => {
                let broke = loop {
                    if !std::mem::replace(&mut counted[0], true) {
                        all.waiting.fetch_add(1, Relaxed);
                    }
                    if again && !std::mem::replace(&mut counted[1], true) {
                        all.waiting_again.fetch_add(1, Relaxed);
                    }
                    match receiver.next(|_| ()).await {
                        Ok(true) => {}
                        Ok(false) => break None,
                        Err(why) => break Some(why),
                    }
                    all.answers.fetch_add(1, Relaxed);
                    again = true;
                    if let Err(why) = receiver.ask().await {
                        break Some(why);
                    }
                };
                if let Some(why) = broke {
                    all.counts.broke(&why);
                }
                cursor = receiver.cut(false);
            }
            Err(why) => all.counts.broke(&why),
        }
        // A server that is gone is not to be stormed.
        sleep(Duration::from_millis(200)).await;
    }
}
