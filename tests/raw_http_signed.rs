//! The cases of `raw_http.rs` at a relay that asks who somebody is (`auth = "signed"`): each session is signed, and what is
//! answered is the same. Said again where these credentials are forged, none of them has an effect. Deadlines run before
//! anybody is asked: they are in `raw_http.rs` alone, and requests inside of others are in `raw_http_jwt.rs` too.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

const MODE: common::credentials::Mode = common::credentials::Mode::Signed;

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

/// The same over protocol v1, where nobody here shows anything.
#[path = "raw_http/v1.rs"]
mod v1;

/// Peers that leave halfway.
#[path = "raw_http/leaving.rs"]
mod leaving;
