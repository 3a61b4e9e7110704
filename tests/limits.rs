//! What is bounded, how whoever meets a limit is told, and that nobody else notices.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{thread::sleep, time::Duration};

use common::{
    Conn, PROMPT, Relay, assert_held, assert_prompt, eventually, timed,
    x0::{Answer, assert_carried, poll_request, quoted, set_request},
};

fn numbered(n: usize) -> String {
    format!(r#"{{"n":{n}}}"#)
}

/// An object of exactly this many bytes.
fn sized(bytes: usize) -> String {
    format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes - r#"{"s":""}"#.len()))
}

/// SETs until one is not accepted; says how many were, and the error's id.
#[track_caller]
fn fill(relay: &Relay, to: &str, payload: &str, at_most: usize) -> (usize, String) {
    let mut conn = Conn::open(relay.addr());
    for n in 0..=at_most {
        match conn.exchange(set_request("a", to, payload)).x0() {
            Answer::Accepted => {}
            Answer::Error(error) => return (n, error.id),
            other => panic!("{other}"),
        }
    }
    panic!("more than {at_most} messages were accepted for {to}");
}

/// Reads until there is nothing more.
#[track_caller]
fn drain(relay: &Relay, session: &str) -> Vec<String> {
    std::iter::from_fn(|| Some(relay.poll(session)).filter(|mail| !mail.is_empty())).flatten().collect()
}

#[test]
fn a_full_mailbox_refuses_and_keeps_what_it_has() {
    let relay = Relay::start(&["--mailbox-messages", "3", "--wait", "200ms"]);
    for n in 0..3 {
        relay.set("a", "b", &numbered(n));
    }
    for n in 3..6 {
        let error = relay.refused(set_request("a", "b", &numbered(n)), "MailboxFull");
        assert!(error.detail.contains('3'), "the limit is not named: {error:?}");
    }
    let mail = drain(&relay, "b");
    assert_eq!(mail.len(), 3);
    mail.iter().enumerate().for_each(|(n, message)| assert_carried(message, &numbered(n), "a"));
    relay.set("a", "b", &numbered(9));
    assert_carried(&relay.poll("b")[0], &numbered(9), "a");
}

#[test]
fn a_full_mailbox_does_not_touch_anothers() {
    let relay = Relay::start(&["--mailbox-messages", "5", "--wait", "60s"]);
    let mut other = Conn::open(relay.addr());
    relay.park_on(&mut other, "other");
    assert_eq!(fill(&relay, "full", "{}", 5), (5, "MailboxFull".into()));
    for n in 0..5 {
        let (_, took) = timed(|| {
            relay.set("a", "other", &numbered(n));
            assert_carried(&other.response().mail()[0], &numbered(n), "a");
        });
        assert_prompt("another's message beside a full mailbox", took);
        relay.refused(set_request("a", "full", "{}"), "MailboxFull");
        relay.park_on(&mut other, "other");
    }
    assert_eq!(relay.poll("full").len(), 5);
}

#[test]
fn a_full_mailbox_that_drops_the_oldest_accepts_and_keeps_the_newest() {
    let relay = Relay::start(&["--mailbox-messages", "3", "--overflow", "drop-oldest", "--wait", "200ms"]);
    for n in 0..10 {
        relay.set("a", "b", &numbered(n));
    }
    relay.set("a", "other", &numbered(0));
    let mail = drain(&relay, "b");
    assert_eq!(mail.len(), 3);
    mail.iter().zip(7..).for_each(|(message, n)| assert_carried(message, &numbered(n), "a"));
    assert_eq!(relay.poll("other").len(), 1);
}

#[test]
fn a_mailbox_is_also_full_by_bytes() {
    let relay = Relay::start(&[
        "--mailbox-bytes",
        "10KiB",
        "--message-bytes",
        "6KiB",
        "--wait",
        "200ms",
        "--error-hold",
        "1ms",
    ]);
    let (held, id) = fill(&relay, "b", &sized(3000), 3);
    assert_eq!((held, id.as_str()), (3, "MailboxFull"));
    // What is small still fits; what is not still does not.
    relay.set("a", "b", &sized(100));
    relay.try_set("a", "b", &sized(3000)).error("MailboxFull");
    let mail = drain(&relay, "b");
    assert_eq!(mail.len(), 4);
    assert_carried(&mail[3], &sized(100), "a");
    assert_eq!(fill(&relay, "b", &sized(3000), 3).0, 3, "room that was freed is not there");
}

#[test]
fn many_small_messages_fill_a_mailbox_by_what_they_cost() {
    let relay = Relay::start(&["--mailbox-bytes", "10KiB", "--message-bytes", "6KiB", "--error-hold", "1ms"]);
    // Each costs its bytes and what holds it, or a million empty ones would be free.
    let (held, _) = fill(&relay, "b", "{}", 1000);
    println!("{held} empty messages in 10 KiB");
    assert!(held <= 100, "{held} empty messages in 10 KiB");
}

#[test]
fn a_mailbox_full_by_bytes_drops_as_many_of_the_oldest_as_it_takes() {
    let relay = Relay::start(&[
        "--mailbox-bytes",
        "10KiB",
        "--message-bytes",
        "6KiB",
        "--overflow",
        "drop-oldest",
        "--wait",
        "200ms",
    ]);
    for n in 0..5 {
        relay.set("a", "b", &numbered(n));
    }
    relay.set("a", "b", &sized(5000));
    relay.set("a", "b", &sized(4500));
    let mail = drain(&relay, "b");
    assert_carried(mail.last().expect("the newest is there"), &sized(4500), "a");
    let bytes: usize = mail.iter().map(String::len).sum();
    assert!(bytes <= 10 * 1024, "{bytes} bytes are kept");
    assert!(mail.len() >= 2, "more was dropped than had to be: {} are left", mail.len());
}

#[test]
fn a_message_has_at_most_message_bytes() {
    let relay = Relay::start(&["--message-bytes", "1KiB"]);
    relay.set("a", "b", &sized(1024));
    let error = relay.refused(set_request("a", "b", &sized(1025)), "TooLarge");
    assert!(
        error.detail.contains("1024") || error.detail.contains("1 KiB") || error.detail.contains("1.0 KiB"),
        "{error:?}"
    );
    // However it is dressed up: white space around it is not part of it.
    relay.set("a", "b", &format!("  {}  ", sized(1024)));
    assert_eq!(relay.poll("b").len(), 2);
}

#[test]
fn a_session_more_than_there_may_be_is_refused_and_the_others_go_on() {
    let relay = Relay::start(&["--sessions", "3"]);
    for n in 0..3 {
        relay.set("a", &format!("s{n}"), &numbered(n));
    }
    relay.refused(set_request("a", "s3", "{}"), "TooManySessions");
    relay.set("a", "s0", &numbered(3));
    assert_eq!(relay.poll("s0").len(), 2);
}

#[test]
fn empty_mailboxes_are_forgotten_and_make_room() {
    let relay = Relay::start(&["--sessions", "2", "--forget-after", "1s", "--error-hold", "100ms"]);
    relay.set("a", "s0", "{}");
    relay.set("a", "s1", "{}");
    assert_eq!(relay.poll("s0").len(), 1);
    eventually("room for another session", PROMPT, || {
        (relay.try_set("a", "s2", "{}").x0() == Answer::Accepted).then_some(())
    });
    assert_eq!(relay.poll("s1").len(), 1, "only empty mailboxes may be forgotten");
}

#[test]
fn a_connection_too_many_waits_for_its_turn_and_is_not_refused() {
    let relay = Relay::start(&["--connections", "4", "--wait", "60s"]);
    let mut third = Conn::open(relay.addr());
    let mut parked: Vec<Conn> = (0..3).map(|_| Conn::open(relay.addr())).collect();
    for (n, conn) in parked.iter_mut().enumerate() {
        // Not through the relay's metrics: they would need a connection.
        conn.send(poll_request(&format!("s{n}")));
    }
    third.send(poll_request("s3"));
    let mut fifth = Conn::open(relay.addr());
    fifth.send(set_request("a", "b", "{}"));
    fifth.assert_silent(Duration::from_millis(500));
    parked.pop().expect("three").reset();
    let (answer, took) = timed(|| fifth.response());
    assert_eq!(answer.x0(), Answer::Accepted);
    assert_prompt("the fifth after one of four left", took);
}

#[test]
fn idle_connections_make_room_and_waiting_polls_do_not() {
    let relay = Relay::start(&["--connections", "4", "--wait", "60s"]);
    let mut waiting = Conn::open(relay.addr());
    relay.park_on(&mut waiting, "b");
    let mut idle: Vec<Conn> = (0..3).map(|_| Conn::open(relay.addr())).collect();
    // Ten times as many as there is room for, each of them idle at once after its request.
    for n in 0..40 {
        let mut next = Conn::open(relay.addr());
        let (answer, took) = timed(|| next.exchange(set_request("a", "c", &numbered(n))));
        assert_eq!(answer.x0(), Answer::Accepted);
        assert_prompt("a request beside idle connections", took);
        idle.push(next);
    }
    idle[0].assert_ends(PROMPT);
    assert_eq!(idle.last_mut().expect("many").exchange(set_request("a", "b", "{}")).x0(), Answer::Accepted);
    assert_eq!(waiting.response().mail().len(), 1);
}

#[test]
fn all_mailboxes_together_have_a_limit() {
    let relay = Relay::start(&[
        "--memory",
        "64KiB",
        "--mailbox-bytes",
        "64KiB",
        "--message-bytes",
        "6KiB",
        "--wait",
        "200ms",
        "--error-hold",
        "1ms",
    ]);
    let mut held = Vec::new();
    let refused = (0..100).find_map(|n| {
        let session = format!("s{n}");
        match relay.try_set("a", &session, &sized(5000)).x0() {
            Answer::Accepted => {
                held.push(session);
                None
            }
            other => Some(other),
        }
    });
    assert!(matches!(&refused, Some(Answer::Error(e)) if e.id == "MemoryFull"), "{refused:?}");
    println!("{} messages of 5000 bytes in 64 KiB", held.len());
    assert!((5..=13).contains(&held.len()), "{} messages of 5000 bytes in 64 KiB", held.len());
    // Accepted means kept; and room comes back.
    for session in &held {
        assert_eq!(relay.poll(session).len(), 1, "{session}");
    }
    relay.set("a", "again", &sized(5000));
}

#[test]
fn full_memory_is_not_freed_by_dropping_what_others_have() {
    let relay = Relay::start(&[
        "--memory",
        "32KiB",
        "--mailbox-bytes",
        "32KiB",
        "--message-bytes",
        "6KiB",
        "--overflow",
        "drop-oldest",
        "--wait",
        "200ms",
        "--error-hold",
        "1ms",
    ]);
    relay.set("a", "kept", &sized(1000));
    let (held, id) = fill(&relay, "b", &sized(5000), 7);
    assert_eq!(id, "MemoryFull", "after {held}");
    assert_carried(&relay.poll("kept")[0], &sized(1000), "a");
    assert_eq!(drain(&relay, "b").len(), held);
}

#[test]
fn a_message_is_kept_for_its_time_and_no_longer() {
    let relay = Relay::start(&["--ttl", "2s", "--wait", "100ms"]);
    relay.set("a", "b", &numbered(1));
    relay.set("a", "c", &numbered(2));
    assert_eq!(relay.poll("c").len(), 1);
    sleep(Duration::from_millis(2100));
    relay.assert_empty("b");
    relay.set("a", "b", &numbered(3));
    assert_carried(&relay.poll("b")[0], &numbered(3), "a");
}

#[test]
fn a_refused_set_is_held_back_and_its_connection_stays() {
    let relay = Relay::start(&["--mailbox-messages", "1", "--error-hold", "300ms"]);
    relay.set("a", "b", "{}");
    let mut conn = Conn::open(relay.addr());
    for _ in 0..2 {
        let (answer, took) = timed(|| conn.exchange(set_request("a", "b", "{}")));
        answer.error("MailboxFull");
        assert!(!answer.closes(), "{answer:?}");
        assert_held("a refused SET", took, Duration::from_millis(300));
    }
    assert_eq!(conn.exchange(poll_request("b")).mail().len(), 1);
}

#[test]
fn the_socket_has_the_same_limits() {
    let relay = Relay::start(&["--mailbox-messages", "2", "--message-bytes", "1KiB"]);
    let set = |payload: &str| {
        let (a, b) = (quoted("a"), quoted("b"));
        relay.packet(format!(r#"{{"type":"SET","session_src":{a},"session_dst":{b},"payload":{payload}}}"#))
    };
    assert_eq!(set("{}"), Answer::Accepted);
    assert!(matches!(set(&sized(1025)), Answer::Error(e) if e.id == "TooLarge"));
    assert_eq!(set(&sized(1024)), Answer::Accepted);
    assert!(matches!(set("{}"), Answer::Error(e) if e.id == "MailboxFull"));
    assert_eq!(relay.poll("b").len(), 2);
}

#[test]
fn four_hundred_polls_wait_at_the_same_time() {
    let relay = Relay::start(&["--wait", "60s", "--log-level", "info"]);
    let mut polls: Vec<Conn> = (0..400).map(|_| Conn::open(relay.addr())).collect();
    for (n, conn) in polls.iter_mut().enumerate() {
        conn.send(poll_request(&format!("s{n}")));
    }
    relay.until_parked(400);
    let mut sending = Conn::open(relay.addr());
    let (_, took) = timed(|| {
        for (n, conn) in polls.iter_mut().enumerate() {
            assert_eq!(sending.exchange(set_request("a", &format!("s{n}"), &numbered(n))).x0(), Answer::Accepted);
            assert_carried(&conn.response().mail()[0], &numbered(n), "a");
        }
    });
    println!("400 waiting polls answered one by one in {took:?}");
    assert!(took < PROMPT, "{took:?}");
}
