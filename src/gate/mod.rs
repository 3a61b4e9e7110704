//! Who may do what. Nothing in [`crate::hub`] is reached without an [`Admission`], and only this room makes one.

use crate::{
    error::{Error, Kind},
    id::SessionId,
};

/// To send a message to all of `to`.
#[derive(Clone, Debug)]
pub struct Send {
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

/// Who asks, as far as the door could tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Somebody over HTTP without credentials.
    Anybody,
    /// A process of this machine, by its socket's peer credentials.
    Local {
        /// Its effective user when it connected.
        uid: u32,
    },
}

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

/// Decides. Mail is open to everybody who can reach a door; operating is for root and the relay's own user.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    own_uid: u32,
}

impl Gate {
    /// Mail open to everybody; `own_uid` and root may operate.
    pub fn open(own_uid: u32) -> Self {
        Self { own_uid }
    }

    /// May they send to these sessions?
    ///
    /// # Errors
    /// None while the relay is open.
    pub fn send(&self, _who: Who, to: Vec<SessionId>) -> Result<Admission<Send>, Error> {
        Ok(Admission(Send { to }))
    }

    /// May they receive for this session?
    ///
    /// # Errors
    /// None while the relay is open.
    pub fn receive(&self, _who: Who, of: SessionId) -> Result<Admission<Receive>, Error> {
        Ok(Admission(Receive { of }))
    }

    /// May they operate?
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for all but root and the relay's own user.
    pub fn operate(&self, who: Who) -> Result<Admission<Operate>, Error> {
        match who {
            Who::Local { uid } if uid == 0 || uid == self.own_uid => Ok(Admission(Operate)),
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

    #[test]
    fn only_root_and_the_own_user_operate() {
        let gate = Gate::open(33);
        assert!(gate.operate(Who::Local { uid: 0 }).is_ok());
        assert!(gate.operate(Who::Local { uid: 33 }).is_ok());
        assert_eq!(gate.operate(Who::Local { uid: 1000 }).expect_err("stranger").kind, Kind::Forbidden);
        assert_eq!(gate.operate(Who::Anybody).expect_err("stranger").kind, Kind::Forbidden);
    }
}
