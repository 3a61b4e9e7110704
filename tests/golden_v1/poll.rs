//! `GET /v1/messages` and `POST /v1/ack`.

use std::{thread, time::Duration};

use crate::common::{
    Conn, PROMPT, Relay, WAIT, assert_held, assert_prompt, timed,
    v1::{
        Cursor, Gap, get, numbered, poll_target, post_json,
        requests::{ack_request, encoded},
        send_request,
    },
};

#[test]
fn an_answer_has_messages_cursor_and_more_and_nothing_else() {
    let relay = Relay::start(&[]);
    let response = relay.ask(get("/v1/messages?session=b&wait=0"));
    let empty = response.batch();
    assert!(empty.messages.is_empty() && empty.gap.is_none() && !empty.more, "{empty:?}");
    assert_eq!(empty.cursor.seq(), 0);
    let names = |text: &str| -> Vec<String> {
        let object: serde_json::Map<_, _> = serde_json::from_str(text).expect("an object");
        object.keys().cloned().collect()
    };
    assert_eq!(names(response.text()), ["cursor", "messages", "more"]);
    relay.send_v1("b", "{}");
    assert_eq!(names(relay.ask(get("/v1/messages?session=b")).text()), ["cursor", "messages", "more"]);
}

#[test]
fn after_acknowledges_and_its_absence_does_not() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..3);
    let first = relay.look("b", None);
    assert_eq!((first.numbers(), first.cursor.seq()), (vec![0, 1, 2], 3));
    assert_eq!(relay.look("b", None), first, "nothing is acknowledged");
    assert_eq!(relay.pending("b"), 3);
    relay.send_numbers("b", 3..5);
    let second = relay.look("b", Some(&first.cursor));
    assert_eq!((second.numbers(), second.cursor.seq()), (vec![3, 4], 5));
    assert_eq!(relay.pending("b"), 2);
    assert_eq!(relay.look("b", None), second, "it starts at the oldest unacknowledged message");
    let third = relay.look("b", Some(&second.cursor));
    assert!(third.messages.is_empty() && third.cursor == second.cursor, "{third:?}");
    assert_eq!(relay.pending("b"), 0);
}

#[test]
fn a_cursor_in_the_midst_of_what_was_read_is_as_good() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..5);
    let cursor = relay.look("b", None).cursor;
    assert_eq!(relay.look("b", Some(&cursor.at(2))).numbers(), [2, 3, 4]);
    assert_eq!(relay.pending("b"), 3);
    // Beyond the stored acknowledgement, and nothing was ever read there: accepted.
    assert_eq!(relay.look("b", Some(&cursor.at(4))).numbers(), [4]);
}

#[test]
fn it_answers_at_once_what_is_there_and_waits_for_what_is_not() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let (batch, took) = timed(|| relay.poll_v1("b", Some(&cursor), ""));
    assert!(batch.messages.is_empty() && batch.cursor == cursor);
    assert_held("the setting's wait", took, WAIT);
    let (_, took) = timed(|| relay.poll_v1("b", Some(&cursor), "wait=0.25"));
    assert_held("a decimal wait", took, Duration::from_millis(250));
    let (_, took) = timed(|| relay.poll_v1("b", Some(&cursor), "wait=0"));
    assert_prompt("no wait", took);
    let parked = relay.park_v1("b", Some(&cursor));
    let (_, took) = timed(|| {
        relay.send_v1("b", &numbered(0));
        assert_eq!(parked.answer().0.batch().numbers(), [0]);
    });
    assert_prompt("a message for a waiting poll", took);
    let (batch, took) = timed(|| relay.poll_v1("b", Some(&cursor), "wait=60"));
    assert_eq!(batch.numbers(), [0]);
    assert_prompt("a message that was there", took);
}

#[test]
fn limit_and_answer_messages_cut_a_batch_and_more_says_so() {
    let relay = Relay::start(&["--answer-messages", "3"]);
    relay.send_numbers("b", 0..7);
    let two = relay.poll_v1("b", None, "limit=2");
    assert_eq!((two.numbers(), two.more), (vec![0, 1], true));
    let three = relay.poll_v1("b", Some(&two.cursor), "limit=1000");
    assert_eq!((three.numbers(), three.more), (vec![2, 3, 4], true));
    let rest = relay.poll_v1("b", Some(&three.cursor), "");
    assert_eq!((rest.numbers(), rest.more), (vec![5, 6], false));
}

