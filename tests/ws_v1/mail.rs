//! Much mail, and many messages.

use std::io::Write;

use crate::{
    assert_alive,
    common::{
        PROMPT, Relay,
        v1::{
            Frame, Said,
            socket::{PING, PONG, TEXT, frame},
        },
    },
    mail_of, pile_up, said, send, text,
};

#[test]
fn large_mail_comes_whole_and_in_order() {
    let relay = Relay::start(&["--window", "40"]);
    pile_up(&relay, "b");
    let (mut socket, _) = relay.socket("b", None);
    let mut all = Vec::new();
    while all.len() < 100 {
        let batch = mail_of(&mut socket);
        all.extend(batch.numbers());
        socket.ack(&batch.cursor);
    }
    assert_eq!(all, (0..100).collect::<Vec<u64>>());
    assert_alive(&mut socket);
    assert_eq!(relay.pending("b"), 0);
}

#[test]
fn many_sends_on_disk_are_answered_and_kept_in_the_order_of_their_frames() {
    const SENDS: u64 = 500;
    let data = tempfile::tempdir().expect("a directory");
    let relay = Relay::start(&["--data-dir", data.path().to_str().expect("UTF-8")]);
    let (mut socket, _) = relay.socket("b", None);
    let mut sender = socket.conn.sender();
    let frames: Vec<u8> = (0..SENDS).flat_map(|n| text(&send(n, "c"))).collect();
    let sending = std::thread::spawn(move || sender.send(frames));
    for n in 0..SENDS {
        match said(&mut socket) {
            Said::Sent { reference, .. } => assert_eq!(reference, Some(n.to_string())),
            other => panic!("{other:?}"),
        }
    }
    sending.join().expect("only writes");
    let numbers: Vec<u64> = relay.everything("c", None).iter().map(|message| message.number()).collect();
    assert_eq!(numbers, (0..SENDS).collect::<Vec<u64>>());
}

#[test]
fn a_large_message_in_fragments_is_one_with_control_frames_between() {
    let relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("b", None);
    let filler = "ü".repeat(30_000);
    let said = format!(r#"{{"type":"send","ref":"f","to":"c","payload":{{"n":7,"x":"{filler}"}}}}"#);
    // One of the cuts is within a character.
    let (first, rest) = said.as_bytes().split_at(1_001);
    let (second, third) = rest.split_at(20_000);
    socket.conn.send(frame(false, TEXT, first));
    socket.conn.send(frame(true, PING, b"between"));
    socket.conn.send(frame(false, 0, second));
    assert_eq!(socket.next_frame(PROMPT).expect("a pong"), Frame { opcode: PONG, payload: b"between".to_vec() });
    socket.conn.send(frame(true, PONG, b"unasked"));
    socket.conn.send(frame(true, 0, third));
    assert!(matches!(crate::said(&mut socket), Said::Sent { .. }));
    assert!(relay.everything("c", None)[0].payload.contains(&filler));
}

#[test]
fn a_client_that_writes_first_and_reads_then_is_served() {
    let relay = Relay::start(&[]);
    pile_up(&relay, "b");
    let (mut socket, _) = relay.socket("b", None);
    // Far more than kernels hold, in both directions.
    for n in 0..200 {
        let payload = crate::large(n);
        let frame = text(&format!(r#"{{"type":"send","ref":"{n}","to":"c","payload":{payload}}}"#));
        socket.conn.stream.write_all(&frame).expect("the relay takes what is sent");
    }
    let (mut sent, mut got) = (0, 0);
    while sent < 200 || got < 100 {
        match said(&mut socket) {
            Said::Sent { .. } => sent += 1,
            Said::Messages(batch) => got += batch.messages.len(),
            other => panic!("{other:?}"),
        }
    }
}
