//! `kill -9` at random moments under load, with a data directory: every message answered with success is there after the
//! restart, in order, once per seq; a retry across the kill gets the first answer; a cursor stays what it was.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{
    Conn, Relay, eventually, prove,
    random::Random,
    v1::{
        Batch, Cursor, Gap, Sent, numbered,
        requests::{ack_request, get, poll_target},
        send_request,
    },
};
use nix::sys::signal::Signal;

/// What an end may take that has nothing to wait for.
const SOON: Duration = Duration::from_secs(60);

const SESSIONS: usize = 4;

fn on(data: &Path, flags: &[&str]) -> Relay {
    let data = data.to_str().expect("UTF-8");
    Relay::start(&[&["--data-dir", data, "--log-level", "info", "--answer-messages", "1000"], flags].concat())
}

/// A session's one sender, who outlives the relay.
struct Sender {
    session: String,
    /// The answer to each message in order; message n has the key `k{n}`.
    answers: Vec<Sent>,
    /// Whether the next message was sent before, without an answer.
    unsure: bool,
    retried: usize,
    /// Retries of messages that had been accepted.
    found: usize,
}

/// What was sent as message `n`, the same at every retry.
fn message(session: &str, n: usize) -> Vec<u8> {
    send_request("a", session, &numbered(n as u64), Some(&format!("k{n}")))
}

