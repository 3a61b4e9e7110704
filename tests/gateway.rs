//! The split: `x0-relay gateway` in front of a relay that has only its socket. Nothing is lost whichever of the three,
//! client, gateway or server, dies; waiting polls wake at once and outlive the server.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{path::Path, time::Duration};

use common::{
    Conn, PROMPT, Relay, assert_prompt, eventually, timed,
    x0::{Answer, poll_request, post, quoted, set_request},
};

/// A server with nothing but its socket.
fn server(dir: &Path) -> Relay {
    let socket = dir.join("control.sock");
    Relay::start(&["--listen", "none", "--socket", socket.to_str().expect("UTF-8")])
}

/// A gateway in front of the server in `dir`, on an address that a successor can have again.
fn gateway(dir: &Path, listen: &str, wait: &str) -> Relay {
    let relay = Relay::builder()
        .bare()
        .args(&["gateway", "--listen", listen, "--wait", wait, "--error-hold", "200ms"])
        .env("X0_RELAY_SOCKET", dir.join("control.sock"))
        .env("X0_RELAY_LOG_LEVEL", "debug")
        .start();
    eventually("the gateway is ready", PROMPT, || {
        (Conn::open(relay.addr()).exchange(common::request("GET", "/readyz", &[], b"")).status == 200).then_some(())
    });
    relay
}

struct Split {
    dir: tempfile::TempDir,
    server: Relay,
    gateway: Relay,
}

impl Split {
    fn new(wait: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = server(dir.path());
        let gateway = gateway(dir.path(), "127.0.0.1:0", wait);
        Self { dir, server, gateway }
    }

    fn restart_gateway(&mut self, wait: &str) {
        let address = self.gateway.addr().to_string();
        self.gateway.kill9();
        self.gateway = gateway(self.dir.path(), &address, wait);
    }

    fn start_server_again(&mut self) {
        self.server = server(self.dir.path());
    }

    fn stats(&self) -> serde_json::Value {
        let socket = self.dir.path().join("control.sock");
        common::cli::run(&["stats", "--json", "--socket", socket.to_str().expect("UTF-8")]).exits(0).json()
    }
}

