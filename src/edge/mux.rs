//! A gateway's connection, seen from the server: many requests at once over one control connection.
//!
//! Each request is a task. When the connection ends, its tasks end, and mail that was on its way is put back.

use std::{collections::HashMap, future::pending, pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    limits::Indoors,
    post::{Mode, Outcome, Post},
    seqpacket::{Received, Seqpacket},
};
use crate::{
    error::{Error, Kind},
    gate::{Who, limits::What},
    id::SessionId,
    lifecycle::{Phase, Task},
    mailbox::Max,
    wire::{
        control::{self, Frame, FrameKind, PACKET_BYTES_MAX, Wish},
        x0::{self, Request},
    },
};

/// Frames that wait for the socket to take them.
const OUT_FRAMES: usize = 256;
/// The most requests of one gateway at once.
const REQUESTS_MAX: usize = 200_000;
/// The most requests whose bodies have not come whole.
const UNFINISHED_MAX: usize = 1_024;
/// What a SET may hold beside its payload.
const BESIDE_PAYLOAD_BYTES: usize = 64 << 10;
/// How long a gateway may take to say whether mail has arrived: longer than any client may take for its answer.
const VERDICT_WITHIN: Duration = Duration::from_secs(660);
/// How long what a gateway has asked already may take when another relay takes this one's place.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The gateway ends a wait, not we.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

/// One request under way.
struct Open {
    task: Task,
    /// Takes whether the mail has arrived.
    verdict: Option<oneshot::Sender<bool>>,
}

#[derive(Clone)]
struct Lane {
    who: Who,
    post: Post,
    indoors: Indoors,
    message_bytes: usize,
    out: mpsc::Sender<Frame>,
    open: Arc<Mutex<HashMap<u64, Open>>>,
}

/// Serves a gateway until its connection ends.
pub async fn serve(peer: &Seqpacket, who: Who, post: Post, indoors: Indoors, message_bytes: usize) {
    let (out, mut frames) = mpsc::channel::<Frame>(OUT_FRAMES);
    let lane = Lane { who, post, indoors, message_bytes, out, open: Arc::default() };
    let mut write = pin!(async {
        while let Some(frame) = frames.recv().await {
            if peer.send(&frame.write()).await.is_err() {
                return;
            }
        }
    });
    // Another relay takes this one's place: what the gateway has sent is carried out, and then it goes there.
    let mut parting = false;
    let part = async {
        lane.indoors.life.handed_over(Phase::Done).await;
        peer.end_input();
        parting = true;
        pending::<()>().await;
    };
    tokio::select! {
        () = &mut write => {}
        result = lane.read(peer) => {
            if let Err(error) = result {
                tracing::warn!(%error, "a gateway that speaks no frames");
            }
        }
        () = part => {}
    }
    for (_, Open { task, verdict }) in lane.open.lock().drain() {
        match verdict {
            // Its end puts back what it has.
            Some(_undecided) => drop(task),
            // What was asked for, or decided, is carried out.
            None => task.detach(),
        }
    }
    if parting {
        // It ends when every task has said its word.
        drop(lane);
        let _ = timeout(LAST_WORDS, write).await;
    }
}

impl Lane {
    async fn read(&self, peer: &Seqpacket) -> Result<(), Error> {
        let limit = self.message_bytes + BESIDE_PAYLOAD_BYTES;
        let mut unfinished: HashMap<u64, Vec<u8>> = HashMap::new();
        while let Ok(Received::Packet(packet)) = peer.receive(PACKET_BYTES_MAX).await {
            let Frame { kind, more, id, mut body } = Frame::read(&packet)?;
            if let Some(mut before) = unfinished.remove(&id) {
                // A body that is too large is refused at its end; until then it costs no more memory.
                if before.len() <= limit {
                    before.extend_from_slice(&body);
                }
                body = before;
            }
            match (kind, more) {
                // Nobody waits for the rest.
                (FrameKind::Return, _) => self.take(kind, id, body)?,
                (_, true) if unfinished.len() >= UNFINISHED_MAX => {
                    return Err(Error::new(Kind::BadRequest, "too many requests that are not whole"));
                }
                (_, true) => drop(unfinished.insert(id, body)),
                (_, false) if body.len() > limit => {
                    let detail =
                        format!("a message may have {} bytes (message-bytes of the server)", self.message_bytes);
                    self.refuse(id, &Error::new(Kind::TooLarge, detail)).await;
                }
                (_, false) => self.take(kind, id, body)?,
            }
        }
        Ok(())
    }

