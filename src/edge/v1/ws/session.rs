//! One WebSocket's conversation, as a pure state machine: what is in flight, where its stream stands, what its client
//! is owed, and what follows from whatever happens.
//!
//! It knows neither a runtime, nor a clock, nor I/O. Time is what has passed since the socket was opened; what is to be
//! done is left behind as [`Order`]s, to be carried out in their order.

use std::{collections::VecDeque, time::Duration};

use crate::{
    cursor::{Cursor, Epoch},
    error::{Error, Kind},
    hub::Accepted,
    id::Secret,
    mailbox::{Batch, Max},
    message::{Seq, UnixMs},
    wire::v1::{self, Draft, Frame, Goodbye, Misframed},
};

/// How many messages of one client are on their way into mailboxes; while there are so many it is not listened to.
pub const SENDS_MAX: usize = 64;

/// Close codes that are no error's (RFC 6455 section 7.4, and the range that is free for all).
const CLOSE_RESTART: u16 = 1012;
const CLOSE_SUPERSEDED: u16 = 4001;

/// What the settings say.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The most messages that are sent and not acknowledged.
    pub window: usize,
    /// How much goes into one frame.
    pub max: Max,
    /// How often a ping goes out; after twice this without a word the client is gone.
    pub keepalive: Duration,
    /// How long a goodbye waits for the answers that it is owed.
    pub leave_within: Duration,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Say this.
    Say(Vec<u8>),
    /// Hand these out.
    Mail(Batch),
    /// Say that this was refused, and count it.
    Refuse {
        /// The name of the frame that asked for it.
        reference: Option<String>,
        /// Why.
        error: Error,
    },
    /// Accept this message; [`Session::sent`] is to hear what became of it.
    Send {
        /// The frame's name.
        reference: Option<String>,
        /// The message.
        draft: Draft,
    },
    /// The client has everything up to here; [`Session::acknowledged`] is to hear what became of it.
    Acknowledge(Cursor),
    /// The client shows newer credentials; [`Session::authenticated`] is to hear what became of that.
    Authenticate {
        /// The frame's name.
        reference: Option<String>,
        /// The credentials.
        token: Secret,
    },
    /// Send a ping.
    Ping,
    /// Close the socket; nothing comes behind this.
    Close {
        /// The close code.
        code: u16,
        /// Why, for people.
        reason: &'static str,
    },
}

/// What the session wants of its mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// What comes after its position.
    Mail(Max),
    /// Room: the window is full. A gap needs none.
    Room,
    /// Nothing any more.
    Nothing,
}

/// Why a client cannot be understood any more, or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// A binary message.
    Binary,
    /// A message of more than this many bytes.
    TooLarge(usize),
    /// Something that no client may say, with the close code for it.
    Broken(u16, &'static str),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Stage {
    Open,
    /// A newer receiver has come; this one is to be told then.
    Displaced {
        until: Duration,
    },
    /// Goodbye follows when every message on its way has its answer, or then.
    Leaving {
        goodbye: Goodbye,
        retry_after: Option<Duration>,
        until: Duration,
    },
    Over,
}

/// One WebSocket's conversation.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    stage: Stage,
    /// Everything up to here was sent, or was told to be missing.
    position: Cursor,
    in_flight: InFlight,
    /// Messages of the client that have no answer yet.
    sending: usize,
    heard: Duration,
    pinged: Duration,
    orders: Vec<Order>,
}

impl Session {
    /// A socket that has just been opened, to go on after `position`.
    pub fn open(terms: Terms, position: Cursor) -> Self {
        Self {
            terms,
            stage: Stage::Open,
            position,
            in_flight: InFlight::default(),
            sending: 0,
            heard: Duration::ZERO,
            pinged: Duration::ZERO,
            orders: Vec::new(),
        }
    }

    /// What is to be done now.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Everything up to here was sent, or was told to be missing.
    pub fn position(&self) -> Cursor {
        self.position
    }

    /// Whether the socket is closed once all orders are carried out.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether the client is to be listened to.
    pub fn listens(&self) -> bool {
        self.is_served() && self.sending < SENDS_MAX
    }

