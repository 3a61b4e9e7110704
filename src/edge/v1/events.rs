//! Server-sent events (HTML Living Standard, section 9.2): what comes after a cursor, as it comes.
//!
//! A plain `EventSource` cannot say what it has. What was written to it is under a lease, as an x0 poll's answer is, and
//! settles when the peer's kernel has had it for a while: [`Ledger`].

use std::{collections::VecDeque, io};

use hyper::StatusCode;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    super::{
        Doors,
        lease::{CALM, PATIENCE, PATIENCE_CLOSING, PAUSE_FIRST, PAUSE_LAST},
        limits::Announced,
        line::Line,
        reply,
        socket::Fate,
    },
    come_back, desk, refuse,
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    gate::{Change, Watch, Who},
    hub::{Event, Haste, Stream},
    id::RequestId,
    mailbox::{Batch, Max},
    wire::v1::{self, Goodbye},
};

/// A request for events that is to be served outside of hyper.
#[derive(Debug)]
pub struct Park {
    who: Who,
    events: v1::Events,
    id: RequestId,
    limits: Option<Box<Announced>>,
}

impl Park {
    /// A request that is read.
    pub fn new(who: Who, events: v1::Events, limits: Option<Box<Announced>>, id: RequestId) -> Self {
        Self { who, events, id, limits }
    }
}

/// Streams until the client, or a newer one, or the relay's end ends it.
pub async fn stream(park: Park, line: &mut impl Line, doors: &Doors) {
    if line.has_ended() {
        // Nobody listens, and somebody else may be the receiver by now.
        return;
    }
    let result = match open(&park, doors).await {
        Ok((stream, start, watch)) => Talk::new(&park, stream, start, watch, line, doors).run().await,
        Err(error) => refuse(&error, park.id, line, doors).await,
    };
    if let Err(error) = result {
        tracing::debug!(request = %park.id, session = %park.events.session, %error, "event stream broken off");
    }
}

/// Becomes the session's receiver, and finds out where it begins.
async fn open(park: &Park, doors: &Doors) -> Result<(Stream, Cursor, Watch), Error> {
    let desk = desk(doors)?;
    let admission = desk.gate.receive(&park.who, park.events.session.clone())?;
    if let Some(after) = park.events.after {
        desk.hub.acknowledge(&admission, after, Haste::Soon).await?;
    }
    let stream = desk.hub.stream(&admission);
    let start = match park.events.after {
        // Whatever it is: what is missing behind it has not been told yet.
        Some(after) => after,
        None => stream.start().await?,
    };
    Ok((stream, start, desk.gate.watch(&park.who)))
}

/// One stream under way.
struct Talk<'a, L> {
    park: &'a Park,
    stream: Stream,
    line: &'a mut L,
    doors: &'a Doors,
    watch: Watch,
    position: Cursor,
    ledger: Ledger,
    next_comment: Instant,
}

/// What a wait of a stream ended with.
enum Heard {
    /// Something for the client, or its end.
    Event(Event),
    /// Something about its credentials.
    Change(Change),
    /// The client will say nothing more. It may still listen, but no browser does.
    End,
    /// It is time to see what has become of what was written.
    Look,
}

impl<'a, L: Line> Talk<'a, L> {
    fn new(park: &'a Park, stream: Stream, start: Cursor, watch: Watch, line: &'a mut L, doors: &'a Doors) -> Self {
        let ledger = Ledger::default();
        Self { park, stream, line, doors, watch, position: start, ledger, next_comment: Instant::now() }
    }

    async fn run(mut self) -> io::Result<()> {
        let (status, content_type) = (StatusCode::OK, reply::EVENTS);
        let head = reply::Head {
            status,
            content_type,
            close: true,
            body_bytes: None,
            error: None,
            v1: true,
            limits: self.park.limits.as_deref(),
        };
        let welcome = v1::events_head(&self.park.events.session, self.position);
        let result = self.line.begin(&head, &welcome, self.doors.config.write_timeout).await;
        self.wrote(result)?;
        let result = self.talk().await;
        self.stream.release(self.ledger.messages());
        result
    }

