//! The control socket's server side: x0's own front, the operator's words, gateways.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{
    mux,
    post::Post,
    seqpacket::{Listener, Received, Seqpacket},
};
use crate::{
    cursor::Epoch,
    error::{Error, Kind},
    gate::{Gate, Who},
    hub::{Hub, SessionInfo},
    id::SessionId,
    lifecycle::{Lifecycle, Phase},
    mailbox::{Max, Settle},
    message::Seq,
    metrics::{Counted, Metrics},
    wire::{
        control::{self, Packet, Word},
        json,
        x0::{self, Request},
    },
};

/// The most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long one that is no gateway may say nothing.
const IDLE: Duration = Duration::from_secs(60);
/// How long a GET waits for the fate of mail that is on its way to another receiver.
const DECIDED_WITHIN: Duration = Duration::from_millis(200);
/// How long a peer's socket may take no packet.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
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
    /// What was said about messages that no answer can hold.
    pub unfit: Unfit,
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

/// Accepts connections until the process has drained; `open` is dropped once the socket is closed.
pub async fn accept(listener: Listener, control: Arc<Control>, open: mpsc::Sender<()>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut guests = Guests::default();
    let accept_all = async {
        loop {
            let peer = match listener.accept().await {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::warn!(%error, "accept on the control socket failed, trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = guests.make_room(&permits).await else { return };
            let (guest, leave) = (Arc::clone(&control), guests.newcomer());
            control.life.spawn_detached(async move {
                let _counted = (Counted::new(&guest.metrics.control_connections), permit);
                serve(peer, leave, &guest).await;
            });
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = control.life.reached(Phase::Done) => {}
    }
    // In this order: whoever waits for `open` may rely on the file being gone.
    drop(listener);
    drop(open);
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

async fn serve(peer: Seqpacket, leave: Arc<Notify>, control: &Arc<Control>) {
    let who = match peer.peer_uid() {
        Ok(uid) => Who::Local { uid },
        Err(error) => return tracing::warn!(%error, "a peer without credentials"),
    };
    let max = control.message_bytes + PACKET_BESIDE_PAYLOAD_BYTES;
    loop {
        let received = tokio::select! {
            biased;
            received = timeout(IDLE, peer.receive(max)) => received,
            () = leave.notified() => return,
        };
        match received {
            Ok(Ok(Received::Packet(packet))) if packet == control::HELLO.as_bytes() => {
                // A gateway's place is its own.
                drop(leave);
                return gateway(&peer, control).await;
            }
            Ok(Ok(said)) => {
                if !hear(said, max, who, &peer, control).await {
                    return;
                }
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn gateway(peer: &Seqpacket, control: &Control) {
    if say(peer, control::WELCOME.as_bytes()).await {
        let post = Post::Here(control.hub.clone(), control.gate);
        mux::serve(peer, post, control.life.clone(), control.message_bytes).await;
    }
}

/// Sends a packet. Returns whether the peer's socket has taken it: one that does not read holds nobody up for long.
async fn say(peer: &Seqpacket, packet: &[u8]) -> bool {
    matches!(timeout(TAKEN_WITHIN, peer.send(packet)).await, Ok(Ok(())))
}

/// Answers what a peer said. Returns whether it may say more.
async fn hear(said: Received, max: usize, who: Who, peer: &Seqpacket, control: &Arc<Control>) -> bool {
    let packet = match said {
        Received::End => return false,
        Received::TooLarge(bytes) => {
            Err(Error::new(Kind::TooLarge, format!("a packet may have {max} bytes, this one had {bytes}")))
        }
        Received::Packet(bytes) => control::packet(&bytes, control.message_bytes),
    };
    let answered = match packet {
        Ok(Packet::Frames) => Err(Error::new(Kind::BadRequest, "frames of this version are not spoken here")),
        Ok(Packet::X0(request, bytes_max)) => exchange(request, bytes_max, who, peer, control).await,
        Ok(Packet::Word(word)) => operate(word, who, peer, control).await,
        Err(error) => Err(error),
    };
    let error = match answered {
        Ok(taken) => return taken,
        Err(error) => error,
    };
    control.metrics.error(error.kind);
    tracing::debug!(kind = error.kind.label(), detail = %error.detail, "refused on the control socket");
    say(peer, x0::error(&error, true).as_bytes()).await
}

/// Serves x0's own front.
async fn exchange(
    request: Request,
    bytes_max: usize,
    who: Who,
    peer: &Seqpacket,
    control: &Control,
) -> Result<bool, Error> {
    let Control { hub, gate, metrics, .. } = control;
    let post = Post::Here(hub.clone(), *gate);
    let text = match request {
        Request::Receive(session) | Request::Show(session) => {
            metrics.request("control", "get");
            return give(session, bytes_max, who, peer, control).await;
        }
        Request::Send { from, to, payload } => {
            metrics.request("control", "set");
            post.send(from, to, payload).await?;
            x0::ACCEPTED
        }
        Request::Remove(session) | Request::RemoveShown(session) => {
            metrics.request("control", "del");
            post.remove(session).await?;
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
    who: Who,
    peer: &Seqpacket,
    control: &Control,
) -> Result<bool, Error> {
    let Control { hub, gate, metrics, .. } = control;
    let admission = gate.receive(who, session)?;
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

/// Carries out an operator's word.
async fn operate(word: Word, who: Who, peer: &Seqpacket, control: &Control) -> Result<bool, Error> {
    let admission = control.gate.operate(who)?;
    let hub = &control.hub;
    control.metrics.request("control", "operate");
    let answers = match word {
        Word::Stats => vec![stats(control).await?],
        Word::Sessions(max) => {
            let (list, total) = hub.sessions(&admission, max).await?;
            pages(&list, total)
        }
        Word::Purge(session) => {
            let purged = hub.purge(&admission, &session).await?;
            tracing::info!(%session, purged, "purged by an operator");
            vec![format!(r#"{{"purged":{purged}}}"#)]
        }
        Word::Drain => {
            let taken = say(peer, br#"{"draining":true}"#).await;
            // After the answer: with nothing to wait for the process may be gone at once.
            control.life.ask_to_end();
            return Ok(taken);
        }
    };
    for answer in answers {
        if !say(peer, answer.as_bytes()).await {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn stats(control: &Control) -> Result<String, Error> {
    let totals = control.hub.totals().await?;
    let metrics = &control.metrics;
    let stats = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": control.life.phase().name(),
        "uptime_seconds": control.life.clock.uptime().as_secs(),
        "mailboxes": totals.mailboxes,
        "messages_waiting": totals.messages,
        "bytes_waiting": totals.bytes,
        "receivers_waiting": metrics.receivers.get(),
        "http_connections": metrics.connections.get(),
        "control_connections": metrics.control_connections.get(),
        "messages_accepted": metrics.accepted.get(),
        "messages_settled": metrics.settled.get(),
        "messages_returned": metrics.returned.get(),
    });
    Ok(stats.to_string())
}

/// The list in packets of bounded size; all but the last say that more follows.
fn pages(list: &[SessionInfo], total: usize) -> Vec<String> {
    let mut pages = vec![String::new()];
    for info in list {
        let line = format!(
            r#"{{"session":{},"pending":{},"bytes":{},"oldest":{},"attached":{},"receivers":{},"last_seen":{}}}"#,
            json::quote(info.mailbox.session.as_str()),
            info.mailbox.messages,
            info.mailbox.bytes,
            info.mailbox.oldest.map_or("null".to_owned(), |time| time.0.to_string()),
            info.receivers > 0,
            info.receivers,
            info.mailbox.touched.0,
        );
        match pages.last_mut() {
            Some(page) if page.is_empty() => page.push_str(&line),
            Some(page) if page.len() + line.len() < control::PACKET_BYTES_MAX - 64 => {
                page.push(',');
                page.push_str(&line);
            }
            _ => pages.push(line),
        }
    }
    let last = pages.len() - 1;
    let packet = |(index, page)| format!(r#"{{"sessions":[{page}],"total":{total},"more":{}}}"#, index < last);
    pages.into_iter().enumerate().map(packet).collect()
}
