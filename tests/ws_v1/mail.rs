//! Mail and acknowledgements, messages and their answers.

use crate::{
    client::{CONTINUATION, Heard, PING, PONG, TEXT, Ws, frame, text},
    common::{PROMPT, Relay, assert_prompt, timed},
};

#[test]
fn mail_comes_at_once_and_again_until_it_is_acknowledged() {
    let relay = Relay::start(&[]);
    let mut ws = Ws::open(&relay, "b");
    let (cursor, took) = timed(|| {
        relay.accept("b", 0);
        let (numbers, cursor) = ws.numbers();
        assert_eq!(numbers, [0]);
        cursor
    });
    assert_prompt("a message", took);
    relay.accept("b", 1);
    assert_eq!(ws.numbers().0, [1]);
    ws.ack(&cursor);
    ws.assert_nothing();
    assert_eq!(relay.pending("b"), 1);
    ws.close();
    let mut again = Ws::open(&relay, "b");
    assert_eq!(again.numbers().0, [1]);
}

#[test]
fn large_mail_comes_whole_and_in_order() {
    let relay = Relay::start(&["--window", "40"]);
    let filler = "x".repeat(60_000);
    for n in 0..100 {
        relay.accept_payload("b", &format!(r#"{{"n":{n},"x":"{filler}"}}"#));
    }
    let mut ws = Ws::open(&relay, "b");
    let mut all = Vec::new();
    while all.len() < 100 {
        let (numbers, cursor) = ws.numbers();
        all.extend(numbers);
        ws.ack(&cursor);
    }
    assert_eq!(all, (0..100).collect::<Vec<u64>>());
    ws.assert_nothing();
    assert_eq!(relay.pending("b"), 0);
}

#[test]
fn many_sends_on_disk_are_answered_and_kept_in_the_order_of_their_frames() {
    const SENDS: usize = 500;
    let data = tempfile::tempdir().expect("a directory");
    let relay = Relay::start(&["--data-dir", data.path().to_str().expect("UTF-8")]);
    let mut ws = Ws::open(&relay, "b");
    let mut sender = ws.stream.try_clone().expect("a descriptor is free");
    let sending = std::thread::spawn(move || {
        let frames =
            (0..SENDS).flat_map(|n| text(&format!(r#"{{"type":"send","ref":{n},"to":"c","payload":{{"n":{n}}}}}"#)));
        std::io::Write::write_all(&mut sender, &frames.collect::<Vec<u8>>()).expect("the relay takes what is sent");
    });
    for n in 0..SENDS {
        let sent = ws.json();
        assert_eq!((&sent["type"], &sent["ref"]), (&"sent".into(), &n.into()), "{sent}");
    }
    sending.join().expect("only writes");
    let mut receiver = Ws::open(&relay, "c");
    let mut all = Vec::new();
    while all.len() < SENDS {
        let (numbers, cursor) = receiver.numbers();
        all.extend(numbers);
        receiver.ack(&cursor);
    }
    assert_eq!(all, (0..SENDS as u64).collect::<Vec<u64>>());
}

#[test]
fn a_message_in_fragments_is_one_with_control_frames_between() {
    let relay = Relay::start(&[]);
    let mut ws = Ws::open(&relay, "b");
    let filler = "ü".repeat(30_000);
    let said = format!(r#"{{"type":"send","ref":"f","to":"b","payload":{{"n":7,"x":"{filler}"}}}}"#);
    // One of the cuts is within a character.
    let (first, rest) = said.as_bytes().split_at(1_001);
    let (second, third) = rest.split_at(20_000);
    ws.send(&frame(false, TEXT, first));
    ws.send(&frame(true, PING, b"between"));
    ws.send(&frame(false, CONTINUATION, second));
    assert_eq!(ws.next(PROMPT), Some(Heard::Pong(b"between".to_vec())));
    ws.send(&frame(true, PONG, b"unasked"));
    ws.send(&frame(true, CONTINUATION, third));
    let mut both = [ws.said(), ws.said()];
    both.sort_by_key(|said| said.len());
    assert!(both[0].starts_with(r#"{"type":"sent","ref":"f","#), "{}", both[0]);
    assert!(both[1].contains(&filler));
}

#[test]
fn what_is_no_request_is_an_error_and_the_socket_lives_on() {
    let relay = Relay::start(&["--message-bytes", "1000"]);
    let mut ws = Ws::open(&relay, "b");
    let large = format!(r#"{{"type":"send","ref":"l","to":"c","payload":"{}"}}"#, "x".repeat(1_000));
    for (said, reference, kind) in [
        ("[]", None, "bad_request"),
        (r#"{"type":"auth","token":"t"}"#, None, "bad_request"),
        (r#"{"type":"send","ref":7,"to":"user:c","payload":1}"#, Some("7"), "invalid_address"),
        (r#"{"type":"ack","cursor":"0000000000000000"}"#, None, "invalid_cursor"),
        (&large, Some(r#""l""#), "too_large"),
    ] {
        ws.say(said);
        let error = ws.said();
        assert!(error.starts_with(r#"{"type":"error","#) && error.contains(&format!(r#""kind":"{kind}""#)), "{error}");
        let named = reference.map_or_else(|| r#"{"type":"error","title""#.to_owned(), |r| format!(r#""ref":{r},"#));
        assert!(error.contains(&named), "{error}");
    }
    ws.assert_nothing();
}
