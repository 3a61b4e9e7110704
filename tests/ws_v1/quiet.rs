//! What quiet sockets cost.

use crate::{
    assert_alive,
    common::{
        Relay, prove,
        v1::{Said, Socket},
    },
    large, said,
};

/// The relay's memory that is there, in bytes.
#[track_caller]
pub fn resident(relay: &Relay) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.process.pid())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// A socket over which large messages went both ways.
fn used(relay: &Relay, session: &str) -> Socket {
    let (mut socket, _) = relay.socket(session, None);
    socket.say(&format!(r#"{{"type":"send","to":"{session}","payload":{}}}"#, large(1)));
    let mut both = [said(&mut socket), said(&mut socket)];
    both.sort_by_key(|said| matches!(said, Said::Messages(_)));
    let [Said::Sent { .. }, Said::Messages(batch)] = &both else { panic!("{both:?}") };
    socket.ack(&batch.cursor);
    assert_alive(&mut socket);
    socket
}

#[test]
fn a_quiet_socket_gives_back_what_it_needed() {
    const SOCKETS: usize = 200;
    const BYTES_MAX: usize = 32 << 10;
    let relay = Relay::start(&[]);
    let _first = used(&relay, "first");
    let before = resident(&relay);
    let sockets: Vec<Socket> = (0..SOCKETS).map(|n| used(&relay, &n.to_string())).collect();
    let each = resident(&relay).saturating_sub(before) / SOCKETS;
    println!("{} sockets hold {each} bytes each", sockets.len());
    assert!(each < BYTES_MAX, "{each} bytes each");
}

#[test]
fn prove_idle_sockets_are_small() {
    const SOCKETS: usize = 5_000;
    const BYTES_MAX: usize = 16 << 10;
    if !prove("5,000 idle WebSockets") {
        return;
    }
    let relay = Relay::start(&["--keepalive", "5min", "--log-level", "info"]);
    let _first = relay.socket("first", None);
    let before = resident(&relay);
    let sockets: Vec<Socket> = (0..SOCKETS).map(|n| relay.socket(&n.to_string(), None).0).collect();
    let each = resident(&relay).saturating_sub(before) / SOCKETS;
    println!("{} idle sockets, each with a mailbox: {each} bytes each", sockets.len());
    assert!(each < BYTES_MAX, "{each} bytes each");
}
