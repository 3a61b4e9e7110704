//! A client that changes its transport at random points of the stream: without the repeats, what it got is what was sent.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{
    Broken, Conn, Cut, PROMPT, Relay, at_once, prove,
    random::Random,
    v1::{Cursor, Door, Event, Receiver, numbered, send_request},
};

/// The doors that hand out a cursor: all but x0's.
const DOORS: [Door; 5] = [Door::Poll, Door::Events, Door::EventsByPost, Door::PlainEvents, Door::Socket];

/// What a plain stream takes unread for longer than this may be settled; see tests/churn_x0.rs.
const FROZEN: Duration = Duration::from_millis(80);

/// What the client has.
#[derive(Default)]
struct Client {
    /// Places and payloads, in the order in which they came first.
    got: Vec<(u64, String)>,
    position: Option<Cursor>,
    ids: BTreeMap<u64, String>,
    repeats: usize,
    /// Places of messages that a plain stream took and this machine did not read in time: each was told.
    told_gone: BTreeSet<u64>,
    changes: BTreeMap<(Door, Door), usize>,
}

impl Client {
    /// Takes what comes; a place that it has already is a repeat, and must be the same message.
    fn take(&mut self, event: Event, door: Door, frozen: bool) {
        match event {
            Event::Message(message) => {
                match self.ids.insert(message.seq, message.id.clone()) {
                    Some(before) => {
                        assert_eq!(before, message.id, "{door:?}: another message at the place {}", message.seq);
                        self.repeats += 1;
                    }
                    None => self.got.push((message.seq, message.payload)),
                };
            }
            Event::Cursor(cursor) => self.position = Some(cursor),
            Event::Gap(gap) if frozen && gap.reason == "taken" => {
                let (from, to) = (gap.from.expect("known"), gap.to.expect("known"));
                self.told_gone.extend((from..=to).filter(|seq| !self.ids.contains_key(seq)));
            }
            // It came before its own predecessor, which was cut.
            Event::Superseded => {}
            other => panic!("{door:?}: {other:?} after {:?}", self.position),
        }
    }

    /// One connection, cut at a random point; says whether a plain stream may have taken more than was read.
    fn connect(&mut self, relay: &Relay, door: Door, random: &mut Random, frozen: bool) -> bool {
        let mut receiver = Receiver::open(relay.addr(), "b", door, self.position.as_ref());
        let opened = Instant::now();
        // An answer to the handshake or a head are some 300 bytes, a message some 130.
        receiver.read_at_most(random.below(3000));
        let patience = random.within(Duration::from_millis(30));
        loop {
            let left = patience.saturating_sub(opened.elapsed());
            match receiver.next(left.max(Duration::from_micros(1))) {
                Ok(event) => self.take(event, door, frozen),
                Err(Broken::Enough | Broken::Late(_) | Broken::Ended) => break,
                Err(broken) => panic!("{door:?}: {broken:?}"),
            }
            if door.acknowledges() && random.below(5) == 0 && receiver.ack().is_err() {
                break;
            }
        }
        // What came whole it has.
        while let Some(event) = receiver.next_come() {
            self.take(event, door, frozen);
        }
        receiver.cut(Cut::random(random));
        door == Door::PlainEvents && opened.elapsed() > FROZEN
    }

    /// Changes until it has changed so often, and everything has been sent; then reads on to the end.
    fn live(mut self, relay: &Relay, changes: usize, sent: &AtomicBool, count: usize, random: &mut Random) -> Self {
        let (mut door, mut frozen) = (Door::any(&DOORS, random), false);
        for _ in 0..changes {
            frozen |= self.connect(relay, door, random, frozen);
            let next = Door::any(&DOORS, random);
            *self.changes.entry((door, next)).or_default() += 1;
            door = next;
        }
        sent.store(true, Ordering::Release);
        let mut last = Receiver::open(relay.addr(), "b", door, self.position.as_ref());
        let mut news = Instant::now();
        while self.got.len() + self.told_gone.len() < count {
            let before = self.got.len();
            match last.next(at_once().saturating_sub(news.elapsed())) {
                Ok(Event::Superseded) => last = Receiver::open(relay.addr(), "b", door, self.position.as_ref()),
                Ok(event) => self.take(event, door, frozen),
                Err(broken) => panic!("stuck at {} of {count}: {broken:?}", self.got.len()),
            }
            if self.got.len() > before {
                news = Instant::now();
            }
        }
        self
    }
}

/// The payload of message `n`; its length is its own, so that cuts fall everywhere.
fn payload(n: usize) -> String {
    match n % 7 {
        0 => format!(r#"{{"n":{n},"s":"{}"}}"#, "x".repeat(n % 1500)),
        1 => format!("{{\"n\":{n},\"z\":1e400, \"z\":[ ]}}"),
        _ => numbered(n as u64),
    }
}

fn change(changes: usize) {
    let relay = Relay::start(&["--wait", "2s", "--log-level", "info"]);
    let mut random = Random::new();
    let count = changes * 3;
    let done = AtomicBool::new(false);
    let mut senders = random.split();
    let client = thread::scope(|scope| {
        scope.spawn(|| {
            let mut conn = Conn::open(relay.addr());
            for n in 0..count {
                conn.exchange(send_request("a", "b", &payload(n), None)).sent();
                // It spreads over the changes; when those are over, there is nothing more to wait for.
                if !done.load(Ordering::Acquire) {
                    thread::sleep(senders.within(Duration::from_millis(6)));
                }
            }
        });
        Client::default().live(&relay, changes, &done, count, &mut random)
    });
    println!(
        "{changes} changes of transport over {} of {} pairs: {count} sent, {} got, {} repeated, {} told gone",
        client.changes.len(),
        DOORS.len().pow(2),
        client.got.len(),
        client.repeats,
        client.told_gone.len()
    );
    // How many those are depends on what else the machine does; a proof has it for itself.
    let few = at_once() == PROMPT || client.told_gone.len() * 1000 <= count;
    assert!(few, "too many losses to blame the machine for");
    let places = (1..=count as u64).filter(|seq| !client.told_gone.contains(seq));
    let sent: Vec<(u64, String)> = places.map(|seq| (seq, payload(seq as usize - 1))).collect();
    let wrong = sent.iter().zip(&client.got).find(|(sent, got)| sent != got);
    assert_eq!(wrong, None, "the stream differs from what was sent from here on");
    assert_eq!(client.got.len(), sent.len());
    assert!(
        changes < 100 || client.changes.len() > DOORS.len().pow(2) / 2,
        "not enough of the pairs: {:?}",
        client.changes
    );
}

#[test]
fn a_stream_survives_changes_of_transport() {
    change(120);
}

#[test]
fn prove_a_stream_survives_1000_changes_of_transport() {
    if prove("1,000 changes of transport") {
        change(1000);
    }
}
