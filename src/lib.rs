//! x0-relay: a mailbox for every browser session.
pub mod config;
pub mod edge;
pub mod error;
pub mod gate;
pub mod hub;
pub mod id;
pub mod lifecycle;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod storage;
pub mod wire;
