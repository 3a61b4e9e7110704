//! x0-relay: a mailbox for every browser session, in the place of x0's message server.
//!
//! A message comes in at [`edge`] (the doors: HTTP, the control socket, the gateway), is read by [`wire`] (bytes to
//! requests and back), admitted by [`gate`] (who may do what), handled by [`hub`] (send, receive, settle), and waits in
//! a [`mailbox`] that [`storage`] keeps. It goes out the same way. [`server`] puts these together from [`config`], and
//! [`lifecycle`] starts and ends them; [`takeover`] lets another process go on in their place. [`cli`] is what people type. Arrows point down this list only; `tests/tidy.rs`
//! sees to it.

pub mod cli;
pub mod config;
pub mod cursor;
pub mod edge;
pub mod error;
pub mod gate;
pub mod hub;
pub mod id;
pub mod inherit;
pub mod lifecycle;
pub mod live;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod rate;
pub mod server;
pub mod settings;
pub mod storage;
pub mod takeover;
pub mod wire;
