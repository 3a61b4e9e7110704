//! Bytes to requests and back. Pure: no I/O, no clock.

pub mod control;
pub mod json;
pub mod takeover;
pub mod x0;
