//! Who may do what. Nothing in [`crate::hub`] is reached without an [`Admission`], and only this room makes one.

mod origin;

pub use origin::{Origins, Pattern, is_own};

use crate::{
    error::{Error, Kind},
    id::SessionId,
};

mod who;

pub use who::{Origin, Principal, Who};

/// To send a message to all of `to`.
#[derive(Clone, Debug)]
pub struct Send {
    /// The sender, as its receivers are to see it; empty if it did not say.
    pub from: Box<str>,
    /// The receivers.
    pub to: Vec<SessionId>,
}

/// To receive what `of` was sent, and to remove it.
#[derive(Clone, Debug)]
pub struct Receive {
    /// The receiver.
    pub of: SessionId,
}

/// To see and change what belongs to others.
#[derive(Clone, Copy, Debug)]
pub struct Operate;

/// Proof that somebody may do what `I` says. Made by [`Gate`] alone.
#[derive(Clone, Debug)]
pub struct Admission<I>(I);

impl<I> Admission<I> {
    /// What is permitted.
    pub fn intent(&self) -> &I {
        &self.0
    }

    /// What is permitted, used up.
    pub fn into_intent(self) -> I {
        self.0
    }
}

/// Decides. Mail is open to everybody who can reach a door; operating is for root and the relay's own user. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Gate {
    own_uid: u32,
}

impl Gate {
    /// Mail open to everybody; `own_uid` and root may operate.
    pub fn open(own_uid: u32) -> Self {
        Self { own_uid }
    }

    /// Who asks, by where from and the value of its header `Authorization`.
    ///
    /// # Errors
    /// None while the relay is open: what nobody asks for is passed over.
    pub fn identify(&self, origin: Origin, _authorization: Option<&[u8]>) -> Result<Who, Error> {
        Ok(Who::nobody(origin))
    }

    /// Who asks, and as which session, by the name that it gives its session in the x0 dialect: that may be a
    /// credential too.
    ///
    /// # Errors
    /// None while the relay is open.
    pub fn claim(&self, who: Who, said: SessionId) -> Result<(Who, SessionId), Error> {
        Ok((who, said))
    }

    /// May they send to these sessions?
    ///
    /// # Errors
    /// None while the relay is open.
    pub fn send(&self, _who: &Who, from: &str, to: Vec<SessionId>) -> Result<Admission<Send>, Error> {
        Ok(Admission(Send { from: from.into(), to }))
    }

    /// May they receive for this session?
    ///
    /// # Errors
    /// None while the relay is open.
    pub fn receive(&self, _who: &Who, of: SessionId) -> Result<Admission<Receive>, Error> {
        Ok(Admission(Receive { of }))
    }

    /// May they operate?
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for all but root and the relay's own user.
    pub fn operate(&self, who: &Who) -> Result<Admission<Operate>, Error> {
        match who.origin {
            Origin::Local { uid } if uid == 0 || uid == self.own_uid => Ok(Admission(Operate)),
            _ => Err(Error::new(
                Kind::Forbidden,
                format!("this is for root and the relay's own user (uid {}) over the control socket", self.own_uid),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn only_root_and_the_own_user_operate() {
        let gate = Gate::open(33);
        let operate = |origin| gate.operate(&Who::nobody(origin));
        assert!(operate(Origin::Local { uid: 0 }).is_ok());
        assert!(operate(Origin::Local { uid: 33 }).is_ok());
        for stranger in [Origin::Local { uid: 1000 }, Origin::Remote(IpAddr::V4(Ipv4Addr::LOCALHOST))] {
            assert_eq!(operate(stranger).expect_err("stranger").kind, Kind::Forbidden);
        }
    }
}
