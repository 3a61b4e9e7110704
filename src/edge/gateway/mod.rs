//! The gateway's side of the control channel: an HTTP front in front of a server that it reaches over a socket.
//!
//! Toward our own server one connection carries all requests as frames ([`lane`]). Toward x0's own server each request
//! is a connection, as its own front does it ([`original`]). Which of the two it is, is asked at every new connection.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{
    post::{Mode, Outcome},
    seqpacket::{Received, Seqpacket},
};
use crate::{
    error::{Error, Kind},
    id::SessionId,
    lifecycle::{Lifecycle, Phase, Task},
    mailbox::Max,
    metrics::{Counted, Levels, Metrics},
    wire::{
        control::{self, FrameKind, PACKET_BYTES_MAX},
        x0::Payload,
    },
};

mod lane;
mod original;

use lane::{Lane, Said};
use original::Original;

/// The first and the longest pause between two attempts to reach the server.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_millis(500);
/// How long a server may take to say what it is; x0's own takes a second for everything, and serves in turn.
const GREETING: Duration = Duration::from_secs(60);
/// How long a request that is no poll waits for a server that is away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for one that is there and has not answered yet: one that takes another's place, for example.
const PATIENCE_GREETED: Duration = Duration::from_secs(10);

/// The way to the server, as it is now.
#[derive(Clone)]
enum Way {
    /// Nobody is there.
    Down,
    /// Somebody is there, and has not said who.
    Greeted,
    /// Our own server.
    Frames(Arc<Lane>),
    /// x0's own server.
    Original,
}

/// The way to the server behind this gateway. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    path: PathBuf,
    way: watch::Sender<Way>,
    original: Original,
    life: Lifecycle,
    metrics: Arc<Metrics>,
}

impl Link {
    /// A way to the server at `path`, which is sought until the returned task is dropped.
    pub fn open(path: PathBuf, life: &Lifecycle, metrics: Arc<Metrics>) -> (Self, Task) {
        let way = watch::Sender::new(Way::Down);
        let link = Self(Arc::new(Inner { path, way, original: Original::default(), life: life.clone(), metrics }));
        let task = life.spawn(link.clone().keep());
        (link, task)
    }

    /// Whether the server was there when last heard of.
    pub fn is_up(&self) -> bool {
        !matches!(*self.0.way.borrow(), Way::Down | Way::Greeted)
    }

    /// Waits until the server has been told what became of mail.
    pub async fn flushed(&self) {
        let way = self.0.way.borrow().clone();
        if let Way::Frames(lane) = way {
            lane.flushed().await;
        }
    }

    /// The gateway's own figures as text.
    ///
    /// # Errors
    /// Only if memory for the text cannot be had.
    pub fn metrics_text(&self) -> Result<String, Error> {
        let levels = Levels { uptime: self.0.life.clock.uptime(), ..Levels::default() };
        self.0.metrics.text(levels).map_err(|_| Error::new(Kind::Internal, "the figures could not be written down"))
    }

    /// Seeks the server, stays with it, seeks it again.
    async fn keep(self) {
        let mut pause = RETRY_FIRST;
        loop {
            match self.greet().await {
                Ok(Some(peer)) => {
                    tracing::info!(socket = %self.0.path.display(), "connected to the relay's server");
                    pause = RETRY_FIRST;
                    let (lane, frames) = Lane::new();
                    let lane = Arc::new(lane);
                    self.0.way.send_replace(Way::Frames(Arc::clone(&lane)));
                    lane.run(&peer, frames).await;
                    self.0.way.send_replace(Way::Down);
                    tracing::warn!(socket = %self.0.path.display(), "the relay's server went away");
                }
                Ok(None) => {
                    tracing::info!(socket = %self.0.path.display(), "connected to x0's own server");
                    pause = RETRY_FIRST;
                    self.0.way.send_replace(Way::Original);
                    // An exchange that fails says so by setting the way down.
                    let _ = self.0.way.subscribe().wait_for(|way| matches!(way, Way::Down)).await;
                    tracing::warn!(socket = %self.0.path.display(), "x0's own server went away");
                }
                Err(error) => {
                    self.0.way.send_replace(Way::Down);
                    tracing::debug!(socket = %self.0.path.display(), %error, "no server");
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LAST);
                }
            }
        }
    }

    /// Connects, and asks what the server is: `Some` is ours, ready for frames; `None` is x0's own.
    async fn greet(&self) -> std::io::Result<Option<Seqpacket>> {
        let greeted = async {
            let peer = original::connect(self).await?;
            self.0.way.send_replace(Way::Greeted);
            peer.send(control::HELLO.as_bytes()).await?;
            let answer = peer.receive(PACKET_BYTES_MAX).await?;
            Ok::<_, std::io::Error>((peer, answer))
        };
        let (peer, answer) = timeout_at(Instant::now() + GREETING, greeted).await??;
        Ok(match answer {
            Received::Packet(packet) if packet == control::WELCOME.as_bytes() => Some(peer),
            Received::Packet(_) | Received::TooLarge(_) => None,
            Received::End => return Err(std::io::ErrorKind::ConnectionAborted.into()),
        })
    }

    /// The way, once there is one, or at `deadline`, or a while later if somebody is there by then.
    async fn way(&self, deadline: Instant) -> Way {
        let there = |way: &Way| match way {
            Way::Down | Way::Greeted => false,
            Way::Frames(lane) => !lane.has_ended(),
            Way::Original => true,
        };
        let mut ways = self.0.way.subscribe();
        if let Ok(Ok(way)) = timeout_at(deadline, ways.wait_for(there)).await {
            return way.clone();
        }
        let settled = |way: &Way| there(way) || matches!(way, Way::Down);
        match timeout_at(deadline + (PATIENCE_GREETED - PATIENCE), ways.wait_for(settled)).await {
            Ok(Ok(way)) if there(&way) => way.clone(),
            _ => Way::Down,
        }
    }

    /// SET.
    ///
    /// # Errors
    /// The server's; [`Kind::Refused`] if it is away, or went away before it answered.
    pub async fn send(&self, from: &SessionId, to: &SessionId, payload: &Payload) -> Result<(), Error> {
        // What parsed as JSON is UTF-8.
        let packet = control::set(from, to, &String::from_utf8_lossy(&payload.json));
        self.tell(FrameKind::Send, &packet).await
    }

    /// DEL.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn remove(&self, session: &SessionId) -> Result<(), Error> {
        self.0.original.forget(session);
        self.tell(FrameKind::Remove, &control::ask("DEL", session)).await
    }

    /// DEL of what a legacy client was shown last; x0's own server removes all.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn remove_shown(&self, session: &SessionId) -> Result<(), Error> {
        self.0.original.forget(session);
        self.tell(FrameKind::RemoveShown, &control::ask("DEL", session)).await
    }

    async fn tell(&self, kind: FrameKind, packet: &str) -> Result<(), Error> {
        let patience = Instant::now() + PATIENCE;
        loop {
            match self.way(patience).await {
                Way::Frames(lane) => match lane.ask(kind, packet.as_bytes()).await {
                    // It has not taken it, and its successor may.
                    Err(error) if error.kind == Kind::Draining => {
                        timeout_at(patience, lane.ended()).await.map_err(|_| error)?;
                    }
                    result => return result,
                },
                Way::Original => return original::tell(self, packet).await,
                Way::Down | Way::Greeted => return Err(away()),
            }
        }
    }

    /// Says what is lost if the process ends now.
    pub fn last_words(&self) {
        let sessions = self.0.original.sessions_kept();
        if sessions > 0 {
            tracing::error!(sessions, "mail lost: x0's own server has let go of it, and nobody has come for it");
        }
    }

    /// A receiver that will ask the server, and ask it again if it goes away and comes back.
    pub fn receive(&self, session: SessionId, mode: Mode) -> Waiting {
        let counted = Counted::new(&self.0.metrics.receivers);
        Waiting { link: self.clone(), session, mode, _counted: counted }
    }
}

