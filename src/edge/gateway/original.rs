//! x0's own message server behind the gateway: one connection, one exchange, 4096 bytes, no waiting.
//!
//! It removes what it answers with, and never hears whether that arrived. So an exchange is never broken off, and mail
//! whose poll has ended, or whose client is gone, is kept here for the session's next poll.

use std::{
    collections::{HashMap, VecDeque},
    io,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use super::{Link, Way, away};
use crate::{
    edge::seqpacket::{Received, Seqpacket},
    error::{Error, Kind},
    id::SessionId,
    wire::{
        control::{self, X0_PACKET_BYTES},
        json,
    },
};

/// How often it is asked for mail.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take: it serves one request a second, in turn.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// The largest answer that is understood: it does not keep to what its own front can read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How many polls ask at once; SETs do not wait for them.
const ASKING_MAX: usize = 4;
/// The pause before a server whose queue is full is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);
/// The most bytes that are kept for polls to come.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// What the gateway holds on behalf of a server that has let go of it.
pub struct Original {
    asking: Semaphore,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Arrays of messages, the oldest first.
    arrays: HashMap<SessionId, VecDeque<Vec<u8>>>,
    bytes: usize,
}

impl Default for Original {
    fn default() -> Self {
        Self { asking: Semaphore::new(ASKING_MAX), kept: Mutex::default() }
    }
}

impl Original {
    fn keep(&self, session: &SessionId, array: Vec<u8>, first: bool) {
        let mut kept = self.kept.lock();
        if kept.bytes + array.len() > KEPT_BYTES_MAX {
            return tracing::error!(%session, bytes = array.len(),
                "mail lost: x0's own server has let go of it, its client is gone, and no more can be kept here");
        }
        kept.bytes += array.len();
        let arrays = kept.arrays.entry(session.clone()).or_default();
        if first { arrays.push_front(array) } else { arrays.push_back(array) }
    }

    fn take(&self, session: &SessionId) -> Option<Vec<u8>> {
        let mut kept = self.kept.lock();
        let arrays = kept.arrays.get_mut(session)?;
        let array = arrays.pop_front();
        if arrays.is_empty() {
            kept.arrays.remove(session);
        }
        kept.bytes -= array.as_ref().map_or(0, Vec::len);
        array
    }
}

/// Mail that x0's own server has let go of; dropping this keeps it for the session's next poll.
pub struct Lease {
    link: Link,
    session: SessionId,
    array: Option<Vec<u8>>,
}

impl Lease {
    /// The receiver has it.
    pub fn settle(mut self) {
        self.array = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(array) = self.array.take() {
            self.link.0.metrics.returned.inc();
            self.link.0.original.keep(&self.session, array, true);
        }
    }
}

/// SET or DEL.
///
/// # Errors
/// [`Kind::TooLarge`] if it would be cut there; [`Kind::Refused`] if nobody answers; else what it said.
pub async fn tell(link: &Link, packet: &str) -> Result<(), Error> {
    if packet.len() > X0_PACKET_BYTES {
        let detail = format!(
            "x0's own message server, which is behind this gateway, reads {X0_PACKET_BYTES} bytes; this request has {}",
            packet.len()
        );
        return Err(Error::new(Kind::TooLarge, detail));
    }
    exchange(link, packet).await.map(drop)
}

/// GET: an array of messages and the lease on it; `None` if nothing waits. May be dropped.
///
/// # Errors
/// As [`tell`].
pub async fn ask(link: &Link, session: &SessionId) -> Result<Option<(Vec<u8>, Lease)>, Error> {
    let array = match link.0.original.take(session) {
        Some(array) => Some(array),
        None => {
            let (answer, answered) = oneshot::channel();
            let (link, session) = (link.clone(), session.clone());
            // A task of its own, because its poll may end before it does.
            link.0.life.clone().spawn_detached(async move {
                let got = get(&link, &session).await;
                if let Err(Ok(Some(array))) = answer.send(got) {
                    link.0.original.keep(&session, array, false);
                }
            });
            answered.await.unwrap_or(Ok(None))?
        }
    };
    Ok(array.map(|array| {
        let lease = Lease { link: link.clone(), session: session.clone(), array: Some(array.clone()) };
        (array, lease)
    }))
}

async fn get(link: &Link, session: &SessionId) -> Result<Option<Vec<u8>>, Error> {
    // Never closed.
    let Ok(_turn) = link.0.original.asking.acquire().await else { return Ok(None) };
    let answer = match exchange(link, &control::ask("GET", session)).await {
        // A server that is away is waited for.
        Err(error) if error.kind == Kind::Refused => return Ok(None),
        result => result?,
    };
    let object = json::object(json::text(&answer)?)?;
    let array = object.get("messages").filter(|array| array.starts_with('[') && array[1..].trim() != "]");
    Ok(array.map(|array| array.as_bytes().to_vec()))
}

async fn exchange(link: &Link, packet: &str) -> Result<Vec<u8>, Error> {
    let answer = match timeout(ANSWER_WITHIN, once(link, packet)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an exchange with x0's own server failed");
            link.0.way.send_replace(Way::Down);
            return Err(away());
        }
        Err(_) => return Err(Error::new(Kind::Refused, "the message server behind this gateway does not answer")),
    };
    if answer.is_empty() {
        return Err(Error::new(
            Kind::BadRequest,
            "the message server behind this gateway gave no answer to this request",
        ));
    }
    let object = json::object(json::text(&answer)?)?;
    if object.get("error") == Some("true") {
        let text = object.get("exception").and_then(json::string).unwrap_or_default().into_owned();
        let kind = if text == Kind::InvalidSession.title() { Kind::InvalidSession } else { Kind::Internal };
        return Err(Error::new(kind, format!("the message server behind this gateway said: {text}")));
    }
    Ok(answer)
}

/// One connection, one packet each way. Empty if it closed without an answer.
async fn once(link: &Link, packet: &str) -> io::Result<Vec<u8>> {
    let peer = connect(link).await?;
    peer.send(packet.as_bytes()).await?;
    match peer.receive(ANSWER_BYTES_MAX).await? {
        Received::Packet(answer) => Ok(answer),
        Received::End => Ok(Vec::new()),
        Received::TooLarge(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Connects; waits while the server's queue is full.
pub async fn connect(link: &Link) -> io::Result<Seqpacket> {
    loop {
        match Seqpacket::connect(&link.0.path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
            result => return result,
        }
    }
}
