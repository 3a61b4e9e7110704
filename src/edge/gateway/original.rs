//! x0's own message server behind the gateway: one connection, one exchange, 4096 bytes, no waiting.
//!
//! It removes what it answers with, and never hears whether that arrived. So an exchange is never broken off, and mail
//! whose poll has ended, or whose client is gone, is kept here for the session's next poll.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
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
    hub::{Desks, Hold, Place},
    id::SessionId,
    message::UnixMs,
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
/// The most bytes that are kept for polls to come, the oldest going first; and what each piece costs beside itself.
const KEPT_BYTES_MAX: usize = 64 << 20;
const KEPT_OVERHEAD_BYTES: usize = 256;
/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// What the gateway does on behalf of a server that knows neither lines nor leases.
pub struct Original {
    asking: Arc<Semaphore>,
    /// One receiver a session at a time, and one exchange or lease: so order holds.
    desks: Arc<Desks>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Arrays of messages and since when they are here, the oldest first.
    arrays: HashMap<SessionId, VecDeque<(UnixMs, Vec<u8>)>>,
    bytes: usize,
}

fn cost(session: &SessionId, array: &[u8]) -> usize {
    session.as_str().len() + array.len() + KEPT_OVERHEAD_BYTES
}

impl Kept {
    fn take(&mut self, session: &SessionId) -> Option<Vec<u8>> {
        let arrays = self.arrays.get_mut(session)?;
        let (_, array) = arrays.pop_front()?;
        if arrays.is_empty() {
            self.arrays.remove(session);
        }
        self.bytes -= cost(session, &array);
        Some(array)
    }

    fn oldest(&self) -> Option<(UnixMs, SessionId)> {
        let first = |(session, arrays): (&SessionId, &VecDeque<_>)| {
            arrays.front().map(|(since, _): &(UnixMs, Vec<u8>)| (*since, session.clone()))
        };
        self.arrays.iter().filter_map(first).min()
    }
}

impl Default for Original {
    fn default() -> Self {
        Self { asking: Arc::new(Semaphore::new(ASKING_MAX)), desks: Arc::default(), kept: Mutex::default() }
    }
}

impl Original {
    /// A place in line for a session's mail.
    pub fn hang(&self, session: &SessionId) -> Place {
        self.desks.hang(session.clone(), false, UnixMs::default()).0
    }

    /// Whether mail is kept for a session.
    pub fn keeps(&self, session: &SessionId) -> bool {
        self.kept.lock().arrays.contains_key(session)
    }

    /// Forgets what is kept for a session.
    pub fn forget(&self, session: &SessionId) {
        let mut kept = self.kept.lock();
        while kept.take(session).is_some() {}
    }

    /// How many sessions' mail would be lost if the process ended now.
    pub fn sessions_kept(&self) -> usize {
        self.kept.lock().arrays.len()
    }

    fn keep(&self, session: &SessionId, array: Vec<u8>, now: UnixMs) {
        let mut kept = self.kept.lock();
        kept.bytes += cost(session, &array);
        kept.arrays.entry(session.clone()).or_default().push_front((now, array));
        while let Some((since, session)) = kept.oldest()
            && (kept.bytes > KEPT_BYTES_MAX || since.after(KEPT_FOR) < now)
        {
            kept.take(&session);
            tracing::error!(%session, "mail lost: x0's own server has let go of it, and nobody has come for it");
        }
    }
}

/// Mail that x0's own server has let go of; dropping this keeps it for the session's next poll.
pub struct Lease {
    link: Link,
    array: Option<Vec<u8>>,
    hold: Hold,
}

impl Lease {
    fn new(link: &Link, array: Vec<u8>, hold: Hold) -> Self {
        Self { link: link.clone(), array: Some(array), hold }
    }

    /// The messages, as a JSON array.
    pub fn array(&self) -> &[u8] {
        self.array.as_deref().unwrap_or_default()
    }

    /// The receiver has it.
    pub fn settle(mut self) {
        self.array = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the hold ends, which lets the next receiver look.
        if let Some(array) = self.array.take() {
            self.link.0.metrics.returned.inc();
            self.link.0.original.keep(self.hold.session(), array, self.link.0.life.clock.now());
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

/// An exchange for a session's mail, not yet begun. May be dropped.
pub struct Turn {
    hold: Hold,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Waits until this receiver's session is its own, and the server has time for it. May be dropped.
pub async fn turn(link: &Link, place: &Place) -> Option<Turn> {
    let hold = hold(place).await;
    // Never closed.
    let permit = Arc::clone(&link.0.original.asking).acquire_owned().await.ok()?;
    Some(Turn { hold, _permit: permit })
}

async fn hold(place: &Place) -> Hold {
    loop {
        match place.hold() {
            Some(hold) => return hold,
            None => place.rung().await,
        }
    }
}

/// What is kept for a session, without asking any server. May be dropped.
pub async fn kept(link: &Link, place: &Place) -> Option<Lease> {
    let hold = hold(place).await;
    let array = link.0.original.kept.lock().take(hold.session())?;
    Some(Lease::new(link, array, hold))
}

/// GET; `None` if nothing waits. If this is dropped the exchange goes on, and what it brings is kept.
///
/// # Errors
/// As [`tell`].
pub async fn ask(link: &Link, turn: Turn) -> Result<Option<Lease>, Error> {
    let (answer, answered) = oneshot::channel();
    let task = link.clone();
    link.0.life.spawn_detached(async move {
        let _busy = task.0.life.busy();
        tracing::trace!(session = %turn.hold.session(), "asking x0's own server");
        let Turn { hold, _permit } = turn;
        let got = match get(&task, hold.session()).await {
            Ok(Some(array)) => Ok(Some(Lease::new(&task, array, hold))),
            Ok(None) => {
                hold.nothing_there();
                Ok(None)
            }
            Err(error) => Err(error),
        };
        // Nobody waits any more: the lease's end keeps what it is for.
        drop(answer.send(got));
    });
    answered.await.unwrap_or(Ok(None))
}

async fn get(link: &Link, session: &SessionId) -> Result<Option<Vec<u8>>, Error> {
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
            // Only if it is still the way: another server may be there by now.
            link.0.way.send_if_modified(|way| {
                let down = matches!(way, Way::Original);
                if down {
                    *way = Way::Down;
                }
                down
            });
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
