//! No journal: memory is the only copy, and everything is as safe as it gets at once.

use std::sync::Arc;

use super::{Change, Closed, Journal, Memory, Sending};
use crate::{error::Error, storage::JournalFigures};

/// Keeps nothing.
#[derive(Debug, Default)]
pub struct Null;

impl Journal for Null {
    fn start(&self, _: Arc<dyn Memory>) -> Result<(), Error> {
        Ok(())
    }

    fn append(&self, sending: Box<dyn Sending>) {
        sending.keep();
    }

    fn note(&self, _: Change) {}

    fn barrier(&self, safe: Closed) {
        safe(Ok(()));
    }

    fn figures(&self) -> JournalFigures {
        JournalFigures::default()
    }

    fn trouble(&self) -> Option<&'static str> {
        None
    }

    fn close(&self, closed: Closed) {
        closed(Ok(()));
    }
}
