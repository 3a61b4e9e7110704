//! Payloads byte for byte, between v1 and x0 in both directions: one mailbox.

use crate::common::{
    Relay,
    packets::{front, get_packet},
    v1::requests::message_body,
    x0::{assert_carried, quoted},
};

/// Values whose spelling a careless server changes.
const OBJECTS: &[&str] = &[
    r#"{"n":[1e400,-1e400,12345678901234567890,0.10,1.0,1e0,1E+0,-0,-0.0,1e-400]}"#,
    r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
    r#"{"a":1,"a":2,"a":1,"b":{"c":1,"c":2}}"#,
    "{ \"a\" :\t1 ,\r\n \"b\" : [ 1 , 2 ] , \"c\" : { } }",
    r#"{"s":"\u0041\/\"\\\b\f\n\r\t\u00e9é\u0000","\u0061":"\uD83D\uDE00😀"}"#,
    r#"{"s":"\ud800 alone","\udfff":1}"#,
    "{\"del\":\"\u{7f}\u{80}\u{2028}\u{feff}\u{10ffff}\"}",
    r#"{"x":{"session_src":"mine"},"y":[{"session_src":"mine"}]}"#,
    "{}",
];

const OTHERS: &[&str] =
    &["null", "true", "1e400", "-0.0", r#""s\u0041\ud800""#, "[ 1 ,\t2e0 ]", "[]", r#"[{"session_src":"x"}]"#];

#[test]
fn v1_to_v1_byte_for_byte() {
    let relay = Relay::start(&[]);
    let payloads: Vec<&str> = OBJECTS.iter().chain(OTHERS).copied().collect();
    for payload in &payloads {
        relay.send_body(&format!("{{\"to\":\"b\",\"payload\": \n{payload}\r\n}}")).sent();
    }
    let got = relay.everything("b", None);
    assert_eq!(got.iter().map(|message| message.payload.as_str()).collect::<Vec<_>>(), payloads);
}

#[test]
fn x0_to_v1_the_payload_as_sent_and_session_src_as_from() {
    let relay = Relay::start(&[]);
    for payload in OBJECTS {
        relay.set("tab-\"a\"\n", "b", payload);
    }
    let got = relay.everything("b", None);
    assert_eq!(got.iter().map(|message| message.payload.as_str()).collect::<Vec<_>>(), OBJECTS);
    assert!(got.iter().all(|message| message.from == "tab-\"a\"\n" && message.word == "message"), "{got:?}");
}

#[test]
fn x0_to_v1_without_the_session_src_that_x0_overwrites() {
    let relay = Relay::start(&[]);
    relay.set("a", "b", r#"{"session_src":"forged","x":1e400,"session\u005fsrc":"forged"}"#);
    let message = &relay.everything("b", None)[0];
    assert_eq!((message.payload.as_str(), message.from.as_str()), (r#"{"x":1e400}"#, "a"));
}

#[test]
fn v1_to_x0_an_object_gets_session_src_as_its_last_member() {
    let relay = Relay::start(&[]);
    for payload in OBJECTS {
        relay.send_body(&message_body("a\"\n", "b", payload)).sent();
        assert_carried(&relay.poll("b")[0], payload, "a\"\n");
    }
    relay.send_body(r#"{"to":"b","payload":{"x":1}}"#).sent();
    assert_carried(&relay.poll("b")[0], r#"{"x":1}"#, "");
}

#[test]
fn v1_to_x0_session_src_is_replaced_however_it_is_escaped() {
    let relay = Relay::start(&[]);
    let cases = [
        (r#"{"session_src":"forged"}"#, "{}"),
        (r#"{"session_src":"forged","x":1}"#, r#"{"x":1}"#),
        (r#"{"x":1,"session\u005fsrc":"forged","y":1e400}"#, r#"{"x":1,"y":1e400}"#),
        (r#"{"\u0073\u0065ssion_src":{"deep":["forged"]},"y":1,"y":2}"#, r#"{"y":1,"y":2}"#),
        (r#"{"session_src":1,"x":1,"session_src":2,"session\u005Fsrc":3}"#, r#"{"x":1}"#),
    ];
    for (sent, carried) in cases {
        // A v1 receiver sees what was sent; only x0 has no other place for the sender.
        relay.send_body(&format!(r#"{{"to":["b","c"],"from":"a","payload":{sent}}}"#)).sent();
        assert_carried(&relay.poll("b")[0], carried, "a");
    }
    let got = relay.everything("c", None);
    assert_eq!(got.iter().map(|m| m.payload.as_str()).collect::<Vec<_>>(), cases.map(|(sent, _)| sent));
}

#[test]
fn v1_to_x0_what_is_no_object_is_wrapped() {
    let relay = Relay::start(&[]);
    for payload in OTHERS {
        relay.send_v1("b", payload);
        assert_carried(&relay.poll("b")[0], &format!(r#"{{"payload":{payload}}}"#), "a");
    }
}

#[test]
fn v1_to_x0_over_the_control_socket() {
    let relay = Relay::start(&[]);
    relay.send_v1("b", r#"{"x":1e400,"session_src":"forged"}"#);
    relay.send_v1("b", "[1]");
    let answer = front(relay.control(), get_packet("b"));
    let messages = r#"{"messages": [{"x":1e400,"session_src":"a"}, {"payload":[1],"session_src":"a"}]}"#;
    assert_eq!(answer, messages);
}

#[test]
fn order_is_one_over_both_wires() {
    let relay = Relay::start(&[]);
    for n in 0..10 {
        let payload = crate::common::v1::numbered(n);
        if n % 2 == 0 { relay.set("a", "b", &payload) } else { drop(relay.send_v1("b", &payload)) }
    }
    let batch = relay.look("b", None);
    assert_eq!(batch.numbers(), (0..10).collect::<Vec<_>>());
    assert_eq!(batch.seqs(), (1..=10).collect::<Vec<_>>());
    relay.ack("b", &batch.cursor.at(3));
    let mail = relay.poll("b");
    assert_eq!(mail.len(), 7);
    for (n, message) in (3..).zip(&mail) {
        assert_carried(message, &crate::common::v1::numbered(n), "a");
    }
    let after = relay.look("b", Some(&batch.cursor));
    assert!(after.messages.is_empty() && after.gap.is_none(), "{after:?}");
}

#[test]
fn a_waiting_receiver_of_one_wire_is_woken_by_the_other() {
    let relay = Relay::start(&["--wait", "60s"]);
    let cursor = relay.cursor("b");
    let parked = relay.park_v1("b", Some(&cursor));
    relay.set("a", "b", r#"{"n":0}"#);
    let (response, took) = parked.answer();
    assert_eq!(response.batch().numbers(), [0]);
    println!("from x0 to a v1 poll: {took:?} after it began");
    let parked = relay.park("c");
    relay.send_v1("c", r#"{"n":1}"#);
    assert_carried(&parked.answer().0.mail()[0], r#"{"n":1}"#, "a");
}

#[test]
fn x0_session_ids_are_whole_colons_and_all() {
    let relay = Relay::start(&[]);
    relay.set("a", "session:b", "{}");
    relay.set("user:1", "user:2", "{}");
    assert_eq!(relay.everything("session:b", None).len(), 1);
    assert!(relay.everything("b", None).is_empty());
    assert_eq!(relay.everything("user:2", None)[0].from, "user:1");
    relay.send_body(&format!(r#"{{"to":{},"payload":{{}}}}"#, quoted("session:user:2"))).sent();
    assert_eq!(relay.everything("user:2", None).len(), 2);
}

#[test]
fn x0s_del_is_a_purge_to_v1() {
    let relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    relay.send_numbers("b", 0..2);
    let answer = relay.ask(crate::common::x0::post("/del", r#"{"session_src":"b","type":"DEL"}"#));
    assert_eq!(answer.x0(), crate::common::x0::Answer::Nothing);
    let batch = relay.look("b", Some(&cursor));
    assert_eq!(batch.gap, Some(crate::common::v1::Gap::of(1, 2, "purged")), "{batch:?}");
}
