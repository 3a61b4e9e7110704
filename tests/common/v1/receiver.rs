//! A receiver through any door, x0's too. It fails at whatever the guarantees forbid on one connection: a hole that no
//! gap explains, a cursor that jumps.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Batch, Cursor, EventStream, Gap, Item, Message, Said, Socket,
    requests::{ack_request, get, poll_target},
};
use crate::common::{
    Broken, Conn, Cut, PROMPT,
    random::Random,
    request,
    x0::{Answer, poll_request, quoted},
};

/// A way to receive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Door {
    /// Long poll.
    Poll,
    /// Server-sent events with `ack=explicit`, by GET.
    Events,
    /// The same by POST.
    EventsByPost,
    /// Server-sent events as `EventSource` has them: what is sent settles as x0's lease does.
    PlainEvents,
    Socket,
    /// x0's poll.
    X0,
}

impl Door {
    pub const ALL: [Self; 6] =
        [Self::Poll, Self::Events, Self::EventsByPost, Self::PlainEvents, Self::Socket, Self::X0];
    /// Those on which a message stays until its receiver says that it has it.
    pub const ACKNOWLEDGING: [Self; 4] = [Self::Poll, Self::Events, Self::EventsByPost, Self::Socket];
    /// One of each transport of protocol v1.
    pub const TRANSPORTS: [Self; 3] = [Self::Poll, Self::Events, Self::Socket];

    pub fn is_v1(self) -> bool {
        self != Self::X0
    }

    pub fn acknowledges(self) -> bool {
        Self::ACKNOWLEDGING.contains(&self)
    }

    pub fn any(among: &[Self], random: &mut Random) -> Self {
        among[random.below(among.len())]
    }
}

/// What a receiver is told, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    Gap(Gap),
    Message(Message),
    /// An x0 message's text.
    X0(String),
    /// Everything before this in the stream is covered by it.
    Cursor(Cursor),
    /// A newer receiver has taken the place.
    Superseded,
    /// The relay is about to end.
    Drain(Option<f64>),
}

enum Link {
    Conn(Conn),
    Events(EventStream),
    Socket(Socket),
}

/// Where the next message must stand.
#[derive(Debug)]
struct Track {
    after: Option<Cursor>,
    next: Option<u64>,
}

impl Track {
    fn new(after: Option<&Cursor>) -> Self {
        Self { after: after.cloned(), next: after.map(|c| c.seq() + 1) }
    }

    /// Fails at a hole that no gap explains, and at a cursor that covers what was not said.
    #[track_caller]
    fn see(&mut self, event: &Event, door: Door) {
        match event {
            Event::Gap(Gap { from: Some(from), to: Some(to), .. }) => {
                assert!(self.next.is_none_or(|next| next == *from), "{door:?}: {event:?} does not begin at {self:?}");
                self.next = Some(to + 1);
            }
            Event::Gap(_) => *self = Self { after: None, next: None },
            Event::Message(message) => {
                let next = self.next.unwrap_or(message.seq);
                assert_eq!(message.seq, next, "{door:?}: a hole without a gap: {message:?} after {:?}", self.after);
                self.next = Some(message.seq + 1);
            }
            Event::Cursor(cursor) => {
                let next = self.next.unwrap_or(cursor.seq() + 1);
                assert_eq!(cursor.seq() + 1, next, "{door:?}: {cursor} covers other than what was said");
                if let Some(after) = &self.after {
                    assert_eq!(cursor.epoch(), after.epoch(), "{door:?}: another epoch without a gap");
                }
                *self = Self::new(Some(cursor));
            }
            Event::X0(_) | Event::Superseded | Event::Drain(_) => {}
        }
    }
}

/// One receiver on one connection.
pub struct Receiver {
    door: Door,
    session: String,
    to: SocketAddr,
    link: Link,
    /// Whether a poll is under way.
    asked: bool,
    /// Read and not yet handed out.
    ready: VecDeque<Event>,
    track: Track,
    position: Option<Cursor>,
    /// What the relay was told that this receiver has, and has not confirmed to know.
    telling: VecDeque<Cursor>,
    confirmed: Option<Cursor>,
    /// For acknowledgements beside an event stream.
    side: Option<Conn>,
}

