//! Clients that are slow, silent, deaf, or too loud.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    client::{Heard, PING, PONG, Ws, frame, text},
    common::{Broken, Bystander, Conn, Relay, eventually},
};

const SOON: Duration = Duration::from_secs(10);

/// A client whose kernel takes little.
fn narrow(relay: &Relay, session: &str) -> Ws {
    let ws = Ws::open(relay, session);
    setsockopt(&ws.stream, sockopt::RcvBuf, &32_768).expect("a TCP socket");
    ws
}

/// Several megabytes of mail, more than kernels hold.
fn pile_up(relay: &Relay, session: &str) {
    let filler = "x".repeat(60_000);
    for n in 0..100 {
        relay.accept_payload(session, &format!(r#"{{"n":{n},"x":"{filler}"}}"#));
    }
}

fn has_gone(relay: &Relay) {
    eventually("the relay has given it up", SOON, || (relay.parked() == 0).then_some(()));
}

#[test]
fn a_client_that_takes_nothing_is_given_up_and_its_mail_stays() {
    let relay = Relay::start(&["--write-timeout", "1s"]);
    let mut bystander = Bystander::new(&relay);
    let start = Instant::now();
    let _ws = narrow(&relay, "b");
    pile_up(&relay, "b");
    bystander.exchange("a socket that takes nothing");
    has_gone(&relay);
    println!("given up after {:?}", start.elapsed());
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(relay.pending("b"), 100);
}

#[test]
fn a_client_that_takes_little_is_not_given_up() {
    let relay = Relay::start(&["--write-timeout", "1s"]);
    let mut ws = narrow(&relay, "b");
    pile_up(&relay, "b");
    let start = Instant::now();
    let mut taken = 0;
    // Its kernel acknowledges all the time; the relay's does not get a good part of its buffer free by that.
    while start.elapsed() < Duration::from_secs(4) {
        taken += ws.take(16_000, Duration::from_millis(100));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{taken} bytes in {:?}", start.elapsed());
    assert_eq!(relay.parked(), 1, "it was given up");
}

#[test]
fn a_flood_without_a_listener_is_not_listened_to_for_ever() {
    let relay = Relay::start(&["--write-timeout", "1s", "--mailbox-messages", "10", "--log-level", "info"]);
    let mut bystander = Bystander::new(&relay);
    let before = relay.resident();
    for said in [frame(true, PING, &[b'p'; 125]), text(r#"{"type":"send","ref":1,"to":"c","payload":1}"#), text("no")] {
        let mut ws = Ws::open(&relay, "b");
        ws.stream.set_write_timeout(Some(Duration::from_secs(1))).expect("not zero");
        let many = said.repeat(1 + 65_536 / said.len());
        let mut sent = 0;
        while ws.stream.write_all(&many).is_ok() {
            sent += many.len();
            assert!(sent < 256 << 20, "it is listened to for ever");
        }
        println!("{sent} bytes were taken");
        bystander.exchange("a flood");
        has_gone(&relay);
    }
    let grown = relay.resident().saturating_sub(before);
    println!("{grown} bytes of memory more");
    assert!(grown < 64 << 20, "{grown}");
}

#[test]
fn a_client_that_writes_first_and_reads_then_is_served() {
    let relay = Relay::start(&[]);
    pile_up(&relay, "b");
    let mut ws = Ws::open(&relay, "b");
    // Far more than kernels hold, in both directions.
    let filler = "x".repeat(50_000);
    for n in 0..200 {
        ws.say(&format!(r#"{{"type":"send","ref":{n},"to":"c","payload":{{"n":{n},"x":"{filler}"}}}}"#));
    }
    let (mut sent, mut got) = (0, 0);
    while sent < 200 || got < 100 {
        let said = ws.json();
        match said["type"].as_str() {
            Some("sent") => sent += 1,
            Some("messages") => got += said["messages"].as_array().expect("a list").len(),
            _ => panic!("{said}"),
        }
    }
}

#[test]
fn a_silent_client_is_pinged_and_closed_and_a_quiet_one_lives_on() {
    let relay = Relay::start(&["--keepalive", "1s", "--idle-timeout", "1s"]);
    let mut quiet = Ws::open(&relay, "quiet");
    let mut silent = Ws::open(&relay, "silent");
    let start = Instant::now();
    let mut pings = 0;
    let code = loop {
        match silent.next(SOON) {
            Some(Heard::Ping) => pings += 1,
            Some(Heard::Close(code)) => break code,
            other => panic!("{other:?}"),
        }
        if let Some(heard) = quiet.next(Duration::from_millis(1)) {
            assert_eq!(heard, Heard::Ping);
            quiet.send(&frame(true, PONG, b""));
        }
    };
    let took = start.elapsed();
    println!("{pings} pings, closed with {code} after {took:?}");
    assert!(code == 1008 && pings >= 1 && took > Duration::from_millis(1_900), "{code}, {pings}, {took:?}");
    quiet.assert_nothing();
}

#[test]
fn a_socket_is_not_idle_where_others_make_room() {
    let relay = Relay::start(&["--connections", "2"]);
    let mut ws = Ws::open(&relay, "b");
    let mut idle = Conn::open(relay.addr());
    let get = crate::common::request("GET", "/healthz", &[], b"");
    assert_eq!(idle.exchange(&get).status, 200);
    let mut newer = Conn::open(relay.addr());
    assert_eq!(newer.exchange(&get).status, 200, "the idle one makes room");
    assert!(matches!(idle.read_some(1, SOON), Err(Broken::Ended)));
    ws.assert_nothing();
}