fn away() -> Error {
    Error::new(Kind::Refused, "the message server behind this gateway cannot be reached; try again")
}

/// Mail on its way through this gateway; dropping it puts the mail back.
pub enum Lease {
    /// From our own server.
    Frames(lane::Lease),
    /// From x0's own server.
    Original(original::Lease),
}

impl Lease {
    /// The receiver has it.
    pub fn settle(self) {
        match self {
            Lease::Frames(lease) => lease.settle(),
            Lease::Original(lease) => lease.settle(),
        }
    }
}

/// A receiver at a server behind the gateway.
pub struct Waiting {
    link: Link,
    session: SessionId,
    mode: Mode,
    _counted: Counted,
}

impl Waiting {
    /// Waits for mail until `deadline`, through whatever the server does meanwhile.
    ///
    /// # Errors
    /// The server's.
    pub async fn next(&mut self, max: Max, deadline: Instant) -> Result<Outcome, Error> {
        timeout_at(deadline, self.ask(max)).await.unwrap_or(Ok(Outcome::Quiet))
    }

    async fn ask(&self, max: Max) -> Result<Outcome, Error> {
        let forever = Instant::now() + Duration::from_secs(86_400);
        let original = &self.link.0.original;
        let mut place = None;
        loop {
            if original.keeps(&self.session) {
                let place = place.get_or_insert_with(|| original.hang(&self.session));
                match self.unless_draining(original::kept(&self.link, place)).await {
                    Some(Some(lease)) => return Ok(mail_of(lease)),
                    Some(None) => {}
                    None => return Ok(Outcome::Draining),
                }
            }
            let Some(way) = self.unless_draining(self.link.way(forever)).await else { return Ok(Outcome::Draining) };
            match way {
                Way::Down | Way::Greeted => {}
                Way::Original => {
                    let place = place.get_or_insert_with(|| original.hang(&self.session));
                    match self.unless_draining(original::turn(&self.link, place)).await {
                        // Not broken off by a drain: it has removed what it brings.
                        Some(Some(turn)) => {
                            if let Some(lease) = original::ask(&self.link, turn).await? {
                                return Ok(mail_of(lease));
                            }
                        }
                        Some(None) => {}
                        None => return Ok(Outcome::Draining),
                    }
                    // As x0's own front does.
                    if self.unless_draining(sleep(original::ASK_EVERY)).await.is_none() {
                        return Ok(Outcome::Draining);
                    }
                }
                Way::Frames(lane) => {
                    match self.unless_draining(lane.receive(&self.session, self.mode, max)).await {
                        Some(Said::Mail(array, lease)) => {
                            let lease = lease.map(|lease| super::post::Lease::There(Lease::Frames(lease)));
                            return Ok(Outcome::Mail(array, lease));
                        }
                        Some(Said::Refused(error)) => return Err(error),
                        // The server is about to end, or has: the poll is held until there is another.
                        Some(Said::Gone) if self.unless_draining(lane.ended()).await.is_some() => {}
                        Some(Said::Gone) | None => return Ok(Outcome::Draining),
                    }
                }
            }
        }
    }

    /// What `wait` brings; `None` if this process drains first.
    async fn unless_draining<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = wait => Some(result),
            () = self.link.0.life.reached(Phase::Draining) => None,
        }
    }
}

fn mail_of(lease: original::Lease) -> Outcome {
    Outcome::Mail(lease.array().to_vec(), Some(super::post::Lease::There(Lease::Original(lease))))
}
