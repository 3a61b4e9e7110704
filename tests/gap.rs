//! Messages that can no longer be delivered: for each cause, on each transport, exactly one gap with the right range, the
//! same again for a cursor that does not move on, and none for one that does.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::time::{Duration, Instant};

use common::{
    Cut, PROMPT, Relay, eventually, prove,
    v1::{Cursor, Door, Event, Gap, Message, Receiver, numbered},
};

/// Longer than a sweep takes to come (five seconds).
const SWEEP: Duration = Duration::from_secs(60);

/// Reads until the message `last` has come: the gaps and the messages' numbers.
#[track_caller]
fn read(receiver: &mut Receiver, last: u64) -> (Vec<Gap>, Vec<u64>) {
    let (mut gaps, mut numbers): (Vec<Gap>, Vec<u64>) = Default::default();
    let start = Instant::now();
    while numbers.last() != Some(&last) {
        match receiver.next((PROMPT).saturating_sub(start.elapsed())) {
            Ok(Event::Gap(gap)) => {
                assert!(numbers.is_empty(), "{gap:?} after {numbers:?}");
                gaps.push(gap);
            }
            Ok(Event::Message(message)) => numbers.push(message.number()),
            Ok(Event::Cursor(_)) => {}
            other => panic!("{other:?} after {gaps:?} {numbers:?}"),
        }
    }
    (gaps, numbers)
}

/// A session of which a receiver has 0 and 1, and whose next four messages are gone by `cause`; the rest is what `cause`
/// left. Returns the cursor behind 0 and 1.
fn with_hole(relay: &Relay, session: &str, cause: impl FnOnce(&Cursor)) -> Cursor {
    relay.send_numbers(session, 0..2);
    let cursor = relay.look(session, None).cursor;
    assert_eq!(cursor.seq(), 2);
    relay.ack(session, &cursor);
    cause(&cursor);
    cursor
}

/// On every transport: `cursor` gets `gap`, then the messages up to number `last`, each time that it comes; and what
/// comes with each cursor after the gap gets none.
#[track_caller]
fn assert_told(relay: &Relay, session: &str, cursor: &Cursor, gap: &Gap, messages: &[u64]) {
    let last = *messages.last().expect("something is left");
    for door in [Door::Poll, Door::Events, Door::EventsByPost, Door::Socket] {
        // Twice the same: it has not moved on.
        for again in 0..2 {
            let mut receiver = Receiver::open(relay.addr(), session, door, Some(cursor));
            let (gaps, numbers) = read(&mut receiver, last);
            assert_eq!((&gaps[..], &numbers[..]), (&[gap.clone()][..], messages), "{door:?}, time {again}");
            receiver.cut(Cut::Rst);
        }
        assert_cut_before_the_gap_loses_nothing(relay, session, cursor, gap, door);
    }
    // One that moves on, on each transport; the gap's own cursor first, because later ones acknowledge.
    let behind = behind(relay, session, cursor, last);
    let behind_gap = gap.to.map_or(behind.at(behind.seq() - messages.len() as u64), |to| behind.at(to));
    for door in [Door::Poll, Door::Events, Door::EventsByPost, Door::Socket] {
        let mut receiver = Receiver::open(relay.addr(), session, door, Some(&behind_gap));
        assert_eq!(read(&mut receiver, last), (Vec::new(), messages.to_vec()), "{door:?}: told twice");
        receiver.cut(Cut::Fin);
    }
    // Without a cursor it begins at the stored acknowledgement, which is behind the gap now.
    for door in Door::TRANSPORTS {
        let mut receiver = Receiver::open(relay.addr(), session, door, None);
        assert_eq!(read(&mut receiver, last), (Vec::new(), messages.to_vec()), "{door:?}");
        receiver.cut(Cut::Fin);
    }
}

/// What a receiver at `cursor` has in the end, when it has read the message `last`.
#[track_caller]
fn behind(relay: &Relay, session: &str, cursor: &Cursor, last: u64) -> Cursor {
    let mut receiver = Receiver::open(relay.addr(), session, Door::Socket, Some(cursor));
    read(&mut receiver, last);
    match receiver.next(PROMPT) {
        Ok(Event::Cursor(behind)) => behind,
        other => panic!("no cursor behind the last message but {other:?}"),
    }
}

