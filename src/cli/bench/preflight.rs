//! `OPTIONS` requests, which a page of another origin sends before every poll, as fast as they are answered.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use clap::ArgMatches;
use tokio::time::{Instant, sleep};

use super::{Bench, Counts, client::Conn, process, report::Progress, throughput::Costs, value};
use crate::{cli::Done, lifecycle::Task};

/// Not measured, at the beginning.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures.
pub async fn run(matches: &ArgMatches) -> Done {
    let connections = value(matches, "connections");
    let bench = Bench::start(matches, connections).await?;
    let counts = Arc::new(Counts::default());
    let asking = |_| bench.life.spawn(ask(Arc::clone(&bench), Arc::clone(&counts)));
    let tasks: Vec<Task> = (0..connections).map(asking).collect();
    let progress = Progress::start();
    sleep(WARM_UP).await;
    let (before, own, from, start) = (bench.sample(), process::own(), counts.accepted(), Instant::now());
    let mut seen = from;
    while start.elapsed() < bench.seconds {
        sleep(Duration::from_secs(1).min(bench.seconds.saturating_sub(start.elapsed()))).await;
        let now = counts.accepted();
        progress.rate("preflight", start.elapsed(), bench.seconds, now - seen);
        seen = now;
    }
    let (passed, answered) = (start.elapsed(), counts.accepted() - from);
    let costs = Costs { before, after: bench.sample(), own: process::own().saturating_sub(own) };
    drop((tasks, progress));
    let mut report = bench.report("preflight");
    report.count("connections", connections as u64);
    report.count("requests", answered);
    report.figure("requests_per_second", answered as f64 / passed.as_secs_f64());
    costs.tell(&mut report, answered, passed);
    counts.tell(&mut report);
    report.print(bench.json)
}

async fn ask(bench: Arc<Bench>, counts: Arc<Counts>) {
    let request = format!(
        "OPTIONS /python/MsgHandler.py HTTP/1.1\r\nHost: {}\r\nOrigin: http://x0.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
        bench.target.authority
    );
    let asked = async {
        let mut conn = Conn::open(&bench.target).await?;
        loop {
            conn.write(request.as_bytes()).await?;
            let answer = conn.answer().await?;
            if !matches!(answer.status, 200 | 204) {
                return Err::<(), _>(io::Error::other(format!("answered with status {}", answer.status)));
            }
            counts.accepted.fetch_add(1, Relaxed);
        }
    };
    if let Err(why) = asked.await {
        counts.broke(&why);
    }
}
