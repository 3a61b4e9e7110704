//! Clients that are slow, silent, deaf, or too loud.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    SOON, assert_alive,
    common::{
        Broken, Bystander, Conn, Relay, eventually, request,
        v1::{
            Said, Socket,
            socket::{PING, frame},
        },
    },
    pile_up,
    quiet::resident,
    send, text,
};

/// A client whose kernel takes little.
fn narrow(relay: &Relay, session: &str) -> Socket {
    let (socket, _) = relay.socket(session, None);
    setsockopt(&socket.conn.stream, sockopt::RcvBuf, &32_768).expect("a TCP socket");
    socket
}

fn has_gone(relay: &Relay) {
    eventually("the relay has given it up", 3 * SOON, || (relay.parked() == 0).then_some(()));
}

#[test]
fn a_client_that_takes_nothing_is_given_up_and_its_mail_stays() {
    let relay = Relay::start(&["--write-timeout", "1s"]);
    let mut bystander = Bystander::new(&relay);
    let start = Instant::now();
    let _socket = narrow(&relay, "b");
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
    pile_up(&relay, "b");
    let mut socket = narrow(&relay, "b");
    let start = Instant::now();
    let mut taken = 0;
    // Its kernel acknowledges all the time; the relay's does not get a good part of its buffer free by that.
    while start.elapsed() < Duration::from_secs(4) {
        taken += socket.conn.take(16_000, Duration::from_millis(100)).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{taken} bytes in {:?}", start.elapsed());
    assert_eq!(relay.parked(), 1, "it was given up");
}

#[test]
fn a_flood_without_a_listener_is_not_listened_to_for_ever() {
    const BYTES_MAX: usize = 128 << 20;
    let relay = Relay::start(&["--write-timeout", "1s", "--mailbox-messages", "10", "--log-level", "info"]);
    let mut bystander = Bystander::new(&relay);
    let before = resident(&relay);
    for (what, said) in [("pings", frame(true, PING, &[b'p'; 125])), ("sends", text(&send(1, "c")))] {
        let (socket, _) = relay.socket("b", None);
        let mut stream = &socket.conn.stream;
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("not zero");
        let many = said.repeat(1 + 65_536 / said.len());
        let mut sent = 0;
        while stream.write_all(&many).is_ok() {
            sent += many.len();
            assert!(sent < BYTES_MAX, "it is listened to for ever");
        }
        println!("{sent} bytes of {what} were taken");
        bystander.exchange(what);
        has_gone(&relay);
    }
    let grown = resident(&relay).saturating_sub(before);
    println!("{grown} bytes of memory more");
    assert!(grown < 32 << 20, "{grown}");
}

#[test]
fn a_silent_client_is_closed_and_a_quiet_one_lives_on() {
    let relay = Relay::start(&["--keepalive", "1s", "--idle-timeout", "1s"]);
    let start = Instant::now();
    let (mut quiet, _) = relay.socket("quiet", None);
    let (mut silent, _) = relay.socket("silent", None);
    silent.deaf = true;
    let code = loop {
        match silent.next(Duration::from_millis(20)) {
            Err(Broken::Late(_)) => assert!(start.elapsed() < SOON, "it is never closed"),
            Ok(Said::Close(code, _)) => break code,
            other => panic!("{other:?}"),
        }
        // Answers pings.
        assert!(matches!(quiet.next(Duration::from_millis(1)), Err(Broken::Late(_))));
    };
    let took = start.elapsed();
    println!("closed with {code} after {took:?}");
    assert!(code == 1008 && took > Duration::from_millis(1_900), "{code}, {took:?}");
    assert_alive(&mut quiet);
}

#[test]
fn a_socket_is_not_idle_where_others_make_room() {
    let relay = Relay::start(&["--connections", "2"]);
    let (mut socket, _) = relay.socket("b", None);
    let mut idle = Conn::open(relay.addr());
    let get = request("GET", "/healthz", &[], b"");
    assert_eq!(idle.exchange(&get).status, 200);
    let mut newer = Conn::open(relay.addr());
    assert_eq!(newer.exchange(&get).status, 200, "the idle one makes room");
    idle.assert_ends(SOON);
    assert_alive(&mut socket);
}
