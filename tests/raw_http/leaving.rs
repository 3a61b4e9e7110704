//! Peers that leave halfway.

use crate::{
    case::{self, Fate, Stage},
    common::{
        Broken, Conn, PROMPT, eventually, timed,
        x0::{Answer, assert_carried, poll_request, set_request},
    },
};

/// Where the body begins.
pub fn body_at(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4
}

#[test]
fn half_closed_after_a_set_is_answered() {
    let mut stage = Stage::new(&[]);
    stage.case("a SET and FIN", |conn, _| {
        conn.send(set_request("a", "b", "{}"));
        conn.half_close();
        assert_eq!(conn.response().x0(), Answer::Accepted);
        conn.assert_ends(PROMPT);
    });
    assert_eq!(stage.relay.poll("b").len(), 1);
}

#[test]
fn half_closed_after_a_poll_loses_nothing() {
    let mut stage = Stage::new(&[]);
    for parked in [true, false] {
        stage.case(&format!("a poll and FIN, parked before: {parked}"), |conn, relay| {
            if parked {
                relay.park_on(conn, "b");
            } else {
                conn.send(poll_request("b"));
            }
            conn.half_close();
            relay.set("a", "b", r#"{"kept":1}"#);
            let answered = match conn.try_response(PROMPT) {
                Ok(response) => response.x0(),
                Err(Broken::Ended) => Answer::Nothing,
                Err(other) => panic!("neither an answer nor an end: {other:?}"),
            };
            match answered {
                Answer::Mail(mail) => assert_carried(&mail[0], r#"{"kept":1}"#, "a"),
                _ => assert_carried(&relay.poll("b")[0], r#"{"kept":1}"#, "a"),
            }
        });
    }
}

#[test]
fn half_closed_within_a_request_queues_nothing() {
    let mut stage = Stage::new(&["--header-timeout", "1s", "--body-timeout", "1s"]);
    let set = set_request("a", "b", "{}");
    let at = body_at(&set);
    for cut in [1, 20, at - 1, at, at + 1, set.len() - 1] {
        let name = format!("FIN after {cut} of {} bytes", set.len());
        stage.case(&name, |conn, _| {
            conn.send(&set[..cut]);
            conn.half_close();
            Fate::of(conn, b"").assert_refused(&name);
        });
    }
    stage.relay.assert_empty("b");
}

#[test]
fn resets_at_every_place_harm_nobody() {
    let mut stage = Stage::new(&[]);
    let set = set_request("a", "b", "{}");
    let poll = poll_request("c");
    for cut in [0, 1, body_at(&set), set.len() - 1] {
        stage.case(&format!("RST after {cut} bytes of a SET"), |_, relay| {
            let mut conn = Conn::open(relay.addr());
            conn.send(&set[..cut]);
            conn.reset();
        });
    }
    stage.relay.assert_empty("b");
    stage.case("RST of a waiting poll", |_, relay| {
        let mut conn = Conn::open(relay.addr());
        relay.park_on(&mut conn, "c");
        conn.reset();
        relay.set("a", "c", r#"{"kept":1}"#);
        let (mail, took) = timed(|| relay.poll("c"));
        assert_carried(&mail[0], r#"{"kept":1}"#, "a");
        assert!(took < PROMPT, "{took:?}");
    });
    stage.case("RST of a poll that has just been sent", |_, relay| {
        let mut conn = Conn::open(relay.addr());
        conn.send(&poll);
        conn.reset();
        relay.set("a", "c", r#"{"kept":2}"#);
        assert_carried(&relay.poll("c")[0], r#"{"kept":2}"#, "a");
    });
}

#[test]
fn polls_of_those_who_left_are_forgotten() {
    let relay = case::relay(&["--wait", "60s"]);
    let mut left: Vec<Conn> = (0..20).map(|_| Conn::open(relay.addr())).collect();
    for (n, conn) in left.iter_mut().enumerate() {
        relay.park_on(conn, &format!("s{n}"));
    }
    for (n, conn) in left.into_iter().enumerate() {
        if n % 2 == 0 { conn.reset() } else { drop(conn) }
    }
    eventually("nobody is parked any more", PROMPT, || (relay.parked() == 0).then_some(()));
}
