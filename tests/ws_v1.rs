//! The WebSocket of protocol v1 from outside: what it says, what it bears, and how it ends.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

/// A client that frames by hand.
#[path = "ws_v1/client.rs"]
mod client;

/// Handshakes that open a socket, and such that do not.
#[path = "ws_v1/opening.rs"]
mod opening;

/// Mail and acknowledgements, messages and their answers.
#[path = "ws_v1/mail.rs"]
mod mail;

/// Clients that are slow, silent, deaf, or too loud.
#[path = "ws_v1/bearing.rs"]
mod bearing;

/// Newer receivers, drains, and what closes a socket.
#[path = "ws_v1/ends.rs"]
mod ends;

/// What thousands of quiet sockets cost.
#[path = "ws_v1/quiet.rs"]
mod quiet;
