//! Golden exchanges: one for every row of protocol v1, over real sockets. Each test is named after the fact it holds.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

/// `POST /v1/messages`: what is taken, and what is refused.
#[path = "golden_v1/send.rs"]
mod send;

/// Idempotency keys.
#[path = "golden_v1/keys.rs"]
mod keys;

/// `GET /v1/messages` and `POST /v1/ack`.
#[path = "golden_v1/poll.rs"]
mod poll;

/// What a session is, and its purge.
#[path = "golden_v1/sessions.rs"]
mod sessions;

/// Problems, methods, unknown paths, limits, CORS.
#[path = "golden_v1/problems.rs"]
mod problems;

/// Server-sent events.
#[path = "golden_v1/events.rs"]
mod events;

/// The WebSocket's handshake and its frames as RFC 6455 has them.
#[path = "golden_v1/handshake.rs"]
mod handshake;

/// What is said on a WebSocket.
#[path = "golden_v1/socket.rs"]
mod socket;

/// Payloads byte for byte, between v1 and x0 in both directions.
#[path = "golden_v1/wires.rs"]
mod wires;

/// One receiver a session: what the displaced are told, and how storms are slowed.
#[path = "golden_v1/superseded.rs"]
mod superseded;

/// What receivers and senders are told when the relay ends; the gateway; the page and the description of the protocol.
#[path = "golden_v1/around.rs"]
mod around;