/// A stream's first cursor, if the connection ends right behind it, still leads to the gap. A socket says so: polls that
/// repeat their cursor are slowed.
#[track_caller]
fn assert_cut_before_the_gap_loses_nothing(relay: &Relay, session: &str, cursor: &Cursor, gap: &Gap, door: Door) {
    if door == Door::Poll {
        return;
    }
    let mut receiver = Receiver::open(relay.addr(), session, door, Some(cursor));
    let first = match receiver.next(PROMPT) {
        Ok(Event::Cursor(first)) => first,
        other => panic!("{door:?}: no cursor first but {other:?}"),
    };
    receiver.cut(Cut::Rst);
    let mut receiver = Receiver::open(relay.addr(), session, Door::Socket, Some(&first));
    let second = loop {
        match receiver.next(PROMPT) {
            Ok(Event::Cursor(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(&second, Ok(Event::Gap(told)) if told == gap), "{door:?}: {first} jumps over the gap: {second:?}");
}

#[test]
fn expired() {
    let relay = Relay::start(&["--wait", "10s"]);
    let cursor = with_hole(&relay, "b", |_| {
        for n in 2..6 {
            relay.send_body(&format!(r#"{{"to":"b","payload":{{"n":{n}}},"ttl":1}}"#)).sent();
        }
        relay.send_numbers("b", 6..8);
        eventually("they expire", SWEEP, || (relay.pending("b") == 2).then_some(()));
    });
    assert_told(&relay, "b", &cursor, &Gap::of(3, 6, "expired"), &[6, 7]);
}

#[test]
fn purged() {
    let relay = Relay::start(&["--wait", "10s"]);
    let cursor = with_hole(&relay, "b", |_| {
        relay.send_numbers("b", 2..6);
        assert_eq!(relay.purge_v1("b"), 4);
        relay.send_numbers("b", 6..8);
    });
    assert_told(&relay, "b", &cursor, &Gap::of(3, 6, "purged"), &[6, 7]);
}

#[test]
fn overflow() {
    let relay = Relay::start(&["--wait", "10s", "--mailbox-messages", "2", "--overflow", "drop-oldest"]);
    let cursor = with_hole(&relay, "b", |_| relay.send_numbers("b", 2..8));
    assert_told(&relay, "b", &cursor, &Gap::of(3, 6, "overflow"), &[6, 7]);
}

#[test]
fn taken_by_an_acknowledgement() {
    let relay = Relay::start(&["--wait", "10s"]);
    let cursor = with_hole(&relay, "b", |cursor| {
        relay.send_numbers("b", 2..8);
        assert_eq!(relay.ack("b", &cursor.at(6)), 4);
    });
    assert_taken(&relay, "b", &cursor);
}

#[test]
fn taken_over_x0() {
    let relay = Relay::start(&["--wait", "10s", "--answer-messages", "4"]);
    let cursor = with_hole(&relay, "b", |_| {
        relay.send_numbers("b", 2..8);
        assert_eq!(relay.poll("b").len(), 4);
        eventually("x0's lease is decided", PROMPT, || (relay.pending("b") == 2).then_some(()));
    });
    assert_taken(&relay, "b", &cursor);
}

#[test]
fn taken_over_each_door() {
    let relay = Relay::start(&["--wait", "10s"]);
    for door in Door::ALL.into_iter().filter(|door| door.is_v1()) {
        let session = format!("{door:?}");
        let cursor = with_hole(&relay, &session, |cursor| {
            relay.send_numbers(&session, 2..6);
            let mut other = Receiver::open(relay.addr(), &session, door, Some(cursor));
            assert_eq!(read(&mut other, 5).1, [2, 3, 4, 5]);
            // The cursor behind the last message.
            while !other.is_drained() {
                other.next(PROMPT).expect("it is there");
            }
            other.ack().expect("the relay is there");
            if door == Door::Poll {
                // Its next poll says so.
                let _ = other.next(Duration::from_millis(1));
            }
            eventually("the other one has them", PROMPT, || (relay.pending(&session) == 0).then_some(()));
            other.cut(Cut::Rst);
            relay.send_numbers(&session, 6..8);
        });
        assert_taken(&relay, &session, &cursor);
    }
}

/// As [`assert_told`] for messages that another receiver has.
#[track_caller]
fn assert_taken(relay: &Relay, session: &str, cursor: &Cursor) {
    assert_told(relay, session, cursor, &Gap::of(3, 6, "taken"), &[6, 7]);
}

#[test]
fn epoch() {
    let mut relay = Relay::start(&["--wait", "10s"]);
    relay.send_numbers("b", 0..5);
    let cursor = relay.look("b", None).cursor;
    relay.kill9();
    let relay = Relay::start(&["--wait", "10s"]);
    relay.send_numbers("b", 6..8);
    assert_told(&relay, "b", &cursor, &Gap::epoch(), &[6, 7]);
}

#[test]
fn a_plain_stream_is_told_too() {
    let relay = Relay::start(&["--wait", "10s"]);
    let cursor = with_hole(&relay, "b", |_| {
        relay.send_numbers("b", 2..6);
        relay.purge_v1("b");
        relay.send_numbers("b", 6..8);
    });
    let mut receiver = Receiver::open(relay.addr(), "b", Door::PlainEvents, Some(&cursor));
    assert_eq!(read(&mut receiver, 7), (vec![Gap::of(3, 6, "purged")], vec![6, 7]));
}

#[test]
fn an_answer_with_only_a_gap_is_given_at_once_and_its_cursor_is_behind_it() {
    let relay = Relay::start(&["--wait", "60s"]);
    let cursor = with_hole(&relay, "b", |_| {
        relay.send_numbers("b", 2..6);
        relay.purge_v1("b");
    });
    for door in Door::TRANSPORTS {
        let mut receiver = Receiver::open(relay.addr(), "b", door, Some(&cursor));
        let (mut seen, mut last) = (None, None);
        while last.as_ref().is_none_or(|last: &Cursor| last.seq() < 6) {
            match receiver.next(PROMPT) {
                Ok(Event::Gap(gap)) => seen = Some(gap),
                Ok(Event::Cursor(cursor)) => last = Some(cursor),
                other => panic!("{door:?}: {other:?}"),
            }
        }
        assert_eq!((seen, last), (Some(Gap::of(3, 6, "purged")), Some(cursor.at(6))), "{door:?}");
        receiver.cut(Cut::Rst);
    }
    // Behind it there is nothing to say.
    let empty = relay.look("b", Some(&cursor.at(6)));
    assert!(empty.gap.is_none() && empty.messages.is_empty() && !empty.more, "{empty:?}");
}

#[test]
fn without_a_cursor_a_client_begins_at_the_stored_acknowledgement_and_is_told_as_anybody() {
    let relay = Relay::start(&["--wait", "10s"]);
    with_hole(&relay, "b", |_| {
        relay.send_numbers("b", 2..6);
        relay.purge_v1("b");
        relay.send_numbers("b", 6..8);
    });
    for door in Door::TRANSPORTS {
        let mut receiver = Receiver::open(relay.addr(), "b", door, None);
        assert_eq!(read(&mut receiver, 7), (vec![Gap::of(3, 6, "purged")], vec![6, 7]), "{door:?}");
        receiver.cut(Cut::Rst);
    }
}

/// Sends 0 to 9, of which the numbers in `mortal` expire after a second and the others do not.
fn with_holes_in_the_middle(relay: &Relay, mortal: &[u64]) {
    for n in 0..10 {
        let ttl = if mortal.contains(&n) { r#","ttl":1"# } else { "" };
        relay.send_body(&format!(r#"{{"to":"b","payload":{}{ttl}}}"#, numbered(n))).sent();
    }
    let left = 10 - mortal.len() as u64;
    eventually("they expire", SWEEP, || (relay.pending("b") == left).then_some(()));
}

#[test]
fn a_batch_is_cut_before_a_hole_in_the_middle_and_the_next_one_begins_with_the_gap() {
    let relay = Relay::start(&[]);
    with_holes_in_the_middle(&relay, &[2, 3, 7]);
    let first = relay.look("b", None);
    assert_eq!((first.numbers(), first.gap, first.more, first.cursor.seq()), (vec![0, 1], None, true, 2));
    let second = relay.look("b", Some(&first.cursor));
    assert_eq!((second.numbers(), second.more), (vec![4, 5, 6], true));
    assert_eq!((second.gap, second.cursor.seq()), (Some(Gap::of(3, 4, "expired")), 7));
    let third = relay.look("b", Some(&second.cursor));
    assert_eq!((third.numbers(), third.gap, third.more), (vec![8, 9], Some(Gap::of(8, 8, "expired")), false));
    // Every transport tells the same.
    for door in Door::TRANSPORTS {
        let mut receiver = Receiver::open(relay.addr(), "b", door, Some(&first.cursor.at(7)));
        assert_eq!(read(&mut receiver, 9), (vec![Gap::of(8, 8, "expired")], vec![8, 9]), "{door:?}");
        receiver.cut(Cut::Rst);
    }
}

#[test]
fn a_hole_before_the_end_and_a_hole_at_the_end_are_told_on_a_stream_that_goes_on() {
    for door in Door::TRANSPORTS {
        let relay = Relay::start(&["--wait", "60s"]);
        with_holes_in_the_middle(&relay, &[0, 4, 5, 9]);
        let mut receiver = Receiver::open(relay.addr(), "b", door, None);
        let mut seen = Vec::new();
        while seen.last() != Some(&Event::Gap(Gap::of(10, 10, "expired"))) {
            match receiver.next(PROMPT) {
                Ok(Event::Cursor(cursor)) => assert!(cursor.seq() < 10, "{door:?}: {cursor} after {seen:?}"),
                Ok(event) => seen.push(event),
                Err(broken) => panic!("{door:?}: {broken:?} after {seen:?}"),
            }
        }
        let told: Vec<(u64, u64)> = seen
            .iter()
            .map(|event| match event {
                Event::Gap(gap) => (gap.from.expect("known"), gap.to.expect("known")),
                Event::Message(Message { seq, .. }) => (*seq, 0),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [(1, 1), (2, 0), (3, 0), (4, 0), (5, 6), (7, 0), (8, 0), (9, 0), (10, 10)], "{door:?}");
    }
}

#[test]
fn neighbouring_holes_of_different_causes_are_one_gap_each() {
    let relay = Relay::start(&["--mailbox-messages", "3", "--overflow", "drop-oldest"]);
    let start = relay.cursor("b");
    // 1 and 2 are pushed out, 3 to 5 purged, 6 is taken, 7 waits.
    relay.send_numbers("b", 0..5);
    assert_eq!(relay.purge_v1("b"), 3);
    relay.send_numbers("b", 5..6);
    relay.send_numbers("b", 6..7);
    let mut batch = relay.look("b", Some(&start));
    let mut gaps = vec![batch.gap.clone()];
    while batch.more {
        batch = relay.look("b", Some(&batch.cursor));
        gaps.push(batch.gap.clone());
    }
    assert_eq!(gaps, [Some(Gap::of(1, 2, "overflow")), Some(Gap::of(3, 5, "purged"))]);
    assert_eq!(batch.seqs(), [6, 7]);
}

#[test]
fn a_gap_that_is_passed_is_never_told_again_and_one_behind_it_is() {
    let relay = Relay::start(&[]);
    let start = relay.cursor("b");
    relay.send_numbers("b", 0..3);
    relay.purge_v1("b");
    relay.send_numbers("b", 3..4);
    let first = relay.look("b", Some(&start));
    assert_eq!(first.gap, Some(Gap::of(1, 3, "purged")));
    assert_eq!(relay.look("b", Some(&first.cursor)).gap, None);
    relay.send_numbers("b", 4..6);
    relay.purge_v1("b");
    let second = relay.look("b", Some(&first.cursor));
    assert_eq!((second.gap, second.cursor.seq()), (Some(Gap::of(5, 6, "purged")), 6));
    // The mailbox remembers only what somebody may still ask for: what an acknowledged cursor passed is taken now.
    let old = relay.look("b", Some(&start));
    let gap = old.gap.expect("a cursor that has not moved on is told something");
    assert_eq!(gap.from, Some(1), "{gap:?}");
}

#[test]
fn a_mailbox_that_was_forgotten_and_made_again_has_another_epoch() {
    let relay = Relay::start(&["--forget-after", "1s", "--wait", "60s"]);
    relay.send_numbers("b", 0..2);
    let cursor = relay.look("b", None).cursor;
    relay.ack("b", &cursor);
    // Waiting for it is what must not touch it: any question about the session itself might.
    eventually("it is forgotten", SWEEP, || (relay.metric("x0_relay_mailboxes") == 0.0).then_some(()));
    relay.send_numbers("b", 2..3);
    assert_told(&relay, "b", &cursor, &Gap::epoch(), &[2]);
}

#[test]
fn prove_every_gap_again_and_again() {
    if prove("gaps, 20 times each") {
        for _ in 0..20 {
            purged();
            overflow();
            taken_by_an_acknowledgement();
            taken_over_x0();
            taken_over_each_door();
            epoch();
        }
        println!("20 times each: 6 causes on 4 transports, one gap each, the same for the same cursor");
    }
}
