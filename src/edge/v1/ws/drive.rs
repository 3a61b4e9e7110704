//! Drives a [`Session`] over a connection: brings it what happens, and carries out its orders.

use std::{collections::VecDeque, future::poll_fn, io, task::Poll, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    super::{super::Doors, Desk, come_back, for_hub},
    pipe::{Peer, Pipe, Step},
    session::{Order, Session, Terms, Wants},
};
use crate::{
    cursor::Cursor,
    error::Error,
    gate::{Change, Watch, Who, limits::What},
    hub::{Accepted, Event, Later, Stream},
    id::{RequestId, Secret, SessionId},
    mailbox::Max,
    message::UnixMs,
    wire::v1::{self, Frame},
};

/// How much may be owed to a client in answers; while it is more, the client is not listened to.
const OWED_BYTES_MAX: usize = 64 << 10;
/// How many frames follow each other before something is written, and the mailbox is looked into.
const FRAMES_MAX: u32 = 32;
/// How long a close waits for the peer's.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A socket under way.
pub struct Talk<'a, P> {
    doors: &'a Doors,
    desk: Desk<'a>,
    who: Who,
    watch: Watch,
    of: SessionId,
    id: RequestId,
    pipe: Pipe<P>,
    session: Session,
    sends: Sends,
    start: Instant,
    /// Frames since something was last written.
    frames: u32,
}

/// What a wait ended with.
enum Happened {
    /// Something for the session's receiver, or an error of its mailbox.
    Event(Result<Event, Error>),
    /// Everything up to here is acknowledged, by whatever way.
    Settled(Cursor),
    /// What became of a message that the client sent.
    Sent(Option<String>, Result<Accepted, Error>),
    /// Something about the client's credentials.
    Change(Change),
    /// Something on the connection.
    Step(Step),
}

impl<'a, P: Peer> Talk<'a, P> {
    /// A connection whose handshake is `id`. Nothing is said on it yet.
    pub fn new(
        peer: P,
        who: Who,
        of: SessionId,
        position: Cursor,
        doors: &'a Doors,
        desk: Desk<'a>,
        id: RequestId,
    ) -> Self {
        let terms = Terms {
            window: desk.settings.window,
            max: doors.answer_max(),
            keepalive: desk.settings.keepalive,
            leave_within: doors.config.write_timeout,
        };
        let pipe = Pipe::new(peer, super::message_bytes_max(&doors.config), doors.config.write_timeout);
        let session = Session::open(terms, position);
        let watch = desk.gate.watch(&who);
        Self {
            doors,
            desk,
            who,
            watch,
            of,
            id,
            pipe,
            session,
            sends: Sends::default(),
            start: Instant::now(),
            frames: 0,
        }
    }

    /// Says what upgrades the connection, and the welcome behind it.
    pub fn begin(&mut self, head: String) {
        self.pipe.raw(head);
        self.pipe.text(v1::welcome(&self.of, self.session.position(), self.desk.settings.window), false);
    }

    /// Goes on until the socket is to be closed; [`Talk::part`] closes it. Whoever comes next need not wait for that:
    /// the stream is given up before.
    ///
    /// # Errors
    /// The connection's end without a close.
    pub async fn run(&mut self, mut stream: Stream) -> io::Result<()> {
        loop {
            self.pipe.check()?;
            let now = self.start.elapsed();
            if self.pipe.take_heard() || !self.listens() {
                self.session.heard(now);
            }
            if self.doors.life.is_draining() {
                self.session.drain(come_back(), now);
            }
            self.session.tick(now);
            self.carry_out(&stream).await;
            if self.session.is_over() {
                return Ok(());
            }
            match self.wait(&mut stream).await {
                Happened::Event(Ok(Event::Batch(batch))) => self.session.mail(batch),
                Happened::Event(Ok(Event::Superseded(wait))) => self.session.superseded(wait, self.start.elapsed()),
                Happened::Event(Ok(Event::Draining | Event::Quiet)) => {}
                Happened::Event(Err(error)) => self.session.failed(error),
                Happened::Settled(upto) => self.session.settled(upto),
                Happened::Sent(reference, result) => self.session.sent(reference, result),
                Happened::Change(Change::Expiring(left)) => self.session.expiring(left),
                Happened::Change(Change::Ended(error)) => self.session.void(error.kind, self.start.elapsed()),
                Happened::Step(Step::Text(text)) => self.hear(&text),
                Happened::Step(Step::Unfit(unfit)) => self.session.unfit(unfit),
                Happened::Step(Step::Control | Step::Written) => {}
                Happened::Step(Step::Closed) => return Ok(()),
                Happened::Step(Step::Gone(error)) => return Err(error),
            }
        }
    }

