//! The doors: the only code that knows sockets and HTTP.
//!
//! A request's way: [`listen`] accepts, [`connection`] owns the socket, [`http`] routes, [`x0`] or [`v1`] reads and
//! answers; who waits for mail does so [`outside`] of hyper. The x0 dialect reaches mail through [`post`] alone.

use std::sync::Arc;

use crate::{error::Error, id::RequestId, lifecycle::Lifecycle, mailbox::Max, metrics::Metrics, settings};

mod admin;
mod connection;
pub mod control;
pub mod cors;
mod doctor;
pub mod gateway;
pub mod guests;
mod h2;
mod http;
mod lease;
pub mod limits;
mod line;
pub mod listen;
pub mod mux;
mod outside;
mod pages;
pub mod post;
mod reply;
pub mod seqpacket;
mod socket;
pub mod tls;
mod turn;
mod v1;
mod x0;

/// What every HTTP door shares.
pub struct Doors {
    /// Who keeps the mail.
    pub post: post::Post,
    /// The HTTP side's settings.
    pub config: settings::Http,
    /// The web pages that may use the relay.
    pub pages: cors::Pages,
    /// Whether a page may count as the relay's own by the name in its address. Where anybody may use the relay, that would
    /// let in whoever makes a name of theirs lead here.
    pub trusts_names: bool,
    /// How protocol v1 is served, if it is.
    pub v1: Option<settings::V1>,
    /// The process.
    pub life: Lifecycle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who is connected.
    pub guests: Arc<guests::Guests>,
    /// What requests cost.
    pub tolls: limits::Tolls,
}

impl Doors {
    fn answer_max(&self) -> Max {
        Max { messages: self.config.answer_messages, bytes: self.config.answer_bytes }
    }

    /// Counts and logs a refusal.
    fn refused(&self, error: &Error, id: RequestId) {
        self.metrics.error(error.kind);
        match error.kind.fault() {
            crate::error::Fault::Client => {
                tracing::debug!(request = %id, kind = error.kind.label(), detail = %error.detail, "refused")
            }
            crate::error::Fault::Relay => {
                tracing::warn!(request = %id, kind = error.kind.label(), detail = %error.detail, "refused")
            }
        }
    }
}