impl Sender {
    /// Sends until the relay is gone; counts what is answered.
    fn send(&mut self, relay: &Relay, answered: &AtomicUsize) {
        let Ok(mut conn) = Conn::try_open(relay.addr()) else { return };
        loop {
            let retry = std::mem::replace(&mut self.unsure, true);
            if conn.try_send(message(&self.session, self.answers.len())).is_err() {
                return;
            }
            let Ok(response) = conn.try_response(SOON) else { return };
            let sent = response.sent();
            assert!(retry || !sent.duplicate, "{}: {sent:?} was never sent before", self.session);
            self.unsure = false;
            self.found += usize::from(sent.duplicate);
            self.retried += usize::from(retry);
            self.answers.push(sent);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Old keys are answered as they were.
    fn check(&self, relay: &Relay, random: &mut Random) {
        let mut conn = Conn::open(relay.addr());
        for _ in 0..self.answers.len().min(5) {
            let n = random.below(self.answers.len());
            let again = conn.exchange(message(&self.session, n)).sent();
            assert_eq!(again, Sent { duplicate: true, ..self.answers[n].clone() }, "{}: {n}", self.session);
        }
    }
}

/// The same session's one receiver.
struct Receiver {
    session: String,
    /// What it has, by its place.
    got: BTreeMap<u64, (String, u64)>,
    position: Option<Cursor>,
    /// Everything up to here was acknowledged, and the relay that lives has said so.
    acknowledged: u64,
    /// Everything up to here was acknowledged with a request of its own, which is as durable as a message.
    durably: u64,
    repeated: usize,
    random: Random,
}

impl Receiver {
    /// Receives and acknowledges until the relay is gone.
    fn receive(&mut self, relay: &Relay) {
        self.acknowledged = self.durably;
        let Ok(mut conn) = Conn::try_open(relay.addr()) else { return };
        loop {
            // What is not acknowledged comes again: so with every second poll.
            let after = self.position.clone().filter(|_| self.random.below(2) == 0);
            if conn.try_send(get(&poll_target(&self.session, after.as_ref(), "wait=1&limit=50"))).is_err() {
                return;
            }
            let Ok(response) = conn.try_response(SOON) else { return };
            self.take(&response.batch(), after.as_ref());
            if self.random.below(4) == 0 {
                let position = self.position.clone().expect("there was an answer");
                if conn.try_send(ack_request(&self.session, &position)).is_err() {
                    return;
                }
                let Ok(response) = conn.try_response(SOON) else { return };
                response.v1();
                self.acknowledged = self.acknowledged.max(position.seq());
                self.durably = self.durably.max(position.seq());
            }
        }
    }

    fn take(&mut self, batch: &Batch, after: Option<&Cursor>) {
        assert_eq!(batch.gap, None, "{}: after {after:?}", self.session);
        if let Some(after) = after {
            self.acknowledged = self.acknowledged.max(after.seq());
            assert_eq!(batch.cursor.epoch(), after.epoch(), "{}: another epoch", self.session);
        }
        for message in &batch.messages {
            assert!(message.seq > self.acknowledged, "{}: {message:?} was acknowledged", self.session);
            assert_eq!(message.number() + 1, message.seq, "{}: out of order or accepted twice", self.session);
            let known = (message.id.clone(), message.number());
            match self.got.insert(message.seq, known.clone()) {
                Some(before) => {
                    assert_eq!(before, known, "{}: one place, two messages", self.session);
                    self.repeated += 1;
                }
                None => assert_eq!(message.seq, self.got.len() as u64, "{}: a hole", self.session),
            }
        }
        if self.position.as_ref().is_none_or(|position| position.seq() < batch.cursor.seq()) {
            self.position = Some(batch.cursor.clone());
        }
    }

    /// After a restart everything that was answered is there.
    fn check(&mut self, relay: &Relay, answers: &[Sent]) {
        self.acknowledged = self.durably;
        let mut conn = Conn::open(relay.addr());
        loop {
            let after = self.position.clone();
            let batch = conn.exchange(get(&poll_target(&self.session, after.as_ref(), "wait=0&limit=1000"))).batch();
            self.take(&batch, after.as_ref());
            if !batch.more {
                break;
            }
        }
        for (n, answer) in answers.iter().enumerate() {
            let got = self.got.get(&(n as u64 + 1));
            let there = got.is_some_and(|(id, _)| *id == answer.id);
            assert!(there, "{}: {n} was answered ok as {answer:?}, and is lost: {got:?}", self.session);
        }
    }
}

fn kill_rounds(rounds: usize) {
    let data = tempfile::tempdir().expect("a directory");
    let mut random = Random::new();
    let mut pairs: Vec<(Sender, Receiver)> = (0..SESSIONS)
        .map(|n| {
            let session = format!("b{n}");
            let sender = Sender { session: session.clone(), answers: Vec::new(), unsure: false, retried: 0, found: 0 };
            let (got, random) = (BTreeMap::new(), random.split());
            (sender, Receiver { session, got, position: None, acknowledged: 0, durably: 0, repeated: 0, random })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for round in 0..=rounds {
        let start = Instant::now();
        let mut relay = on(data.path(), &[]);
        slowest = slowest.max(start.elapsed());
        // Every third round checks before it goes on, so that what came back is also left to come back again.
        if round % 3 == 0 || round == rounds {
            for (sender, receiver) in &mut pairs {
                receiver.check(&relay, &sender.answers);
                sender.check(&relay, &mut random);
            }
        }
        if round == rounds {
            break;
        }
        // At a random moment of its work, however fast it works.
        let (enough, pause) = (1 + random.below(60), random.within(Duration::from_millis(10)));
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (sender, receiver) in &mut pairs {
                let (relay, answered) = (&relay, &answered);
                scope.spawn(|| sender.send(relay, answered));
                scope.spawn(|| receiver.receive(relay));
            }
            eventually("it works", SOON, || (answered.load(Ordering::Relaxed) >= enough).then_some(()));
            thread::sleep(pause);
            relay.process.signal(Signal::SIGKILL);
        });
        relay.wait_exit(SOON);
    }
    let sum = |f: fn(&(Sender, Receiver)) -> usize| -> usize { pairs.iter().map(f).sum() };
    let answered = sum(|(sender, _)| sender.answers.len());
    println!(
        "{rounds} rounds of kill -9: {answered} answered, 0 of them lost; {} retried, {} of these had been accepted; \
         {} delivered again; slowest start {slowest:?}",
        sum(|(sender, _)| sender.retried),
        sum(|(sender, _)| sender.found),
        sum(|(_, receiver)| receiver.repeated)
    );
    assert!(answered >= rounds, "only {answered}");
    assert!(rounds < 20 || sum(|(sender, _)| sender.found) > 0, "no kill fell between acceptance and answer");
    assert!(sum(|(_, receiver)| receiver.repeated) > 0, "nothing came again: acknowledging was not put to the test");
}

#[test]
fn every_answered_message_survives_kill_9_with_its_place_and_its_answer() {
    kill_rounds(6);
}

#[test]
fn prove_every_answered_message_survives_kill_9_with_its_place_and_its_answer() {
    if prove("50 rounds of kill -9 over protocol v1") {
        kill_rounds(50);
    }
}

#[test]
fn an_acknowledgement_that_was_answered_survives_kill_9() {
    let data = tempfile::tempdir().expect("a directory");
    let mut relay = on(data.path(), &[]);
    relay.send_numbers("b", 0..5);
    let cursor = relay.look("b", None).cursor;
    assert_eq!(relay.ack("b", &cursor.at(3)), 3);
    relay.kill9();
    let mut relay = on(data.path(), &[]);
    assert_eq!(relay.look("b", None).seqs(), [4, 5]);
    assert_eq!(relay.look("b", Some(&cursor.at(1))).gap, Some(Gap::of(2, 3, "taken")));
    relay.ack("b", &cursor);
    relay.kill9();
    let relay = on(data.path(), &[]);
    let batch = relay.look("b", Some(&cursor));
    assert!(batch.messages.is_empty() && batch.gap.is_none() && batch.cursor == cursor, "{batch:?}");
    relay.send_numbers("b", 5..6);
    assert_eq!(relay.look("b", Some(&cursor)).seqs(), [6], "a seq is never given twice");
}

#[test]
fn a_gap_survives_kill_9_as_what_it_was() {
    let data = tempfile::tempdir().expect("a directory");
    let mut relay = on(data.path(), &[]);
    relay.send_numbers("b", 0..4);
    let cursor = relay.look("b", None).cursor;
    assert_eq!(relay.purge_v1("b"), 4);
    relay.send_numbers("b", 4..5);
    // Whatever an answer does not have to wait for is on disk with the next thing that has to.
    relay.kill9();
    let relay = on(data.path(), &[]);
    let batch = relay.look("b", Some(&cursor.at(1)));
    assert_eq!((batch.gap, batch.cursor.seq()), (Some(Gap::of(2, 4, "purged")), 5));
}

#[test]
fn after_an_unclean_end_with_interval_sync_the_epoch_is_another() {
    let data = tempfile::tempdir().expect("a directory");
    let interval = ["--sync", "100ms"];
    let mut relay = on(data.path(), &interval);
    relay.send_numbers("b", 0..3);
    let cursor = relay.look("b", None).cursor;
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    let mut relay = on(data.path(), &interval);
    let batch = relay.look("b", Some(&cursor));
    assert!(batch.gap.is_none() && batch.cursor == cursor, "after a clean end nothing has changed: {batch:?}");
    relay.kill9();
    let relay = on(data.path(), &interval);
    let batch = relay.look("b", Some(&cursor));
    assert_eq!(batch.gap, Some(Gap::epoch()), "seqs may have been used twice: {batch:?}");
    assert_ne!(batch.cursor.epoch(), cursor.epoch());
}
