//! Several x0 polls of one session: the newest is the receiver, the others are held in order, nothing is lost.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{
    Broken, Conn, PROMPT, Relay, WAIT, assert_held, assert_prompt,
    random::Random,
    timed,
    x0::{Answer, assert_carried, poll_request, set_request},
};

fn numbered(n: usize) -> String {
    format!(r#"{{"n":{n}}}"#)
}

/// Connections with a waiting poll of session `b` each, oldest first.
fn parked(relay: &Relay, count: usize) -> Vec<Conn> {
    let mut polls = Vec::new();
    for _ in 0..count {
        let mut conn = Conn::open(relay.addr());
        relay.park_on(&mut conn, "b");
        polls.push(conn);
    }
    polls
}

#[test]
fn the_newest_poll_gets_the_first_message_and_then_the_next_newest_is_the_receiver() {
    let relay = Relay::start(&["--wait", "60s"]);
    let polls = parked(&relay, 3);
    for (n, mut newest) in polls.into_iter().rev().enumerate() {
        relay.set("a", "b", &numbered(n));
        let (answer, took) = timed(|| newest.response());
        assert_carried(&answer.mail()[0], &numbered(n), "a");
        assert_prompt(&format!("message {n}"), took);
        // The connection stays open and silent: that its kernel has the answer must be proof enough.
        newest.assert_silent(Duration::from_millis(1));
        std::mem::forget(newest);
    }
}

#[test]
fn displaced_polls_say_nothing_while_the_newest_waits() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut polls = parked(&relay, 3);
    for displaced in &mut polls[..2] {
        displaced.assert_silent(Duration::from_millis(200));
    }
    relay.set("a", "b", &numbered(0));
    assert_eq!(polls[2].response().mail().len(), 1);
    for displaced in &mut polls[..2] {
        displaced.assert_silent(Duration::from_millis(200));
    }
}

#[test]
fn when_the_newest_is_gone_the_next_newest_is_the_receiver() {
    let relay = Relay::start(&["--wait", "60s"]);
    for end_in_order in [true, false] {
        let mut polls = parked(&relay, 4);
        for n in 0..2 {
            let newest = polls.pop().expect("there are four");
            if end_in_order {
                drop(newest)
            } else {
                newest.reset()
            }
            relay.set("a", "b", &numbered(n));
            let (answer, took) = timed(|| polls.last_mut().expect("some are left").response());
            assert_carried(&answer.mail()[0], &numbered(n), "a");
            assert_prompt("the next newest's message", took);
            polls.pop();
        }
        common::eventually("all are gone", PROMPT, || (relay.parked() == polls.len()).then_some(()));
    }
}

#[test]
fn a_poll_that_comes_back_at_once_is_the_newest_again() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut polls = parked(&relay, 2);
    let mut newest = polls.pop().expect("there are two");
    for n in 0..5 {
        relay.set("a", "b", &numbered(n));
        assert_carried(&newest.response().mail()[0], &numbered(n), "a");
        relay.park_on(&mut newest, "b");
    }
    polls[0].assert_silent(Duration::from_millis(1));
}

#[test]
fn every_displaced_poll_keeps_its_own_deadline() {
    let relay = Relay::start(&[]);
    thread::scope(|scope| {
        for n in 0..5_u32 {
            let relay = &relay;
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(100) * n);
                let (answer, took) = timed(|| relay.ask(poll_request("b")));
                assert_eq!(answer.x0(), Answer::Nothing);
                assert_held(&format!("poll {n} of five"), took, WAIT);
            });
        }
    });
}

#[test]
fn two_tabs_that_poll_again_at_once_stay_under_a_few_polls_a_wait() {
    const WAITS: u32 = 5;
    let relay = Relay::start(&[]);
    let counts: Vec<usize> = thread::scope(|scope| {
        let tabs: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut conn = Conn::open(relay.addr());
                    let start = Instant::now();
                    let mut polls = 0;
                    while start.elapsed() < WAIT * WAITS {
                        assert_eq!(conn.exchange(poll_request("b")).x0(), Answer::Nothing);
                        polls += 1;
                    }
                    polls
                })
            })
            .collect();
        tabs.into_iter().map(|tab| tab.join().expect("a tab")).collect()
    });
    println!("polls in {WAITS} waits: {counts:?}");
    for count in counts {
        assert!(count <= 2 * WAITS as usize, "{count} polls in {WAITS} waits");
    }
}

