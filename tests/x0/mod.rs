//! Starts the programs that the tests of x0's split stand on (the relay, the Python stand-ins) and speaks to them.

// Each test file takes what it needs.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use serde_json::Value;
// The clock that clippy.toml allows; never paused here.
use tokio::time::Instant;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one read of x0's takes.
pub const X0_READ_MAX: usize = 4096;

/// A child process, ended when it is dropped.
pub struct Program {
    name: String,
    child: Child,
    output: Lines,
    errors: Lines,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Lines::of(child.stdout.take().expect("piped"));
        let errors = Lines::of(child.stderr.take().expect("piped"));
        Self { name, child, output, errors }
    }

    /// Waits for a line on stdout that holds `marker`; what follows it there up to a blank.
    fn announced(&mut self, marker: &str) -> String {
        let line = self.output.find(marker);
        let Some(line) = line else { panic!("{} did not say {marker:?}; stderr:\n{}", self.name, self.errors.all()) };
        let (_, rest) = line.split_once(marker).expect("found by it");
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("a child").code()
    }

    /// Waits for a line in the log (stderr) that holds `marker`.
    pub fn logged(&mut self, marker: &str) -> String {
        let line = self.errors.find(marker);
        line.unwrap_or_else(|| panic!("{} did not log {marker:?}, only:\n{}", self.name, self.errors.all()))
    }
}

/// The lines that a child has written so far; all are taken as they come, so that it never waits for its reader.
struct Lines {
    coming: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, coming) = mpsc::sync_channel(10_000);
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                // Beyond so many lines that nobody asks for, the rest is dropped.
                let _ = sender.try_send(line);
            }
        });
        Self { coming, seen: Vec::new() }
    }

    /// Waits for the first line that holds `marker`; `None` if the output ends without it, or time is up.
    fn find(&mut self, marker: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.seen.iter().find(|line| line.contains(marker)) {
                return Some(line.clone());
            }
            self.seen.push(self.coming.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?);
        }
    }

    fn all(&mut self) -> String {
        self.seen.extend(self.coming.try_iter());
        self.seen.join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The relay under test.
fn relay(arguments: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_x0-relay")).args(arguments))
}

/// One of the stand-ins beside this file.
fn stand_in(script: &str, socket: &Path, options: &[&str]) -> Program {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/x0").join(script);
    Program::start(Command::new("python3").arg(script).arg(socket).args(options))
}

/// A directory with room for a socket, removed at the end.
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
    pub fn serve(&self) -> Program {
        self.start_serve("none")
    }

    /// `x0-relay serve` with the control socket and HTTP.
    pub fn serve_http(&self) -> (Program, Http) {
        let mut program = self.start_serve("127.0.0.1:0");
        let http = Http(program.announced("http://"));
        (program, http)
    }

    fn start_serve(&self, listen: &str) -> Program {
        let socket = self.socket();
        let path = socket.to_str().expect("a UTF-8 path");
        let mut program = relay(&["serve", "--auth", "open", "--listen", listen, "--socket", path]);
        assert_eq!(program.announced("control socket "), path);
        program
    }

    /// `x0-relay gateway` in front of whatever serves at the socket.
    pub fn gateway(&self, options: &[&str]) -> (Program, Http) {
        let socket = self.socket();
        let path = socket.to_str().expect("a UTF-8 path");
        let fixed = ["gateway", "--listen", "127.0.0.1:0", "--socket", path];
        let mut program = relay(&[&fixed, options].concat());
        let http = Http(program.announced("http://"));
        (program, http)
    }

    /// The stand-in for x0's front, asking ten times every 50 ms.
    pub fn front(&self) -> (Program, Http) {
        let mut program = stand_in("front.py", &self.socket(), &["--interval", "0.05"]);
        let http = Http(program.announced("http://"));
        (program, http)
    }

    /// The stand-in for x0's message server; each request takes it 5 ms.
    pub fn server(&self, generation: Generation) -> Program {
        self.server_with_pause(generation, "0.005")
    }

    /// The same with a pause of its own, in seconds.
    pub fn server_with_pause(&self, generation: Generation, pause: &str) -> Program {
        let options = ["--pause", pause, "--generation", generation.name()];
        let mut program = stand_in("server.py", &self.socket(), &options);
        program.announced("server ");
        program
    }

    /// `client.py` with this packet: its exit code and what it printed.
    pub fn client(&self, packet: &str) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/x0/client.py");
        let output = Command::new("python3").arg(script).arg(self.socket()).arg(packet).output().expect("python3");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    }

    /// Connects to the socket and says nothing.
    pub fn silent_peer(&self) -> OwnedFd {
        let peer =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a Unix socket");
        connect(peer.as_raw_fd(), &UnixAddr::new(&self.socket()).expect("a path")).expect("the server listens");
        peer
    }

    /// One exchange on the socket, as x0's front does it; `None` if it is closed without an answer. Reads more than
    /// x0 does, so that an answer beyond [`X0_READ_MAX`] shows.
    pub fn exchange(&self, packet: &str) -> Option<String> {
        let peer = self.silent_peer();
        let limit = nix::sys::time::TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
        nix::sys::socket::setsockopt(&peer, nix::sys::socket::sockopt::ReceiveTimeout, &limit).expect("a timeout");
        send(peer.as_raw_fd(), packet.as_bytes(), MsgFlags::MSG_NOSIGNAL).expect("the packet is taken");
        let mut answer = vec![0; 1 << 20];
        let length = recv(peer.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("an answer or the end");
        answer.truncate(length);
        (length > 0).then(|| String::from_utf8(answer).expect("an answer is UTF-8"))
    }
}

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

