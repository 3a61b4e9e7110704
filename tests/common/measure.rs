//! What a relay costs, and how long others wait, while a test does something to it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::{Conn, Relay, x0::set_request};

/// The relay's resident memory, in bytes.
pub fn memory(relay: &Relay) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).expect("kB") << 10
}

/// The processor time that the relay has used.
pub fn used(relay: &Relay) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", relay.process.pid())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
    // Fields 14 and 15, a hundredth of a second each.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// How long messages take to a receiver that waits.
pub fn ways(relay: &Relay, (sending, receiving): (&mut Conn, &mut Conn), rounds: usize, took: &mut Vec<Duration>) {
    for _ in 0..rounds {
        relay.park_on(receiving, "quiet-receiver");
        let start = Instant::now();
        sending.send(set_request("quiet", "quiet-receiver", "{}"));
        assert_eq!(receiving.response().mail().len(), 1);
        took.push(start.elapsed());
        assert_eq!(sending.response().status, 200);
        thread::sleep(Duration::from_millis(2));
    }
}

/// The median and the 99th percentile.
pub fn figures(took: &mut [Duration]) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