    async fn talk(&mut self) -> io::Result<()> {
        loop {
            match self.hear().await? {
                Heard::Event(Event::Batch(batch)) => self.tell(&batch).await?,
                Heard::Event(Event::Quiet) => self.write(v1::COMMENT).await?,
                Heard::Event(Event::Superseded(wait)) => {
                    self.settle_the_rest().await;
                    if !self.doors.life.is_draining() {
                        sleep(wait).await;
                    }
                    return self.write(&v1::events_goodbye(Goodbye::Superseded, None)).await;
                }
                Heard::Event(Event::Draining) => {
                    self.write(&v1::events_goodbye(Goodbye::Drain, Some(come_back()))).await?;
                    self.settle_the_rest().await;
                    return Ok(());
                }
                Heard::Change(Change::Expiring(left)) => self.write(&v1::events_expiring(left)).await?,
                Heard::Change(Change::Ended(error)) => {
                    let reason = if error.kind == Kind::Expired { Goodbye::Expired } else { Goodbye::Revoked };
                    self.write(&v1::events_goodbye(reason, None)).await?;
                    self.settle_the_rest().await;
                    return Ok(());
                }
                Heard::End => {
                    self.settle_the_rest().await;
                    return Ok(());
                }
                Heard::Look => self.settle_what_arrived().await?,
            }
        }
    }

    async fn hear(&mut self) -> io::Result<Heard> {
        let leased = !self.park.events.explicit;
        let v1 = self.doors.v1.as_ref();
        let window = v1.map_or(usize::MAX, |v1| v1.window);
        let room = if leased { window.saturating_sub(self.ledger.messages()) } else { window };
        let most = self.doors.answer_max();
        let max = Max { messages: most.messages.min(room), ..most };
        let (after, comment) = (Some(self.position), self.next_comment);
        let stream = &mut self.stream;
        let event = async {
            match (room, leased) {
                (0, _) => Ok(stream.ended(comment).await),
                (_, true) => stream.next_leased(after, max, comment).await,
                (_, false) => stream.next(after, max, comment).await,
            }
        };
        tokio::select! {
            biased;
            change = self.watch.next() => Ok(Heard::Change(change)),
            event = event => event.map(Heard::Event).map_err(io::Error::other),
            ended = self.line.ended(None) => ended.map(|()| Heard::End),
            () = sleep_until(self.ledger.look_at()), if !self.ledger.is_empty() => Ok(Heard::Look),
        }
    }

    async fn tell(&mut self, batch: &Batch) -> io::Result<()> {
        let mut text = Vec::new();
        v1::write_events(batch, &mut text);
        self.position = batch.cursor;
        self.write(&text).await?;
        if !self.park.events.explicit {
            self.ledger.enter(batch.cursor, batch.letters.len());
        }
        Ok(())
    }

    async fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let result = self.line.go_on(text, self.doors.config.write_timeout).await;
        self.wrote(result)
    }

    fn wrote(&mut self, result: io::Result<()>) -> io::Result<()> {
        result?;
        self.ledger.written = self.line.written();
        let keepalive = self.doors.v1.as_ref().map_or(PATIENCE, |v1| v1.keepalive);
        self.next_comment = Instant::now() + keepalive;
        Ok(())
    }

    /// Settles what the client has; an error if the connection is of no use any more.
    async fn settle_what_arrived(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let fate = self.line.fate();
        if let Some(upto) = self.ledger.look(fate, now)? {
            self.acknowledge(upto).await;
        }
        if self.ledger.is_empty() {
            self.stream.release(0);
        }
        Ok(())
    }

    /// Waits a moment for what is still on its way, and settles what arrives.
    async fn settle_the_rest(&mut self) {
        let give_up = Instant::now() + PATIENCE_CLOSING;
        while !self.ledger.is_empty() && Instant::now() < give_up {
            sleep_until(self.ledger.look_at().min(give_up)).await;
            if self.settle_what_arrived().await.is_err() {
                break;
            }
        }
        // Whoever comes next waits for this alone, not for the goodbye.
        self.stream.release(self.ledger.messages());
        self.ledger.clear();
    }

    async fn acknowledge(&self, upto: Cursor) {
        if let Err(error) = self.stream.acknowledge(upto).await {
            tracing::warn!(session = %self.park.events.session, %error, "delivered, but not settled: it will come again");
        }
    }
}