#[test]
fn answer_bytes_cut_a_batch_and_a_larger_message_goes_alone() {
    let relay = Relay::start(&["--answer-bytes", "1KiB"]);
    let sized = |n: usize, bytes: usize| format!(r#"{{"n":{n},"s":"{}"}}"#, "x".repeat(bytes));
    for (n, bytes) in [(0, 500), (1, 400), (2, 5000), (3, 10)] {
        relay.send_v1("b", &sized(n, bytes));
    }
    let mut batch = relay.look("b", None);
    let mut seen = vec![batch.numbers()];
    while batch.more {
        batch = relay.look("b", Some(&batch.cursor));
        seen.push(batch.numbers());
    }
    assert_eq!(seen, [vec![0, 1], vec![2], vec![3]]);
}

#[test]
fn a_batch_with_more_never_waits_for_the_rest() {
    let relay = Relay::start(&["--answer-messages", "2"]);
    relay.send_numbers("b", 0..5);
    let mut conn = Conn::open(relay.addr());
    let mut cursor = relay.look("b", None).cursor.at(0);
    let (mut seen, mut polls) = (Vec::new(), 0);
    while seen.len() < 5 {
        let (batch, took) = timed(|| conn.exchange(get(&poll_target("b", Some(&cursor), "wait=60"))).batch());
        assert_prompt("a part", took);
        seen.extend(batch.numbers());
        assert_eq!(batch.more, seen.len() < 5);
        cursor = batch.cursor;
        polls += 1;
    }
    assert_eq!((seen, polls), (vec![0, 1, 2, 3, 4], 3));
}

#[test]
fn parameters_that_are_wrong_are_refused() {
    let relay = Relay::start(&[]);
    for query in ["wait=-1", "wait=61", "wait=60.001", "wait=x", "wait=", "wait=NaN", "wait=inf", "wait=1e1000"] {
        relay.ask(get(&format!("/v1/messages?session=b&{query}"))).problem(400, "bad_request");
    }
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=1.5"] {
        relay.ask(get(&format!("/v1/messages?session=b&{query}"))).problem(400, "bad_request");
    }
    for query in ["", "?", "?session=", "?session", "?wait=0"] {
        relay.ask(get(&format!("/v1/messages{query}"))).problem(400, "invalid_session");
    }
    let long = "x".repeat(257);
    relay.ask(get(&format!("/v1/messages?session={long}"))).problem(400, "invalid_session");
    assert!(relay.ask(get("/v1/messages?session=%FF&wait=0")).status == 400, "not UTF-8");
    let twice = relay.ask(get("/v1/messages?session=b&session=c&wait=0"));
    assert_eq!(twice.status, 400, "which of the two? {twice:?}");
}

#[test]
fn unknown_parameters_are_ignored() {
    let relay = Relay::start(&[]);
    relay.send_v1("b", "{}");
    let response = relay.ask(get("/v1/messages?a__=1234567890&session=b&unknown=%FF&wait=0&&=&x"));
    assert_eq!(response.batch().messages.len(), 1);
}

#[test]
fn session_ids_may_hold_anything() {
    let relay = Relay::start(&[]);
    let longest = "é".repeat(128);
    for session in ["a b", "a+b", "a/b?c&d=e#f%41", "\0\n\r\t\u{7f}", "\u{2028}😀", "..", "session:x", &longest] {
        relay.send_v1(session, "{}");
        assert_eq!(relay.everything(session, None).len(), 1, "{session:?}");
        assert_eq!(relay.pending(session), 1, "{session:?}");
        assert_eq!(relay.purge_v1(session), 1, "{session:?}");
    }
    // As forms have it.
    relay.send_v1("a b", "{}");
    assert_eq!(relay.ask(get("/v1/messages?session=a+b&wait=0")).batch().messages.len(), 1);
}

#[test]
fn a_cursor_that_was_never_handed_out_is_refused() {
    let relay = Relay::start(&[]);
    relay.send_v1("b", "{}");
    let cursor = relay.look("b", None).cursor;
    let epoch = cursor.epoch().to_owned();
    let ahead = format!("{epoch}.2");
    for wrong in [
        "x",
        "0",
        ".",
        "..1",
        &epoch,
        &format!("{epoch}."),
        &format!("{epoch}.-1"),
        &format!("{epoch}.x"),
        &format!("{epoch}.1.1"),
        &format!("{epoch}.99999999999999999999"),
        &format!("x{}.1", &epoch[1..]),
        &format!("{}.1", &epoch[1..]),
        &ahead,
    ] {
        let after = encoded(wrong);
        relay.ask(get(&format!("/v1/messages?session=b&after={after}&wait=0"))).problem(400, "invalid_cursor");
        let body = format!(r#"{{"session":"b","cursor":{}}}"#, crate::common::x0::quoted(wrong));
        relay.ask(post_json("/v1/ack", &body)).problem(400, "invalid_cursor");
        relay.ask(get(&format!("/v1/events?session=b&after={after}"))).problem(400, "invalid_cursor");
    }
    assert_eq!(relay.look("b", Some(&cursor.at(0))).messages.len(), 1, "nothing was acknowledged");
}

#[test]
fn ack_says_how_many_it_acknowledged() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..5);
    let cursor = relay.look("b", None).cursor;
    assert_eq!(
        [relay.ack("b", &cursor.at(3)), relay.ack("b", &cursor.at(3)), relay.ack("b", &cursor.at(1))],
        [3, 0, 0]
    );
    assert_eq!(relay.everything("b", None).len(), 2);
    assert_eq!(relay.ack("b", &cursor), 2);
    assert_eq!(relay.ack("b", &cursor), 0);
}

