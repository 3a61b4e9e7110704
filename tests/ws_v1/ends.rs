//! Drains, and what closes a socket.

use std::time::Instant;

use crate::{
    SOON,
    common::{
        Broken, PROMPT, Relay, assert_prompt, timed,
        v1::{
            Said,
            socket::{BINARY, TEXT, frame},
        },
    },
    said, send, text,
};

#[test]
fn a_drain_answers_what_was_sent_says_goodbye_and_ends_whoever_listens() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().to_str().expect("UTF-8");
    let mut relay = Relay::start(&["--data-dir", path]);
    let (mut polite, _) = relay.socket("polite", None);
    let _rude = relay.socket("rude", None);
    let (mut sender, _) = relay.socket("sender", None);
    let frames: Vec<u8> = (0..1_000).flat_map(|n| text(&send(n, "c"))).collect();
    let start = Instant::now();
    let mut out = sender.conn.sender();
    // The relay may close before all is sent.
    let sending = std::thread::spawn(move || drop(out.try_send(frames)));
    assert!(matches!(said(&mut sender), Said::Sent { .. }));
    relay.term();
    match said(&mut polite) {
        Said::Goodbye { reason, retry_after: Some(seconds) } => {
            assert!(reason == "drain" && (0.1..3.0).contains(&seconds), "{reason}, {seconds}");
        }
        other => panic!("no goodbye but {other:?}"),
    }
    let (_, took) = timed(|| {
        assert!(matches!(said(&mut polite), Said::Close(1012, _)));
        polite.conn.assert_ends(PROMPT);
    });
    assert_prompt("the end of a client that answers the close", took);
    let mut accepted = 1;
    loop {
        match said(&mut sender) {
            Said::Sent { .. } => accepted += 1,
            // What the relay read when it was about to end.
            Said::Error { kind, .. } => assert_eq!(kind, "draining"),
            Said::Goodbye { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(said(&mut sender), Said::Close(1012, _)));
    // The rude one does not answer its close: that takes two seconds, and another for its end.
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    println!("ended after {:?}, {accepted} accepted", start.elapsed());
    sending.join().expect("only writes");
    let relay = Relay::start(&["--data-dir", path]);
    assert!(relay.pending("c") >= accepted, "{} of {accepted}", relay.pending("c"));
}

#[test]
fn a_client_that_breaks_the_rules_is_told_how_and_not_waited_for() {
    let relay = Relay::start(&[]);
    for (what, code) in
        [(frame(true, BINARY, b"{}"), 1003), (frame(true, TEXT, b"\"\xff\""), 1007), (vec![0x81, 2, b'{', b'}'], 1002)]
    {
        let (mut socket, _) = relay.socket("b", None);
        socket.conn.send(&what);
        assert!(matches!(said(&mut socket), Said::Close(told, _) if told == code), "{code}");
        let (_, took) = timed(|| socket.conn.assert_ends(PROMPT));
        assert_prompt("the end", took);
    }
}

#[test]
fn a_message_that_is_far_too_large_is_told_so_while_it_is_on_its_way() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    let mut out = socket.conn.sender();
    // It need not be taken to its end.
    let sending = std::thread::spawn(move || drop(out.try_send(frame(true, TEXT, &vec![b' '; 700_000]))));
    assert!(matches!(said(&mut socket), Said::Error { status: 413, .. }));
    assert!(matches!(said(&mut socket), Said::Close(1009, _)));
    assert!(matches!(socket.next(PROMPT), Err(Broken::Ended)));
    sending.join().expect("only writes");
    // The longest that may come is no such thing.
    let (mut socket, _) = relay.socket("b", None);
    for (bytes, status) in [((64 << 10) * 2, 400), ((64 << 10) * 2 + 1, 413)] {
        socket.conn.send(frame(true, TEXT, &vec![b' '; bytes]));
        match said(&mut socket) {
            Said::Error { status: told, .. } => assert_eq!(told, status, "{bytes}"),
            other => panic!("{other:?}"),
        }
    }
}
