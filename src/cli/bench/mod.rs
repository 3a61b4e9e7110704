//! `x0-relay bench`: what a relay carries, and how fast; measured from outside, at any address.
//!
//! One file for each kind of measurement. [`client`] and [`wires`] are the clients, [`process`] finds out what the server
//! costs, if that runs here, and [`floor`] is a server that does nothing, to compare with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValue};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Done, Failure, json, text, url};
use crate::lifecycle::Lifecycle;

mod churn;
mod client;
mod floor;
mod frames;
mod latency;
mod ledger;
mod parked;
mod preflight;
mod process;
mod report;
mod throughput;
mod wires;

use client::{Conn, Target};
use process::Processes;
use report::Report;
use wires::Over;

/// Open files that this process needs beside its connections.
const SPARE_FILES: u64 = 32;
/// How many connections are opened at once.
const OPENING: usize = 128;

/// The command line.
pub fn command() -> Command {
    Command::new("bench")
        .about("Measure a relay: what it carries, how fast, and what it costs")
        .subcommand_required(true)
        .subcommand(
            measures("throughput", "Messages a second: each pair sends its next one when the last has arrived").args([
                number("pairs", "N", "64", 1, 20_000, "Pairs of a sender and a receiver"),
                number("in-flight", "N", "1", 1, 1_000, "Messages of one pair under way at once"),
                number("bytes", "N", "200", 40, 65_000, "Bytes of a message"),
                seconds("10"),
            ]),
        )
        .subcommand(measures("latency", "From sending to receiving, at a steady rate, among sessions that wait").args(
            [
                number("parked", "N", "1000", 1, 1_000_000, "Sessions that wait; messages go to one after the other"),
                number("rate", "N", "1000", 1, 1_000_000, "Messages a second"),
                number("senders", "N", "64", 1, 10_000, "Connections that send"),
                number("bytes", "N", "200", 40, 65_000, "Bytes of a message"),
                seconds("10"),
            ],
        ))
        .subcommand(
            measures("parked", "What sessions cost that wait and get nothing: memory, processor time")
                .args([number("sessions", "N", "1000", 1, 1_000_000, "Sessions"), seconds("20")]),
        )
        .subcommand(
            measures("churn", "Receivers whose connections are cut at random: what is lost, repeated, stuck").args([
                number("sessions", "N", "200", 1, 100_000, "Sessions"),
                number("rate", "N", "500", 1, 1_000_000, "Messages a second"),
                number("cut-every", "MS", "300", 1, 3_600_000, "How long a connection lives, in the middle"),
                number("bytes", "N", "200", 40, 65_000, "Bytes of a message"),
                seconds("10"),
            ]),
        )
        .subcommand(
            Command::new("preflight")
                .about("OPTIONS requests a second")
                .args([url(), pid(), json()])
                .args([number("connections", "N", "64", 1, 20_000, "Connections"), seconds("5")]),
        )
        .subcommand(
            Command::new("floor")
                .about("Serve the same answers with no work behind them: what HTTP alone costs")
                .arg(
                    Arg::new("listen")
                        .long("listen")
                        .value_name("ADDRESS")
                        .default_value("127.0.0.1:8090")
                        .help("Where"),
                )
                .args([
                    number("bytes", "N", "200", 40, 65_000, "Bytes of the message in an answer"),
                    number("wait", "MS", "10000", 1, 3_600_000, "How long a poll of a session waits that is to wait"),
                    number("threads", "N", "0", 0, 256, "Threads; 0 is one for each processor"),
                ])
                .after_help("Polls of sessions whose name holds \"parked\" wait; others are answered at once."),
        )
        .after_help(
            "Examples:\n  x0-relay bench throughput --pairs 64 --over ws --in-flight 32\n  \
             x0-relay bench latency --parked 10000 --rate 2000 --json\n  \
             x0-relay bench floor & x0-relay bench throughput --url http://127.0.0.1:8090\n\n\
             The sessions are new ones, with a random name; nothing of anybody else's is touched.",
        )
}

fn measures(name: &'static str, about: &'static str) -> Command {
    let wire = |over: Over| PossibleValue::new(over.name()).hide(over == Over::Nchan);
    let wires = [Over::X0, Over::V1, Over::Sse, Over::Ws, Over::Nchan].map(wire);
    let over = Arg::new("over")
        .long("over")
        .value_name("WIRE")
        .value_parser(clap::builder::PossibleValuesParser::new(wires))
        .default_value("x0")
        .help("How messages are sent and received");
    Command::new(name).about(about).args([url(), over, pid(), json()])
}

fn pid() -> Arg {
    Arg::new("pid")
        .long("pid")
        .value_name("PID")
        .value_parser(clap::value_parser!(u32).range(1..))
        .help("The process that serves, for what it costs [default: whoever listens there, on this machine]")
}

fn number(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    least: u64,
    most: u64,
    help: &'static str,
) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .default_value(default)
        .value_parser(clap::value_parser!(u64).range(least..=most))
        .action(ArgAction::Set)
        .help(format!("{help} (at most {most})"))
}

