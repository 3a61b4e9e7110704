//! The running relay's side: it gives its sockets, and then its place.

use std::{fmt, os::fd::BorrowedFd};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broken, FAREWELL, READY_WITHIN, SERVING_WITHIN, step};
use crate::{
    edge::control::Heir,
    wire::takeover::{Ask, Offer, Step},
};

/// A relay that is to have this one's place.
#[derive(Debug)]
pub struct Giving {
    heir: Heir,
    pid: Option<i32>,
}

/// Why it does not get it, in words.
pub type Why = String;

impl fmt::Display for Giving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("a process of another namespace")?,
        }
        write!(f, " (x0-relay {:?})", self.heir.ask.release)
    }
}

impl Giving {
    /// To a relay that asks for it.
    pub fn new(heir: Heir) -> Self {
        let pid = heir.peer.peer_pid();
        Self { heir, pid }
    }

    /// What it has said of itself.
    pub fn ask(&self) -> &Ask {
        &self.heir.ask
    }

    /// Its process, if it can be seen from here.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    async fn say(&self, step: &Step) -> Result<(), Why> {
        let said = timeout(READY_WITHIN, self.heir.peer.send(step.write().as_bytes())).await;
        said.map_err(|_| "it does not read".to_owned())?.map_err(|error| error.to_string())
    }

    /// Tells it that it does not get the place.
    pub async fn refuse(&self, why: &str) {
        // If it has gone, it need not be told.
        let _ = self.say(&Step::Refused(why.to_owned())).await;
    }

    /// Gives it the sockets, and waits until it has done all that can fail before the place is empty.
    ///
    /// # Errors
    /// It has failed, or takes too long.
    pub async fn sockets(&self, offer: Offer, sockets: &[BorrowedFd<'_>]) -> Result<(), Why> {
        let offer = Step::Sockets(offer).write();
        self.heir.peer.send_with(offer.as_bytes(), sockets).await.map_err(|error| error.to_string())?;
        match timeout(READY_WITHIN, step(&self.heir.peer)).await {
            Ok(Ok(Step::Ready)) => Ok(()),
            Ok(step) => Err(instead(step)),
            Err(_) => Err(format!("it was not ready within {READY_WITHIN:?}")),
        }
    }

    /// Waits until it says or does what ends the matter. May be dropped.
    pub async fn broken(&self) -> Why {
        instead(step(&self.heir.peer).await)
    }

    /// Tells it that the place is empty.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn yours(&self) -> Result<(), Why> {
        self.say(&Step::Yours).await
    }

    /// Waits until it serves. One that takes too long is ended, so that the place is surely empty again.
    ///
    /// # Errors
    /// It does not serve, and never will: its process has ended, or its part in this.
    pub async fn serving(&self) -> Result<(), Why> {
        let mut why = "it ended".to_owned();
        let mut deadline = Some(Instant::now() + SERVING_WITHIN);
        let mut killed = false;
        loop {
            let next = match deadline {
                Some(deadline) => timeout_at(deadline, step(&self.heir.peer)).await,
                None => Ok(step(&self.heir.peer).await),
            };
            match next {
                // What one that is killed has said last is not so any more.
                Ok(Ok(Step::Serving)) if !killed => return Ok(()),
                Ok(Err(Broken::Ended)) => return Err(why),
                Ok(step) if !killed => {
                    why = instead(step);
                    deadline = Some(Instant::now() + FAREWELL);
                }
                Ok(_) => {}
                Err(_) => {
                    if why == "it ended" {
                        why = format!("it did not serve within {SERVING_WITHIN:?}");
                    }
                    killed = self.kill();
                    deadline = None;
                }
            }
        }
    }

    /// Ends its process, if this one may. Returns whether its end is sure.
    fn kill(&self) -> bool {
        let ended = match self.pid {
            Some(pid) => kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| error.to_string()),
            None => Err("it is in another namespace".to_owned()),
        };
        match &ended {
            Ok(()) => tracing::error!(heir = %self, "it hangs: killed, so that this relay can serve again"),
            Err(why) => tracing::error!(heir = %self, why, "it hangs, and cannot be killed from here: end it by hand"),
        }
        ended.is_ok()
    }
}

/// What was said or happened in the place of the right step, in words.
fn instead(step: Result<Step, Broken>) -> Why {
    match step {
        Ok(Step::Failed(why)) => why,
        Ok(step) => format!("it said {} out of turn", step.write()),
        Err(Broken::Ended) => "it ended".to_owned(),
        Err(Broken::Nonsense(what)) => format!("what it said makes no sense: {what}"),
    }
}
