//! The session by itself: what follows from what, and the whole of it against a simple model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    cursor::{Gap, Reason},
    mailbox::{Letter, Removed},
    message::{Arrival, Message, Shape, UnixMs},
    wire::v1::Limits,
};

const TERMS: Terms = Terms {
    window: 5,
    max: Max { messages: 3, bytes: 1000 },
    keepalive: Duration::from_secs(15),
    leave_within: Duration::from_secs(10),
};
const LIMITS: Limits = Limits { message_bytes: 1000, ttl_max: Duration::from_secs(3600) };
const HOUR: Duration = Duration::from_secs(3600);

fn at(epoch: u64, seq: u64) -> Cursor {
    Cursor { epoch: Epoch(epoch), seq: Seq(seq) }
}

fn session() -> Session {
    Session::open(TERMS, at(1, 0))
}

fn letters(seqs: impl Iterator<Item = u64>) -> Vec<Letter> {
    let message = Arc::new(Message {
        id: Uuid::nil(),
        from: "".into(),
        kind: "".into(),
        accepted: UnixMs(0),
        expires: UnixMs(u64::MAX),
        payload: Bytes::from_static(b"1"),
        shape: Shape::Other,
    });
    seqs.map(|seq| Letter { seq: Seq(seq), arrival: Arrival::default(), message: Arc::clone(&message) }).collect()
}

fn batch(epoch: u64, from: u64, to: u64) -> Batch {
    Batch { letters: letters(from..=to), cursor: at(epoch, to), ..Batch::default() }
}

