//! The relay as its operator meets it: what it says, its health and metrics, its logs, its socket file, its commands.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

/// What it prints when it starts, `/healthz`, `/readyz`, `/metrics`.
#[path = "operate/health.rs"]
mod health;

/// What the logs hold, and what they never hold.
#[path = "operate/logs.rs"]
mod logs;

/// The control socket's file, and who may say what on it.
#[path = "operate/control.rs"]
mod control;

/// What keeps a relay from starting.
#[path = "operate/check.rs"]
mod check;

/// `send`, `watch`, `stats`, `sessions`, `purge`, `drain`, `health`.
#[path = "operate/commands.rs"]
mod commands;

/// `bench`.
#[path = "operate/bench.rs"]
mod bench;
