//! What thousands of quiet sockets cost.

use crate::{
    client::Ws,
    common::{Relay, prove},
};

#[test]
fn a_quiet_socket_gives_back_what_it_needed() {
    const SOCKETS: usize = 200;
    const BYTES_MAX: usize = 32 << 10;
    let relay = Relay::start(&[]);
    let filler = "x".repeat(60_000);
    let busy = |session: &str| {
        let mut ws = Ws::open(&relay, session);
        ws.say(&format!(r#"{{"type":"send","to":"{session}","payload":{{"n":1,"x":"{filler}"}}}}"#));
        let mut mail = ws.json();
        if mail["type"] != "messages" {
            mail = ws.json();
        }
        ws.ack(mail["cursor"].as_str().expect("a cursor"));
        ws.assert_nothing();
        ws
    };
    let _first = busy("first");
    let before = relay.resident();
    let sockets: Vec<Ws> = (0..SOCKETS).map(|n| busy(&n.to_string())).collect();
    let each = relay.resident().saturating_sub(before) / SOCKETS;
    println!("{} sockets hold {each} bytes each", sockets.len());
    assert!(each < BYTES_MAX, "{each} bytes each");
}

#[test]
fn prove_idle_sockets_are_small() {
    const SOCKETS: usize = 5_000;
    const BYTES_MAX: usize = 16 << 10;
    if !prove("5,000 idle WebSockets") {
        return;
    }
    let relay = Relay::start(&["--keepalive", "5min", "--log-level", "info"]);
    let _first = Ws::open(&relay, "first");
    let before = relay.resident();
    let sockets: Vec<Ws> = (0..SOCKETS).map(|n| Ws::open(&relay, &n.to_string())).collect();
    let each = relay.resident().saturating_sub(before) / SOCKETS;
    println!("{} idle sockets, each with a mailbox: {each} bytes each", sockets.len());
    assert!(each < BYTES_MAX, "{each} bytes each");
}
