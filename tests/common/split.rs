//! x0's split into front and server, in which any of the two can be the relay's or the Python stand-in for x0's own
//! (tests/x0/*.py).

use std::{net::SocketAddr, path::PathBuf, process::Command, process::Stdio, time::Duration};

use serde_json::Value;

use super::{
    Conn, PROMPT, Relay,
    packets::{Packets, del_packet, get_packet},
    process::Process,
    relay::announced,
    request,
    x0::{HANDLER, set_body},
};

/// What a stand-in may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The two generations of x0's message server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generation {
    /// GET removes, DEL is ignored.
    Current,
    /// GET does not remove, DEL does.
    Old,
}

impl Generation {
    fn name(self) -> &'static str {
        match self {
            Generation::Current => "current",
            Generation::Old => "old",
        }
    }
}

/// `python3 tests/x0/SCRIPT`.
fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/x0/").to_owned() + script);
    command
}

/// A directory with room for the socket between the two halves, removed at the end.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A new, empty one.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Where the message server's socket is to be.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("messageserver.socket")
    }

    /// `x0-relay serve` with the control socket alone.
    pub fn serve(&self) -> Relay {
        Relay::builder().args(&["--listen", "none", "--socket"]).args(&[self.socket()]).start()
    }

    /// `x0-relay serve` with the control socket and HTTP.
    pub fn serve_http(&self) -> (Relay, Http) {
        let relay = Relay::builder().args(&["--socket"]).args(&[self.socket()]).start();
        let http = Http(relay.addr());
        (relay, http)
    }

    /// `x0-relay gateway` in front of whatever serves at the socket.
    pub fn gateway(&self, options: &[&str]) -> (Relay, Http) {
        let fixed = ["gateway", "--listen", "127.0.0.1:0"];
        // The socket is not one of its own that the starter would wait for.
        let gateway = Relay::builder().bare().args(&fixed).args(options).env("X0_RELAY_SOCKET", self.socket()).start();
        let http = Http(gateway.addr());
        (gateway, http)
    }

    /// One of the stand-ins, and what it printed behind `marker`.
    #[track_caller]
    fn stand_in(&self, script: &str, options: &[&str], marker: &str) -> (Process, String) {
        let mut command = python(script);
        command.arg(self.socket()).args(options).stdin(Stdio::null()).stderr(Stdio::piped());
        let process = Process::spawn(command);
        let said = process.stdout.wait_for(START, |text| announced(text, marker).next());
        let Some(said) = said else { panic!("{script} did not say {marker:?}: {}", process.stderr.text()) };
        (process, said)
    }

    /// The stand-in for x0's front, asking ten times every 50 ms.
    #[track_caller]
    pub fn front(&self) -> (Process, Http) {
        self.front_every("0.05")
    }

    /// The same with pauses of its own, in seconds.
    #[track_caller]
    pub fn front_every(&self, pause: &str) -> (Process, Http) {
        let (process, address) = self.stand_in("front.py", &["--interval", pause], "http://");
        (process, Http(address.parse().expect("an address")))
    }

    /// The stand-in for x0's message server; each request takes it 5 ms.
    #[track_caller]
    pub fn server(&self, generation: Generation) -> Process {
        self.server_with_pause(generation, "0.005")
    }

    /// The same with a pause of its own, in seconds.
    #[track_caller]
    pub fn server_with_pause(&self, generation: Generation, pause: &str) -> Process {
        self.stand_in("server.py", &["--pause", pause, "--generation", generation.name()], "server ").0
    }

    /// `client.py` with this packet: its exit code and what it printed.
    pub fn client(&self, packet: &str) -> (Option<i32>, String) {
        let output = python("client.py").arg(self.socket()).arg(packet).output().expect("python3");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    }

    /// Connects to the socket and says nothing.
    #[track_caller]
    pub fn silent_peer(&self) -> Packets {
        Packets::open(&self.socket())
    }

    /// One exchange on the socket, as x0's front does it; `None` if it is closed without an answer. Reads more than
    /// x0 does, so that an answer that x0 would cut shows.
    #[track_caller]
    pub fn exchange(&self, packet: &str) -> Option<String> {
        let peer = Packets::open(&self.socket());
        peer.send(packet);
        let answer = peer.receive();
        (!answer.is_empty()).then(|| String::from_utf8(answer).expect("an answer is UTF-8"))
    }
}

/// One half's HTTP address, asked as a page asks it.
#[derive(Clone)]
pub struct Http(SocketAddr);

impl Http {
    /// One request on a connection of its own; the body of its answer, which must be a 200 and whole.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let headers = [("Connection", "close"), ("Content-Type", "application/json; charset=UTF-8")];
        let mut conn = Conn::open(self.0);
        let answer = conn.exchange(request(method, path, &headers, body.as_bytes()));
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        assert!(answer.header("content-length").is_some(), "{answer:?}");
        conn.assert_ends(PROMPT);
        answer.text().to_owned()
    }

    /// A message, as JSON text, from `from` to `to`.
    #[track_caller]
    pub fn set(&self, from: &str, to: &str, payload: &str) -> String {
        self.ask("POST", HANDLER, &set_body(from, to, payload))
    }

    /// [`Http::set`], which must be accepted.
    #[track_caller]
    pub fn set_ok(&self, from: &str, to: &str, payload: &str) {
        assert_eq!(json(&self.set(from, to, payload)), json(r#"{"messages":null,"status":"ok"}"#));
    }

    /// A poll, and what it was answered.
    #[track_caller]
    pub fn get(&self, session: &str) -> String {
        self.ask("POST", HANDLER, &get_packet(session))
    }

    /// A removal, and what it was answered.
    #[track_caller]
    pub fn del(&self, session: &str) -> String {
        self.ask("POST", HANDLER, &del_packet(session))
    }
}

/// The messages of an answer; none if it says `null`.
#[track_caller]
pub fn messages(answer: &str) -> Vec<Value> {
    match &json(answer)["messages"] {
        Value::Null => Vec::new(),
        Value::Array(messages) => messages.clone(),
        other => panic!("messages is {other}"),
    }
}

/// An answer that says `{"messages": null}` and no more.
#[track_caller]
pub fn is_empty(answer: &str) -> bool {
    json(answer) == json(r#"{"messages":null}"#)
}

/// Parses an answer.
#[track_caller]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}
