//! Peers that are slow, or stop reading.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    case::{self, Fate, Stage, assert_usable},
    common::{
        Broken, Bystander, Conn, PROMPT, assert_held, timed,
        x0::{Answer, assert_carried, poll_request, set_request},
    },
    leaving::body_at,
};

/// Sends a byte every 20 ms until all are sent or nobody takes them; says how long.
fn trickle(conn: &mut Conn, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    for byte in bytes {
        if conn.try_send([*byte]).is_err()
            || !matches!(conn.read_some(0, Duration::from_millis(20)), Err(Broken::Late(_)))
        {
            break;
        }
    }
    start.elapsed()
}

#[test]
fn a_slow_request_within_its_deadlines_is_served() {
    let mut stage = Stage::new(&[]);
    stage.case("byte by byte", |conn, _| {
        let set = set_request("a", "b", "{}");
        let took = trickle(conn, &set);
        println!("{} bytes in {took:?}", set.len());
        assert_eq!(conn.response().x0(), Answer::Accepted);
        assert_usable(conn, "a slow SET");
    });
}

#[test]
fn a_head_beyond_its_deadline_is_408_or_closed() {
    let mut stage = Stage::new(&["--header-timeout", "1s"]);
    let set = set_request("a", "b", "{}");
    let head = &set[..body_at(&set) - 3];
    stage.case("a head that stops", |conn, _| {
        let (fate, took) = timed(|| Fate::of(conn, head));
        assert_held("a head that stops", took, Duration::from_secs(1));
        if let Fate::Answered(answer) = fate {
            assert_eq!(answer.status, 408, "{answer:?}");
        }
    });
    stage.case("a head that trickles", |conn, _| {
        let (fate, took) = timed(|| {
            trickle(conn, &head.repeat(3));
            Fate::of(conn, b"")
        });
        assert_held("a head that trickles", took, Duration::from_secs(1));
        if let Fate::Answered(answer) = fate {
            assert_eq!(answer.status, 408, "{answer:?}");
        }
    });
    stage.case("a second head that stops", |conn, _| {
        assert_eq!(conn.exchange(set_request("a", "c", "{}")).x0(), Answer::Accepted);
        let (fate, took) = timed(|| Fate::of(conn, head));
        assert_held("a second head that stops", took, Duration::from_secs(1));
        if let Fate::Answered(answer) = fate {
            assert_eq!(answer.status, 408, "{answer:?}");
        }
    });
    stage.case("a head that stops behind a poll", |conn, relay| {
        relay.park_on(conn, "b");
        conn.send(head);
        relay.set("a", "b", "{}");
        assert_eq!(conn.response().mail().len(), 1);
        let (fate, took) = timed(|| Fate::of(conn, b""));
        assert!(took < Duration::from_secs(1) + PROMPT, "{took:?}");
        if let Fate::Answered(answer) = fate {
            assert_eq!(answer.status, 408, "{answer:?}");
        }
    });
    stage.relay.assert_empty("b");
}

// The bystander's connections would be idle too: here it comes afterwards.

#[test]
fn a_connection_that_says_nothing_at_all_is_closed() {
    let relay = case::relay(&["--header-timeout", "1s", "--idle-timeout", "1s"]);
    let (_, took) = timed(|| Conn::open(relay.addr()).assert_ends(PROMPT));
    assert_held("silence", took, Duration::from_secs(1));
    Bystander::new(&relay).exchange("silence");
}

#[test]
fn an_idle_connection_is_closed_and_a_waiting_poll_is_not_idle() {
    let relay = case::relay(&["--idle-timeout", "1s", "--wait", "3s"]);
    let mut conn = Conn::open(relay.addr());
    // It is idle from its answer on, of which we hear later.
    let (_, took) = timed(|| {
        assert_eq!(conn.exchange(set_request("a", "c", "{}")).x0(), Answer::Accepted);
        conn.assert_ends(PROMPT)
    });
    assert_held("an idle connection", took, Duration::from_secs(1));
    let (answer, took) = timed(|| relay.ask(poll_request("b")));
    assert_eq!(answer.x0(), Answer::Nothing);
    assert_held("a poll that waits longer than an idle connection may", took, Duration::from_secs(3));
    Bystander::new(&relay).exchange("idle connections");
}

#[test]
fn a_body_beyond_its_deadline_is_an_error_that_can_be_read() {
    let mut stage = Stage::new(&["--body-timeout", "1s"]);
    let set = set_request("a", "b", &format!(r#"{{"s":"{}"}}"#, "x".repeat(400)));
    let at = body_at(&set);
    stage.case("a body that stops", |conn, _| {
        let (answer, took) = timed(|| conn.exchange(&set[..set.len() - 1]));
        answer.error("TooSlow");
        assert_held("a body that stops", took, Duration::from_secs(1));
        assert!(answer.closes(), "the rest may come or not: {answer:?}");
        conn.assert_ends(PROMPT);
    });
    stage.case("a body that trickles", |conn, _| {
        conn.send(&set[..at]);
        let (answer, took) = timed(|| {
            trickle(conn, &set[at..]);
            conn.response()
        });
        answer.error("TooSlow");
        assert_held("a body that trickles", took, Duration::from_secs(1));
    });
    stage.relay.assert_empty("b");
}

#[test]
fn one_who_does_not_read_is_cut_and_his_mail_is_kept() {
    let mut stage = Stage::new(&[
        "--write-timeout",
        "1s",
        "--wait",
        "10s",
        "--answer-messages",
        "1000",
        "--answer-bytes",
        "32MiB",
        "--mailbox-bytes",
        "64MiB",
    ]);
    let payload = |n: usize| format!(r#"{{"n":{n},"s":"{}"}}"#, "x".repeat(60_000));
    const COUNT: usize = 300;
    let mut sending = Conn::open(stage.relay.addr());
    for n in 0..COUNT {
        assert_eq!(sending.exchange(set_request("a", "b", &payload(n))).x0(), Answer::Accepted);
    }
    stage.case("a poll whose answer is not read", |conn, relay| {
        setsockopt(&conn.stream, sockopt::RcvBuf, &4096).expect("a TCP socket");
        conn.send(poll_request("b"));
        // His answer is stuck half written by the time that the other one asks.
        sleep(Duration::from_millis(200));
        let mut other = Conn::open(relay.addr());
        let mut got = Vec::new();
        let (_, took) = timed(|| {
            while got.len() < COUNT {
                got.extend(other.exchange(poll_request("b")).mail());
            }
        });
        println!("his mail came to another receiver after {took:?}");
        assert!(took < Duration::from_secs(1) + PROMPT, "{took:?}");
        for (n, message) in got.iter().enumerate() {
            assert_carried(message, &payload(n), "a");
        }
    });
}