    /// Closes: what is left is written, and the peer may answer.
    ///
    /// # Errors
    /// What is left cannot be written.
    pub async fn part(&mut self) -> io::Result<()> {
        let pipe = &mut self.pipe;
        while let Some(stalled_at) = pipe.stalled_at() {
            tokio::select! {
                biased;
                step = pipe.step(false) => if let Step::Gone(error) = step {
                    return Err(error);
                },
                () = sleep_until(stalled_at) => pipe.check()?,
            }
        }
        let answer = async {
            while pipe.hears() {
                if let Step::Gone(_) = pipe.step(true).await {
                    return;
                }
            }
        };
        // Time is up: whoever does not answer has no claim to a better end.
        let _ = timeout(CLOSE_WITHIN, answer).await;
        Ok(())
    }

    fn listens(&self) -> bool {
        self.session.listens() && self.pipe.owed() <= OWED_BYTES_MAX
    }

    async fn wait(&mut self, stream: &mut Stream) -> Happened {
        let listens = self.listens();
        let Self { pipe, session, sends, start, frames, watch, .. } = self;
        // Frames that are there already are heard one after another, and their answers written together.
        if listens
            && *frames < FRAMES_MAX
            && let Some(step) = pipe.read_if_ready().await
        {
            *frames += 1;
            return Happened::Step(step);
        }
        *frames = 0;
        let due = *start + session.due();
        let due = pipe.stalled_at().map_or(due, |at| at.min(due));
        // What waits is fetched when there is nobody in front of it.
        let busy = pipe.has_mail();
        let (wants, position) = (session.wants(), session.position());
        let mailbox = async {
            match wants {
                Wants::Mail(_) | Wants::Room if busy => Happened::Event(Ok(stream.ended(due).await)),
                Wants::Mail(max) => Happened::Event(stream.next(Some(position), max, due).await),
                // Boxed, because it is rare and large.
                Wants::Room => Box::pin(room(stream, position, session, due)).await,
                Wants::Nothing => {
                    sleep_until(due).await;
                    Happened::Event(Ok(Event::Quiet))
                }
            }
        };
        tokio::select! {
            biased;
            change = watch.next() => Happened::Change(change),
            (reference, result) = sends.next() => Happened::Sent(reference, result),
            happened = mailbox => happened,
            step = pipe.step(listens) => Happened::Step(step),
        }
    }

    fn hear(&mut self, text: &str) {
        let frame = v1::frame(text, &self.desk.limits);
        let verb = match &frame {
            Ok(Frame::Send { .. }) => Some("send"),
            Ok(Frame::Ack(_)) => Some("ack"),
            Ok(Frame::Auth { .. }) => Some("auth"),
            Ok(Frame::Ping) => Some("ping"),
            Err(_) => None,
        };
        if let Some(verb) = verb {
            self.doors.metrics.request("ws", verb);
        }
        self.session.frame(frame);
    }

    /// Takes newer credentials of the same identity, if they still allow what this connection does.
    fn authenticate(&mut self, token: &Secret) -> Result<UnixMs, Error> {
        let gate = self.desk.gate;
        let who = gate.renew(&self.who, &token.0)?;
        gate.receive(&who, self.of.clone())?;
        let expires = who.principal().map_or(UnixMs(u64::MAX), |principal| principal.expires);
        (self.watch, self.who) = (gate.watch(&who), who);
        Ok(expires)
    }