#[test]
fn set_get_del_and_the_legacy_pair_pass_through() {
    let split = Split::new("300ms");
    let front = &split.gateway;
    for n in 0..250 {
        front.set("a", "b", &format!(r#"{{"n":{n}, "big": 1e400}}"#));
    }
    let got: Vec<String> =
        std::iter::from_fn(|| Some(front.poll("b")).filter(|mail| !mail.is_empty())).flatten().collect();
    let want: Vec<String> = (0..250).map(|n| format!(r#"{{"n":{n}, "big": 1e400,"session_src":"a"}}"#)).collect();
    assert_eq!(got, want);

    front.set("a", "c", "{}");
    let session = format!(r#"{{"session_src":{}}}"#, quoted("c"));
    let shown = front.ask(post("/python/getMessages.py", &session)).text().to_owned();
    assert!(shown.contains(r#"{"Result": {"messages": [{"#), "{shown}");
    front.set("a", "c", r#"{"later":1}"#);
    front.ask(post("/python/delMessages.py", &session));
    assert_eq!(front.poll("c"), [r#"{"later":1,"session_src":"a"}"#]);

    front.set("a", "d", "{}");
    assert_eq!(front.ask(post("/del", r#"{"session_src":"d"}"#)).x0(), Answer::Nothing);
    front.assert_empty("d");
    front.ask(post("/get", r#"{"session_src":null}"#)).error("InvalidSessionID");
}

#[test]
fn bodies_of_many_pieces_arrive_whole_and_limits_are_the_servers() {
    let split = Split::new("300ms");
    let payload = |n: usize| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(60_000));
    for n in 0..30 {
        split.gateway.set("a", "b", &payload(n));
    }
    let mut got = Vec::new();
    while got.len() < 30 {
        got.extend(split.gateway.poll("b"));
    }
    for (n, message) in got.iter().enumerate() {
        common::x0::assert_carried(message, &payload(n), "a");
    }
    split.gateway.refused(set_request("a", "b", &format!(r#"{{"s":"{}"}}"#, "x".repeat(70_000))), "TooLarge");
}

#[test]
fn waiting_polls_share_one_connection_and_wake_at_once() {
    let split = Split::new("60s");
    let mut waiting: Vec<Conn> = (0..200).map(|_| Conn::open(split.gateway.addr())).collect();
    for (n, conn) in waiting.iter_mut().enumerate() {
        conn.send(poll_request(&format!("s{n}")));
    }
    eventually("all wait at the server", PROMPT, || (split.stats()["receivers_waiting"] == 200).then_some(()));
    // The gateway's and the one that asks.
    assert_eq!(split.stats()["control_connections"], 2);
    let (_, took) = timed(|| {
        for (n, conn) in waiting.iter_mut().enumerate() {
            split.gateway.set("a", &format!("s{n}"), "{}");
            assert_eq!(conn.response().mail().len(), 1);
        }
    });
    assert_prompt("200 waiting polls through the gateway, a message each", took / 200);
}

#[test]
fn a_gateway_that_is_killed_loses_nothing() {
    let mut split = Split::new("2s");
    let mut got = Vec::new();
    for round in 0..8 {
        let mut waiting = Conn::open(split.gateway.addr());
        waiting.send(poll_request("b"));
        for n in 0..3 {
            split.gateway.set("a", "b", &format!(r#"{{"n":{}}}"#, round * 3 + n));
        }
        // Its answer has come, and may be settled or not when the gateway dies.
        got.extend(waiting.response().mail());
        split.restart_gateway("2s");
    }
    got.extend(std::iter::from_fn(|| Some(split.gateway.poll("b")).filter(|mail| !mail.is_empty())).flatten());
    let mut numbers: Vec<u64> = got
        .iter()
        .map(|m| serde_json::from_str::<serde_json::Value>(m).expect("JSON")["n"].as_u64().expect("n"))
        .collect();
    println!("24 sent, {} received, {} of them repeated", numbers.len(), numbers.len().saturating_sub(24));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..24).collect::<Vec<u64>>());
}

#[test]
fn a_client_that_breaks_off_gets_its_mail_again() {
    let split = Split::new("5s");
    for _ in 0..10 {
        let mut conn = Conn::open(split.gateway.addr());
        split.gateway.park_on(&mut conn, "b");
        split.gateway.set("a", "b", &format!(r#"{{"s":"{}"}}"#, "x".repeat(30_000)));
        // The answer is on its way; its reader takes some of it and resets.
        conn.take(100, PROMPT).expect("the beginning of an answer");
        conn.reset();
        assert_eq!(split.gateway.poll("b").len(), 1);
    }
}

#[test]
fn while_the_server_is_away_polls_are_held_and_go_on_when_it_is_back() {
    let mut split = Split::new("60s");
    let waiting = split.gateway.park("b");
    split.server.kill9();
    let away = |relay: &Relay| Conn::open(relay.addr()).exchange(common::request("GET", "/readyz", &[], b"")).status;
    eventually("the gateway says that its server is away", PROMPT, || (away(&split.gateway) == 503).then_some(()));
    let refused = split.gateway.ask(set_request("a", "b", "{}")).error("ConnectionRefusedError");
    assert_eq!(refused.text, "Connection refused");
    split.start_server_again();
    eventually("the gateway is back", PROMPT, || (away(&split.gateway) == 200).then_some(()));
    split.gateway.set("a", "b", r#"{"back":1}"#);
    let (answer, took) = waiting.answer();
    assert_eq!(answer.mail(), [r#"{"back":1,"session_src":"a"}"#]);
    println!("the poll from before was answered {took:?} after it began");
}

#[test]
fn a_poll_is_held_to_its_deadline_if_the_server_stays_away() {
    let mut split = Split::new("1500ms");
    split.server.kill9();
    let (answer, took) = timed(|| split.gateway.ask(poll_request("b")));
    assert_eq!(answer.x0(), Answer::Nothing);
    assert!(took >= Duration::from_millis(1_400), "answered after {took:?}: the page would ask again at once");
}

#[test]
fn a_drained_gateway_answers_its_polls_and_the_server_goes_on() {
    let mut split = Split::new("60s");
    let waiting = split.gateway.park("b");
    split.gateway.term();
    let (answer, _) = waiting.answer();
    assert_eq!(answer.x0(), Answer::Nothing);
    assert!(answer.closes());
    assert_eq!(split.gateway.wait_exit(PROMPT).code(), Some(0));
    eventually("nobody waits at the server", PROMPT, || (split.stats()["receivers_waiting"] == 0).then_some(()));
}
