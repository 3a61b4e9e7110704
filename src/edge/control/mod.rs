//! The control socket's server side: x0's own front, the operator's words, gateways.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};

use super::{
    limits::Indoors,
    mux,
    post::Post,
    seqpacket::{Listener, Received, Seqpacket},
};
use crate::{
    cursor::Epoch,
    error::{Error, Kind},
    gate::{
        Gate, Origin, Who,
        limits::{Limits, What},
    },
    hub::Hub,
    id::SessionId,
    lifecycle::{Busy, Crowd, Lifecycle, Phase},
    live::{Live, Report},
    mailbox::{Max, Settle},
    message::Seq,
    metrics::{Counted, Metrics},
    wire::{
        control::{self, Packet},
        takeover::Ask,
        x0::{self, Request},
    },
};

mod operate;

use operate::operate;

/// The most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long one that is no gateway may say nothing.
const IDLE: Duration = Duration::from_secs(60);
/// How long a GET waits for the fate of mail that is on its way to another receiver.
const DECIDED_WITHIN: Duration = Duration::from_millis(200);
/// How long a peer's socket may take no packet.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// How long one that has said nothing may still say something when another relay takes this one's place: x0's own front
/// connects, and asks then.
const LAST_WORD: Duration = Duration::from_secs(1);
/// What a packet may hold beside a payload.
const PACKET_BESIDE_PAYLOAD_BYTES: usize = 64 << 10;
/// How many messages are looked at together when an answer is filled.
const PAGE: Max = Max { messages: 100, bytes: usize::MAX };
/// Room that the smallest message needs in an answer.
const SMALLEST_MESSAGE_BYTES: usize = r#"{"session_src":"a"}"#.len();

/// What the control socket's connections share.
pub struct Control {
    /// The mailboxes.
    pub hub: Hub,
    /// Who may do what.
    pub gate: Gate,
    /// The process.
    pub life: Lifecycle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The largest payload, in bytes.
    pub message_bytes: usize,
    /// What requests may cost.
    pub limits: Limits,
    /// What was said about messages that no answer can hold.
    pub unfit: Arc<Unfit>,
    /// Where relays go that want this one's place.
    pub heirs: Heirs,
    /// Connections that are no gateways'.
    pub guests: Crowd,
    /// Gateways.
    pub gateways: Crowd,
    /// What became of the settings.
    pub settings: Live<Report>,
}

/// A relay that may have this one's place, and asks for it.
#[derive(Debug)]
pub struct Heir {
    /// Its connection.
    pub peer: Seqpacket,
    /// What it says of itself.
    pub ask: Ask,
    /// It is the only one.
    _turn: OwnedSemaphorePermit,
}

/// The way to whoever gives the relay's place away, for one at a time.
#[derive(Clone, Debug)]
pub struct Heirs {
    way: mpsc::Sender<Heir>,
    turns: Arc<Semaphore>,
}

impl Heirs {
    /// A way, and its end.
    pub fn way() -> (Self, mpsc::Receiver<Heir>) {
        let (way, end) = mpsc::channel(1);
        (Self { way, turns: Arc::new(Semaphore::new(1)) }, end)
    }

    /// Passes a relay on that asks.
    async fn pass_on(&self, peer: Seqpacket, ask: Ask) {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            // It fails only if the process is at its end, and then the connection's end says so.
            let _ = self.way.try_send(Heir { peer, ask, _turn: turn });
        } else {
            let error = Error::new(Kind::TakeoverRefused, "another relay is taking over; try again when it has");
            say(&peer, x0::error(&error, true).as_bytes()).await;
        }
    }
}

/// The newest message of each session of which it was said that x0's own front cannot read it: once is enough.
#[derive(Debug, Default)]
pub struct Unfit(Mutex<HashMap<SessionId, Seq>>);

/// Sessions that are remembered in [`Unfit`].
const UNFIT_MAX: usize = 1024;

impl Unfit {
    fn is_news(&self, session: &SessionId, seq: Seq) -> bool {
        let mut said = self.0.lock();
        if said.len() >= UNFIT_MAX {
            said.clear();
        }
        let newest = said.entry(session.clone()).or_default();
        let news = seq > *newest;
        *newest = seq.max(*newest);
        news
    }
}

/// Accepts connections until the process has drained, or gives its sockets away; `open` is dropped once this socket is
/// closed.
pub async fn accept(listener: Listener, control: Arc<Control>, open: mpsc::Sender<()>) {
    accept_all(&listener, &control).await;
    // In this order: whoever waits for `open` may rely on the socket being closed.
    drop(listener);
    drop(open);
}