    fn take(&self, kind: FrameKind, id: u64, body: Vec<u8>) -> Result<(), Error> {
        match kind {
            FrameKind::Settle | FrameKind::Return => {
                let mut open = self.open.lock();
                let verdict = open.get_mut(&id).and_then(|open| open.verdict.take());
                match verdict {
                    // The task does the rest.
                    Some(verdict) if kind == FrameKind::Settle => drop(verdict.send(true)),
                    // Nobody waits any more: the task's end puts back what it has.
                    _ => drop(open.remove(&id)),
                }
                Ok(())
            }
            FrameKind::Send | FrameKind::Remove | FrameKind::RemoveShown => {
                self.start(id, None, |lane| async move { lane.one(kind, id, &body).await })
            }
            FrameKind::Receive | FrameKind::Show => {
                let wish = Wish::read(&body)?;
                let mode = if kind == FrameKind::Show { Mode::Show } else { Mode::Take };
                let (verdict, decided) = oneshot::channel();
                self.start(id, Some(verdict), move |lane| async move { lane.receive(id, wish, mode, decided).await })
            }
            _ => Err(Error::new(Kind::BadRequest, "a frame that only a server sends")),
        }
    }

    fn start<F, T>(&self, id: u64, verdict: Option<oneshot::Sender<bool>>, work: F) -> Result<(), Error>
    where
        F: FnOnce(Lane) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let mut open = self.open.lock();
        if open.len() >= REQUESTS_MAX || open.contains_key(&id) {
            return Err(Error::new(Kind::BadRequest, "too many requests at once, or one number twice"));
        }
        let (lane, work) = (self.clone(), work(self.clone()));
        // The entry is there before the task can look for it: it needs the lock that is held here.
        let task = self.indoors.life.spawn(async move {
            work.await;
            lane.open.lock().remove(&id);
        });
        open.insert(id, Open { task, verdict });
        Ok(())
    }

    async fn say(&self, kind: FrameKind, id: u64, body: &[u8]) {
        for frame in Frame::pieces(kind, id, body) {
            // The writer is gone only if the connection is.
            if self.out.send(frame).await.is_err() {
                return;
            }
        }
    }

    async fn refuse(&self, id: u64, error: &Error) {
        self.say(FrameKind::Refused, id, control::write_refusal(error).as_bytes()).await;
    }

    /// Finds out who asks, and as which session, and waits for their turn.
    async fn admit(&self, what: What, said: SessionId) -> Result<(Who, SessionId), Error> {
        let (who, session) = self.post.claim(self.who.clone(), said)?;
        self.indoors.pace(what, &who, &session).await?;
        Ok((who, session))
    }

    async fn one(self, kind: FrameKind, id: u64, body: &[u8]) {
        let request = x0::body(x0::Path::Handler, body, self.message_bytes);
        let done = match request {
            Ok(Request::Send { from, to, payload }) => match self.admit(What::Send, from).await {
                Ok((who, from)) => self.post.send(&who, from, to, payload).await,
                Err(error) => Err(error),
            },
            Ok(Request::Remove(session)) => match self.admit(What::Poll, session).await {
                Ok((who, session)) if kind == FrameKind::RemoveShown => self.post.remove_shown(&who, session).await,
                Ok((who, session)) => self.post.remove(&who, session).await,
                Err(error) => Err(error),
            },
            Ok(_) => Err(Error::new(Kind::BadRequest, "this frame carries a SET or a DEL")),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => self.say(FrameKind::Done, id, b"").await,
            Err(error) => self.refuse(id, &error).await,
        }
    }

    async fn receive(self, id: u64, wish: Wish, mode: Mode, decided: oneshot::Receiver<bool>) {
        let max = Max { messages: wish.messages.max(1), bytes: wish.bytes };
        let admitted = self.admit(What::Poll, wish.session).await;
        let outcome = match admitted.and_then(|(who, session)| self.post.receive(&who, session, mode)) {
            Ok(mut receiver) => receiver.next(max, Instant::now() + FOREVER).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Outcome::Mail(array, None)) => self.say(FrameKind::Mail, id, &array).await,
            Ok(Outcome::Mail(array, Some(lease))) => {
                // Whoever closes the store waits for the verdict.
                let _busy = self.indoors.life.busy();
                if self.indoors.life.leaves_messages() {
                    // Nobody may be waiting any more. The next relay gives it out.
                    drop(lease);
                    return self.say(FrameKind::Draining, id, b"").await;
                }
                let heard = async {
                    self.say(FrameKind::Mail, id, &array).await;
                    decided.await.unwrap_or(false)
                };
                // Time is up, or it has not arrived: the lease's end puts it back.
                let arrived = timeout(VERDICT_WITHIN, heard).await.unwrap_or(false);
                if arrived && let Err(error) = lease.settle().await {
                    tracing::warn!(%error, "delivered through a gateway, but not settled: it will come again");
                }
            }
            Ok(Outcome::Quiet | Outcome::Draining) => self.say(FrameKind::Draining, id, b"").await,
            Err(error) => self.refuse(id, &error).await,
        }
    }
}
