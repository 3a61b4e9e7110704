//! The control socket as x0's front uses it: one connection, one packet each way, never more than 4096 bytes back.

use std::{collections::HashSet, time::Duration};

use crate::common::{
    Conn, PROMPT, Relay, assert_prompt, eventually,
    packets::{ORIGINAL_READS, Packets, del_packet, front, get_packet},
    timed,
    x0::{Answer, assert_carried, quoted, set_body},
};

#[test]
fn one_connection_one_exchange() {
    let relay = Relay::start(&["--listen", "none", "--wait", "60s"]);
    let path = relay.control();
    assert_eq!(front(path, set_body("a", "b", r#"{"n":1e400}"#)), r#"{"messages": null, "status": "ok"}"#);
    assert_eq!(front(path, get_packet("b")), r#"{"messages": [{"n":1e400,"session_src":"a"}]}"#);
    let (empty, took) = timed(|| front(path, get_packet("b")));
    assert_eq!(empty, r#"{"messages": null}"#);
    assert_prompt("an empty answer on the socket", took);
    assert_eq!(front(path, set_body("a", "b", "{}")), r#"{"messages": null, "status": "ok"}"#);
    assert_eq!(front(path, del_packet("b")), r#"{"messages": null}"#);
    assert_eq!(front(path, get_packet("b")), r#"{"messages": null}"#);
}

#[test]
fn the_socket_and_http_are_doors_to_the_same_mailboxes() {
    let relay = Relay::start(&["--wait", "60s"]);
    assert_eq!(relay.packet(set_body("a", "b", r#"{"n":1}"#)), Answer::Accepted);
    assert_carried(&relay.poll("b")[0], r#"{"n":1}"#, "a");
    relay.set("a", "b", r#"{"n":2}"#);
    let Answer::Mail(mail) = relay.packet(get_packet("b")) else { panic!("no mail") };
    assert_carried(&mail[0], r#"{"n":2}"#, "a");
    let mut waiting = Conn::open(relay.addr());
    relay.park_on(&mut waiting, "b");
    let (_, took) = timed(|| {
        assert_eq!(relay.packet(set_body("a", "b", r#"{"n":3}"#)), Answer::Accepted);
        assert_carried(&waiting.response().mail()[0], r#"{"n":3}"#, "a");
    });
    assert_prompt("from a packet to a waiting poll", took);
}

#[test]
fn a_hundred_queued_messages_come_in_order_and_none_is_lost_to_the_4096_bytes() {
    let relay = Relay::start(&["--listen", "none"]);
    let payload = |n: usize| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(n * 7 % 500));
    for n in 0..100 {
        assert_eq!(relay.packet(set_body("a", "b", &payload(n))), Answer::Accepted);
    }
    let mut got = Vec::new();
    let mut answers = 0;
    while let Answer::Mail(mail) = relay.packet(get_packet("b")) {
        got.extend(mail);
        answers += 1;
    }
    println!("100 messages in {answers} answers");
    assert_eq!(got.len(), 100);
    for (n, message) in got.iter().enumerate() {
        assert_carried(message, &payload(n), "a");
    }
    let bytes: usize = got.iter().map(|m| m.len() + 2).sum();
    assert!(answers <= 2 * bytes / ORIGINAL_READS + 2, "{answers} answers for {bytes} bytes: they were not filled");
}

/// A payload with which the answer to a GET has exactly `size` bytes.
fn filling(size: usize) -> String {
    let empty = r#"{"messages": [{"s":"","session_src":"a"}]}"#.len();
    format!(r#"{{"s":"{}"}}"#, "x".repeat(size - empty))
}

#[test]
fn an_answer_of_4096_bytes_is_given() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", &filling(ORIGINAL_READS));
    let answer = front(relay.control(), get_packet("b"));
    assert_eq!(answer.len(), ORIGINAL_READS);
    assert!(matches!(Answer::parse(&answer), Answer::Mail(_)));
}

#[test]
fn a_message_that_never_fits_stays_while_those_behind_it_are_delivered() {
    let relay = Relay::start(&[]);
    let large = [filling(ORIGINAL_READS + 1), filling(20_000)];
    relay.set("a", "b-with-large", r#"{"n":1}"#);
    relay.set("a", "b-with-large", &large[0]);
    relay.set("a", "b-with-large", r#"{"n":2}"#);
    relay.set("a", "b-with-large", &large[1]);
    relay.set("a", "b-with-large", r#"{"n":3}"#);
    let mut small = Vec::new();
    while let Answer::Mail(mail) = relay.packet(get_packet("b-with-large")) {
        small.extend(mail);
    }
    assert_eq!(small.len(), 3, "{small:?}");
    for (n, message) in small.iter().enumerate() {
        assert_carried(message, &format!(r#"{{"n":{}}}"#, n + 1), "a");
    }
    eventually("the log names the session", PROMPT, || relay.log().contains("b-with-large").then_some(()));
    let rest = relay.poll("b-with-large");
    assert_eq!(rest.len(), 2);
    assert_carried(&rest[0], &large[0], "a");
    assert_carried(&rest[1], &large[1], "a");
}

#[test]
fn a_del_removes_also_what_never_fits() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", &filling(5000));
    assert_eq!(relay.packet(get_packet("b")), Answer::Nothing);
    assert_eq!(relay.packet(del_packet("b")), Answer::Nothing);
    relay.assert_empty("b");
}

#[test]
fn a_set_of_200_kb_is_taken() {
    let relay = Relay::start(&["--message-bytes", "256KiB"]);
    let payload = format!(r#"{{"s":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(relay.packet(set_body("a", "b", &payload)), Answer::Accepted);
    assert_carried(&relay.poll("b")[0], &payload, "a");
}

#[test]
fn a_set_beyond_the_limit_is_an_error() {
    let relay = Relay::start(&[]);
    let payload = format!(r#"{{"s":"{}"}}"#, "x".repeat(100_000));
    let Answer::Error(error) = relay.packet(set_body("a", "b", &payload)) else { panic!("accepted") };
    assert_eq!(error.id, "TooLarge");
    relay.assert_empty("b");
}

#[test]
fn errors_carry_messages_null_so_that_the_front_goes_on_waiting() {
    let relay = Relay::start(&["--error-hold", "60s"]);
    let deep = format!(r#"{{"type":"GET","session_src":"b","x":{}{}}}"#, "[".repeat(60_000), "]".repeat(60_000));
    let cases = [
        ("not JSON", "NotJSON"),
        ("[]", "BadRequest"),
        ("17", "BadRequest"),
        ("{}", "BadRequest"),
        (r#"{"type":"GET"}"#, "InvalidSessionID"),
        (r#"{"type":"GET","session_src":null}"#, "InvalidSessionID"),
        (r#"{"type":"GET","session_src":""}"#, "InvalidSessionID"),
        (r#"{"type":"SET","session_src":"a","session_dst":null,"payload":{}}"#, "InvalidSessionID"),
        (r#"{"type":"SET","session_src":"a","session_dst":"b","payload":[]}"#, "PayloadNotObject"),
        (r#"{"type":"SET","session_src":"a","session_dst":"b","payload":{"n":NaN}}"#, "NotJSON"),
        (r#"{"type":"POP","session_src":"a"}"#, "BadRequest"),
        (deep.as_str(), "TooDeep"),
    ];
    for (packet, id) in cases {
        let (text, took) = timed(|| front(relay.control(), packet));
        let shown: String = packet.chars().take(60).collect();
        assert_prompt(&format!("the error for {shown}"), took);
        let Answer::Error(error) = Answer::parse(&text) else { panic!("{shown}: {text}") };
        assert_eq!(error.id, id, "{shown}: {text}");
        let members: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(members.get("messages"), Some(&serde_json::Value::Null), "{text}");
    }
    let invalid = front(relay.control(), b"{\"type\":\"GET\",\"session_src\":\"\xff\"}");
    assert!(matches!(Answer::parse(&invalid), Answer::Error(e) if e.id == "NotJSON"), "{invalid}");
    assert_eq!(relay.packet(get_packet("b")), Answer::Nothing, "nothing was queued");
}

#[test]
fn double_members_and_escapes_are_read_as_over_http() {
    let relay = Relay::start(&["--listen", "none"]);
    let set = r#"{"type":"DEL","session_dst":"x","session_src":"x","payload":{},"payload":{"s":"\ud800"},"session_src":"a","session\u005fdst":"b","type":"SET"}"#;
    assert_eq!(relay.packet(set), Answer::Accepted);
    let Answer::Mail(mail) = relay.packet(get_packet("b")) else { panic!("no mail") };
    assert_carried(&mail[0], r#"{"s":"\ud800"}"#, "a");
}

#[test]
fn a_silent_peer_stops_nobody() {
    let relay = Relay::start(&["--wait", "200ms"]);
    let silent: Vec<Packets> = (0..20).map(|_| Packets::open(relay.control())).collect();
    silent.iter().for_each(|peer| peer.assert_silent(Duration::from_millis(1)));
    let (answer, took) = timed(|| relay.packet(get_packet("b")));
    assert_eq!(answer, Answer::Nothing);
    assert_prompt("an exchange beside silent peers", took);
    relay.assert_empty("b");
    // They have not been thrown out for being slow to begin.
    silent[0].send(get_packet("b"));
    assert_eq!(silent[0].receive(), br#"{"messages": null}"#);
}

#[test]
fn a_front_that_does_not_take_its_answer_harms_nobody() {
    let relay = Relay::start(&["--wait", "200ms"]);
    for n in 0..50 {
        let peer = Packets::open(relay.control());
        if n % 2 == 0 {
            peer.send(get_packet(&format!("nobody-{n}")));
        }
    }
    assert_eq!(relay.packet(set_body("a", "b", "{}")), Answer::Accepted);
    assert!(matches!(relay.packet(get_packet("b")), Answer::Mail(_)));
}

#[test]
fn fronts_at_the_same_time_each_get_their_own() {
    let relay = Relay::start(&["--listen", "none"]);
    std::thread::scope(|scope| {
        for front in 0..8 {
            let relay = &relay;
            scope.spawn(move || {
                let session = format!("s{front}");
                for n in 0..50 {
                    let payload = format!(r#"{{"n":{n}}}"#);
                    assert_eq!(relay.packet(set_body(&session, &session, &payload)), Answer::Accepted);
                    let Answer::Mail(mail) = relay.packet(get_packet(&session)) else { panic!("no mail for {n}") };
                    assert_eq!(mail.len(), 1);
                    assert_carried(&mail[0], &payload, &session);
                }
            });
        }
    });
}

#[test]
fn the_fronts_loop_of_ten_tries_finds_a_message_that_comes_meanwhile() {
    let relay = Relay::start(&["--listen", "none"]);
    for _ in 0..3 {
        assert_eq!(relay.packet(get_packet("b")), Answer::Nothing);
    }
    assert_eq!(relay.packet(set_body("a", "b", "{}")), Answer::Accepted);
    assert!(matches!(relay.packet(get_packet("b")), Answer::Mail(m) if m.len() == 1));
    assert_eq!(relay.packet(get_packet("b")), Answer::Nothing, "the packet was taken: it is settled");
}

#[test]
fn a_poll_over_http_and_fronts_on_the_socket_share_a_session_without_loss() {
    let relay = Relay::start(&["--wait", "60s"]);
    let mut seen = HashSet::new();
    let mut waiting = Conn::open(relay.addr());
    for n in 0..20 {
        relay.park_on(&mut waiting, "b");
        relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
        if let Answer::Mail(mail) = relay.packet(get_packet("b")) {
            seen.extend(mail);
            relay.set("a", "b", &format!(r#"{{"wake":{n}}}"#));
        }
        seen.extend(waiting.response().mail());
    }
    for n in 0..20 {
        let message = format!(r#"{{"n":{n},"session_src":{}}}"#, quoted("a"));
        assert!(seen.contains(&message), "{message} is lost; seen {seen:?}");
    }
}
