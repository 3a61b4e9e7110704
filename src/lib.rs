//! x0-relay: a mailbox for every browser session.
pub mod config;
pub mod error;
pub mod id;
pub mod message;
pub mod wire { pub mod json { pub const DEPTH_MAX: usize = 500; } }
