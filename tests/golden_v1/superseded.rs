//! One receiver a session: what the displaced are told, and how storms are slowed.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::{
    Conn, Cut, PROMPT, Relay, assert_prompt, eventually, timed,
    v1::{Cursor, Door, Event, Receiver, get, numbered, poll_target},
    x0::{assert_carried, poll_request},
};

/// A v1 poll that waits.
#[track_caller]
fn parked(relay: &Relay, session: &str, cursor: &Cursor) -> Conn {
    let mut conn = Conn::open(relay.addr());
    let before = relay.parked();
    conn.send(get(&poll_target(session, Some(cursor), "wait=60")));
    relay.until_parked(before + 1);
    conn
}

#[test]
fn a_displaced_poll_is_answered_at_once_empty_and_superseded() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut slowest = Duration::ZERO;
    for (n, door) in Door::ALL.into_iter().cycle().take(30).enumerate() {
        let session = format!("s{n}");
        let cursor = relay.cursor(&session);
        let mut old = parked(&relay, &session, &cursor);
        let (response, took) = timed(|| {
            let newer = Receiver::open(relay.addr(), &session, door, None);
            (old.response(), newer)
        });
        let (response, newer) = response;
        let batch = response.batch();
        assert!(batch.superseded && batch.messages.is_empty() && batch.gap.is_none() && !batch.more, "{batch:?}");
        assert_eq!((batch.cursor, batch.retry_after), (cursor, None));
        assert!(!response.closes(), "its connection is as good as before");
        slowest = slowest.max(took);
        newer.cut(Cut::Rst);
        eventually("nobody is left", PROMPT, || (relay.parked() == 0).then_some(()));
    }
    // 50 ms is asserted under a paused clock; here it is printed.
    assert_prompt("the slowest of 30 superseded polls", slowest);
}

#[test]
fn what_the_displaced_had_not_acknowledged_goes_to_the_new_one() {
    let relay = Relay::start(&[]);
    for (n, door) in Door::ACKNOWLEDGING.into_iter().enumerate() {
        let session = format!("s{n}");
        relay.send_numbers(&session, 0..3);
        let mut old = Receiver::open(relay.addr(), &session, door, None);
        let first: Vec<_> = (0..3).map(|_| old.message()).collect();
        for newer in Door::TRANSPORTS {
            let mut newer = Receiver::open(relay.addr(), &session, newer, None);
            let again: Vec<_> = (0..3).map(|_| newer.message()).collect();
            assert_eq!(again, first, "{door:?}");
        }
        let mail = relay.poll(&session);
        assert_eq!(mail.len(), 3, "x0 too");
        // It still has its cursor, which is worth as much as before.
        let batch = relay.look(&session, Some(&relay.look(&session, None).cursor.at(3)));
        assert!(batch.messages.is_empty() && batch.gap.is_none(), "{batch:?}");
    }
}

#[test]
fn a_displaced_x0_poll_is_held_and_served_when_the_v1_receiver_is_gone() {
    let relay = Relay::start(&["--wait", "60s"]);
    for door in Door::TRANSPORTS {
        let session = format!("{door:?}");
        let mut x0 = Conn::open(relay.addr());
        relay.park_on(&mut x0, &session);
        let newer = Receiver::open(relay.addr(), &session, door, None);
        relay.until_parked(2);
        x0.assert_silent(Duration::from_millis(100));
        newer.cut(Cut::Rst);
        eventually("it is gone", PROMPT, || (relay.parked() == 1).then_some(()));
        relay.send_v1(&session, &numbered(0));
        assert_eq!(x0.response().mail().len(), 1);
    }
}

#[test]
fn a_displaced_x0_poll_is_served_when_the_v1_poll_is_answered() {
    let relay = Relay::start(&["--wait", "60s"]);
    let cursor = relay.cursor("b");
    let mut x0 = Conn::open(relay.addr());
    relay.park_on(&mut x0, "b");
    let mut v1 = parked(&relay, "b", &cursor);
    relay.send_v1("b", &numbered(0));
    let batch = v1.response().batch();
    assert_eq!(batch.numbers(), [0]);
    // It does not come back: x0's poll is the receiver, of what v1 has not acknowledged too.
    let mut mail = x0.response().mail();
    assert_carried(&mail[0], &numbered(0), "a");
    relay.send_v1("b", &numbered(1));
    if mail.len() < 2 {
        mail.extend(x0.exchange(poll_request("b")).mail());
    }
    assert_carried(&mail[1], &numbered(1), "a");
}