/// An HTTP server's `address:port`.
#[derive(Clone)]
pub struct Http(String);

impl Http {
    /// One request on a connection of its own; the body of its answer, which must be a 200.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.0).expect("the HTTP server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.0);
        let fields = format!("Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{fields}{body}").as_bytes()).expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and the end");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(head.split(' ').nth(1), Some("200"), "{method} {path} was answered {head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "whole: {head}");
        body.to_owned()
    }

    /// A message, as JSON text, from `from` to `to`.
    pub fn set(&self, from: &str, to: &str, payload: &str) -> String {
        let body = format!(r#"{{"type":"SET","session_src":"{from}","session_dst":"{to}","payload":{payload}}}"#);
        self.ask("POST", "/python/MsgHandler.py", &body)
    }

    /// [`Http::set`], which must be accepted.
    pub fn set_ok(&self, from: &str, to: &str, payload: &str) {
        assert_eq!(json(&self.set(from, to, payload)), json(r#"{"messages":null,"status":"ok"}"#));
    }

    /// A poll, and what it was answered.
    pub fn get(&self, session: &str) -> String {
        self.ask("POST", "/python/MsgHandler.py", &format!(r#"{{"type":"GET","session_src":"{session}"}}"#))
    }

    /// A removal, and what it was answered.
    pub fn del(&self, session: &str) -> String {
        self.ask("POST", "/python/MsgHandler.py", &format!(r#"{{"type":"DEL","session_src":"{session}"}}"#))
    }
}

/// The messages of an answer; none if it says `null`.
pub fn messages(answer: &str) -> Vec<Value> {
    match &json(answer)["messages"] {
        Value::Null => Vec::new(),
        Value::Array(messages) => messages.clone(),
        other => panic!("messages is {other}"),
    }
}

/// An answer that says `{"messages": null}` and no more.
pub fn is_empty(answer: &str) -> bool {
    json(answer) == json(r#"{"messages":null}"#)
}

/// Parses an answer.
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

/// How long `action` took, and its result.
pub fn timed<T>(action: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = action();
    (start.elapsed(), result)
}
