//! Who asks, as far as a door could tell: where from, and by what identity.

use std::{net::IpAddr, sync::Arc};

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// A process of this machine, by its socket's peer credentials.
    Local {
        /// Its effective user when it connected.
        uid: u32,
    },
    /// An address, by TCP or by what a trusted proxy says.
    Remote(IpAddr),
}

/// An identity that was verified.
#[derive(PartialEq, Eq, Debug)]
pub struct Principal {
    name: Box<str>,
}

impl Principal {
    /// Its name, which nobody else has.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Who asks. Made once a request, and cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// Where it comes from.
    pub origin: Origin,
    principal: Option<Arc<Principal>>,
}

impl Who {
    /// Somebody without credentials.
    pub const fn nobody(origin: Origin) -> Self {
        Self { origin, principal: None }
    }

    /// Somebody of this machine, for tests of what needs no identity.
    #[cfg(test)]
    pub const fn anybody() -> Self {
        Self::nobody(Origin::Remote(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)))
    }

    /// The identity that was verified, if one was.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }
}