#[test]
fn a_cursor_of_another_epoch_acknowledges_nothing() {
    let relay = Relay::start(&[]);
    relay.send_v1("b", "{}");
    let cursor = relay.look("b", None).cursor;
    let foreign = Cursor::new(format!("{:016x}.1", u64::from_str_radix(cursor.epoch(), 16).expect("hex") ^ 1));
    assert_eq!(relay.ack("b", &foreign), 0);
    assert_eq!(relay.ack("nobody-knows", &foreign), 0);
    assert_eq!(relay.pending("b"), 1);
    let batch = relay.look("b", Some(&foreign));
    assert_eq!((batch.gap.clone(), batch.messages.len()), (Some(Gap::epoch()), 1), "{batch:?}");
    assert_eq!(batch.cursor.epoch(), cursor.epoch());
}

#[test]
fn ack_bodies_that_are_wrong_are_refused() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    for (body, kind) in [
        (String::new(), "not_json"),
        ("[]".into(), "bad_request"),
        (r#"{"session":"b"}"#.into(), "bad_request"),
        (format!(r#"{{"cursor":"{cursor}"}}"#), "invalid_session"),
        (format!(r#"{{"session":"","cursor":"{cursor}"}}"#), "invalid_session"),
        (format!(r#"{{"session":"b","cursor":"{cursor}","more":1}}"#), "bad_request"),
        (r#"{"session":"b","cursor":7}"#.into(), "bad_request"),
    ] {
        relay.ask(post_json("/v1/ack", &body)).problem(400, kind);
    }
}

#[test]
fn an_ack_while_a_poll_waits_does_not_end_the_wait() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..2);
    let cursor = relay.look("b", None).cursor;
    let parked = relay.park_v1("b", Some(&cursor));
    assert_eq!(relay.ack("b", &cursor), 0);
    relay.send_v1("b", &numbered(2));
    let (response, _) = parked.answer();
    assert_eq!(response.batch().numbers(), [2]);
}

#[test]
fn what_another_acknowledges_while_a_poll_waits_is_a_gap_to_it() {
    let relay = Relay::start(&[]);
    relay.send_numbers("b", 0..4);
    let cursor = relay.look("b", None).cursor;
    assert_eq!(relay.ack("b", &cursor.at(3)), 3);
    let batch = relay.look("b", Some(&cursor.at(1)));
    assert_eq!((batch.gap.clone(), batch.numbers()), (Some(Gap::of(2, 3, "taken")), vec![3]), "{batch:?}");
}

#[test]
fn polls_and_acks_go_on_over_one_connection() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    let mut cursor = relay.cursor("b");
    for n in 0..20 {
        conn.send(get(&poll_target("b", Some(&cursor), "wait=30")));
        if n % 2 == 0 {
            relay.until_parked(1);
        }
        relay.send_v1("b", &numbered(n));
        let (response, took) = timed(|| conn.response());
        assert_prompt("a message", took);
        let batch = response.batch();
        assert_eq!(batch.numbers(), [n]);
        assert!(!response.closes());
        cursor = batch.cursor;
        assert_eq!(conn.exchange(ack_request("b", &cursor)).v1()["acked"], 1);
    }
}

#[test]
fn requests_behind_a_waiting_poll_are_answered_after_it_in_order() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let mut conn = Conn::open(relay.addr());
    let poll = get(&poll_target("b", Some(&cursor), "wait=30"));
    conn.send([poll, send_request("a", "c", "{}", None), get("/healthz")].concat());
    relay.until_parked(1);
    relay.send_v1("b", &numbered(0));
    assert_eq!(conn.response().batch().numbers(), [0]);
    assert_eq!(conn.response().sent().recipients, 1);
    assert_eq!(conn.response().status, 200);
}

#[test]
fn a_poller_that_goes_leaves_its_place() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    for how in [crate::common::Cut::Fin, crate::common::Cut::Rst] {
        let mut conn = Conn::open(relay.addr());
        conn.send(get(&poll_target("b", Some(&cursor), "wait=60")));
        relay.until_parked(1);
        conn.cut(how);
        crate::common::eventually("it is gone", PROMPT, || (relay.parked() == 0).then_some(()));
        assert_eq!(relay.session("b")["attached"], false);
    }
}

#[test]
fn an_empty_answer_slows_nobody_however_often_its_cursor_comes_again() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let mut conn = Conn::open(relay.addr());
    for _ in 0..12 {
        let batch = conn.exchange(get(&poll_target("b", Some(&cursor), "wait=0.1"))).batch();
        assert!(batch.messages.is_empty());
    }
    assert_held_back(&relay, 0);
    conn.send(get(&poll_target("b", Some(&cursor), "wait=60")));
    relay.until_parked(1);
    let (_, took) = timed(|| {
        relay.send_v1("b", "{}");
        assert_eq!(conn.response().batch().messages.len(), 1);
    });
    assert_prompt("a message after twelve empty answers", took);
}

#[test]
fn a_cursor_that_comes_again_and_again_is_answered_ever_more_slowly() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    relay.send_v1("b", &numbered(0));
    let mut conn = Conn::open(relay.addr());
    let times: Vec<Duration> = (0..5)
        .map(|_| {
            let poll = get(&poll_target("b", Some(&cursor), "wait=0"));
            let (batch, took) = timed(|| conn.exchange(poll).batch());
            assert_eq!(batch.numbers(), [0], "slowed, not refused");
            took
        })
        .collect();
    println!("the same cursor again: {times:?}");
    for (at, least) in [(2, 1), (3, 2), (4, 4)] {
        assert!(times[at] >= Duration::from_secs(least) && times[at] < Duration::from_secs(5) + PROMPT, "{times:?}");
    }
    assert_held_back(&relay, 3);
    // Whoever moves on is not slowed; nor is who does not know where it is, or who does by one that does not.
    for after in [Some(cursor.at(1)), None, None, None, Some(cursor.at(1))] {
        conn.exchange(get(&poll_target("b", after.as_ref(), "wait=0")));
    }
    assert_held_back(&relay, 3);
}