impl Receiver {
    /// Connects and asks; what comes is left unread.
    ///
    /// # Errors
    /// The connection's.
    pub fn try_open(to: SocketAddr, session: &str, door: Door, after: Option<&Cursor>) -> io::Result<Self> {
        let conn = Conn::try_open(to)?;
        let link = match door {
            Door::Poll | Door::X0 => Link::Conn(conn),
            Door::Socket => Link::Socket(Socket::ask(conn, session, after)?),
            Door::Events | Door::EventsByPost | Door::PlainEvents => {
                Link::Events(EventStream::ask(conn, events_request(session, door, after))?)
            }
        };
        let mut receiver = Self {
            door,
            session: session.into(),
            to,
            link,
            asked: false,
            ready: VecDeque::new(),
            track: Track::new(after),
            position: after.cloned(),
            telling: after.cloned().into_iter().collect(),
            confirmed: None,
            side: None,
        };
        receiver.ask()?;
        Ok(receiver)
    }

    #[track_caller]
    pub fn open(to: SocketAddr, session: &str, door: Door, after: Option<&Cursor>) -> Self {
        Self::try_open(to, session, door, after).unwrap_or_else(|e| panic!("{door:?} cannot be opened: {e}"))
    }

    /// Sends the next poll, if this is a poller and none is under way. It says that everything handed out is had.
    fn ask(&mut self) -> io::Result<()> {
        let Link::Conn(conn) = &mut self.link else { return Ok(()) };
        if self.asked {
            return Ok(());
        }
        let request = match self.door {
            Door::X0 => poll_request(&self.session),
            _ => get(&poll_target(&self.session, self.position.as_ref(), "")),
        };
        conn.try_send(request)?;
        if self.door.is_v1() {
            self.telling.clear();
            self.telling.extend(self.position.clone());
        }
        self.asked = true;
        Ok(())
    }

    /// What comes next. A poller asks again by itself once everything of an answer is handed out.
    ///
    /// # Errors
    /// [`Broken`] says how far it came; it goes on if it was late.
    #[track_caller]
    pub fn next(&mut self, within: Duration) -> Result<Event, Broken> {
        while self.ready.is_empty() {
            self.read(within)?;
        }
        Ok(self.hand_out().expect("not empty"))
    }

    #[track_caller]
    fn hand_out(&mut self) -> Option<Event> {
        let event = self.ready.pop_front()?;
        self.track.see(&event, self.door);
        if let Event::Cursor(cursor) = &event {
            self.position = Some(cursor.clone());
        }
        Some(event)
    }

    /// Whether anything may come without another poll.
    pub fn waits(&self) -> bool {
        self.asked || !self.ready.is_empty() || !matches!(self.link, Link::Conn(_))
    }

    /// What has come whole already; for this nothing is asked, and nothing more is taken from the kernel.
    #[track_caller]
    pub fn next_come(&mut self) -> Option<Event> {
        if !self.waits() {
            return None;
        }
        self.read_at_most(0);
        if self.ready.is_empty() {
            self.read(Duration::ZERO).ok()?;
        }
        self.hand_out()
    }

