//! One address has thousands of idle connections: they cost little, others are served as before, and with a limit there are
//! no more of them than that.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]
#![allow(clippy::disallowed_methods, reason = "the connections are made by a runtime of the test's own")]

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use common::{
    Conn, Relay, eventually,
    measure::{figures, memory, ways},
    prove,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
};

/// Whose connections are idle; the harness comes from another address, without limits.
const IDLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PATIENCE: Duration = Duration::from_secs(60);
const SERVED: &str = "x0_relay_http_connections";

/// A connection on which nothing is said.
async fn idle(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a descriptor");
    socket.bind((IDLER, 0).into()).expect("all of 127/8 is ours");
    socket.connect(to).await.expect("it listens")
}

fn crowd(runtime: &Runtime, to: SocketAddr, size: usize) -> Vec<TcpStream> {
    (0..size).map(|_| runtime.block_on(idle(to))).collect()
}

fn idlers(size: usize, limit: &str, rounds: usize) {
    let connections = (size + 100).to_string();
    let relay = Relay::start(&[
        "--connections",
        &connections,
        "--connections-per-address",
        limit,
        "--connects-per-address",
        "none",
        "--exempt-addresses",
        "127.0.0.1",
        "--idle-timeout",
        "1h",
        "--log-level",
        "info",
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut sending, mut receiving) = (Conn::open(relay.addr()), Conn::open(relay.addr()));
    let mut measure = || {
        let mut took = Vec::new();
        ways(&relay, (&mut sending, &mut receiving), rounds, &mut took);
        figures(&mut took)
    };
    let quiet = measure();
    let (before, own) = (memory(&relay), relay.metric(SERVED));
    let crowd = crowd(&runtime, relay.addr(), size);
    let kept = limit.parse().unwrap_or(size);
    let gone = || {
        relay.metric("x0_relay_connections_displaced_total") + relay.metric("x0_relay_connections_turned_away_total")
    };
    eventually("all have been accepted, and those that are too many have gone", PATIENCE, || {
        let there = relay.metric(SERVED) - own;
        ((there - kept as f64).abs() < 5.0 && gone() >= (size - kept) as f64).then_some(())
    });
    let after = memory(&relay);
    let beside = measure();
    println!(
        "{size} idle connections of one address, connections-per-address {limit}: {kept} are kept, {} bytes each; another's p50 and \
         p99 {beside:.1?}, {quiet:.1?} before",
        after.saturating_sub(before) / kept,
    );
    assert_eq!(gone(), (size - kept) as f64, "all that are too many, and nobody else's");
    // Those that are kept are served still.
    let last = crowd.into_iter().last().expect("there are some");
    runtime.block_on(async move {
        let mut last = last;
        last.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await.expect("there is room for it");
        assert!(last.read(&mut [0; 512]).await.expect("an answer") > 0);
    });
}

#[test]
fn idle_connections_of_one_address_hurt_nobody() {
    idlers(150, "none", 5);
    idlers(150, "50", 5);
}

#[test]
fn prove_ten_thousand_idle_connections_of_one_address_hurt_nobody() {
    if prove("ten thousand idle connections") {
        idlers(10_000, "none", 1_000);
        idlers(10_000, "5000", 1_000);
    }
}
