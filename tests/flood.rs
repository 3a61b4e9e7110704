//! Somebody sends as fast as it can, and is limited: others hardly notice, and memory stays where it was.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use common::{Conn, Relay, prove, v1::send_request, x0::set_request};

/// The relay's resident memory, in bytes.
fn memory(relay: &Relay) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).expect("kB") << 10
}

/// The 99th percentile of a message's way to a receiver that waits.
fn p99(relay: &Relay, session: &str, rounds: usize) -> Duration {
    let (mut sending, mut receiving) = (Conn::open(relay.addr()), Conn::open(relay.addr()));
    let mut took: Vec<Duration> = (0..rounds)
        .map(|_| {
            relay.park_on(&mut receiving, session);
            let start = Instant::now();
            sending.send(set_request("quiet", session, "{}"));
            assert_eq!(receiving.response().mail().len(), 1);
            let took = start.elapsed();
            assert_eq!(sending.response().status, 200);
            thread::sleep(Duration::from_millis(2));
            took
        })
        .collect();
    took.sort_unstable();
    took[rounds * 99 / 100]
}

fn flood(rounds: usize, senders: usize, limit: &str) -> (f64, usize) {
    let relay = Relay::start(&[
        "--exempt-addresses",
        "none",
        "--sends-per-address",
        "none",
        "--polls-per-session",
        "none",
        "--polls-per-address",
        "none",
        // The harness looks at the relay's figures over connections of their own.
        "--connects-per-address",
        "none",
        "--sends-per-session",
        limit,
        "--log-level",
        "info",
        "--memory",
        "64MiB",
        "--mailbox-bytes",
        "16MiB",
    ]);
    let quiet = p99(&relay, "before", rounds);
    let before = memory(&relay);
    let stop = Arc::new(AtomicBool::new(false));
    let (accepted, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..senders)
        .map(|_| {
            let (stop, accepted, refused, to) =
                (Arc::clone(&stop), Arc::clone(&accepted), Arc::clone(&refused), relay.addr());
            thread::spawn(move || {
                let mut conn = Conn::open(to);
                while !stop.load(Relaxed) {
                    match conn.exchange(send_request("flood", "sink", r#"{"flood":true}"#, None)).status {
                        201 => _ = accepted.fetch_add(1, Relaxed),
                        429 | 507 => _ = refused.fetch_add(1, Relaxed),
                        other => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    common::eventually("the flood meets its limit", common::PROMPT, || (refused.load(Relaxed) > 0).then_some(()));
    let loud = p99(&relay, "during", rounds);
    let during = memory(&relay);
    stop.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("it only sends"));
    let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
    println!(
        "a flood by {senders} connections of one sender, {} accepted and {} refused: another's p99 {loud:.1?}, quiet {quiet:.1?} \
         ({ratio:.1} times); memory {} MiB, before {} MiB",
        accepted.load(Relaxed),
        refused.load(Relaxed),
        during >> 20,
        before >> 20,
    );
    (ratio, during - before.min(during))
}

#[test]
fn a_flood_is_refused_and_others_go_on() {
    // No figure: this runs on busy machines.
    flood(50, 4, "100/s, burst 100");
}

#[test]
fn prove_a_flood_costs_others_little() {
    if prove("p99 beside a flood") {
        let (ratio, grown) = flood(3_000, 32, "1000/s, burst 1000");
        assert!(ratio <= 3.0, "{ratio:.1} times the quiet p99");
        assert!(grown < 96 << 20, "{grown} bytes more");
    }
}
