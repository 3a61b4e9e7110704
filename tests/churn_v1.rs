//! Receivers at every door of protocol v1 whose connections are cut at random points while messages flow, and senders
//! whose connections are cut as well: nothing is lost, nothing is out of order, and what comes twice was not
//! acknowledged and is the same message.
//!
//! A plain event stream acknowledges nothing: what was sent on it settles as an x0 lease does. So for it the same holds as
//! for x0 (tests/churn_x0.rs): what our kernel took and kept unread for long may be gone. It is never gone silently: the
//! stream that comes back with its cursor is told of the gap.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{
    Broken, Conn, Cut, PROMPT, Relay, at_once, prove,
    random::Random,
    timed,
    v1::{Cursor, Door, Event, Ledger, Receiver, ledger::Figures, send_request},
};

/// A cut that may have left something unread in our kernel for longer than this may lose it on a plain stream: the
/// relay's lease ends 100 ms after the acknowledgement.
const FROZEN: Duration = Duration::from_millis(80);

/// How large a run is.
#[derive(Clone, Copy)]
struct Size {
    sessions: usize,
    messages: usize,
    senders: usize,
}

/// Where a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Before,
    Within,
    After,
}

/// What one session's receivers have seen, and what was done to them.
#[derive(Default)]
struct Story {
    ledger: Ledger,
    cuts: BTreeMap<(Place, Cut), usize>,
    /// The places that a plain stream was told to be gone.
    told_gone: BTreeSet<u64>,
    /// Other gaps.
    gaps: usize,
    /// Cuts that may have left something unread for longer than [`FROZEN`].
    frozen: usize,
    /// Receivers that were displaced by an older one of their own client, which had been cut before the relay heard it.
    overtaken: usize,
    /// The longest that accepted messages took to come to a fresh receiver.
    slowest: Duration,
}

/// One session's receiver: it comes, is cut, and comes back.
struct Client<'a> {
    relay: &'a Relay,
    session: &'a str,
    doors: &'a [Door],
    accepted: &'a AtomicU64,
    random: Random,
    position: Option<Cursor>,
    story: Story,
}

