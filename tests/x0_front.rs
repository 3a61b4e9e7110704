//! x0's own front (its stand-in, tests/x0/front.py) in front of our control socket: everything works, and nothing is
//! lost to the 4096 bytes that it reads.

mod common;

use std::time::Duration;

use common::{
    packets::ORIGINAL_READS,
    split::{Place, is_empty, json, messages},
    timed,
};

const AT_ONCE: Duration = common::PROMPT;

#[test]
fn set_get_and_del() {
    let place = Place::new();
    let _relay = place.serve();
    let (_front, http) = place.front();
    http.set_ok("a", "b", r#"{"n":1}"#);
    http.set_ok("c", "b", r#"{"n":2}"#);
    let expected = [json(r#"{"n":1,"session_src":"a"}"#), json(r#"{"n":2,"session_src":"c"}"#)];
    assert_eq!(messages(&http.get("b")), expected);
    assert!(is_empty(&http.get("b")), "delivered messages are gone");

    http.set_ok("a", "b", r#"{"n":3}"#);
    assert!(is_empty(&http.del("b")));
    assert!(is_empty(&http.get("b")), "removed messages are gone");
    assert!(is_empty(&http.del("b")), "whether or not there is anything");
}

#[test]
fn the_socket_never_waits_and_keeps_every_byte() {
    let place = Place::new();
    let _relay = place.serve();
    let get = r#"{"type":"GET","session_src":"b"}"#;
    let (answer, took) = timed(|| place.exchange(get));
    assert_eq!(answer.as_deref(), Some(r#"{"messages": null}"#));
    assert!(took < AT_ONCE, "an empty GET took {took:?}");

    let payload = r#"{"z":1,"a":1e400,"z":12345678901234567890,"t":"\u00e4\/😀","f":1.10,"l":[ ]"#;
    let set = format!(r#"{{"session_dst":"b","payload":{payload}}},"session_src":"a","type":"SET"}}"#);
    assert_eq!(place.exchange(&set).as_deref(), Some(r#"{"messages": null, "status": "ok"}"#));
    let answer = format!(r#"{{"messages": [{payload},"session_src":"a"}}]}}"#);
    assert_eq!(place.exchange(get), Some(answer));
}

#[test]
fn a_hundred_queued_messages_arrive_in_order_through_4096_bytes() {
    let place = Place::new();
    let _relay = place.serve();
    let (_front, http) = place.front();
    // 30 to 330 bytes each, 18 kB together.
    let payload = |n: usize| format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(n * 3));
    for n in 0..100 {
        http.set_ok("a", "b", &payload(n));
    }

    let mut got = Vec::new();
    let mut answers = 0;
    while got.len() < 100 {
        let answer = http.get("b");
        assert!(answer.len() <= ORIGINAL_READS, "{} bytes", answer.len());
        let batch = messages(&answer);
        assert!(!batch.is_empty(), "{} of 100 had come, then {answer}", got.len());
        got.extend(batch);
        answers += 1;
    }
    println!("100 messages in {answers} answers");
    for (n, message) in got.iter().enumerate() {
        let mut expected = json(&payload(n));
        expected["session_src"] = "a".into();
        assert_eq!(*message, expected, "message {n}");
    }
    assert!(is_empty(&http.get("b")));
}

#[test]
fn what_never_fits_stays_and_holds_up_nobody() {
    let place = Place::new();
    let (relay, direct) = place.serve_http();
    let (_front, front) = place.front();
    let big = format!(r#"{{"n":2,"text":"{}"}}"#, "x".repeat(5000));
    front.set_ok("a", "small-reader", r#"{"n":1}"#);
    front.set_ok("a", "small-reader", &big);
    front.set_ok("a", "small-reader", r#"{"n":3}"#);

    let mut got = messages(&front.get("small-reader"));
    if got.len() < 2 {
        got.extend(messages(&front.get("small-reader")));
    }
    assert_eq!(got, [json(r#"{"n":1,"session_src":"a"}"#), json(r#"{"n":3,"session_src":"a"}"#)]);
    assert!(is_empty(&front.get("small-reader")), "the one between does not fit");

    // Whoever operates this can see it: by session and size in the log, and in a metric.
    let line = relay.logged("small-reader");
    assert!(line.contains("WARN") && !line.contains("xxx"), "a warning without the payload: {line}");
    let metrics = direct.ask("GET", "/metrics", "");
    let count = metrics.lines().find_map(|line| line.split_once("messages_unfit_total ")).expect("the metric").1;
    assert_ne!(count, "0");

    let mut expected = json(&big);
    expected["session_src"] = "a".into();
    assert_eq!(messages(&direct.get("small-reader")), [expected], "it is still there for one that can take it");
}

#[test]
fn exactly_4096_bytes_fit() {
    let place = Place::new();
    let (_relay, direct) = place.serve_http();
    let get = r#"{"type":"GET","session_src":"b"}"#;
    let set = |length: usize| {
        let payload = format!(r#"{{"t":"{}"}}"#, "x".repeat(length - r#"{"t":""}"#.len()));
        let packet = format!(r#"{{"type":"SET","session_src":"a","session_dst":"b","payload":{payload}}}"#);
        assert_eq!(place.exchange(&packet).as_deref(), Some(r#"{"messages": null, "status": "ok"}"#));
    };
    let answer = || place.exchange(get).expect("an answer");

    set(100);
    let around = answer().len() - 100;
    set(ORIGINAL_READS - around);
    assert_eq!(answer().len(), ORIGINAL_READS);
    set(ORIGINAL_READS - around + 1);
    assert!(is_empty(&answer()), "one byte more stays");
    assert_eq!(messages(&direct.get("b")).len(), 1);

    // Two that fit one by one but not together come one by one.
    set(2500);
    set(2500);
    assert_eq!([messages(&answer()).len(), messages(&answer()).len()], [1, 1]);
    assert!(is_empty(&answer()));
}

#[test]
fn an_error_keeps_the_front_waiting() {
    let place = Place::new();
    let _relay = place.serve();
    let deep = format!(r#"{{"type":"SET","session_src":"a","session_dst":"b","payload":{}"#, "[".repeat(10_000));
    for (packet, exception_id) in [
        (r#"{"type":"GET"}"#, "InvalidSessionID"),
        (r#"{"type":"GET","session_src":null}"#, "InvalidSessionID"),
        (r#"{"type":"GET","session_src":""}"#, "InvalidSessionID"),
        (r#"{"type":"SET","session_src":"a","payload":{}}"#, "InvalidSessionID"),
        (r#"{"type":"SET","session_src":"a","session_dst":"b","payload":7}"#, "PayloadNotObject"),
        (r#"{"type":"NIX","session_src":"a"}"#, "BadRequest"),
        (r#"{"session_src":"a"}"#, "BadRequest"),
        ("[]", "BadRequest"),
        ("not JSON", "NotJSON"),
        (r#"{"type":"SET","session_src":"a","session_dst":"b","payload":{"n":NaN}}"#, "NotJSON"),
        (&deep, "TooDeep"),
    ] {
        let text = place.exchange(packet).unwrap_or_else(|| panic!("no answer to {packet:.100}"));
        let answer = json(&text);
        assert_eq!(answer["exception_id"], exception_id, "{packet:.100} -> {text}");
        assert_eq!(answer["error"], true, "{text}");
        assert!(answer["exception"].is_string(), "{text}");
        assert!(text.contains(r#""messages": null"#), "{text}");
        assert!(text.len() <= ORIGINAL_READS, "{text}");
    }
    assert_eq!(place.exchange(r#"{"type":"GET","session_src":"b"}"#).as_deref(), Some(r#"{"messages": null}"#));

    let (_front, http) = place.front();
    for body in [r#"{"type":"GET"}"#, r#"{"type":"GET","session_src":null}"#] {
        let (answer, took) = timed(|| http.ask("POST", "/python/MsgHandler.py", body));
        assert_eq!(json(&answer)["exception_id"], "InvalidSessionID", "{answer}");
        assert!(took >= Duration::from_millis(450), "ten tries 50 ms apart took {took:?}");
    }
}

#[test]
fn a_silent_peer_harms_nobody() {
    let place = Place::new();
    let _relay = place.serve();
    let (_front, http) = place.front();
    let silent: Vec<_> = (0..50).map(|_| place.silent_peer()).collect();
    for n in 0..10 {
        let ((), took) = timed(|| http.set_ok("a", "b", &format!(r#"{{"n":{n}}}"#)));
        assert!(took < AT_ONCE, "a SET took {took:?}");
    }
    let (answer, took) = timed(|| http.get("b"));
    assert!(took < AT_ONCE, "a GET took {took:?}");
    assert_eq!(messages(&answer).len(), 10);
    // The silent ones leave, and others come after them.
    drop(silent);
    http.set_ok("a", "b", r#"{"n":10}"#);
    assert_eq!(messages(&http.get("b")).len(), 1);
}

#[test]
fn the_button_and_network_events_of_a_page() {
    let place = Place::new();
    let _relay = place.serve();
    let (_front, http) = place.front();
    let lists = r#""FormlistSelectDstUser":{"DstUserSession":"b"},"FormlistExchangeData":{"Text1":"hi"}"#;
    let form = format!(r#"{{"RequestData":{{{lists}}},"SessionData":{{"ID":"SYS_SESSION","Value":"a"}}}}"#);
    assert_eq!(json(&http.ask("POST", "/python/MsgHandler.py?a__=0123456789", &form))["status"], "ok");
    let query = "SYS_SESSION=a&Type=SET&DestinationSession=b&Payload=%7B%22t%22:%22x+y%22%7D";
    assert_eq!(json(&http.ask("GET", &format!("/python/MsgHandler.py?a__=0123456789&{query}"), ""))["status"], "ok");
    let net_message = r#"{"msg-type":"net-message","method-id":"set-data","dst-object":"FormlistExchangeData",
        "payload":{"Text1":"hi"},"session_src":"a"}"#;
    assert_eq!(messages(&http.get("b")), [json(net_message), json(r#"{"t":"x y","session_src":"a"}"#)]);
}