async fn accept_all(listener: &Listener, control: &Arc<Control>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut guests = Guests::default();
    let end = || async {
        tokio::select! {
            () = control.life.reached(Phase::Done) => {}
            // Whoever comes now is to wait for the next relay.
            () = control.life.handed_over(Phase::Closing) => {}
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end() => return,
        };
        let peer = match accepted {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "accept on the control socket failed, trying again");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let permit = tokio::select! {
            permit = guests.make_room(&permits) => permit.ok(),
            // It is accepted, so it is served, as the last one.
            () = end() => None,
        };
        let (guest, leave, present) = (Arc::clone(control), guests.newcomer(), control.guests.join());
        control.life.spawn_detached(async move {
            let _counted = (Counted::new(&guest.metrics.control_connections), permit);
            serve(peer, leave, present, &guest).await;
        });
    }
}

/// Peers that are no gateways, the oldest first: between two packets they make room for others.
#[derive(Default)]
struct Guests(VecDeque<Weak<Notify>>);

impl Guests {
    async fn make_room(&mut self, permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AcquireError> {
        if permits.available_permits() == 0
            && let Some(oldest) = std::iter::from_fn(|| self.0.pop_front()).find_map(|leave| leave.upgrade())
        {
            oldest.notify_one();
        }
        Arc::clone(permits).acquire_owned().await
    }

    fn newcomer(&mut self) -> Arc<Notify> {
        self.0.retain(|leave| leave.strong_count() > 0);
        let leave = Arc::new(Notify::new());
        self.0.push_back(Arc::downgrade(&leave));
        leave
    }
}

async fn serve(peer: Seqpacket, leave: Arc<Notify>, present: Busy, control: &Arc<Control>) {
    let who = match peer.peer_uid() {
        Ok(uid) => Who::nobody(Origin::Local { uid }),
        Err(error) => return tracing::warn!(%error, "a peer without credentials"),
    };
    let max = control.message_bytes + PACKET_BESIDE_PAYLOAD_BYTES;
    let (mut said_something, mut parting) = (false, false);
    loop {
        let received = tokio::select! {
            biased;
            received = timeout(IDLE, peer.receive(max)) => received,
            () = leave.notified() => return,
            () = parts(control, said_something), if !parting => {
                // What is there already is answered, and then comes its end.
                peer.end_input();
                parting = true;
                continue;
            }
        };
        match received {
            Ok(Ok(Received::Packet(packet))) if packet == control::HELLO.as_bytes() => {
                // A gateway's place is its own.
                drop(leave);
                let _present = control.gateways.join();
                drop(present);
                return gateway(&peer, who, control).await;
            }
            Ok(Ok(said)) => {
                let heard = tokio::select! {
                    heard = hear(said, max, &who, &peer, control) => heard,
                    // Its time is up: the mailboxes are about to be another relay's.
                    () = control.life.handed_over(Phase::Done) => return,
                };
                match heard {
                    Heard::More => said_something = true,
                    Heard::Over => return,
                    Heard::Heir(ask) => {
                        drop(present);
                        return control.heirs.pass_on(peer, ask).await;
                    }
                }
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Waits until a connection is to end because another relay takes this one's place.
async fn parts(control: &Control, said_something: bool) {
    control.life.handed_over(Phase::Draining).await;
    if !said_something {
        sleep(LAST_WORD).await;
    }
}

fn indoors(control: &Control) -> Indoors {
    Indoors { limits: control.limits.clone(), life: control.life.clone() }
}

async fn gateway(peer: &Seqpacket, who: Who, control: &Control) {
    if say(peer, control::WELCOME.as_bytes()).await {
        let post = Post::Here(control.hub.clone(), control.gate.clone());
        mux::serve(peer, who, post, indoors(control), control.message_bytes).await;
    }
}

/// Sends a packet. Returns whether the peer's socket has taken it: one that does not read holds nobody up for long.
async fn say(peer: &Seqpacket, packet: &[u8]) -> bool {
    matches!(timeout(TAKEN_WITHIN, peer.send(packet)).await, Ok(Ok(())))
}

/// What is to become of a connection after a packet.
enum Heard {
    /// It may say more.
    More,
    /// It is over.
    Over,
    /// It is another relay's, which may have this one's place.
    Heir(Ask),
}

impl Heard {
    fn more_if(taken: bool) -> Self {
        if taken { Heard::More } else { Heard::Over }
    }
}

/// Answers what a peer said.
async fn hear(said: Received, max: usize, who: &Who, peer: &Seqpacket, control: &Arc<Control>) -> Heard {
    let packet = match said {
        Received::End => return Heard::Over,
        Received::TooLarge(bytes) => {
            Err(Error::new(Kind::TooLarge, format!("a packet may have {max} bytes, this one had {bytes}")))
        }
        Received::Packet(bytes) => control::packet(&bytes, control.message_bytes),
    };
    let answered = match packet {
        Ok(Packet::Frames) => Err(Error::new(Kind::BadRequest, "frames of this version are not spoken here")),
        Ok(Packet::X0(request, bytes_max)) => {
            exchange(request, bytes_max, who, peer, control).await.map(Heard::more_if)
        }
        Ok(Packet::Word(word)) => operate(word, who, peer, control).await,
        Err(error) => Err(error),
    };
    let error = match answered {
        Ok(heard) => return heard,
        Err(error) => error,
    };
    control.metrics.error(error.kind);
    tracing::debug!(kind = error.kind.label(), detail = %error.detail, "refused on the control socket");
    Heard::more_if(say(peer, x0::error(&error, true).as_bytes()).await)
}

/// Serves x0's own front.
async fn exchange(
    request: Request,
    bytes_max: usize,
    who: &Who,
    peer: &Seqpacket,
    control: &Control,
) -> Result<bool, Error> {
    let Control { hub, gate, metrics, .. } = control;
    let post = Post::Here(hub.clone(), gate.clone());
    let text = match request {
        Request::Receive(session) | Request::Show(session) => {
            metrics.request("control", "get");
            return give(session, bytes_max, who, peer, control).await;
        }
        Request::Send { from, to, payload } => {
            metrics.request("control", "set");
            let (who, from) = post.claim(who.clone(), from)?;
            indoors(control).pace(What::Send, &who, &from).await?;
            post.send(&who, from, to, payload).await?;
            x0::ACCEPTED
        }
        Request::Remove(session) | Request::RemoveShown(session) => {
            metrics.request("control", "del");
            let (who, session) = post.claim(who.clone(), session)?;
            indoors(control).pace(What::Poll, &who, &session).await?;
            post.remove(&who, session).await?;
            x0::NOTHING
        }
        Request::Nothing => x0::NOTHING,
    };
    // If the peer does not take it, it is gone: nothing of anybody's is lost by that.
    Ok(say(peer, text.as_bytes()).await)
}

/// Answers a GET with as many whole messages as fit; they are settled once the socket has taken the answer, because
/// that wire has no better proof.
async fn give(
    session: SessionId,
    bytes_max: usize,
    who: &Who,
    peer: &Seqpacket,
    control: &Control,
) -> Result<bool, Error> {
    let Control { hub, gate, metrics, .. } = control;
    let (who, session) = gate.claim(who.clone(), session)?;
    indoors(control).pace(What::Poll, &who, &session).await?;
    let admission = gate.receive(&who, session)?;
    let mut array = vec![b'['];
    let mut given = Vec::new();
    let room = bytes_max - x0::FRAME_BYTES;
    let Some(hold) = hub.hold(&admission, DECIDED_WITHIN).await else {
        return Ok(say(peer, x0::NOTHING.as_bytes()).await);
    };
    let (mut after, mut epoch) = (Seq(0), Epoch::default());
    let mut message = Vec::new();
    'pages: loop {
        let page = hub.read(&hold, after, PAGE).await?;
        let Some(last) = page.letters.last() else { break };
        (after, epoch) = (last.seq, page.epoch);
        for letter in &page.letters {
            message.clear();
            // What is surely too large is not even written.
            if letter.message.size() <= room {
                x0::write_message(letter, &mut message);
            }
            if message.is_empty() || message.len() > room {
                metrics.unfit.inc();
                if control.unfit.is_news(hold.session(), letter.seq) {
                    tracing::warn!(session = %hold.session(), seq = letter.seq.0, bytes = letter.message.size(), room,
                        "a message is too large for x0's own front; it waits for another receiver");
                }
                continue;
            }
            // The array's bracket is in `array`; what it may hold is `room` beside both brackets.
            let separator = if given.is_empty() { 0 } else { 2 };
            if array.len() - 1 + separator + message.len() > room {
                break 'pages;
            }
            array.extend_from_slice(&b", "[..separator]);
            array.extend_from_slice(&message);
            given.push(letter.seq);
        }
        if room.saturating_sub(array.len()) < SMALLEST_MESSAGE_BYTES {
            break;
        }
    }
    array.push(b']');
    if given.is_empty() {
        hold.nothing_there();
        return Ok(say(peer, x0::NOTHING.as_bytes()).await);
    }
    let taken = say(peer, &x0::mail(&array, false)).await;
    if taken {
        hub.settle(hold, Settle::Only(epoch, given)).await?;
    }
    Ok(taken)
}