impl Client<'_> {
    fn plain(&self) -> bool {
        self.doors == [Door::PlainEvents]
    }

    /// Comes back with what it has.
    fn open(&mut self) -> Receiver {
        let door = Door::any(self.doors, &mut self.random);
        Receiver::open(self.relay.addr(), self.session, door, self.position.as_ref())
    }

    /// The same, or as a page that was loaded anew and knows nothing.
    fn open_perhaps_forgetful(&mut self) -> Receiver {
        if self.plain() || self.random.below(5) > 0 {
            return self.open();
        }
        let door = Door::any(self.doors, &mut self.random);
        Receiver::open(self.relay.addr(), self.session, door, None)
    }

    /// Takes note of what came on a connection that was opened when `floor` was confirmed.
    fn note(&mut self, receiver: &Receiver, event: Event, floor: u64) {
        match event {
            Event::Message(message) => self.story.ledger.read(&message, floor),
            Event::Cursor(cursor) => {
                if self.position.as_ref().is_none_or(|position| position.seq() < cursor.seq()) {
                    self.position = Some(cursor);
                }
            }
            Event::Gap(gap) if self.plain() && gap.reason == "taken" => {
                self.story.told_gone.extend(gap.from.unwrap_or(0)..=gap.to.unwrap_or(0));
            }
            Event::Gap(gap) => {
                println!("{}: {gap:?} after {:?}", self.session, self.position);
                self.story.gaps += 1;
            }
            Event::Superseded => self.story.overtaken += 1,
            other => panic!("{}: {other:?}", self.session),
        }
        if let Some(confirmed) = receiver.confirmed() {
            self.story.ledger.confirm(confirmed.seq());
        }
    }

    /// One connection, from its request to its cut.
    fn connect_and_cut(&mut self) {
        let floor = self.story.ledger.floor();
        let mut receiver = self.open_perhaps_forgetful();
        let mut place = [Place::Before, Place::Within, Place::After][self.random.below(3)];
        // When our kernel was last known to hold nothing unread.
        let mut empty = Instant::now();
        let opened = empty;
        match place {
            Place::Before => thread::sleep(self.random.within(Duration::from_millis(5))),
            Place::Within => {
                receiver.read_at_most(1 + self.random.below(3000));
                let mut nothing = true;
                while opened.elapsed() < FROZEN / 2 {
                    let looked = Instant::now();
                    match receiver.next(Duration::from_millis(10)) {
                        Ok(event) => self.note(&receiver, event, floor),
                        Err(Broken::Late(_)) => empty = looked,
                        Err(Broken::Enough) => break,
                        Err(Broken::Ended) if self.story.overtaken > 0 => break,
                        Err(broken) => panic!("{}: {broken:?}", self.session),
                    }
                    nothing = false;
                }
                if nothing {
                    place = Place::Before;
                }
            }
            Place::After => {
                let stay = self.random.within(Duration::from_millis(60));
                loop {
                    let looked = Instant::now();
                    match receiver.next(Duration::from_millis(5)) {
                        Ok(event) => {
                            self.note(&receiver, event, floor);
                            if self.random.below(4) == 0 {
                                receiver.ack().expect("the relay is there");
                            }
                        }
                        Err(Broken::Late(_)) => {
                            empty = looked;
                            if opened.elapsed() >= stay {
                                break;
                            }
                        }
                        Err(Broken::Ended) if self.story.overtaken > 0 => break,
                        Err(broken) => panic!("{}: {broken:?}", self.session),
                    }
                }
            }
        }
        self.take_the_rest(&mut receiver, floor);
        let how = Cut::random(&mut self.random);
        receiver.cut(how);
        *self.story.cuts.entry((place, how)).or_default() += 1;
        self.story.frozen += usize::from(empty.elapsed() > FROZEN);
    }

    /// What came whole it has, before it is cut.
    fn take_the_rest(&mut self, receiver: &mut Receiver, floor: u64) {
        while let Some(event) = receiver.next_come() {
            self.note(receiver, event, floor);
        }
        if let Some(confirmed) = receiver.confirmed() {
            self.story.ledger.confirm(confirmed.seq());
        }
    }

    /// A fresh receiver must bring everything that has been accepted so far, at once, whatever was cut before. It comes
    /// with its cursor: who asks without one again and again is slowed.
    fn catch_up(&mut self) {
        let want = self.accepted.load(Ordering::Acquire);
        let floor = self.story.ledger.floor();
        let mut start = Instant::now();
        let mut receiver = self.open();
        while self.story.ledger.last().max(self.story.told_gone.last().copied().unwrap_or(0)) < want {
            match receiver.next(at_once()) {
                Ok(Event::Superseded) => {
                    self.story.overtaken += 1;
                    receiver = self.open();
                    start = Instant::now();
                }
                Ok(event) => self.note(&receiver, event, floor),
                Err(broken) => panic!("stuck: {} does not get message {want}: {broken:?}", self.session),
            }
            assert!(start.elapsed() < at_once(), "stuck: {} does not get message {want}", self.session);
        }
        self.story.slowest = self.story.slowest.max(start.elapsed());
        receiver.ack().expect("the relay is there");
        self.take_the_rest(&mut receiver, floor);
    }

    /// Until all messages are sent.
    fn live(mut self, done: &AtomicBool) -> (Story, Option<Cursor>) {
        while !done.load(Ordering::Acquire) {
            for _ in 0..8 {
                self.connect_and_cut();
            }
            self.catch_up();
        }
        self.catch_up();
        (self.story, self.position)
    }
}

/// One sender's connection; it is cut now and then, and what was not answered is sent again with the same key.
struct Sender<'a> {
    relay: &'a Relay,
    conn: Conn,
    random: Random,
    cuts: usize,
    repeated: usize,
}

