//! `x0-relay serve --takeover`: a new relay in the place of the running one, and nobody notices.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

/// Senders and receivers that live through takeovers.
#[path = "takeover/load.rs"]
mod load;

/// Relays that are none, and fail as a test wants.
#[path = "takeover/fakes.rs"]
mod fakes;

/// To whom a relay gives its place, and with which messages.
#[path = "takeover/terms.rs"]
mod terms;

/// What becomes of the place when one of the two fails.
#[path = "takeover/failures.rs"]
mod failures;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{Relay, eventually, prove, request, v1::Door};
use load::{Browser, Figures, Front, Modern, ModernSends, Page, PageSends, Pair, while_all_send};

/// What the end of a relay may take whose place is taken.
const SOON: Duration = Duration::from_secs(60);

/// A place for relays that follow each other: a control socket and a data directory.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("x0t").tempdir().expect("a directory") }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A relay with its messages on disk.
    #[track_caller]
    fn on_disk(&self, more: &[&str]) -> Relay {
        let data = self.data();
        self.in_memory(&[&["--data-dir", text(&data)], more].concat())
    }

    /// A relay with its messages in memory.
    #[track_caller]
    fn in_memory(&self, more: &[&str]) -> Relay {
        let socket = self.socket();
        Relay::start(&[&["--socket", text(&socket), "--log-level", "info"], more].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Lets relays on disk follow each other while pages, x0's own front, and clients of protocol v1 send and receive.
fn takeovers(rounds: usize, pages: usize, fronts: usize) -> Figures {
    let place = Place::new();
    let mut relay = place.on_disk(&[]);
    let addr = relay.addr();
    let modern = Door::ACKNOWLEDGING.into_iter().flat_map(|door| {
        (0..pages.div_ceil(4)).map(move |n| {
            let session = format!("v1-{door:?}-{n}");
            let sender = Box::new(ModernSends::new(addr, session.clone()));
            Pair { sender, receiver: Box::new(Modern::new(addr, session, door)) }
        })
    });
    let pairs = (0..pages + fronts).map(|n| {
        let session = format!("s{n}");
        let receiver = Box::new(Page(Browser::new(addr), session.clone()));
        if n < pages {
            Pair { sender: Box::new(PageSends(Browser::new(addr), session)), receiver }
        } else {
            Pair { sender: Box::new(Front(place.socket(), session)), receiver }
        }
    });
    let mut slowest = Duration::ZERO;
    let figures = while_all_send(pairs.chain(modern).collect(), |progress| {
        for _ in 0..rounds {
            progress.until_accepted(200);
            let begun = Instant::now();
            let next = place.on_disk(&["--takeover"]);
            assert_eq!(next.addr(), addr, "it is the same socket");
            assert_eq!(relay.wait_exit(SOON).code(), Some(0));
            slowest = slowest.max(begun.elapsed());
            relay = next;
        }
        progress.until_accepted(200);
    });
    println!("{rounds} takeovers, from the start of the new relay to the end of the old one {slowest:?} at most");
    figures
}

/// Lets servers on disk follow each other behind a gateway.
fn takeovers_behind_a_gateway(rounds: usize, pages: usize) -> Figures {
    let place = Place::new();
    let mut server = place.on_disk(&["--listen", "none"]);
    let gateway = Relay::builder()
        .bare()
        .args(&["gateway", "--listen", "127.0.0.1:0", "--wait", "1s"])
        .env("X0_RELAY_SOCKET", place.socket())
        .start();
    let ready = || gateway.ask(request("GET", "/readyz", &[], b"")).status == 200;
    eventually("the gateway is ready", SOON, || ready().then_some(()));
    let pairs = (0..pages).map(|n| {
        let browser = || Browser::new(gateway.addr());
        let session = format!("s{n}");
        Pair { sender: Box::new(PageSends(browser(), session.clone())), receiver: Box::new(Page(browser(), session)) }
    });
    while_all_send(pairs.collect(), |progress| {
        for _ in 0..rounds {
            progress.until_accepted(200);
            let next = place.on_disk(&["--listen", "none", "--takeover"]);
            assert_eq!(server.wait_exit(SOON).code(), Some(0));
            server = next;
        }
        progress.until_accepted(200);
    })
}

#[test]
fn three_takeovers_in_a_row_go_unnoticed_behind_a_gateway() {
    takeovers_behind_a_gateway(3, 20).assert_unnoticed();
}

#[test]
fn prove_twenty_takeovers_in_a_row_go_unnoticed_behind_a_gateway() {
    if prove("20 takeovers in a row behind a gateway") {
        takeovers_behind_a_gateway(20, 100).assert_unnoticed();
    }
}

#[test]
fn three_takeovers_in_a_row_go_unnoticed_under_load() {
    takeovers(3, 20, 4).assert_unnoticed();
}

#[test]
fn prove_twenty_takeovers_in_a_row_go_unnoticed_under_load() {
    if prove("20 takeovers in a row") {
        takeovers(20, 100, 10).assert_unnoticed();
    }
}