#[test]
fn a_storm_of_receivers_is_slowed_by_making_the_losers_wait() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let mut holder = parked(&relay, "b", &cursor);
    let mut losers = Vec::new();
    for _ in 0..5 {
        let mut newer = Conn::open(relay.addr());
        newer.send(get(&poll_target("b", Some(&cursor), "wait=60")));
        let (response, took) = timed(|| holder.response());
        assert!(response.batch().superseded);
        losers.push(took);
        holder = newer;
    }
    println!("five losers of one session waited {losers:?}");
    assert!(
        losers[3..].iter().all(|took| (Duration::from_secs(1)..Duration::from_secs(1) + PROMPT).contains(took)),
        "{losers:?}"
    );
    // That the first two are not slowed is asserted where time stands still. The winner is not slowed.
    let (_, took) = timed(|| {
        relay.send_v1("b", &numbered(0));
        assert_eq!(holder.response().batch().numbers(), [0]);
    });
    assert_prompt("the winner's message", took);
    // Nor is another session.
    let other = relay.cursor("c");
    let mut old = parked(&relay, "c", &other);
    let mut newer = Conn::open(relay.addr());
    newer.send(get(&poll_target("c", Some(&other), "wait=60")));
    let (_, took) = timed(|| old.response());
    assert_prompt("another session's loser", took);
}

#[test]
fn a_loser_that_waits_holds_nothing_up() {
    let relay = Relay::start(&["--wait", "60s"]);
    let cursor = relay.cursor("b");
    // Losers whose goodbye is held back; each is the receiver before the next one comes.
    let open = |door| {
        let mut receiver = Receiver::open(relay.addr(), "b", door, Some(&cursor));
        assert!(matches!(receiver.next(PROMPT), Ok(Event::Cursor(_))));
        receiver
    };
    let losers: Vec<Receiver> = (0..8).map(|_| open(Door::Events)).collect();
    let mut newest = open(Door::Socket);
    for n in 0..5 {
        let (_, took) = timed(|| {
            relay.send_v1("b", &numbered(n));
            assert_eq!(newest.message().number(), n);
        });
        assert_prompt("a message while losers wait", took);
    }
    drop(losers);
    relay.send_v1("b", &numbered(5));
    assert_eq!(newest.message().number(), 5);
}

#[test]
fn a_request_that_comes_whole_only_as_its_connection_ends_displaces_nobody() {
    // A network that delays: the client has given up on the connection and is back on another before the old one's last
    // packets arrive. A client that is told that it was superseded does not come back by itself.
    let relay = Relay::start(&["--wait", "60s"]);
    for (n, how) in [Cut::Fin, Cut::Rst, Cut::Fin, Cut::Rst].into_iter().enumerate() {
        let session = format!("s{n}");
        let cursor = relay.cursor(&session);
        let bytes = get(&poll_target(&session, Some(&cursor), "wait=60"));
        let (most, last) = bytes.split_at(bytes.len() - 1);
        let mut old = Conn::open(relay.addr());
        old.send(most);
        let mut new = parked(&relay, &session, &cursor);
        let connections = relay.metric("x0_relay_http_connections");
        // Both are there when the relay looks.
        relay.process.stop();
        old.send(last);
        old.cut(how);
        relay.process.signal(Signal::SIGCONT);
        eventually("the old connection is gone", PROMPT, || {
            (relay.metric("x0_relay_http_connections") < connections).then_some(())
        });
        relay.send_v1(&session, &numbered(0));
        let batch = new.response().batch();
        assert_eq!((batch.superseded, batch.numbers()), (false, vec![0]), "{how:?}");
    }
}

#[test]
fn the_newest_on_one_connection_may_be_the_same_client() {
    let relay = Relay::start(&["--wait", "60s"]);
    let cursor = relay.cursor("b");
    // A client that gives up on a poll and asks anew elsewhere.
    let gone = parked(&relay, "b", &cursor);
    gone.cut(Cut::Fin);
    eventually("it is gone", PROMPT, || (relay.parked() == 0).then_some(()));
    let mut conn = parked(&relay, "b", &cursor);
    relay.send_v1("b", &numbered(0));
    let batch = conn.response().batch();
    assert_eq!((batch.numbers(), batch.superseded), (vec![0], false));
    // And x0's poll after it.
    let mut x0 = Conn::open(relay.addr());
    x0.send(poll_request("b"));
    assert_eq!(x0.response().mail().len(), 1);
}