    /// Carries out what the session orders, and what it orders upon that.
    async fn carry_out(&mut self, stream: &Stream) {
        loop {
            let orders = self.session.take_orders();
            if orders.is_empty() {
                return;
            }
            for order in orders {
                match order {
                    Order::Say(text) => self.pipe.text(text, false),
                    Order::Mail(batch) => self.pipe.text(v1::messages_frame(&batch), true),
                    Order::Refuse { reference, error } => {
                        self.doors.refused(&error, self.id);
                        self.pipe.text(v1::error_frame(reference.as_deref(), &error), false);
                    }
                    Order::Send { reference, draft } => {
                        let paid = self.doors.charge(What::Send, &self.who, &draft.from);
                        match paid.and_then(|_| self.desk.gate.send(&self.who, &draft.from, draft.to.clone())) {
                            Ok(admission) => {
                                self.sends.add(reference, self.desk.hub.send(admission, for_hub(draft, &self.who)))
                            }
                            Err(error) => self.sends.add(reference, told(error)),
                        }
                    }
                    Order::Acknowledge(upto) => {
                        let result = stream.acknowledge(upto).await;
                        self.session.acknowledged(upto, result);
                    }
                    Order::Authenticate { reference, token } => {
                        let result = match self.authenticate(&token) {
                            // Guessing over an open connection costs what it costs over new ones. Boxed, because it is
                            // rare and large.
                            Err(error) => Err(Box::pin(self.doors.temper(error, self.who.origin)).await),
                            renewed => renewed,
                        };
                        self.session.authenticated(reference, result);
                    }
                    Order::Ping => self.pipe.ping(),
                    Order::Close { code, reason } => self.pipe.close(code, reason),
                }
            }
        }
    }
}

/// Waits until the window has room again. First whatever can be seen without waiting, then the bell: a ring in between
/// is kept.
async fn room(stream: &mut Stream, position: Cursor, session: &Session, due: Instant) -> Happened {
    // A gap needs no room.
    let nothing = Max { messages: 0, bytes: 0 };
    match stream.next(Some(position), nothing, Instant::now()).await {
        Ok(Event::Quiet) => {}
        event => return Happened::Event(event),
    }
    match stream.start().await {
        Ok(upto) if session.would_settle(upto) => return Happened::Settled(upto),
        Ok(_) => {}
        Err(error) => return Happened::Event(Err(error)),
    }
    Happened::Event(Ok(stream.stirred(due).await))
}

/// A refusal, once it is to be told. Only so many messages may be without an answer, so whoever floods is not heard until
/// then.
fn told(error: Error) -> Later<Accepted> {
    let held = error.retry.as_ref().map(|retry| sleep(retry.hold));
    Box::pin(async move {
        if let Some(held) = held {
            held.await;
        }
        Err(error)
    })
}

/// The client's messages that have no answer yet, in their order.
#[derive(Default)]
struct Sends(VecDeque<Sending>);

struct Sending {
    reference: Option<String>,
    result: Later<Accepted>,
}

impl Sends {
    fn add(&mut self, reference: Option<String>, result: Later<Accepted>) {
        self.0.push_back(Sending { reference, result });
    }

    /// Waits for the next answer, which is that of the first. May be dropped.
    async fn next(&mut self) -> (Option<String>, Result<Accepted, Error>) {
        poll_fn(|cx| {
            let Some(first) = self.0.front_mut() else { return Poll::Pending };
            let result = std::task::ready!(first.result.as_mut().poll(cx));
            let reference = self.0.pop_front().and_then(|sending| sending.reference);
            if self.0.is_empty() {
                self.0 = VecDeque::new();
            }
            Poll::Ready((reference, result))
        })
        .await
    }
}
