//! Who asks, as far as a door could tell: where from, and by what identity.

use std::{net::IpAddr, sync::Arc};

use super::policy::Policy;
use crate::{id::Digest, message::UnixMs};

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

/// A name that one identity has, and no other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Name(Arc<str>);

impl Name {
    pub(super) fn of_token(org: Option<&str>, subject: &str) -> Self {
        // No organisation's name has a slash.
        Self(format!("token:{}/{subject}", org.unwrap_or_default()).into())
    }

    pub(super) fn of_session(session: &str) -> Self {
        Self(format!("session:{session}").into())
    }

    /// A name that was written down.
    pub(super) fn kept(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An identity that was verified, and what it may do.
#[derive(PartialEq, Eq, Debug)]
pub struct Principal {
    /// Whose it is.
    pub name: Name,
    /// The token's `sub`, or the signed session's id.
    pub(super) subject: Box<str>,
    /// The token's `jti`, if it has one.
    pub(super) token: Option<Box<str>>,
    /// When the token was made, if it says.
    pub(super) issued: Option<UnixMs>,
    /// From then on it is no identity any more.
    pub expires: UnixMs,
    pub(super) policy: Policy,
    /// The key that vouches for it.
    pub(super) key: Digest,
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

    /// Somebody who was verified.
    pub(super) fn somebody(origin: Origin, principal: Arc<Principal>) -> Self {
        Self { origin, principal: Some(principal) }
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