fn ack(cursor: Cursor) -> String {
    format!(r#"{{"type":"ack","cursor":"{cursor}"}}"#)
}

fn say(session: &mut Session, text: &str) -> Vec<Order> {
    session.frame(v1::frame(text, &LIMITS));
    session.take_orders()
}

fn send(session: &mut Session, reference: usize) {
    let orders = say(session, &format!(r#"{{"type":"send","ref":{reference},"to":"b","payload":1}}"#));
    assert!(matches!(&orders[..], [Order::Send { reference: Some(name), .. }] if *name == reference.to_string()));
}

fn accepted() -> Result<Accepted, Error> {
    Ok(Accepted { id: Uuid::nil(), recipients: 1, duplicate: false, dropped: Removed::default() })
}

fn room(session: &Session) -> usize {
    match session.wants() {
        Wants::Mail(max) => max.messages,
        Wants::Room => 0,
        Wants::Nothing => panic!("it wants nothing"),
    }
}

fn closes(orders: &[Order]) -> Option<u16> {
    orders.iter().find_map(|order| match order {
        Order::Close { code, .. } => Some(*code),
        _ => None,
    })
}

fn texts(orders: &[Order]) -> Vec<String> {
    let text = |order: &Order| match order {
        Order::Say(text) => Some(String::from_utf8(text.clone()).expect("UTF-8")),
        Order::Refuse { error, .. } => Some(error.kind.label().to_owned()),
        _ => None,
    };
    orders.iter().filter_map(text).collect()
}

#[test]
fn mail_fills_the_window_and_acknowledgements_empty_it() {
    let mut session = session();
    assert_eq!(session.wants(), Wants::Mail(TERMS.max));
    session.mail(batch(1, 1, 3));
    assert_eq!((room(&session), session.position()), (2, at(1, 3)));
    session.mail(batch(1, 4, 5));
    assert_eq!(session.wants(), Wants::Room);
    assert!(session.would_settle(at(1, 1)) && !session.would_settle(at(1, 0)) && !session.would_settle(at(2, 5)));
    assert!(matches!(&session.take_orders()[..], [Order::Mail(_), Order::Mail(_)]));
    for (upto, left) in [(at(2, 5), 0), (at(1, 1), 1), (at(1, 1), 1), (at(1, 0), 1), (at(1, 4), 3), (at(1, 5), 3)] {
        let orders = say(&mut session, &ack(upto));
        assert_eq!(orders, [Order::Acknowledge(upto)]);
        session.acknowledged(upto, Ok(1));
        assert_eq!(room(&session), left, "{upto}");
    }
    assert_eq!(TERMS.window - session.in_flight.messages, 5);
}

#[test]
fn what_was_settled_by_another_way_makes_room() {
    let mut session = session();
    session.mail(batch(1, 1, 5));
    session.settled(at(1, 2));
    assert_eq!((room(&session), session.position()), (2, at(1, 5)));
}

#[test]
fn an_acknowledgement_ahead_changes_nothing_and_is_an_error() {
    let mut session = session();
    session.mail(batch(1, 1, 5));
    session.take_orders();
    session.acknowledged(at(1, 9), Err(Error::new(Kind::InvalidCursor, "ahead")));
    assert_eq!(texts(&session.take_orders()), ["invalid_cursor"]);
    assert_eq!((session.wants(), session.position()), (Wants::Room, at(1, 5)));
    // Removed, but perhaps to come back: the client has it all the same.
    session.acknowledged(at(1, 3), Err(Error::new(Kind::StorageFailed, "later")));
    assert_eq!((texts(&session.take_orders()), room(&session)), (vec!["storage_failed".to_owned()], 3));
}

#[test]
fn what_the_client_has_by_another_way_is_not_told_again() {
    let mut session = session();
    session.mail(batch(1, 1, 2));
    session.acknowledged(at(1, 4), Ok(4));
    assert_eq!((session.position(), room(&session)), (at(1, 4), 3));
    session.acknowledged(at(2, 9), Ok(0));
    assert_eq!(session.position(), at(1, 4));
}

#[test]
fn another_epoch_empties_the_window() {
    let mut session = session();
    session.mail(batch(1, 1, 5));
    let gap = Some(Gap { range: None, reason: Reason::Epoch });
    session.mail(Batch { gap, cursor: at(2, 0), more: true, ..Batch::default() });
    assert_eq!((room(&session), session.position()), (3, at(2, 0)));
    session.acknowledged(at(1, 5), Ok(0));
    session.mail(batch(2, 1, 3));
    assert_eq!(room(&session), 2);
}

#[test]
fn a_client_with_many_messages_on_their_way_is_not_listened_to() {
    let mut session = session();
    (0..SENDS_MAX).for_each(|reference| send(&mut session, reference));
    assert!(!session.listens());
    session.sent(Some("7".into()), accepted());
    assert!(session.listens());
    let id = Uuid::nil();
    let text = format!(r#"{{"type":"sent","ref":7,"id":"{id}","recipients":1,"duplicate":false}}"#);
    assert_eq!(texts(&session.take_orders()), [text]);
    session.sent(Some("8".into()), Err(Error::new(Kind::MailboxFull, "full")));
    let orders = session.take_orders();
    assert!(matches!(&orders[..], [Order::Refuse { reference: Some(name), .. }] if name == "8"));
}

#[test]
fn frames_are_answered_one_by_one() {
    let mut session = session();
    assert_eq!(texts(&say(&mut session, r#"{"type":"ping"}"#)), [r#"{"type":"pong"}"#]);
    for (text, reference) in [(r#"{"type":"fly","ref":"1"}"#, Some("\"1\"")), ("no", None)] {
        let orders = say(&mut session, text);
        assert!(matches!(&orders[..], [Order::Refuse { reference: name, .. }] if name.as_deref() == reference));
    }
    assert!(!session.is_over() && session.listens());
}

#[test]
fn credentials_are_renewed_announced_and_end() {
    let mut session = session();
    let orders = say(&mut session, r#"{"type":"auth","ref":1,"token":"t"}"#);
    let [Order::Authenticate { reference, token }] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((reference.as_deref(), &*token.0, format!("{token:?}").contains("\"t\"")), (Some("1"), "t", false));
    session.authenticated(reference.clone(), Ok(UnixMs(5)));
    session.authenticated(None, Err(Error::new(Kind::InvalidToken, "no")));
    session.expiring(Duration::from_millis(59_900));
    let told = texts(&session.take_orders());
    assert_eq!(told[0], r#"{"type":"authenticated","ref":1,"expires":5}"#);
    assert!(told[1].contains("invalid_token"), "{told:?}");
    assert_eq!(told[2], r#"{"type":"expiring","in":59}"#);
    session.void(Kind::Expired, Duration::ZERO);
    let orders = session.take_orders();
    assert_eq!(
        (closes(&orders), texts(&orders)),
        (Some(3000), vec![r#"{"type":"goodbye","reason":"expired"}"#.to_owned()])
    );
    session.void(Kind::Revoked, Duration::ZERO);
    assert_eq!(session.take_orders(), [], "it is over");
}

#[test]
fn what_cannot_be_understood_closes_with_its_code() {
    for (unfit, code, told) in [
        (Unfit::Binary, 1003, vec![]),
        (Unfit::TooLarge(10), 1009, vec!["too_large"]),
        (Unfit::Broken(1007, "text"), 1007, vec![]),
    ] {
        let mut session = session();
        session.unfit(unfit);
        let orders = session.take_orders();
        assert_eq!((closes(&orders), texts(&orders)), (Some(code), told.into_iter().map(str::to_owned).collect()));
        assert!(matches!(orders.last(), Some(Order::Close { .. })) && session.is_over() && !session.listens());
    }
    let mut session = session();
    session.failed(Error::new(Kind::TooManySessions, "many"));
    assert_eq!(closes(&session.take_orders()), Some(1013));
}

#[test]
fn a_displaced_session_hears_on_and_leaves_after_the_wait() {
    let mut session = session();
    session.heard(HOUR);
    session.tick(HOUR);
    assert_eq!(session.take_orders(), [Order::Ping]);
    session.superseded(Duration::from_secs(1), HOUR);
    assert!(session.take_orders().is_empty() && session.listens() && session.wants() == Wants::Nothing);
    assert_eq!(session.due(), HOUR + Duration::from_secs(1));
    assert_eq!(say(&mut session, &ack(at(1, 1))), [Order::Acknowledge(at(1, 1))]);
    session.tick(HOUR + Duration::from_millis(999));
    assert!(session.take_orders().is_empty());
    session.tick(HOUR + Duration::from_secs(1));
    let orders = session.take_orders();
    assert_eq!(texts(&orders), [r#"{"type":"goodbye","reason":"superseded"}"#]);
    assert!(closes(&orders) == Some(4001) && session.is_over());
}

#[test]
fn one_that_need_not_wait_leaves_at_once_and_a_drain_ends_the_wait() {
    let mut at_once = session();
    at_once.superseded(Duration::ZERO, Duration::from_secs(3));
    assert_eq!(closes(&at_once.take_orders()), Some(4001));
    let mut waits = session();
    waits.superseded(Duration::from_secs(1), Duration::from_secs(3));
    waits.drain(Duration::from_secs(1), Duration::from_secs(3));
    assert_eq!(closes(&waits.take_orders()), Some(4001));
}

#[test]
fn a_goodbye_waits_for_the_answers_it_is_owed_but_not_for_ever() {
    for answered in [true, false] {
        let mut session = session();
        (0..2).for_each(|reference| send(&mut session, reference));
        session.drain(Duration::from_millis(2700), HOUR);
        session.drain(Duration::from_millis(1), HOUR);
        assert!(session.take_orders().is_empty() && !session.listens() && session.wants() == Wants::Nothing);
        assert_eq!(session.due(), HOUR + TERMS.leave_within);
        session.sent(Some("1".into()), accepted());
        assert!(closes(&session.take_orders()).is_none());
        if answered {
            session.sent(Some("0".into()), Err(Error::new(Kind::Draining, "draining")));
        } else {
            session.tick(HOUR + TERMS.leave_within);
        }
        let orders = session.take_orders();
        let goodbye = r#"{"type":"goodbye","reason":"drain","retry_after":2.7}"#;
        assert_eq!(texts(&orders), if answered { vec!["draining", goodbye] } else { vec![goodbye] });
        assert_eq!(closes(&orders), Some(1012));
    }
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let mut session = session();
    let step = TERMS.keepalive;
    assert_eq!(session.due(), step);
    session.tick(step / 2);
    assert!(session.take_orders().is_empty());
    session.tick(step);
    assert_eq!(session.take_orders(), [Order::Ping]);
    session.heard(step + step / 2);
    session.tick(step * 2);
    assert_eq!(session.take_orders(), [Order::Ping]);
    session.tick(step * 3);
    assert_eq!(session.take_orders(), [Order::Ping]);
    assert_eq!(session.due(), step * 3 + step / 2);
    session.tick(step * 3 + step / 2);
    assert_eq!(closes(&session.take_orders()), Some(1008));
}

/// A mailbox as simple as can be: which seqs wait, which are lost, and what is acknowledged.
#[derive(Debug, Default)]
struct Model {
    /// Whether each message waits; if not, it is lost.
    waits: BTreeMap<u64, bool>,
    acknowledged: u64,
    sent: BTreeSet<u64>,
    /// Everything up to here was sent, told to be missing, or acknowledged.
    told: u64,
    unanswered: BTreeSet<usize>,
}

impl Model {
    fn last(&self) -> u64 {
        self.waits.len() as u64
    }

    fn in_flight(&self) -> usize {
        self.sent.range(self.acknowledged + 1..).count()
    }

    fn batch(&self, after: u64, max: usize) -> Batch {
        let lost = self.waits.range(after + 1..).take_while(|(_, waits)| !**waits).count() as u64;
        let gap = (lost > 0).then(|| Gap { range: Some((Seq(after + 1), Seq(after + lost))), reason: Reason::Expired });
        let next = after + lost + 1;
        let run = self.waits.range(next..).take_while(|(_, waits)| **waits).take(max).count() as u64;
        let end = next + run - 1;
        Batch { gap, letters: letters(next..=end), cursor: at(1, end), more: end < self.last() }
    }

    fn take(&mut self, batch: &Batch) {
        let mut next = self.told + 1;
        if let Some((from, to)) = batch.gap.and_then(|gap| gap.range) {
            assert_eq!(from.0, next, "a gap begins where the last frame ended");
            next = to.0 + 1;
        }
        for letter in &batch.letters {
            assert_eq!(letter.seq.0, next, "no hole that no gap explains, and nothing twice");
            self.sent.insert(next);
            next += 1;
        }
        self.told = next - 1;
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Arrive(u64),
    Lose(u64),
    Look,
    Acknowledge(u64),
    AcknowledgeElsewhere(u64),
    Send,
    Answer(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (1..6_u64).prop_map(Deed::Arrive),
        (1..60_u64).prop_map(Deed::Lose),
        Just(Deed::Look),
        Just(Deed::Look),
        (0..60_u64).prop_map(Deed::Acknowledge),
        (0..60_u64).prop_map(Deed::AcknowledgeElsewhere),
        Just(Deed::Send),
        (0..SENDS_MAX).prop_map(Deed::Answer),
    ]
}

fn carry_out(deed: &Deed, session: &mut Session, model: &mut Model, next_reference: &mut usize) {
    match *deed {
        Deed::Arrive(count) => {
            let last = model.last();
            model.waits.extend((last + 1..=last + count).map(|seq| (seq, true)));
        }
        // What is in flight may be lost as well as what is not.
        Deed::Lose(seq) if seq > model.acknowledged => {
            model.waits.entry(seq).and_modify(|waits| *waits = false);
        }
        Deed::Lose(_) => {}
        Deed::Look => {
            let batch = model.batch(session.position().seq.0, room(session));
            if !batch.is_empty() {
                session.mail(batch.clone());
                assert_eq!(session.take_orders(), [Order::Mail(batch.clone())]);
                model.take(&batch);
            }
        }
        Deed::Acknowledge(upto) => {
            assert_eq!(say(session, &ack(at(1, upto))), [Order::Acknowledge(at(1, upto))]);
            let ahead = upto > model.last();
            session
                .acknowledged(at(1, upto), if ahead { Err(Error::new(Kind::InvalidCursor, "ahead")) } else { Ok(0) });
            assert_eq!(session.take_orders().len(), usize::from(ahead));
            if !ahead {
                model.acknowledged = model.acknowledged.max(upto);
                model.told = model.told.max(upto);
            }
        }
        Deed::AcknowledgeElsewhere(upto) if upto <= model.told => {
            let news = model.sent.iter().any(|seq| model.acknowledged < *seq && *seq <= upto);
            assert_eq!(session.would_settle(at(1, upto)), news);
            session.settled(at(1, upto));
            model.acknowledged = model.acknowledged.max(upto);
        }
        Deed::AcknowledgeElsewhere(_) => {}
        Deed::Send if session.listens() => {
            *next_reference += 1;
            model.unanswered.insert(*next_reference);
            send(session, *next_reference);
        }
        Deed::Send => assert_eq!(model.unanswered.len(), SENDS_MAX),
        Deed::Answer(which) => {
            let Some(reference) = model.unanswered.iter().nth(which).copied() else { return };
            model.unanswered.remove(&reference);
            session.sent(Some(reference.to_string()), accepted());
            assert!(texts(&session.take_orders())[0].contains(&format!(r#""ref":{reference},"#)));
        }
    }
}

proptest! {
    #[test]
    fn the_session_keeps_to_its_model(deeds in prop::collection::vec(deed(), 1..200)) {
        let (mut session, mut model, mut next_reference) = (session(), Model::default(), 0);
        for deed in &deeds {
            carry_out(deed, &mut session, &mut model, &mut next_reference);
            prop_assert!(model.in_flight() <= TERMS.window);
            prop_assert_eq!(room(&session), (TERMS.window - model.in_flight()).min(TERMS.max.messages));
            prop_assert_eq!(session.position().seq.0, model.told);
            prop_assert_eq!(session.listens(), model.unanswered.len() < SENDS_MAX);
        }
    }
}
