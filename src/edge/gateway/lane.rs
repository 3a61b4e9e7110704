//! One connection to our own server, which carries many requests at once.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    edge::{
        post::Mode,
        seqpacket::{Received, Seqpacket},
    },
    error::{Error, Kind},
    id::SessionId,
    mailbox::Max,
    wire::control::{self, Frame, FrameKind, PACKET_BYTES_MAX, Wish},
};

/// Frames that wait for the socket to take them.
const OUT_FRAMES: usize = 256;

/// How long a server may take for a request that does not wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a server that takes no more may take to answer what it took.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What the server says to one request.
enum Told {
    Done,
    Refused(Error),
    Mail(Vec<u8>),
    Draining,
}

/// What a receiver learns.
pub enum Said {
    /// Messages as a JSON array, and the lease on them, if they are to be taken.
    Mail(Vec<u8>, Option<Lease>),
    /// The server's refusal.
    Refused(Error),
    /// The server is about to end, or has.
    Gone,
}

#[derive(Default)]
struct State {
    /// Requests that the server has not done with.
    open: HashMap<u64, oneshot::Sender<Told>>,
    /// What became of mail; written before all else.
    verdicts: Vec<(FrameKind, u64)>,
}

/// One connection to our own server.
pub struct Lane {
    out: mpsc::Sender<Frame>,
    next_id: AtomicU64,
    state: Mutex<State>,
    has_verdicts: Notify,
    /// Verdicts that are not written yet.
    unwritten: watch::Sender<usize>,
    ended: watch::Sender<bool>,
}

impl Lane {
    /// A lane, and the frames that [`Lane::run`] is to send.
    pub fn new() -> (Self, mpsc::Receiver<Frame>) {
        let (out, frames) = mpsc::channel(OUT_FRAMES);
        let lane = Self {
            out,
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            has_verdicts: Notify::new(),
            unwritten: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        };
        (lane, frames)
    }

    /// Carries frames both ways until the connection ends.
    pub async fn run(&self, peer: &Seqpacket, mut frames: mpsc::Receiver<Frame>) {
        let mut in_hand = None;
        tokio::select! {
            () = self.write(peer, &mut frames, &mut in_hand) => {}
            () = self.read(peer) => {}
        }
        // In this order: whoever starts a request looks whether this has ended after it is on the list.
        self.ended.send_replace(true);
        frames.close();
        in_hand.iter().for_each(|frame| self.turn_back(frame));
        while let Some(frame) = frames.recv().await {
            self.turn_back(&frame);
        }
        // Whoever waits for an answer learns that none will come.
        self.state.lock().open.clear();
    }

    /// Sends frames as long as the server takes them; what it has not taken is `in_hand`. A server that takes no more has
    /// its place taken by another, and still answers what it took.
    async fn write(&self, peer: &Seqpacket, frames: &mut mpsc::Receiver<Frame>, in_hand: &mut Option<Frame>) {
        while self.write_next(peer, frames, in_hand).await.is_ok() {}
        let turn_back = async {
            while let Some(frame) = in_hand.take() {
                self.turn_back(&frame);
                *in_hand = frames.recv().await;
            }
        };
        // The connection's end comes first, if the server lives.
        let _ = timeout(ANSWERS_WITHIN, turn_back).await;
    }