fn seconds(default: &'static str) -> Arg {
    number("seconds", "N", default, 1, 3_600, "How long it is measured")
}

fn value(matches: &ArgMatches, name: &str) -> usize {
    usize::try_from(matches.get_one::<u64>(name).copied().unwrap_or_default()).unwrap_or(usize::MAX)
}

/// Runs the measurement that is named.
pub fn run(matches: &ArgMatches) -> Done {
    match matches.subcommand() {
        Some(("floor", matches)) => floor::run(matches),
        Some((kind, matches)) => super::block_on(async {
            match kind {
                "throughput" => throughput::run(matches).await,
                "latency" => latency::run(matches).await,
                "parked" => parked::run(matches).await,
                "churn" => churn::run(matches).await,
                "preflight" => preflight::run(matches).await,
                _ => Err(Failure::usage(format!("unknown measurement {kind}"))),
            }
        }),
        None => Err(Failure::usage("no measurement")),
    }
}

/// What all measurements share.
struct Bench {
    target: Target,
    over: Over,
    /// The target is [`floor`]: it answers with messages that nobody sent.
    floor: bool,
    processes: Option<Processes>,
    life: Lifecycle,
    start: Instant,
    /// In the names of its sessions.
    name: String,
    seconds: Duration,
    json: bool,
}

impl Bench {
    /// Finds the target, and sees to it that `connections` can be opened.
    async fn start(matches: &ArgMatches, connections: usize) -> Result<Arc<Self>, Failure> {
        allow_files(connections)?;
        let target = Target::at(matches.get_one::<String>("url").map_or("http://127.0.0.1:8080", String::as_str))?;
        let over = if matches.try_contains_id("over").is_ok() { text(matches, "over") } else { "x0" };
        let over = Over::named(over).unwrap_or(Over::X0);
        let floor = is_floor(&target).await?;
        if floor && !matches!(over, Over::X0 | Over::V1) {
            return Err(Failure::usage("the floor answers x0 and v1 alone"));
        }
        let processes = match matches.get_one::<u32>("pid") {
            Some(pid) => Some(Processes::of(*pid).ok_or_else(|| Failure::usage(format!("no process {pid} here")))?),
            None => Processes::listening(target.address),
        };
        let random = uuid::Uuid::now_v7().simple().to_string();
        Ok(Arc::new(Self {
            target,
            over,
            floor,
            processes,
            life: Lifecycle::start(),
            start: Instant::now(),
            name: format!("bench-{}", &random[20..]),
            seconds: Duration::from_secs(value(matches, "seconds") as u64),
            json: matches.get_flag("json"),
        }))
    }

    /// Nanoseconds of this run.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sample(&self) -> Option<process::Sample> {
        self.processes.as_ref().map(Processes::sample)
    }

    /// A report that says what was measured.
    fn report(&self, kind: &'static str) -> Report {
        let mut report = Report::new(kind);
        report.text("target", &format!("http://{}", self.target.authority));
        if kind != "preflight" {
            report.text("over", self.over.name());
        }
        report.setting("floor", self.floor);
        report.setting("seconds", self.seconds.as_secs());
        report.setting("pids", self.processes.as_ref().map(|all| all.pids().to_vec()).unwrap_or_default());
        report.setting("cores", std::thread::available_parallelism().map_or(0, usize::from));
        report
    }
}

/// What the tasks of a measurement count together.
#[derive(Default)]
struct Counts {
    /// Messages that were accepted.
    accepted: AtomicU64,
    /// Messages that were delivered, each time counted.
    delivered: AtomicU64,
    /// Connections that broke without being cut.
    broken: AtomicU64,
    /// Why the first of them did, or what was refused.
    trouble: Mutex<Option<String>>,
}

impl Counts {
    fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    fn broke(&self, why: &std::io::Error) {
        self.broken.fetch_add(1, Relaxed);
        self.trouble.lock().get_or_insert_with(|| why.to_string());
    }

    /// Says what went wrong, if something did.
    fn tell(&self, report: &mut Report) {
        report.count("broken_connections", self.broken.load(Relaxed));
        if let Some(trouble) = &*self.trouble.lock() {
            report.text("first_trouble", &super::show::tame(trouble));
        }
    }
}

/// Raises the limit on open files, if it has to be.
fn allow_files(connections: usize) -> Result<(), Failure> {
    let needed = connections as u64 + SPARE_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(Failure::failed)?;
    if needed <= soft || (needed <= hard && setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_ok()) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{connections} connections need {needed} open files, this process may have {hard}; raise the limit (ulimit -n) or \
         ask for less"
    )))
}

async fn is_floor(target: &Target) -> Result<bool, Failure> {
    let away = |error: std::io::Error| Failure::unreachable(format!("nobody at http://{}: {error}", target.authority));
    let mut conn = Conn::open(target).await.map_err(away)?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", floor::NAME, target.authority);
    conn.write(request.as_bytes()).await.map_err(away)?;
    Ok(conn.open_ended().await.map_err(away)? == 204)
}
