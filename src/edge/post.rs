//! Who keeps the mailboxes that a door serves: this process, or a server behind a control socket.

use std::pin::{Pin, pin};

use tokio::time::Instant;

use super::gateway::{self, Link};
use crate::{
    error::Error,
    gate::{Gate, Origin, Watch, Who},
    hub::{self, Draft, Haste, Hub, Inbox, Next},
    id::SessionId,
    mailbox::Max,
    wire::x0::{self, Payload},
};

/// What a door needs from whoever keeps the mailboxes. Cheap to clone.
#[derive(Clone)]
pub enum Post {
    /// This process.
    Here(Hub, Gate),
    /// A server behind a control socket.
    There(Link),
}

/// Whether a receiver takes its mail or is only shown it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// What arrives is settled.
    Take,
    /// It stays until it is removed by another request, as legacy clients do.
    Show,
}

/// One waiting receiver.
pub enum Receiver {
    /// At this process's hub.
    Here(Inbox, Mode, Watch),
    /// At the server behind the gateway.
    There(gateway::Waiting),
}

/// What a wait ended with.
pub enum Outcome {
    /// Messages as a JSON array in the x0 dialect, and the lease on them, if they are to be taken.
    Mail(Vec<u8>, Option<Lease>),
    /// Nothing came in time.
    Quiet,
    /// The relay is about to end.
    Draining,
}

/// Mail on its way; dropping it puts the mail back.
pub enum Lease {
    /// From this process's hub.
    Here(hub::Lease),
    /// From the server behind the gateway.
    There(gateway::Lease),
}

impl Post {
    /// The mailboxes, if this process keeps them.
    pub fn here(&self) -> Option<(&Hub, &Gate)> {
        match self {
            Post::Here(hub, gate) => Some((hub, gate)),
            Post::There(_) => None,
        }
    }

    /// Who asks, by where from and the value of its header `Authorization`. A gateway asks nobody: the server behind it
    /// does.
    ///
    /// # Errors
    /// The credentials are no good.
    pub fn identify(&self, origin: Origin, authorization: Option<&[u8]>) -> Result<Who, Error> {
        match self {
            Post::Here(_, gate) => gate.identify(origin, authorization),
            Post::There(_) => Ok(Who::nobody(origin)),
        }
    }

    /// Who asks, and as which session, by what the x0 dialect has for that: it may be a signed session. A gateway leaves
    /// it as it is: whoever keeps the mailboxes verifies it.
    ///
    /// # Errors
    /// A signed session that is no good.
    pub fn claim(&self, who: Who, said: SessionId) -> Result<(Who, SessionId), Error> {
        match self {
            Post::Here(_, gate) => gate.claim(who, said),
            Post::There(_) => Ok((who, said)),
        }
    }

    /// Accepts a message. Here and below the caller's session was claimed.
    ///
    /// # Errors
    /// They may not; nothing was kept; or, behind a gateway whose server went away meanwhile, nobody knows.
    pub async fn send(&self, who: &Who, from: SessionId, to: SessionId, payload: Payload) -> Result<(), Error> {
        match self {
            Post::Here(hub, gate) => {
                let admission = gate.send(who, from.as_str(), vec![to])?;
                let Payload { json: payload, shape } = payload;
                let draft = Draft { kind: "".into(), payload, shape, ttl: None, key: None };
                hub.send(admission, draft).await.map(drop)
            }
            Post::There(link) => Box::pin(link.send(&from, &to, &payload)).await,
        }
    }

    /// Removes everything that waits for a session.
    ///
    /// # Errors
    /// They may not, or as the store's.
    pub async fn remove(&self, who: &Who, session: SessionId) -> Result<(), Error> {
        match self {
            Post::Here(hub, gate) => hub.remove_all(&gate.receive(who, session)?, Haste::Soon).await.map(drop),
            Post::There(link) => Box::pin(link.remove(&session)).await,
        }
    }

    /// Removes what a legacy client was shown last.
    ///
    /// # Errors
    /// They may not, or as the store's.
    pub async fn remove_shown(&self, who: &Who, session: SessionId) -> Result<(), Error> {
        match self {
            Post::Here(hub, gate) => hub.settle_shown(&gate.receive(who, session)?).await.map(drop),
            Post::There(link) => Box::pin(link.remove_shown(&session)).await,
        }
    }

    /// Makes the caller the session's newest receiver.
    ///
    /// # Errors
    /// It may not be.
    pub fn receive(&self, who: &Who, session: SessionId, mode: Mode) -> Result<Receiver, Error> {
        match self {
            Post::Here(hub, gate) => {
                let admission = gate.receive(who, session)?;
                Ok(Receiver::Here(hub.inbox(&admission), mode, gate.watch(who)))
            }
            Post::There(link) => Ok(Receiver::There(link.receive(session, mode))),
        }
    }

    /// All figures as text.
    ///
    /// # Errors
    /// As the store's.
    pub async fn metrics_text(&self) -> Result<String, Error> {
        match self {
            Post::Here(hub, _) => hub.metrics_text().await,
            Post::There(link) => link.metrics_text(),
        }
    }

    /// Why mail cannot be moved just now, if it cannot.
    pub async fn trouble(&self) -> Option<&'static str> {
        match self {
            Post::Here(hub, _) => hub.trouble().await,
            Post::There(link) => (!link.is_up()).then_some("the server behind the gateway cannot be reached"),
        }
    }
}

/// Goes on as long as the credentials count on which it rests.
async fn until_ended<T>(
    next: Pin<&mut (impl Future<Output = Result<T, Error>> + Send)>,
    watch: &mut Watch,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        error = watch.ended() => Err(error),
        next = next => next,
    }
}

impl Receiver {
    /// Waits for mail until `deadline`. May be dropped and called again.
    ///
    /// # Errors
    /// As the store's; and when the receiver's credentials end.
    pub async fn next(&mut self, max: Max, deadline: Instant) -> Result<Outcome, Error> {
        match self {
            Receiver::Here(inbox, mode, watch) => {
                let next = until_ended(pin!(inbox.next(max, deadline)), watch).await?;
                Ok(match next {
                    Next::Quiet => Outcome::Quiet,
                    Next::Draining => Outcome::Draining,
                    Next::Mail(mail) => {
                        let array = x0::array(&mail.letters);
                        match mode {
                            Mode::Take => Outcome::Mail(array, Some(Lease::Here(mail.lease))),
                            Mode::Show => {
                                inbox.note_shown(mail.lease.upto());
                                mail.lease.release();
                                Outcome::Mail(array, None)
                            }
                        }
                    }
                })
            }
            Receiver::There(waiting) => Box::pin(waiting.next(max, deadline)).await,
        }
    }
}

impl Lease {
    /// The receiver has it.
    ///
    /// # Errors
    /// As the store's; the mail is then delivered again.
    pub async fn settle(self) -> Result<(), Error> {
        match self {
            Lease::Here(lease) => lease.settle().await,
            Lease::There(lease) => {
                lease.settle();
                Ok(())
            }
        }
    }
}
