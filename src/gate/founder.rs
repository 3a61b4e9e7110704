//! Who makes a mailbox by being the first to name it. That it is made is charged to them; that it is used is not.

use std::sync::Arc;

use super::{limits::Limits, who::Who};
use crate::{error::Error, lifecycle::Clock};

/// Where it is charged.
#[derive(Debug)]
pub(super) struct Till {
    pub limits: Limits,
    pub clock: Clock,
}

/// Somebody who may name sessions that have no mailbox yet. Small, because every waiting receiver has one.
#[derive(Clone, Debug)]
pub struct Founder {
    who: Who,
    /// Nothing: nobody counts.
    till: Option<Arc<Till>>,
}

impl Founder {
    pub(super) fn new(who: &Who, till: Option<&Arc<Till>>) -> Self {
        Self { who: who.clone(), till: till.cloned() }
    }

    /// Charges one mailbox that is about to be made.
    ///
    /// # Errors
    /// [`crate::error::Kind::TooManyRequests`]: it is not to be made.
    pub fn found(&self) -> Result<(), Error> {
        self.till.as_ref().map_or(Ok(()), |till| till.limits.found(&self.who, till.clock.uptime()))
    }
}
