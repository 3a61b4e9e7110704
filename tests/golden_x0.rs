//! Golden exchanges: one for every row of x0's wire, over real sockets. Each test is named after the fact it holds.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

/// What x0's page says and needs (docs/x0-wire.md section 1).
#[path = "golden_x0/page.rs"]
mod page;

/// The requests that are not the page's poll: buttons, events, documented and older forms (section 1).
#[path = "golden_x0/forms.rs"]
mod forms;

/// Payloads byte for byte (sections 1 and 2).
#[path = "golden_x0/payload.rs"]
mod payload;

/// The answers (section 2).
#[path = "golden_x0/answers.rs"]
mod answers;

/// The clients of 2021 to 2024 and the oldest (section 1).
#[path = "golden_x0/legacy.rs"]
mod legacy;

/// The control socket as x0's front uses it (section 3).
#[path = "golden_x0/socket.rs"]
mod socket;
