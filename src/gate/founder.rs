//! Who makes a mailbox by being the first to name it. That it is made is charged to them; that it is used is not.

use super::{limits::Limits, who::Who};
use crate::{error::Error, lifecycle::Clock};

/// Somebody who may name sessions that have no mailbox yet.
#[derive(Clone, Debug)]
pub struct Founder {
    who: Who,
    /// Nothing: nobody counts.
    limits: Option<Limits>,
    clock: Clock,
}

impl Founder {
    pub(super) fn new(who: &Who, limits: Option<&Limits>, clock: Clock) -> Self {
        Self { who: who.clone(), limits: limits.cloned(), clock }
    }

    /// Charges one mailbox that is about to be made.
    ///
    /// # Errors
    /// [`crate::error::Kind::TooManyRequests`]: it is not to be made.
    pub fn found(&self) -> Result<(), Error> {
        self.limits.as_ref().map_or(Ok(()), |limits| limits.found(&self.who, self.clock.uptime()))
    }
}
