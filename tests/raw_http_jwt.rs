//! The cases of `raw_http.rs` at a relay that asks who somebody is (`auth = "jwt"`): each request has a token, and what is
//! answered is the same. Said again where these credentials are forged, none of them has an effect. Here it is the head that
//! matters; what is in bodies, and how long connections live, is in `raw_http_signed.rs`.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

const MODE: common::credentials::Mode = common::credentials::Mode::Jwt;

/// How a case is run, and the answers that a broken request may get.
#[path = "raw_http/case.rs"]
mod case;

/// Methods, targets and paths.
#[path = "raw_http/targets.rs"]
mod targets;

/// Where a body ends: lengths, chunks, `Expect`.
#[path = "raw_http/framing.rs"]
mod framing;

/// Heads that are broken, ambiguous or too large.
#[path = "raw_http/heads.rs"]
mod heads;

/// The same over protocol v1.
#[path = "raw_http/v1.rs"]
mod v1;

/// Requests inside of requests.
#[path = "raw_http/smuggling.rs"]
mod smuggling;
