//! Raw HTTP, right and wrong: each case gets a defined answer, and after each a bystander exchanges a message promptly.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

/// Nobody is asked who they are. `raw_http_jwt.rs` and `raw_http_signed.rs` run the list again where everybody is.
const MODE: common::credentials::Mode = common::credentials::Mode::Open;

/// How a case is run, and the answers that a broken request may get.
#[path = "raw_http/case.rs"]
mod case;

/// Methods, targets and paths.
#[path = "raw_http/targets.rs"]
mod targets;

/// Bodies that are not JSON, not UTF-8, too deep or too large.
#[path = "raw_http/bodies.rs"]
mod bodies;

/// Where a body ends: lengths, chunks, `Expect`.
#[path = "raw_http/framing.rs"]
mod framing;

/// Heads that are broken, ambiguous or too large.
#[path = "raw_http/heads.rs"]
mod heads;

/// How long a connection lives: versions, keep-alive, pipelining.
#[path = "raw_http/connections.rs"]
mod connections;

/// Peers that leave halfway.
#[path = "raw_http/leaving.rs"]
mod leaving;

/// The same over protocol v1.
#[path = "raw_http/v1.rs"]
mod v1;

/// Peers that are slow, or stop reading.
#[path = "raw_http/slow.rs"]
mod slow;

/// Requests inside of requests.
#[path = "raw_http/smuggling.rs"]
mod smuggling;
