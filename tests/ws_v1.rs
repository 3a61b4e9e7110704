//! The WebSocket of protocol v1 from outside: what it bears, what it costs, and how it opens and ends. What is said on it,
//! frame by frame, is in `tests/golden_v1/`.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::time::Duration;

use common::{
    PROMPT, Relay,
    v1::{
        Batch, Said, Socket, numbered,
        socket::{TEXT, frame},
    },
};

/// Handshakes that open a socket, and such that do not.
#[path = "ws_v1/opening.rs"]
mod opening;

/// Much mail, and many messages.
#[path = "ws_v1/mail.rs"]
mod mail;

/// Clients that are slow, silent, deaf, or too loud.
#[path = "ws_v1/bearing.rs"]
mod bearing;

/// Drains, and what closes a socket.
#[path = "ws_v1/ends.rs"]
mod ends;

/// What quiet sockets cost.
#[path = "ws_v1/quiet.rs"]
mod quiet;

/// What takes a while, but no longer than this.
const SOON: Duration = Duration::from_secs(60);

/// A client's text message.
fn text(said: &str) -> Vec<u8> {
    frame(true, TEXT, said.as_bytes())
}

/// A `send` of this number, named by it, to the session `to`.
fn send(number: u64, to: &str) -> String {
    format!(r#"{{"type":"send","ref":"{number}","to":"{to}","payload":{}}}"#, numbered(number))
}

/// A numbered payload of some 60,000 bytes.
fn large(number: u64) -> String {
    format!(r#"{{"n":{number},"x":"{}"}}"#, "x".repeat(60_000))
}

/// The next thing that is said.
#[track_caller]
fn said(socket: &mut Socket) -> Said {
    match socket.next(PROMPT) {
        Ok(said) => said,
        Err(broken) => panic!("nothing was said: {broken:?}"),
    }
}

#[track_caller]
fn mail_of(socket: &mut Socket) -> Batch {
    match said(socket) {
        Said::Messages(batch) => batch,
        other => panic!("no mail but {other:?}"),
    }
}

/// Fails unless it lives and nothing else is on its way: a ping is answered next.
#[track_caller]
fn assert_alive(socket: &mut Socket) {
    socket.say(r#"{"type":"ping"}"#);
    assert_eq!(said(socket), Said::Pong);
}

/// Six megabytes of mail, more than kernels hold.
#[track_caller]
fn pile_up(relay: &Relay, session: &str) {
    for n in 0..100 {
        relay.send_v1(session, &large(n));
    }
}