    /// Sends what became of mail, or the next frame.
    async fn write_next(
        &self,
        peer: &Seqpacket,
        frames: &mut mpsc::Receiver<Frame>,
        in_hand: &mut Option<Frame>,
    ) -> io::Result<()> {
        let verdicts = std::mem::take(&mut self.state.lock().verdicts);
        // A verdict must not overtake its request.
        let before = if verdicts.is_empty() { 0 } else { frames.len() };
        for _ in 0..before {
            let Ok(frame) = frames.try_recv() else { break };
            send(peer, in_hand, frame).await?;
        }
        for (kind, id) in verdicts {
            send(peer, in_hand, Frame { kind, more: false, id, body: Vec::new() }).await?;
            self.unwritten.send_modify(|count| *count -= 1);
        }
        tokio::select! {
            biased;
            () = self.has_verdicts.notified() => {}
            frame = frames.recv() => match frame {
                Some(frame) => send(peer, in_hand, frame).await?,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
        Ok(())
    }

    /// Tells whoever waits that this frame of its request was not sent.
    fn turn_back(&self, unsent: &Frame) {
        match unsent.kind {
            // The server puts back what it hears no verdict on.
            FrameKind::Settle | FrameKind::Return => {}
            FrameKind::Receive | FrameKind::Show => self.tell(unsent.id, Told::Draining),
            // A request that is not there whole is not carried out.
            _ => self.tell(unsent.id, Told::Refused(unsent_yet())),
        }
    }

    async fn read(&self, peer: &Seqpacket) {
        let mut unfinished: HashMap<u64, Vec<u8>> = HashMap::new();
        while let Ok(Received::Packet(packet)) = peer.receive(PACKET_BYTES_MAX).await {
            let Ok(Frame { kind, more, id, mut body }) = Frame::read(&packet) else { return };
            if let Some(mut before) = unfinished.remove(&id) {
                before.extend_from_slice(&body);
                body = before;
            }
            if more {
                unfinished.insert(id, body);
                continue;
            }
            let told = match kind {
                FrameKind::Done => Told::Done,
                FrameKind::Refused => Told::Refused(control::read_refusal(&body)),
                FrameKind::Mail => Told::Mail(body),
                FrameKind::Draining => Told::Draining,
                _ => return,
            };
            self.tell(id, told);
        }
    }

    fn tell(&self, id: u64, told: Told) {
        let mail = matches!(told, Told::Mail(_));
        let open = self.state.lock().open.remove(&id);
        let heard = open.is_some_and(|open| open.send(told).is_ok());
        if mail && !heard {
            // The poll ended while its mail was on the way.
            self.decide(FrameKind::Return, id);
        }
    }

    fn decide(&self, kind: FrameKind, id: u64) {
        self.unwritten.send_modify(|count| *count += 1);
        self.state.lock().verdicts.push((kind, id));
        self.has_verdicts.notify_one();
    }

    /// Waits until every verdict is written, or the connection has ended.
    pub async fn flushed(&self) {
        let mut unwritten = self.unwritten.subscribe();
        tokio::select! {
            // The sender lives as long as `self`.
            _ = unwritten.wait_for(|count| *count == 0) => {}
            () = self.ended() => {}
        }
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the connection has ended.
    pub async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    async fn start(self: &Arc<Self>, kind: FrameKind, body: &[u8]) -> Option<Request> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (tell, told) = oneshot::channel();
        self.state.lock().open.insert(id, tell);
        let mut request = Request { lane: Arc::clone(self), id, told, undecided: false };
        if self.has_ended() {
            return None;
        }
        // If this is dropped half-way, the server is told to forget what it has.
        request.undecided = true;
        for frame in Frame::pieces(kind, id, body) {
            self.out.send(frame).await.ok()?;
        }
        Some(request)
    }

    /// A request that is done or refused.
    ///
    /// # Errors
    /// The server's; [`Kind::Draining`] if it was not asked, [`Kind::Refused`] if it went away before it answered.
    pub async fn ask(self: &Arc<Self>, kind: FrameKind, body: &[u8]) -> Result<(), Error> {
        let lost =
            || Error::new(Kind::Refused, "the message server went away before it answered; it may have done it or not");
        let asked = async {
            let mut request = self.start(kind, body).await.ok_or_else(unsent_yet)?;
            // Once it is sent whole it is carried out, whether or not its answer is heard.
            request.undecided = false;
            (&mut request.told).await.map_err(|_| lost())
        };
        match timeout(ANSWER_WITHIN, asked).await.map_err(|_| lost())? {
            Ok(Told::Done) => Ok(()),
            Ok(Told::Refused(error)) | Err(error) => Err(error),
            Ok(_) => Err(lost()),
        }
    }

    /// Waits for mail; dropping this tells the server that nobody waits any more.
    pub async fn receive(self: &Arc<Self>, session: &SessionId, mode: Mode, max: Max) -> Said {
        let wish = Wish { session: session.clone(), messages: max.messages, bytes: max.bytes };
        let kind = if mode == Mode::Show { FrameKind::Show } else { FrameKind::Receive };
        let Some(mut request) = self.start(kind, wish.write().as_bytes()).await else { return Said::Gone };
        match (&mut request.told).await {
            Ok(Told::Mail(array)) if mode == Mode::Take => Said::Mail(array, Some(Lease(request))),
            answer => {
                request.undecided = false;
                match answer {
                    Ok(Told::Mail(array)) => Said::Mail(array, None),
                    Ok(Told::Refused(error)) => Said::Refused(error),
                    _ => Said::Gone,
                }
            }
        }
    }
}

/// Sends a frame, which is `in_hand` until it is sent.
async fn send(peer: &Seqpacket, in_hand: &mut Option<Frame>, frame: Frame) -> io::Result<()> {
    let packet = frame.write();
    *in_hand = Some(frame);
    peer.send(&packet).await?;
    *in_hand = None;
    Ok(())
}

fn unsent_yet() -> Error {
    Error::new(Kind::Draining, "the message server is going away, and has not been asked; try again")
}

/// A request under way.
struct Request {
    lane: Arc<Lane>,
    id: u64,
    told: oneshot::Receiver<Told>,
    /// The server is to be told that this has ended.
    undecided: bool,
}

impl Request {
    fn decide(&mut self, kind: FrameKind) {
        self.undecided = false;
        self.lane.decide(kind, self.id);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.undecided {
            self.decide(FrameKind::Return);
        }
        self.lane.state.lock().open.remove(&self.id);
    }
}

/// Mail on its way from the server through this gateway; dropping it puts the mail back.
pub struct Lease(Request);

impl Lease {
    /// The receiver has it.
    pub fn settle(mut self) {
        self.0.decide(FrameKind::Settle);
    }
}