impl Sender<'_> {
    /// Until it is answered, once and for all.
    fn send(&mut self, session: &str, n: u64) {
        // Some sizes fill several packets, so that cuts fall within an answer.
        let fill = "x".repeat([0, 10, 200, 5000, 20_000][self.random.below(5)]);
        let request =
            send_request("a", session, &format!(r#"{{"n":{n},"fill":"{fill}"}}"#), Some(&format!("{session}-{n}")));
        loop {
            let place = self.random.below(20);
            let part = if place == 0 { self.random.below(request.len()) } else { request.len() };
            self.conn.send(&request[..part]);
            match place {
                0 => {}
                1 => thread::sleep(self.random.within(Duration::from_millis(3))),
                2 => {
                    self.conn.read_at_most(1 + self.random.below(150));
                    if let Ok(response) = self.conn.try_response(PROMPT) {
                        drop(response.sent());
                        return self.cut();
                    }
                }
                _ => {
                    self.repeated += usize::from(self.conn.response().sent().duplicate);
                    if place == 3 {
                        self.cut();
                    }
                    return;
                }
            }
            self.cut();
        }
    }

    fn cut(&mut self) {
        let old = std::mem::replace(&mut self.conn, Conn::open(self.relay.addr()));
        old.cut(Cut::random(&mut self.random));
        self.cuts += 1;
    }
}

/// Sends `share` messages to each of these sessions in random turns; how many connections were cut, and how many
/// messages had been accepted although their sender did not know.
fn send_all(relay: &Relay, sessions: &[(String, AtomicU64)], share: usize, mut random: Random) -> (usize, usize) {
    let mut sender = Sender { relay, conn: Conn::open(relay.addr()), random: random.split(), cuts: 0, repeated: 0 };
    for _ in 0..share * sessions.len() {
        let (session, accepted) = &sessions[random.below(sessions.len())];
        sender.send(session, accepted.load(Ordering::Relaxed));
        accepted.fetch_add(1, Ordering::Release);
        thread::sleep(random.within(Duration::from_millis(2)));
    }
    (sender.cuts, sender.repeated)
}

/// The sums over all sessions of a run.
#[derive(Default, Debug)]
struct Sums {
    figures: Figures,
    cuts: BTreeMap<(Place, Cut), usize>,
    sends_cut: usize,
    /// Accepted sends whose answer was cut off, and which were sent again.
    sends_repeated: usize,
    gaps: usize,
    /// Lost on plain streams that were held up; each of them was told.
    told_gone: usize,
    frozen_cuts: usize,
    overtaken: usize,
    slowest: Duration,
}

impl Sums {
    fn add(&mut self, story: &Story, accepted: u64) {
        let mut figures = story.ledger.figures(accepted);
        if story.frozen > 0 {
            let gone = story.told_gone.iter().filter(|seq| story.ledger.id(**seq).is_none()).count();
            figures.lost -= gone;
            figures.out_of_order = 0;
            self.told_gone += gone;
        }
        self.figures += figures;
        story.cuts.iter().for_each(|(kind, n)| *self.cuts.entry(*kind).or_default() += n);
        self.gaps += story.gaps;
        self.frozen_cuts += story.frozen;
        self.overtaken += story.overtaken;
        self.slowest = self.slowest.max(story.slowest);
    }
}

fn churn(doors: &[Door], size: Size) -> Sums {
    let relay = Relay::start(&["--wait", "300ms", "--log-level", "info"]);
    let mut random = Random::new();
    let sessions: Vec<(String, AtomicU64)> = (0..size.sessions).map(|n| (format!("s{n}"), AtomicU64::new(0))).collect();
    let done = AtomicBool::new(false);
    let mut sums = Sums::default();
    let stories: Vec<(Story, Option<Cursor>)> = thread::scope(|scope| {
        let clients: Vec<_> = sessions
            .iter()
            .map(|(session, accepted)| {
                let random = random.split();
                let client =
                    Client { relay: &relay, session, doors, accepted, random, position: None, story: Story::default() };
                let done = &done;
                let thread = thread::Builder::new().stack_size(1 << 18);
                thread.spawn_scoped(scope, move || client.live(done)).expect("a thread")
            })
            .collect();
        let senders: Vec<_> = sessions
            .chunks(size.sessions.div_ceil(size.senders))
            .map(|part| {
                let (relay, random) = (&relay, random.split());
                scope.spawn(move || send_all(relay, part, size.messages / size.sessions, random))
            })
            .collect();
        let sent: Vec<_> = senders.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        let stories = clients.into_iter().map(|client| client.join().expect("a client")).collect();
        for cuts in sent {
            let (cut, repeated) = cuts.expect("a sender");
            sums.sends_cut += cut;
            sums.sends_repeated += repeated;
        }
        stories
    });
    for ((story, position), (session, accepted)) in stories.iter().zip(&sessions) {
        sums.add(story, accepted.load(Ordering::Acquire));
        // Whoever has everything gets nothing more.
        let rest = relay.look(session, position.as_ref());
        assert!(rest.messages.is_empty() && rest.gap.is_none(), "{session}: {rest:?}");
    }
    println!("{doors:?}: {sums:#?}");
    println!("{} answers held back as repeats", relay.metric("x0_relay_repeats_held_back_total"));
    sums
}

/// Fails on anything lost, out of order, changed, repeated after its acknowledgement, or slow, and on a run that shows
/// too little.
#[track_caller]
fn assert_kept(sums: &Sums, plain: bool) {
    if plain {
        // Only clients that the machine held up count here; how many those are depends on what else it does. A proof has
        // it for itself.
        let frozen = at_once() == PROMPT || sums.told_gone * 1000 <= sums.figures.accepted;
        assert!(frozen, "too many losses to blame the machine for: {sums:#?}");
        let Figures { repeated_after_ack, changed, out_of_order, lost, .. } = sums.figures;
        assert_eq!([repeated_after_ack, changed, out_of_order, lost], [0; 4], "{sums:#?}");
    } else {
        sums.figures.assert_kept(sums);
        assert!(sums.figures.repeated > 0, "nothing came twice: no cut met an unacknowledged message: {sums:#?}");
    }
    assert_eq!(sums.gaps, 0, "{sums:#?}");
    assert!(sums.slowest < at_once(), "{sums:#?}");
    assert_eq!(sums.cuts.len(), 6, "not every way of cutting was tried: {sums:#?}");
    assert!(sums.sends_repeated > 0, "no cut met an accepted send: {sums:#?}");
}

/// Sends and cuts, and fails on whatever the guarantees forbid.
fn churn_and_keep(doors: &[Door], size: Size) {
    let (sums, took) = timed(|| churn(doors, size));
    println!(
        "{doors:?}: {} messages and {} cuts in {took:?}",
        sums.figures.accepted,
        sums.cuts.values().sum::<usize>()
    );
    assert_kept(&sums, doors == [Door::PlainEvents]);
}

const SMALL: Size = Size { sessions: 30, messages: 900, senders: 4 };

#[test]
fn cut_polls_lose_nothing() {
    churn_and_keep(&[Door::Poll], SMALL);
}

#[test]
fn cut_event_streams_lose_nothing() {
    churn_and_keep(&[Door::Events, Door::EventsByPost], SMALL);
}

#[test]
fn cut_plain_event_streams_lose_nothing_silently() {
    churn_and_keep(&[Door::PlainEvents], SMALL);
}

#[test]
fn cut_sockets_lose_nothing() {
    churn_and_keep(&[Door::Socket], SMALL);
}

const LARGE: Size = Size { sessions: 200, messages: 100_000, senders: 16 };

#[test]
fn prove_churn_of_200_polls_and_100_000_messages() {
    if prove("the large churn of long polls") {
        churn_and_keep(&[Door::Poll], LARGE);
    }
}

#[test]
fn prove_churn_of_200_event_streams_and_100_000_messages() {
    if prove("the large churn of event streams") {
        churn_and_keep(&[Door::Events, Door::EventsByPost], LARGE);
    }
}

#[test]
fn prove_churn_of_200_plain_event_streams_and_25_000_messages() {
    if prove("the large churn of plain event streams") {
        churn_and_keep(&[Door::PlainEvents], Size { messages: 25_000, ..LARGE });
    }
}

#[test]
fn prove_churn_of_200_sockets_and_100_000_messages() {
    if prove("the large churn of WebSockets") {
        churn_and_keep(&[Door::Socket], LARGE);
    }
}