    /// The next message, whatever cursors come before it. Fails at anything else.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        let start = Instant::now();
        loop {
            match self.next(PROMPT.saturating_sub(start.elapsed())) {
                Ok(Event::Message(message)) => return message,
                Ok(Event::Cursor(_)) => {}
                other => panic!("{:?}: no message but {other:?}", self.door),
            }
        }
    }

    /// Reads until there is something to hand out, or something is confirmed.
    #[track_caller]
    fn read(&mut self, within: Duration) -> Result<(), Broken> {
        self.ask().map_err(|_| Broken::Ended)?;
        match &mut self.link {
            Link::Conn(conn) => {
                let response = conn.try_response(within)?;
                self.asked = false;
                if self.door == Door::X0 {
                    match response.x0() {
                        Answer::Mail(mail) => self.ready.extend(mail.into_iter().map(Event::X0)),
                        Answer::Nothing => {}
                        other => panic!("a poll of {:?} was answered {other}", self.session),
                    }
                } else {
                    self.confirm();
                    self.take_batch(response.batch());
                }
            }
            Link::Events(stream) => {
                let item = stream.next(within)?;
                self.take_item(item);
            }
            Link::Socket(socket) => {
                let said = socket.next(within)?;
                self.take_said(said)?;
            }
        }
        Ok(())
    }

    fn confirm(&mut self) {
        self.confirmed = self.telling.pop_front().or(self.confirmed.take());
    }

    fn take_batch(&mut self, batch: Batch) {
        self.ready.extend(batch.gap.map(Event::Gap));
        self.ready.extend(batch.messages.into_iter().map(Event::Message));
        self.ready.push_back(Event::Cursor(batch.cursor));
        if batch.superseded {
            self.ready.push_back(Event::Superseded);
        }
        if let Some(seconds) = batch.retry_after {
            self.ready.push_back(Event::Drain(Some(seconds)));
        }
    }

    #[track_caller]
    fn take_item(&mut self, item: Item) {
        let Item::Event { id, event, data } = item else { return };
        match event.as_str() {
            "relay:welcome" => {
                assert!(data.contains(&format!("\"session\":{}", quoted(&self.session))), "{data}");
                self.confirm();
            }
            "relay:gap" => self.ready.push_back(Event::Gap(Gap::parse(&data))),
            "relay:goodbye" => {
                assert_eq!(id, None, "a goodbye moves nothing");
                self.ready.push_back(goodbye(&serde_json::from_str(&data).expect("JSON")));
                return;
            }
            word => {
                let message = Message::parse(&data);
                assert_eq!(message.word, word);
                self.ready.push_back(Event::Message(message));
            }
        }
        self.ready.push_back(Event::Cursor(Cursor::new(id.expect("every event but goodbye has an id"))));
    }

    #[track_caller]
    fn take_said(&mut self, said: Said) -> Result<(), Broken> {
        match said {
            Said::Welcome { session, cursor, .. } => {
                assert_eq!(session, self.session);
                self.confirm();
                self.ready.push_back(Event::Cursor(cursor));
            }
            Said::Messages(batch) => self.take_batch(batch),
            Said::Pong => self.confirm(),
            Said::Goodbye { reason, retry_after } => {
                self.ready.push_back(goodbye(&serde_json::json!({ "reason": reason, "retry_after": retry_after })));
            }
            Said::Close(1012 | 4001, _) => return Err(Broken::Ended),
            other => panic!("{:?} was told {other:?}", self.session),
        }
        Ok(())
    }

    /// Says that everything handed out up to the last cursor is had, where the door has a word for that beside the next poll.
    ///
    /// # Errors
    /// The connection's.
    #[track_caller]
    pub fn ack(&mut self) -> Result<(), Broken> {
        let Some(position) = self.position.clone() else { return Ok(()) };
        match &mut self.link {
            Link::Socket(socket) => {
                let said = socket.try_say(&format!(r#"{{"type":"ack","cursor":"{position}"}}"#));
                said.and_then(|()| socket.try_say(r#"{"type":"ping"}"#)).map_err(|_| Broken::Ended)?;
                self.telling.push_back(position);
            }
            Link::Events(_) if self.door != Door::PlainEvents => {
                let side = match &mut self.side {
                    Some(side) => side,
                    None => self.side.insert(Conn::try_open(self.to).map_err(|_| Broken::Ended)?),
                };
                side.try_send(ack_request(&self.session, &position)).map_err(|_| Broken::Ended)?;
                assert_eq!(side.try_response(PROMPT)?.status, 200);
                self.confirmed = Some(position);
            }
            Link::Events(_) | Link::Conn(_) => {}
        }
        Ok(())
    }

    /// The last cursor that was handed out, or the one it began with.
    pub fn position(&self) -> Option<&Cursor> {
        self.position.as_ref()
    }

    /// The newest cursor of which the relay has confirmed that it knows this receiver to be there.
    pub fn confirmed(&self) -> Option<&Cursor> {
        self.confirmed.as_ref()
    }

    /// Whether everything that was read has been handed out.
    pub fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes no more than this many bytes from here on.
    pub fn read_at_most(&mut self, bytes: usize) {
        match &mut self.link {
            Link::Conn(conn) => conn,
            Link::Events(stream) => &mut stream.conn,
            Link::Socket(socket) => &mut socket.conn,
        }
        .read_at_most(bytes);
    }

    pub fn cut(self, how: Cut) {
        match self.link {
            Link::Conn(conn) => conn,
            Link::Events(stream) => stream.conn,
            Link::Socket(socket) => socket.conn,
        }
        .cut(how);
    }
}

/// The request of an event stream through this door.
fn events_request(session: &str, door: Door, after: Option<&Cursor>) -> Vec<u8> {
    match door {
        Door::PlainEvents => {
            let last: Vec<_> = after.iter().map(|cursor| ("Last-Event-ID", cursor.as_str())).collect();
            request("GET", &super::requests::target("/v1/events", session, None, ""), &last, b"")
        }
        Door::EventsByPost => {
            let after = after.map(|cursor| format!(r#","after":"{cursor}""#)).unwrap_or_default();
            let body = format!(r#"{{"session":{}{after},"ack":"explicit"}}"#, quoted(session));
            super::post_json("/v1/events", &body)
        }
        _ => get(&super::requests::target("/v1/events", session, after, "ack=explicit")),
    }
}

#[track_caller]
fn goodbye(data: &serde_json::Value) -> Event {
    match data["reason"].as_str() {
        Some("superseded") => Event::Superseded,
        Some("drain") => Event::Drain(data["retry_after"].as_f64()),
        other => panic!("a goodbye because of {other:?}"),
    }
}
