//! Somebody sends as fast as it can, and is limited: others hardly notice, and memory stays where it was.
//!
//! The flood comes from a process of its own, at the lowest priority, on one thread, as if from another machine: what is
//! measured is what the relay does with it, and not how flooding and relaying share two cores. A second such flood, which
//! goes to a relay that nobody else uses, says how much of the rest is the machine's.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]
#![allow(clippy::disallowed_methods, reason = "the flood's connections are tasks of the test, not of the relay")]

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{
    Conn, PROMPT, Relay, eventually,
    measure::{figures, memory, used, ways},
    metrics::{Sample, samples},
    process::Process,
    prove,
    v1::send_request,
};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// What the flood's process is told: where to, over how many connections, and how.
const TOLD: &str = "FLOOD_OF_THIS_TEST";
/// Where a flood comes from: an address of its own, with limits, while the harness has none.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How somebody floods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Asks again as soon as it is answered.
    Asking,
    /// Asks without end, and does not wait for answers.
    Pipelining,
    /// Asks on a connection of its own each time.
    Connecting,
}

const KINDS: [Kind; 3] = [Kind::Asking, Kind::Pipelining, Kind::Connecting];

/// Not a test, but the flood, if this process was started as one.
#[test]
fn the_flood_itself() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let mut told = told.split(' ');
    let mut next = || told.next().expect("three words");
    let (to, connections, kind) = (next(), next().parse::<usize>(), next());
    let to: SocketAddr = to.parse().expect("an address");
    let kind = KINDS.into_iter().find(|known| format!("{known:?}") == kind).expect("a kind");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for _ in 0..connections.expect("a number") {
        runtime.spawn(async move {
            loop {
                // Whatever ends a connection, the next begins.
                let _ = once(to, kind).await;
            }
        });
    }
    runtime.block_on(std::future::pending::<()>());
}

async fn once(to: SocketAddr, kind: Kind) -> std::io::Result<()> {
    let request = send_request("flood", "sink", r#"{"flood":true}"#, None);
    let socket = TcpSocket::new_v4()?;
    socket.bind((FLOODER, 0).into())?;
    let mut stream = socket.connect(to).await?;
    if kind == Kind::Pipelining {
        let (mut read, mut write) = stream.split();
        let asked = async {
            let many = request.repeat(64);
            loop {
                write.write_all(&many).await?;
            }
        };
        let heard = async { tokio::io::copy(&mut read, &mut tokio::io::sink()).await };
        tokio::select! {
            ended = asked => ended,
            ended = heard => ended.map(drop),
        }
    } else {
        loop {
            stream.write_all(&request).await?;
            answer(&mut stream).await?;
            if kind == Kind::Connecting {
                return Ok(());
            }
        }
    }
}

/// Reads one answer.
async fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut text).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if text.len() >= end + 4 + length.unwrap_or(0) {
            return Ok(());
        }
    }
}

/// A flood that can be stopped and go on.
struct Flood(Process);

impl Flood {
    fn begin(to: &Relay, connections: usize, kind: Kind) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe().expect("it runs"));
        command.args(["--exact", "the_flood_itself", "--nocapture"]);
        command.env(TOLD, format!("{} {connections} {kind:?}", to.addr())).stdin(Stdio::null());
        let flood = Self(Process::spawn(command));
        eventually("the flood meets its limit", PROMPT, || (refused(to) > 0.0).then_some(()));
        flood
    }

    fn pause(&self) {
        self.0.signal(Signal::SIGSTOP);
    }

    fn go_on(&self) {
        self.0.signal(Signal::SIGCONT);
        // It is under way again, before anything is measured.
        thread::sleep(Duration::from_millis(100));
    }
}

/// How many of the flood's requests, or connections, were refused.
fn refused(relay: &Relay) -> f64 {
    let counts = |sample: &Sample| {
        sample.name == "x0_relay_connections_turned_away_total" || sample.labels.contains("\"too_many_requests\"")
    };
    samples(&relay.metrics()).iter().filter(|sample| counts(sample)).map(|sample| sample.value).sum()
}

fn relay(limit: &str) -> Relay {
    Relay::start(&[
        "--exempt-addresses",
        "127.0.0.1",
        "--sends-per-address",
        "none",
        "--sends-per-session",
        limit,
        // Pauses must not earn the flood a burst.
        "--connects-per-address",
        "200/s, burst 200",
        "--log-level",
        "info",
        "--memory",
        "64MiB",
        "--mailbox-bytes",
        "16MiB",
    ])
}

/// The ratio of another's p99 to its quiet value, and how many bytes the relay has grown by.
fn flood(kind: Kind, turns: usize, rounds: usize, connections: usize, limit: &str) -> (f64, usize) {
    let (flooded, other) = (relay(limit), relay(limit));
    let before = memory(&flooded);
    let (flood, control) = (Flood::begin(&flooded, connections, kind), Flood::begin(&other, connections, kind));
    let (mut sending, mut receiving) = (Conn::open(flooded.addr()), Conn::open(flooded.addr()));
    let mut measure = |took: &mut Vec<Duration>| ways(&flooded, (&mut sending, &mut receiving), rounds, took);
    let (mut quiet, mut loud, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let (mut busy, mut lasted, mut turned_down) = (Duration::ZERO, Duration::ZERO, 0.0);
    // By turns, so that what else goes on in the machine is in all of them.
    for _ in 0..turns {
        flood.pause();
        control.pause();
        measure(&mut quiet);
        control.go_on();
        measure(&mut beside);
        control.pause();
        flood.go_on();
        let (start, used_before, refused_before) = (Instant::now(), used(&flooded), refused(&flooded));
        measure(&mut loud);
        lasted += start.elapsed();
        busy += used(&flooded).saturating_sub(used_before);
        turned_down += refused(&flooded) - refused_before;
    }
    let after = memory(&flooded);
    let [quiet, loud, beside] = [&mut quiet, &mut loud, &mut beside].map(|took| figures(took));
    let ratio = loud.1.as_secs_f64() / quiet.1.as_secs_f64();
    // What the flood itself takes of the machine, connections most of all, is not the relay's to give.
    let of_relay = loud.1.as_secs_f64() / quiet.1.max(beside.1).as_secs_f64();
    println!(
        "{kind:?} over {connections} connections of one sender, {limit}: another's p50 and p99 {loud:.1?}, quiet {quiet:.1?} \
         ({ratio:.1} times), {beside:.1?} while another relay is flooded ({of_relay:.1} times of the larger); {:.0} refused a second, the relay {:.0}% of a \
         processor; memory {} MiB, before {} MiB",
        turned_down / lasted.as_secs_f64(),
        100.0 * busy.as_secs_f64() / lasted.as_secs_f64(),
        after >> 20,
        before >> 20,
    );
    (of_relay, after - before.min(after))
}

#[test]
fn a_flood_is_refused_and_others_go_on() {
    // No figure: this runs on busy machines.
    for kind in KINDS {
        flood(kind, 1, 20, 4, "20/s, burst 20");
    }
}

#[test]
fn prove_a_flood_costs_others_little() {
    if prove("p99 beside a flood") {
        for kind in KINDS {
            let (ratio, grown) = flood(kind, 4, 400, 32, "1000/s, burst 1000");
            assert!(ratio <= 3.0, "{ratio:.1} times the quiet p99, and that beside a flood of another relay");
            assert!(grown < 96 << 20, "{grown} bytes more");
        }
    }
}
