//! Bytes to requests and back. Pure: no I/O, no clock.

use bytes::Bytes;

use crate::message::Shape;

pub mod control;
mod form;
pub mod json;
pub mod takeover;
pub mod v1;
pub mod x0;

/// A payload as it will be passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// JSON, byte for byte.
    pub json: Bytes,
    /// What it is.
    pub shape: Shape,
}
