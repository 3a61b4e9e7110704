//! Newer receivers, drains, and what closes a socket.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::{
    client::{BINARY, CLOSE, Heard, TEXT, Ws, frame, text},
    common::{PROMPT, Relay, assert_prompt, timed},
};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_newer_receiver_sends_the_older_away() {
    let relay = Relay::start(&["--window", "1"]);
    let mut old = Ws::open(&relay, "b");
    relay.accept("b", 0);
    relay.accept("b", 1);
    assert_eq!(old.numbers().0, [0]);
    let (mut new, took) = timed(|| {
        let new = Ws::open(&relay, "b");
        assert_eq!(old.said(), r#"{"type":"goodbye","reason":"superseded"}"#);
        new
    });
    assert_prompt("a goodbye with the window full", took);
    assert_eq!(old.heard(), Heard::Close(4001));
    old.send(&frame(true, CLOSE, &4001_u16.to_be_bytes()));
    old.assert_ends();
    assert_eq!(new.numbers().0, [0], "what the older had not acknowledged");
}

#[test]
fn a_drain_answers_what_was_sent_says_goodbye_and_ends_whoever_listens() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().to_str().expect("UTF-8");
    let mut relay = Relay::start(&["--data-dir", path]);
    let mut polite = Ws::open(&relay, "polite");
    let _rude = Ws::open(&relay, "rude");
    let mut sender = Ws::open(&relay, "sender");
    let frames = (0..1_000).flat_map(|n| text(&format!(r#"{{"type":"send","ref":{n},"to":"c","payload":1}}"#)));
    let frames: Vec<u8> = frames.collect();
    let start = Instant::now();
    let mut out = sender.stream.try_clone().expect("a descriptor is free");
    // The relay may close before all is sent.
    let sending = std::thread::spawn(move || drop(out.write_all(&frames)));
    assert!(sender.said().contains("sent"));
    relay.term();
    let goodbye = polite.json();
    assert_eq!((&goodbye["type"], &goodbye["reason"]), (&"goodbye".into(), &"drain".into()), "{goodbye}");
    assert!(goodbye["retry_after"].as_f64().is_some_and(|s| (0.1..3.0).contains(&s)), "{goodbye}");
    assert_eq!(polite.heard(), Heard::Close(1012));
    polite.send(&frame(true, CLOSE, &1012_u16.to_be_bytes()));
    polite.assert_ends();
    let mut accepted = 1;
    loop {
        let said = sender.said();
        match serde_json::from_str::<serde_json::Value>(&said).expect("JSON")["type"].as_str() {
            Some("sent") => accepted += 1,
            // What the relay read when it was about to end.
            Some("error") => assert!(said.contains("draining"), "{said}"),
            _ => break assert!(said.contains("goodbye"), "{said}"),
        }
    }
    assert_eq!(sender.heard(), Heard::Close(1012));
    // The rude one does not answer its close: that takes two seconds, no more.
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    println!("ended after {:?}, {accepted} accepted", start.elapsed());
    sending.join().expect("only writes");
    let relay = Relay::start(&["--data-dir", path]);
    assert!(relay.pending("c") >= accepted, "{} of {accepted}", relay.pending("c"));
}

#[test]
fn what_no_client_may_say_is_told_by_the_close() {
    let relay = Relay::start(&[]);
    for (said, code) in
        [(frame(true, BINARY, b"{}"), 1003), (frame(true, TEXT, b"\"\xff\""), 1007), (vec![0x81, 2, b'{', b'}'], 1002)]
    {
        let mut ws = Ws::open(&relay, "b");
        ws.send(&said);
        assert_eq!(ws.heard(), Heard::Close(code));
        // A peer that answers is not kept waiting, and neither is one that breaks the rules.
        ws.send(&frame(true, CLOSE, &code.to_be_bytes()));
        let (_, took) = timed(|| ws.assert_ends());
        assert_prompt("the end", took);
    }
}

#[test]
fn a_message_that_is_far_too_large_is_told_so_while_it_is_on_its_way() {
    let relay = Relay::start(&[]);
    let mut ws = Ws::open(&relay, "b");
    let mut out = ws.stream.try_clone().expect("a descriptor is free");
    let sending = std::thread::spawn(move || {
        // It need not be taken to its end.
        drop(out.write_all(&frame(true, TEXT, &vec![b' '; 700_000])));
    });
    let error = ws.json();
    assert_eq!((&error["type"], &error["kind"]), (&"error".into(), &"too_large".into()), "{error}");
    assert_eq!(ws.heard(), Heard::Close(1009));
    sending.join().expect("only writes");
    assert!(matches!(ws.next(PROMPT), Some(Heard::End | Heard::Reset)));
    // The longest that may come is no such thing.
    let mut ws = Ws::open(&relay, "b");
    ws.send(&frame(true, TEXT, &vec![b' '; (64 << 10) * 2]));
    assert!(ws.said().contains("not_json"));
    ws.send(&frame(true, TEXT, &vec![b' '; (64 << 10) * 2 + 1]));
    assert!(ws.said().contains("too_large"));
}
