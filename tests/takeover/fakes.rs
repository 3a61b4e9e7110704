//! Relays that are none: they speak the takeover's packets as far as a test wants, and then fail.

use std::{
    io::IoSlice,
    net::TcpListener,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::socket::{ControlMessage, MsgFlags, accept, recv, send, sendmsg};
use serde_json::{Value, json};

use crate::common::{
    packets::{Packets, listening},
    process::Process,
};

/// A new relay that asks for a place.
pub struct FakeNew(Packets);

impl FakeNew {
    /// Asks, and returns the answer too.
    #[track_caller]
    pub fn ask(socket: &Path, version: u64, data: Option<&Path>) -> (Self, Value) {
        let fake = Self(Packets::open(socket));
        let mut ask = json!({"do": "takeover", "version": version, "release": "fake\u{1b}[31m", "discard": false});
        if let Some(data) = data {
            let there = data.metadata().expect("there");
            ask["data-dir"] = json!({"path": data.to_str(), "device": there.dev(), "inode": there.ino()});
        }
        fake.0.send(json!({ "x0-relay": ask }).to_string());
        let answer = fake.hear().expect("an answer");
        (fake, answer)
    }

    /// The same, for a place that must be offered. The sockets that come with the offer are closed.
    #[track_caller]
    pub fn offered(socket: &Path, data: Option<&Path>) -> Self {
        let (fake, offer) = Self::ask(socket, 1, data);
        assert_eq!(offer["takeover"], "sockets", "{offer}");
        fake
    }

    pub fn say(&self, step: &str) {
        self.0.send(json!({ "takeover": step }).to_string());
    }

    pub fn fail(&self, why: &str) {
        self.0.send(json!({"takeover": "failed", "why": why}).to_string());
    }

    /// What the old relay says next; `None` is the connection's end.
    #[track_caller]
    pub fn hear(&self) -> Option<Value> {
        let packet = self.0.receive();
        (!packet.is_empty()).then(|| serde_json::from_slice(&packet).expect("JSON"))
    }

    /// Says that it is ready, and waits for the place.
    #[track_caller]
    pub fn gets_the_place(&self) {
        self.say("ready");
        assert_eq!(self.hear(), Some(json!({"takeover": "yours"})));
    }
}

/// An old relay that gives its place.
pub struct FakeOld {
    socket: OwnedFd,
    pub http: TcpListener,
}

/// Somebody who asked it.
pub struct Asked(OwnedFd);

impl FakeOld {
    pub fn at(path: &Path) -> Self {
        Self { socket: listening(path), http: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    /// Waits for a new relay, and returns what it says.
    #[track_caller]
    pub fn asked(&self) -> (Asked, Value) {
        let raw = accept(self.socket.as_raw_fd()).expect("a connection");
        // SAFETY: accept has just returned it, and nobody else knows it.
        let asked = Asked(unsafe { OwnedFd::from_raw_fd(raw) });
        let word = asked.hear();
        (asked, word)
    }

    /// Offers the sockets, as version `version`.
    pub fn offer(&self, to: &Asked, version: u64) {
        let offer = json!({"takeover": "sockets", "version": version, "release": "old", "tcp": 1, "file": true});
        to.say_with(&offer, &[self.http.as_raw_fd(), self.socket.as_raw_fd()]);
    }
}

impl Asked {
    pub fn say(&self, step: &Value) {
        let packet = step.to_string();
        assert_eq!(send(self.0.as_raw_fd(), packet.as_bytes(), MsgFlags::MSG_NOSIGNAL), Ok(packet.len()));
    }

    fn say_with(&self, step: &Value, descriptors: &[RawFd]) {
        let packet = step.to_string();
        let (text, rights) = ([IoSlice::new(packet.as_bytes())], [ControlMessage::ScmRights(descriptors)]);
        sendmsg::<()>(self.0.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None).expect("sent");
    }

    #[track_caller]
    pub fn hear(&self) -> Value {
        let mut packet = vec![0; 65_536];
        let n = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()).expect("a packet");
        serde_json::from_slice(&packet[..n]).expect("JSON")
    }
}

/// Names the place of a fake that hangs in a process of its own, to which this binary is started once more.
const HANGS_AT: &str = "FAKE_RELAY_HANGS_AT";

/// A new relay in a process of its own that gets the place and its data directory, and hangs.
pub fn that_hangs(place: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "fakes::a_new_relay_that_hangs", "--nocapture"]).env(HANGS_AT, place);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    Process::spawn(command)
}

/// No test of its own: see [`that_hangs`].
#[test]
fn a_new_relay_that_hangs() {
    let Some(place) = std::env::var_os(HANGS_AT) else { return };
    let (place, data) = (Path::new(&place), Path::new(&place).join("data"));
    let fake = FakeNew::offered(&place.join("control.sock"), Some(&data));
    fake.gets_the_place();
    let lock = std::fs::File::open(data.join("lock")).expect("there");
    lock.try_lock().expect("the old relay has let go of it");
    println!("hanging");
    loop {
        std::thread::park();
    }
}