/// Tabs that poll session `b` until told to stop; some connections are cut while a poll waits, never with unread mail
/// that was acknowledged long ago. Returns how often each message was read.
fn tabs(relay: &Relay, count: usize, cut: bool, messages: usize, random: &mut Random) -> BTreeMap<usize, usize> {
    let stop = AtomicBool::new(false);
    let reads: Vec<Vec<String>> = thread::scope(|scope| {
        let tabs: Vec<_> = (0..count)
            .map(|_| {
                let mut random = random.split();
                let stop = &stop;
                scope.spawn(move || tab(relay, stop, cut, &mut random))
            })
            .collect();
        let mut sending = Conn::open(relay.addr());
        for n in 0..messages {
            thread::sleep(random.within(Duration::from_millis(4)));
            assert_eq!(sending.exchange(set_request("a", "b", &numbered(n))).x0(), Answer::Accepted);
        }
        stop.store(true, Ordering::Relaxed);
        tabs.into_iter().map(|tab| tab.join().expect("a tab")).collect()
    });
    let mut seen = BTreeMap::new();
    let rest = std::iter::from_fn(|| Some(relay.poll("b")).filter(|mail| !mail.is_empty())).flatten();
    for message in reads.into_iter().flatten().chain(rest) {
        let n = serde_json::from_str::<serde_json::Value>(&message).expect("JSON")["n"].as_u64().expect("a number");
        *seen.entry(usize::try_from(n).expect("small")).or_default() += 1;
    }
    seen
}

/// One tab: everything it has read.
fn tab(relay: &Relay, stop: &AtomicBool, cut: bool, random: &mut Random) -> Vec<String> {
    let mut read = Vec::new();
    let mut conn = Conn::open(relay.addr());
    while !stop.load(Ordering::Relaxed) {
        conn.send(poll_request("b"));
        let patience = if cut && random.below(3) == 0 { random.within(Duration::from_millis(20)) } else { 3 * WAIT };
        match conn.try_response(patience.max(Duration::from_micros(1))) {
            Ok(response) => match response.x0() {
                Answer::Mail(mail) => read.extend(mail),
                Answer::Nothing => {}
                other => panic!("{other}"),
            },
            Err(Broken::Late(_)) if cut => {
                let old = std::mem::replace(&mut conn, Conn::open(relay.addr()));
                if random.below(2) == 0 { drop(old) } else { old.reset() }
            }
            Err(broken) => panic!("a tab's poll: {broken:?}"),
        }
    }
    // A last request proves that the last answer has arrived.
    conn.exchange(common::request("OPTIONS", "/get", &[], b""));
    read
}

#[test]
fn of_two_to_ten_tabs_each_message_goes_to_one() {
    let mut random = Random::new();
    for count in [2, 3, 10] {
        let relay = Relay::start(&[]);
        let seen = tabs(&relay, count, false, 200, &mut random);
        assert_eq!(seen.len(), 200, "lost with {count} tabs");
        let repeated: usize = seen.values().map(|times| times - 1).sum();
        println!("{count} tabs: 200 accepted, {} delivered, {repeated} repeated", seen.len());
        assert_eq!(repeated, 0, "every tab read every answer and came back, so nothing may come twice");
    }
}

#[test]
fn tabs_that_leave_and_come_back_lose_nothing() {
    let mut random = Random::new();
    for count in [2, 5, 10] {
        let relay = Relay::start(&[]);
        let seen = tabs(&relay, count, true, 300, &mut random);
        let repeated: usize = seen.values().map(|times| times - 1).sum();
        println!("{count} tabs that leave: 300 accepted, {} delivered, {repeated} repeated", seen.len());
        assert_eq!(
            seen.len(),
            300,
            "lost with {count} tabs: {:?}",
            (0..300).filter(|n| !seen.contains_key(n)).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_message_sent_while_the_receiver_changes_is_delivered_at_once() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut random = Random::new();
    let mut old = Conn::open(relay.addr());
    relay.park_on(&mut old, "b");
    for n in 0..100 {
        let mut new = Conn::open(relay.addr());
        let (start, pause) = (Instant::now(), random.within(Duration::from_millis(2)));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(pause);
                relay.set("a", "b", &numbered(n));
            });
            new.send(poll_request("b"));
            // Either of them may be the receiver when the message comes; the other one goes on waiting.
            let mut got = None;
            while got.is_none() {
                assert!(start.elapsed() < PROMPT, "message {n} is stuck");
                for which in [&mut new, &mut old] {
                    match which.try_response(Duration::from_millis(5)) {
                        Ok(response) => got = Some(response.mail()),
                        Err(Broken::Late(part)) if part.is_empty() => {}
                        Err(broken) => panic!("{broken:?}"),
                    }
                    if got.is_some() {
                        which.send(poll_request("b"));
                        break;
                    }
                }
            }
            assert_carried(&got.expect("some")[0], &numbered(n), "a");
        });
        old = new;
    }
}
