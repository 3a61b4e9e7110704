//! The Python stand-ins for x0's front and message server, against each other: that they behave as x0's do, weaknesses
//! included, so that what tests/x0_front.rs and tests/x0_server.rs prove with them means something.

mod common;

use std::{sync::mpsc, thread, time::Duration};

use common::{
    PROMPT,
    packets::ORIGINAL_READS,
    split::{Generation, Place, is_empty, json, messages},
    timed,
};

#[test]
fn the_current_generation_removes_with_get_and_ignores_del() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_front, http) = place.front();
    http.set_ok("a", "b", r#"{"n":1}"#);
    http.set_ok("a", "b", r#"{"n":2}"#);
    assert!(is_empty(&http.del("b")));
    let expected = r#"{"messages": [{"n": 1, "session_src": "a"}, {"n": 2, "session_src": "a"}]}"#;
    assert_eq!(http.get("b"), expected);
    assert!(is_empty(&http.get("b")));
}

#[test]
fn the_old_generation_removes_with_del_alone() {
    let place = Place::new();
    let _server = place.server(Generation::Old);
    let (_front, http) = place.front();
    http.set_ok("a", "b", r#"{"n":1}"#);
    for _ in 0..2 {
        assert_eq!(messages(&http.get("b")), [json(r#"{"n":1,"session_src":"a"}"#)]);
    }
    assert!(is_empty(&http.del("b")));
    assert!(is_empty(&http.get("b")));
}

#[test]
fn the_button_and_network_events_become_messages() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_front, http) = place.front();
    let lists = r#""FormlistSelectDstUser":{"DstUserSession":"b"},"FormlistExchangeData":{"Text1":"hi"}"#;
    let form = format!(r#"{{"RequestData":{{{lists}}},"SessionData":{{"ID":"SYS_SESSION","Value":"a"}}}}"#);
    http.ask("POST", "/python/MsgHandler.py?a__=0123456789", &form);
    let query = "SYS_SESSION=a&Type=SET&DestinationSession=b&Payload=%7B%22t%22:%22x+y%22%7D";
    http.ask("GET", &format!("/python/MsgHandler.py?a__=0123456789&{query}"), "");
    let net_message = r#"{"msg-type":"net-message","method-id":"set-data","dst-object":"FormlistExchangeData",
        "payload":{"Text1":"hi"},"session_src":"a"}"#;
    assert_eq!(messages(&http.get("b")), [json(net_message), json(r#"{"t":"x y","session_src":"a"}"#)]);
    assert_eq!(http.ask("GET", "/python/MsgHandler.py", ""), "");
}

#[test]
fn a_long_answer_is_cut_and_its_messages_are_lost() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_front, http) = place.front_every("6");
    for n in 0..100 {
        http.set_ok("a", "b", &format!(r#"{{"n":{n},"text":"{:100}"}}"#, ""));
    }
    let (answer, took) = timed(|| http.get("b"));
    assert_eq!(json(&answer)["error"], true);
    assert!(took < PROMPT, "the front answers at once, not after {took:?}");
    assert_eq!(place.exchange(r#"{"type":"GET","session_src":"b"}"#).as_deref(), Some(r#"{"messages": null}"#));
}

#[test]
fn a_long_request_is_cut_and_fails() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_front, http) = place.front();
    let answer = http.set("a", "b", &format!(r#"{{"text":"{:ORIGINAL_READS$}"}}"#, ""));
    assert_eq!(json(&answer)["error"], true);
    assert!(is_empty(&http.get("b")));
}

#[test]
fn the_front_waits_for_mail_but_not_after_a_close() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_front, http) = place.front();
    let (_, waited) = timed(|| http.get("b"));
    assert!(waited >= Duration::from_millis(450), "ten tries 50 ms apart took {waited:?}");
    // Without a session the server closes without an answer.
    let (_patient, patiently) = place.front_every("6");
    let (answer, closed) = timed(|| patiently.ask("POST", "/python/MsgHandler.py", r#"{"type":"GET"}"#));
    assert_eq!(json(&answer)["error"], true);
    assert!(closed < PROMPT, "the front answers at once, not after {closed:?}");
    assert_eq!(place.exchange(r#"{"type":"GET"}"#), None);
    assert_eq!(place.exchange("not JSON"), None);

    let poll = {
        let http = http.clone();
        thread::spawn(move || http.get("b"))
    };
    http.set_ok("a", "b", r#"{"n":1}"#);
    assert_eq!(messages(&poll.join().expect("a poll")).len(), 1);
}

#[test]
fn a_silent_peer_stops_the_original_for_everybody() {
    let place = Place::new();
    let _server = place.server(Generation::Current);
    let (_front, http) = place.front();
    let silent = place.silent_peer();
    let (sender, answered) = mpsc::channel();
    let set = thread::spawn(move || {
        http.set_ok("a", "b", r#"{"n":1}"#);
        sender.send(()).expect("the test waits");
    });
    assert!(answered.recv_timeout(Duration::from_millis(500)).is_err(), "nobody is served");
    drop(silent);
    set.join().expect("served as soon as the silent peer is gone");
}

#[test]
fn the_client_prints_the_answer_or_fails() {
    let place = Place::new();
    let get = r#"{"type":"GET","session_src":"b"}"#;
    assert_eq!(place.client(get), (Some(1), String::new()), "nobody there");
    let _server = place.server(Generation::Current);
    assert_eq!(place.client(get), (Some(0), "{\"messages\": null}\n".to_owned()));
    assert_eq!(place.client("[]"), (Some(1), String::new()), "closed without an answer");
}