    fn is_served(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Displaced { .. })
    }

    /// What it wants of its mailbox.
    pub fn wants(&self) -> Wants {
        let Terms { window, max, .. } = self.terms;
        match (self.stage, window.saturating_sub(self.in_flight.messages)) {
            (Stage::Open, 0) => Wants::Room,
            (Stage::Open, room) => Wants::Mail(Max { messages: max.messages.min(room), ..max }),
            _ => Wants::Nothing,
        }
    }

    /// When [`Session::tick`] has something to do, if nothing happens before.
    pub fn due(&self) -> Duration {
        let keepalive = self.terms.keepalive;
        let alive = (self.pinged + keepalive).min(self.heard + keepalive * 2);
        match self.stage {
            Stage::Open => alive,
            Stage::Displaced { until } => alive.min(until),
            Stage::Leaving { until, .. } => until,
            Stage::Over => Duration::ZERO,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        let keepalive = self.terms.keepalive;
        if self.is_served() && now >= self.heard + keepalive * 2 {
            return self.close(Kind::TooSlow.close_code(), "nothing was heard for twice the keepalive");
        }
        if self.is_served() && now >= self.pinged + keepalive {
            self.pinged = now;
            self.orders.push(Order::Ping);
        }
        if let Stage::Displaced { until } = self.stage
            && now >= until
        {
            self.leave(Goodbye::Superseded, None, now);
        }
        if let Stage::Leaving { until, .. } = self.stage
            && now >= until
        {
            self.part();
        }
    }

    /// The client has said something, or is not listened to.
    pub fn heard(&mut self, now: Duration) {
        self.heard = self.heard.max(now);
    }

    /// The client has sent a text frame.
    pub fn frame(&mut self, frame: Result<Frame, Misframed>) {
        match frame {
            Ok(Frame::Send { reference, draft }) => {
                self.sending += 1;
                self.orders.push(Order::Send { reference, draft });
            }
            Ok(Frame::Ack(cursor)) => self.orders.push(Order::Acknowledge(cursor)),
            Ok(Frame::Auth { reference, token }) => self.orders.push(Order::Authenticate { reference, token }),
            Ok(Frame::Ping) => self.orders.push(Order::Say(v1::pong())),
            Err(Misframed { reference, error }) => self.orders.push(Order::Refuse { reference, error }),
        }
    }

    /// What became of newer credentials: until when they are good.
    pub fn authenticated(&mut self, reference: Option<String>, result: Result<UnixMs, Error>) {
        self.orders.push(match result {
            Ok(expires) => Order::Say(v1::authenticated(reference.as_deref(), expires)),
            Err(error) => Order::Refuse { reference, error },
        });
    }

    /// The credentials end in so long.
    pub fn expiring(&mut self, left: Duration) {
        if self.is_served() {
            self.orders.push(Order::Say(v1::expiring(left)));
        }
    }

    /// The credentials count no more.
    pub fn void(&mut self, why: Kind, now: Duration) {
        if self.is_served() {
            let goodbye = if why == Kind::Expired { Goodbye::Expired } else { Goodbye::Revoked };
            self.leave(goodbye, None, now);
        }
    }

    /// The client has sent what cannot be answered.
    pub fn unfit(&mut self, unfit: Unfit) {
        match unfit {
            Unfit::Binary => self.close(Kind::UnsupportedMedia.close_code(), "text frames are understood here"),
            Unfit::TooLarge(limit) => {
                let detail = format!("a WebSocket message may have {limit} bytes here (message-bytes and some more)");
                self.orders.push(Order::Refuse { reference: None, error: Error::new(Kind::TooLarge, detail) });
                self.close(Kind::TooLarge.close_code(), "the message is too large");
            }
            Unfit::Broken(code, reason) => self.close(code, reason),
        }
    }

    /// What became of an acknowledgement.
    pub fn acknowledged(&mut self, upto: Cursor, result: Result<usize, Error>) {
        let ahead = result.as_ref().is_err_and(|error| error.kind == Kind::InvalidCursor);
        if let Err(error) = result {
            self.orders.push(Order::Refuse { reference: None, error });
        }
        if ahead {
            return;
        }
        self.settled(upto);
        // What it has by another way need not be sent, nor told to be missing.
        if upto.epoch == self.position.epoch {
            self.position.seq = self.position.seq.max(upto.seq);
        }
    }

    /// Everything up to a position is acknowledged, by whatever way.
    pub fn settled(&mut self, upto: Cursor) {
        self.in_flight.settle(upto);
    }

    /// Whether it would.
    pub fn would_settle(&self, upto: Cursor) -> bool {
        self.in_flight.reaches(upto)
    }

    /// What became of a message that the client has sent.
    pub fn sent(&mut self, reference: Option<String>, result: Result<Accepted, Error>) {
        self.sending = self.sending.saturating_sub(1);
        self.orders.push(match result {
            Ok(Accepted { id, recipients, duplicate, .. }) => {
                Order::Say(v1::sent(reference.as_deref(), &id, recipients, duplicate))
            }
            Err(error) => Order::Refuse { reference, error },
        });
        if self.sending == 0 && matches!(self.stage, Stage::Leaving { .. }) {
            self.part();
        }
    }

    /// Something is in the mailbox behind the position.
    pub fn mail(&mut self, batch: Batch) {
        self.position = batch.cursor;
        self.in_flight.add(&batch);
        self.orders.push(Order::Mail(batch));
    }

    /// A newer receiver has come; its client is to hear of it after a while.
    pub fn superseded(&mut self, wait: Duration, now: Duration) {
        if self.stage == Stage::Open {
            self.stage = Stage::Displaced { until: now + wait };
            self.tick(now);
        }
    }

    /// The relay is about to end; its client is to come back after a while.
    pub fn drain(&mut self, retry_after: Duration, now: Duration) {
        match self.stage {
            Stage::Open => self.leave(Goodbye::Drain, Some(retry_after), now),
            Stage::Displaced { .. } => self.leave(Goodbye::Superseded, None, now),
            Stage::Leaving { .. } | Stage::Over => {}
        }
    }

    /// The mailbox cannot be served any more.
    pub fn failed(&mut self, error: Error) {
        let code = error.kind.close_code();
        self.orders.push(Order::Refuse { reference: None, error });
        self.close(code, "the mailbox cannot be read");
    }

    fn leave(&mut self, goodbye: Goodbye, retry_after: Option<Duration>, now: Duration) {
        self.stage = Stage::Leaving { goodbye, retry_after, until: now + self.terms.leave_within };
        if self.sending == 0 {
            self.part();
        }
    }

    fn part(&mut self) {
        let Stage::Leaving { goodbye, retry_after, .. } = self.stage else { return };
        self.orders.push(Order::Say(v1::goodbye(goodbye, retry_after)));
        match goodbye {
            Goodbye::Drain => self.close(CLOSE_RESTART, "the relay is about to end"),
            Goodbye::Expired => self.close(Kind::Expired.close_code(), "the credentials have expired"),
            Goodbye::Revoked => self.close(Kind::Revoked.close_code(), "the credentials were revoked"),
            Goodbye::Superseded => self.close(CLOSE_SUPERSEDED, "another receiver of this session has come"),
        }
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.stage = Stage::Over;
        self.orders.push(Order::Close { code, reason });
    }
}

