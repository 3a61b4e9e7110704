//! The harness of the integration tests: a relay that is the built binary, and clients that speak to it byte by byte.
//!
//! Nothing here uses the relay's library or an HTTP crate: what is tested must not also be the measure.
//! - [`Relay`] starts, stops and kills one relay; a test that fails prints what its relay wrote.
//! - [`leaks`] looks through what every process wrote, for what must not stand in any log.
//! - [`http`] is an HTTP/1.1 client that sends what it is told, right or wrong; [`tls`] makes certificates, and is what
//!   that client speaks TLS with.
//! - [`x0`] is what an x0 page says, and reads what it is answered.
//! - [`v1`] is the same for protocol v1: requests, event streams, WebSockets, and a receiver through any door.
//! - [`packets`] is the same on the control socket.
//! - [`credentials`] is what they show of who they are, if the relay asks.
//! - [`split`] puts the relay, or a stand-in for x0's own program, on either side of that socket.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of the harness")]
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]
#![allow(clippy::missing_panics_doc, missing_docs, reason = "a test says what it wants by panicking")]

use std::time::{Duration, Instant};

pub mod bystander;
pub mod cli;
pub mod credentials;
pub mod http;
pub mod leaks;
pub mod measure;
pub mod metrics;
pub mod packets;
pub mod process;
pub mod random;
pub mod relay;
pub mod split;
pub mod tls;
pub mod v1;
pub mod x0;

pub use bystander::Bystander;
pub use http::{Broken, Conn, Cut, Response, request};
pub use relay::Relay;

/// What is to happen has happened within this time, however busy the machine is. It is shorter than what a missed wake-up
/// would be made good by: a poll's `--wait` is longer where that is the question, and so is `--keepalive`.
pub const PROMPT: Duration = Duration::from_secs(30);

/// What happens "at once" takes no longer, says the large proof ([`at_once`]).
const AT_ONCE: Duration = Duration::from_secs(2);

/// The `--wait` of a relay that was started without one.
pub const WAIT: Duration = Duration::from_secs(1);

/// The `--error-hold` of a relay that was started without one.
pub const HOLD: Duration = Duration::from_millis(200);

/// Timers of the relay and clocks of the test may differ by this much.
const CLOCKS: Duration = Duration::from_millis(5);

/// Runs `f` and says how long it took.
pub fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed())
}

/// The longest that what happens at once may take: 2 s if proofs are asked for, each of which has the machine for itself;
/// else [`PROMPT`], because milliseconds are asserted under a paused clock.
pub fn at_once() -> Duration {
    if proves() { AT_ONCE } else { PROMPT }
}

/// Fails unless `took` is at most [`at_once`], and prints it.
#[track_caller]
pub fn assert_prompt(what: &str, took: Duration) {
    println!("{what}: {took:?}");
    assert!(took < at_once(), "{what} took {took:?}");
}

/// Fails unless `took` is `held` and no more than [`PROMPT`] beyond it.
#[track_caller]
pub fn assert_held(what: &str, took: Duration, held: Duration) {
    println!("{what}: {took:?}");
    assert!(took + CLOCKS >= held, "{what} came after {took:?}, it was to be held for {held:?}");
    assert!(took < held + PROMPT, "{what} took {took:?}, it was to be held for {held:?} only");
}

/// Asks again and again until `f` has an answer; for what no event tells.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn proves() -> bool {
    std::env::var_os("X0_RELAY_PROVE").is_some()
}

/// True if the long versions of tests are asked for; says so if not.
pub fn prove(what: &str) -> bool {
    let asked = proves();
    if !asked {
        println!("{what}: not run, X0_RELAY_PROVE is not set");
    }
    asked
}