/// What was written and is not known to have arrived.
#[derive(Debug, Default)]
struct Ledger {
    /// Bytes written to the connection so far.
    written: u64,
    entries: VecDeque<Entry>,
    /// The most bytes that the peer was seen to have acknowledged, and when.
    progress: Option<(u64, Instant)>,
    /// When to look next.
    look_at: Option<Instant>,
    pauses: u32,
}

#[derive(Debug)]
struct Entry {
    /// The stream's length with it.
    end: u64,
    upto: Cursor,
    messages: usize,
    acknowledged: Option<Instant>,
}

impl Ledger {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.entries.clear();
    }

    /// Messages that may not have arrived.
    fn messages(&self) -> usize {
        self.entries.iter().map(|entry| entry.messages).sum()
    }

    /// Notes what has just been written.
    fn enter(&mut self, upto: Cursor, messages: usize) {
        let now = Instant::now();
        if self.entries.is_empty() {
            self.progress = Some((0, now));
        }
        self.entries.push_back(Entry { end: self.written, upto, messages, acknowledged: None });
        (self.pauses, self.look_at) = (0, Some(now + PAUSE_FIRST));
    }

    fn look_at(&self) -> Instant {
        self.look_at.unwrap_or_else(Instant::now)
    }

    /// What has become of it all: the position up to which the client has everything, if that is news.
    fn look(&mut self, fate: Fate, now: Instant) -> io::Result<Option<Cursor>> {
        let arrived = match fate {
            Fate::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            Fate::Acknowledged => self.written,
            Fate::OnItsWay(bytes) => self.written.saturating_sub(u64::try_from(bytes).unwrap_or(0)),
        };
        for entry in self.entries.iter_mut().filter(|entry| entry.end <= arrived) {
            entry.acknowledged.get_or_insert(now);
        }
        let mut upto = None;
        while self.entries.front().is_some_and(|entry| entry.acknowledged.is_some_and(|at| at + CALM <= now)) {
            upto = self.entries.pop_front().map(|entry| entry.upto);
        }
        // A reader that takes something, however slowly, is alive.
        match self.progress {
            Some((most, since)) if arrived <= most && arrived < self.written => {
                if since + PATIENCE <= now {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            _ => self.progress = Some((arrived, now)),
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.pauses.min(7)).min(PAUSE_LAST);
        self.pauses = self.pauses.saturating_add(1);
        let calm = self.entries.front().and_then(|entry| entry.acknowledged).map(|at| at + CALM);
        self.look_at = Some(calm.unwrap_or(now + pause));
        Ok(upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    fn cursor(seq: u64) -> Cursor {
        Cursor { seq: Seq(seq), ..Cursor::default() }
    }

    fn ledger(ends: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for (index, end) in ends.iter().enumerate() {
            ledger.written = *end;
            ledger.enter(cursor(index as u64 + 1), 1);
        }
        ledger
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_acknowledged_and_calm_has_arrived() {
        let mut ledger = ledger(&[10, 20, 30]);
        let start = Instant::now();
        assert_eq!(ledger.look(Fate::OnItsWay(15), start).expect("alive"), None);
        assert_eq!(ledger.look_at(), start + CALM);
        assert_eq!(ledger.look(Fate::OnItsWay(1), start + CALM).expect("alive"), Some(cursor(1)));
        assert_eq!(ledger.messages(), 2);
        assert_eq!(ledger.look(Fate::Acknowledged, start + CALM * 2).expect("alive"), Some(cursor(2)));
        assert_eq!(ledger.look(Fate::Acknowledged, start + CALM * 3).expect("alive"), Some(cursor(3)));
        assert!(ledger.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_within_the_calm_takes_it_back() {
        let mut ledger = ledger(&[10]);
        let start = Instant::now();
        assert_eq!(ledger.look(Fate::Acknowledged, start).expect("alive"), None);
        assert!(ledger.look(Fate::Reset, start + CALM).is_err());
        assert_eq!(ledger.messages(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_without_progress_is_given_up() {
        let mut ledger = ledger(&[100]);
        let start = Instant::now();
        assert!(ledger.look(Fate::OnItsWay(50), start + PATIENCE / 2).is_ok(), "progress");
        assert!(ledger.look(Fate::OnItsWay(50), start + PATIENCE).is_ok());
        assert!(ledger.look(Fate::OnItsWay(50), start + PATIENCE * 3 / 2).is_err());
    }
}