/// Messages that were sent and are not acknowledged.
#[derive(Debug, Default)]
struct InFlight {
    epoch: Epoch,
    /// The first and the last of messages without a hole between them, rising.
    runs: VecDeque<(Seq, Seq)>,
    messages: usize,
}

impl InFlight {
    fn add(&mut self, batch: &Batch) {
        if self.epoch != batch.cursor.epoch {
            // Nobody can acknowledge what belongs to another life of the mailbox.
            *self = Self { epoch: batch.cursor.epoch, ..Self::default() };
        }
        let (Some(first), Some(last)) = (batch.letters.first(), batch.letters.last()) else { return };
        self.messages += batch.letters.len();
        match self.runs.back_mut() {
            Some(run) if run.1.next() == first.seq => run.1 = last.seq,
            _ => self.runs.push_back((first.seq, last.seq)),
        }
    }

    /// Whether one of them is at or before a position.
    fn reaches(&self, upto: Cursor) -> bool {
        upto.epoch == self.epoch && self.runs.front().is_some_and(|(first, _)| *first <= upto.seq)
    }

    fn settle(&mut self, upto: Cursor) {
        while self.reaches(upto)
            && let Some((first, last)) = self.runs.front_mut()
        {
            let settled = upto.seq.min(*last);
            self.messages =
                self.messages.saturating_sub(usize::try_from(settled.0 - first.0 + 1).unwrap_or(usize::MAX));
            if settled < *last {
                *first = settled.next();
            } else {
                self.runs.pop_front();
            }
        }
        if self.runs.is_empty() {
            self.runs = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests;
