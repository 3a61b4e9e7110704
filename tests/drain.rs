//! SIGTERM and SIGINT: notice, stop accepting, answer the waiting, finish, exit 0.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{
    Broken, Conn, PROMPT, Relay, assert_prompt, eventually, request, timed,
    x0::{Answer, poll_request, set_request},
};
use nix::sys::signal::Signal;

/// What an end may take that has nothing to wait for.
const SOON: Duration = Duration::from_secs(60);

fn status(relay: &Relay, path: &str) -> u16 {
    relay.ask(request("GET", path, &[], b"")).status
}

#[test]
fn waiting_polls_are_answered_empty_and_told_to_close_within_a_second() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut relay = Relay::start(&["--wait", "60s"]);
        let mut polls: Vec<Conn> = (0..20).map(|_| Conn::open(relay.addr())).collect();
        for (n, conn) in polls.iter_mut().enumerate() {
            // Two of each session: the displaced are answered too.
            relay.park_on(conn, &format!("s{}", n / 2));
        }
        let start = Instant::now();
        relay.process.signal(signal);
        for conn in &mut polls {
            let answer = conn.response();
            assert_eq!(answer.text(), r#"{"messages": null}"#);
            assert_eq!(answer.x0(), Answer::Nothing);
            assert!(answer.lists("connection", "close"), "{answer:?}");
            conn.assert_ends(PROMPT);
        }
        assert_prompt("20 waiting polls after the signal", start.elapsed());
        assert_eq!(relay.wait_exit(SOON).code(), Some(0), "{signal}");
    }
}

#[test]
fn nothing_holds_up_the_end_of_an_idle_relay() {
    let mut relay = Relay::start(&[]);
    let mut kept: Vec<Conn> = (0..10).map(|_| Conn::open(relay.addr())).collect();
    for conn in &mut kept[..5] {
        assert_eq!(conn.exchange(set_request("a", "b", "{}")).x0(), Answer::Accepted);
    }
    let start = Instant::now();
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert_prompt("the end with ten idle connections", start.elapsed());
    for conn in &mut kept {
        conn.assert_ends(PROMPT);
    }
}

#[test]
fn during_the_notice_readyz_says_no_and_everything_is_served() {
    let mut relay = Relay::start(&["--drain-notice", "60s", "--wait", "60s"]);
    assert_eq!((status(&relay, "/readyz"), status(&relay, "/healthz")), (200, 200));
    let mut parked = Conn::open(relay.addr());
    relay.park_on(&mut parked, "waiting");
    relay.term();
    eventually("readyz says no", PROMPT, || (status(&relay, "/readyz") == 503).then_some(()));
    assert_eq!(status(&relay, "/healthz"), 200);
    for n in 0..20 {
        relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
    }
    assert_eq!(relay.poll("b").len(), 20);
    parked.assert_silent(Duration::from_millis(200));
    relay.term();
    relay.wait_exit(SOON);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut relay = Relay::start(&["--drain-notice", "60s", "--wait", "60s"]);
    let mut parked = Conn::open(relay.addr());
    relay.park_on(&mut parked, "b");
    relay.term();
    eventually("readyz says no", PROMPT, || (status(&relay, "/readyz") == 503).then_some(()));
    assert!(!relay.process.has_ended());
    relay.term();
    let (_, took) = timed(|| relay.wait_exit(SOON));
    assert_prompt("the end after a second signal", took);
}