/// Fails unless so many answers were held back because they had been had before.
#[track_caller]
fn assert_held_back(relay: &Relay, times: u32) {
    assert_eq!(relay.metric("x0_relay_repeats_held_back_total"), f64::from(times));
}

#[test]
fn who_names_no_cursor_does_not_slow_who_stands_at_the_same_place() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    relay.send_v1("b", &numbered(0));
    let mut conn = Conn::open(relay.addr());
    for after in [None, None, Some(&cursor), Some(&cursor)] {
        let batch = conn.exchange(get(&poll_target("b", after, "wait=0"))).batch();
        assert_eq!(batch.numbers(), [0]);
    }
    assert_held_back(&relay, 0);
    conn.exchange(get(&poll_target("b", None, "wait=0")));
    assert_held_back(&relay, 1);
}

#[test]
fn a_client_that_keeps_no_cursor_and_acknowledges_beside_its_polls_is_not_slowed() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    for n in 0..8 {
        relay.send_v1("b", &numbered(n));
        let batch = conn.exchange(get(&poll_target("b", None, "wait=0"))).batch();
        assert_eq!(batch.numbers(), [n]);
        assert_eq!(conn.exchange(ack_request("b", &batch.cursor)).v1()["acked"], 1);
    }
    assert_held_back(&relay, 0);
}

#[test]
fn a_cursor_comes_again_without_being_slowed_if_its_answer_did_not_arrive() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    relay.send_v1("b", &format!("\"{}\"", "x".repeat(60_000)));
    for _ in 0..8 {
        let mut conn = Conn::open(relay.addr());
        conn.send(get(&poll_target("b", Some(&cursor), "wait=60")));
        conn.read_at_most(1);
        assert!(conn.need(2, PROMPT).is_err());
        conn.reset();
    }
    assert_eq!(relay.poll_v1("b", Some(&cursor), "wait=0").messages.len(), 1);
    assert_held_back(&relay, 0);
}

#[test]
fn two_sessions_do_not_touch_each_other() {
    let relay = Relay::start(&[]);
    thread::scope(|scope| {
        for name in ["b", "c", "d"] {
            let relay = &relay;
            scope.spawn(move || {
                for n in 0..20 {
                    relay.send_v1(name, &numbered(n));
                }
                let numbers: Vec<u64> =
                    relay.everything(name, None).iter().map(crate::common::v1::Message::number).collect();
                assert_eq!(numbers, (0..20).collect::<Vec<_>>());
            });
        }
    });
}