#[test]
fn connections_are_taken_until_the_listener_is_closed_and_refused_after() {
    let mut relay = Relay::start(&["--drain-notice", "500ms", "--wait", "60s"]);
    let addr = relay.addr();
    let mut parked = Conn::open(addr);
    relay.park_on(&mut parked, "waiting");
    let knocking = thread::spawn(move || {
        let mut answered = 0;
        // Each connection is answered, or ends because the relay does; once one is refused all are.
        loop {
            let Ok(mut conn) = Conn::try_open(addr) else { break };
            let _ = conn.try_send(request("GET", "/healthz", &[], b""));
            match conn.try_response(PROMPT) {
                Ok(response) => {
                    assert_eq!(response.status, 200, "{response:?}");
                    answered += 1;
                }
                Err(Broken::Ended) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
        answered
    });
    let start = Instant::now();
    relay.term();
    assert_eq!(parked.response().x0(), Answer::Nothing);
    assert!(start.elapsed() >= Duration::from_millis(450), "the notice was cut short");
    let answered = knocking.join().expect("answered or refused");
    println!("{answered} connections after SIGTERM, refused after {:?}", start.elapsed());
    assert!(start.elapsed() >= Duration::from_millis(450), "connections failed during the notice");
    assert!(answered > 0);
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert!(Conn::try_open(addr).is_err());
}

#[test]
fn a_stuck_upload_cannot_hold_up_the_end_beyond_its_deadline() {
    let mut relay = Relay::start(&["--drain-timeout", "1s", "--body-timeout", "60s", "--header-timeout", "60s"]);
    let set = set_request("a", "b", "{}");
    let mut body = Conn::open(relay.addr());
    body.send(&set[..set.len() - 1]);
    let mut head = Conn::open(relay.addr());
    head.send(&set[..10]);
    // Answered after both: so both have been seen.
    relay.set("a", "c", "{}");
    let start = Instant::now();
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    let took = start.elapsed();
    println!("the end with two stuck requests: {took:?}");
    assert!(took < Duration::from_secs(1) + PROMPT);
}

#[test]
fn a_set_that_was_under_way_is_answered_or_its_connection_ends() {
    let mut relay = Relay::start(&["--drain-timeout", "3s"]);
    let set = set_request("a", "b", "{}");
    let mut conn = Conn::open(relay.addr());
    conn.send(&set[..set.len() - 1]);
    let mut parked = Conn::open(relay.addr());
    relay.park_on(&mut parked, "waiting");
    relay.term();
    // The waiting are answered once nothing new is taken: from here on no SET may claim success.
    assert_eq!(parked.response().x0(), Answer::Nothing);
    let _ = conn.try_send(&set[set.len() - 1..]);
    assert_no_success(&mut conn);
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
}

/// An error or the end, but no success: the message would be gone with the process.
#[track_caller]
fn assert_no_success(conn: &mut Conn) {
    match conn.try_response(SOON) {
        Err(Broken::Ended) => {}
        Ok(response) => drop(response.error("Draining")),
        other => panic!("neither an answer nor an end: {other:?}"),
    }
}

#[test]
fn with_messages_pending_nothing_claims_success_afterwards() {
    let mut relay = Relay::start(&["--drain-timeout", "2s", "--body-timeout", "60s", "--wait", "60s"]);
    for n in 0..50 {
        relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
    }
    // Keeps the relay in its last phase long enough to be looked at.
    let set = set_request("a", "c", "{}");
    let mut stuck = Conn::open(relay.addr());
    stuck.send(&set[..set.len() - 1]);
    let mut kept: Vec<Conn> = (0..10).map(|_| Conn::open(relay.addr())).collect();
    for conn in &mut kept {
        assert_eq!(conn.exchange(request("OPTIONS", "/set", &[], b"")).status / 100, 2);
    }
    let mut parked = Conn::open(relay.addr());
    relay.park_on(&mut parked, "waiting");
    relay.term();
    assert_eq!(parked.response().x0(), Answer::Nothing);
    for conn in &mut kept {
        let _ = conn.try_send(&set);
        assert_no_success(conn);
    }
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_poll_that_comes_during_the_drain_is_answered_at_once_or_refused() {
    let mut relay = Relay::start(&["--drain-timeout", "3s", "--body-timeout", "60s", "--wait", "60s"]);
    let set = set_request("a", "c", "{}");
    let mut stuck = Conn::open(relay.addr());
    stuck.send(&set[..set.len() - 1]);
    let mut kept = Conn::open(relay.addr());
    assert_eq!(kept.exchange(request("OPTIONS", "/set", &[], b"")).status / 100, 2);
    let mut parked = Conn::open(relay.addr());
    relay.park_on(&mut parked, "waiting");
    relay.term();
    assert_eq!(parked.response().x0(), Answer::Nothing);
    let _ = kept.try_send(poll_request("b"));
    let (answer, took) = timed(|| kept.try_response(SOON));
    assert_prompt("a poll during the drain", took);
    match answer {
        Err(Broken::Ended) => {}
        Ok(response) => {
            assert_eq!(response.x0(), Answer::Nothing);
            assert!(response.closes(), "{response:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
}

#[test]
fn mail_that_is_being_delivered_when_the_signal_comes_is_delivered_or_kept_whole() {
    for _ in 0..10 {
        let mut relay = Relay::start(&["--wait", "60s"]);
        let mut polls: Vec<Conn> = (0..5).map(|_| Conn::open(relay.addr())).collect();
        for (n, conn) in polls.iter_mut().enumerate() {
            relay.park_on(conn, &format!("s{n}"));
        }
        for n in 0..5 {
            relay.set("a", &format!("s{n}"), "{}");
        }
        relay.term();
        for conn in &mut polls {
            assert_eq!(conn.response().mail().len(), 1, "accepted for a waiting poll, before the signal");
        }
        assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    }
}
