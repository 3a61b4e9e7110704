//! A WebSocket client that frames by hand, so that it can also say what no client may.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use crate::common::{Conn, PROMPT, Relay, request};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The headers of a handshake; the key is that of RFC 6455.
pub const HEADERS: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A client's frame.
pub fn frame(is_final: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![(u8::from(is_final) << 7) | opcode];
    match payload.len() {
        n @ 0..126 => bytes.push(0x80 | u8::try_from(n).expect("small")),
        n @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(n).expect("small").to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A text message of a client.
pub fn text(text: &str) -> Vec<u8> {
    frame(true, TEXT, text.as_bytes())
}

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Close(u16),
    /// The connection has ended in order.
    End,
    Reset,
}

/// One WebSocket.
pub struct Ws {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Ws {
    /// Asks for one; it may be refused.
    #[track_caller]
    pub fn ask(relay: &Relay, query: &str, behind: &[u8]) -> (Self, String) {
        Self::ask_on(Conn::open(relay.addr()).stream, query, behind)
    }

    /// The same on a connection that is open. `behind` goes out in one piece with the request.
    #[track_caller]
    pub fn ask_on(mut stream: TcpStream, query: &str, behind: &[u8]) -> (Self, String) {
        let mut bytes = request("GET", &format!("/v1/ws?{query}"), &HEADERS, b"");
        bytes.extend(behind);
        stream.write_all(&bytes).expect("the relay takes what is sent");
        let mut ws = Self { stream, unread: Vec::new() };
        loop {
            if let Some(end) = ws.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = ws.unread.drain(..end + 4).collect();
                return (ws, String::from_utf8(head).expect("ASCII"));
            }
            assert_eq!(ws.more(PROMPT), Ok(()), "no head: {:?}", String::from_utf8_lossy(&ws.unread));
        }
    }

    /// One that has its welcome.
    #[track_caller]
    pub fn open(relay: &Relay, session: &str) -> Self {
        let (mut ws, head) = Self::ask(relay, &format!("session={session}"), b"");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let welcome = ws.said();
        assert!(welcome.starts_with(r#"{"type":"welcome","#), "{welcome}");
        ws
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the relay takes what is sent");
    }

    #[track_caller]
    pub fn say(&mut self, said: &str) {
        self.send(&text(said));
    }

    #[track_caller]
    pub fn ack(&mut self, cursor: &str) {
        self.say(&format!(r#"{{"type":"ack","cursor":"{cursor}"}}"#));
    }

    /// The next thing that it is told, if something is within the time.
    #[track_caller]
    pub fn next(&mut self, within: Duration) -> Option<Heard> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(heard) = self.whole() {
                return Some(heard);
            }
            match self.more(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(None) => return None,
                Err(Some(end)) => {
                    assert!(self.unread.is_empty() || end == Heard::Reset, "it ended within a frame");
                    return Some(end);
                }
            }
        }
    }

    /// The next thing but pings, promptly. Pings are answered.
    #[track_caller]
    pub fn heard(&mut self) -> Heard {
        loop {
            match self.next(PROMPT) {
                Some(Heard::Ping) => self.send(&frame(true, PONG, b"")),
                Some(heard) => return heard,
                None => panic!("nothing was said"),
            }
        }
    }

    /// The next text.
    #[track_caller]
    pub fn said(&mut self) -> String {
        match self.heard() {
            Heard::Text(text) => text,
            other => panic!("no text but {other:?}"),
        }
    }

    /// The next text as JSON.
    #[track_caller]
    pub fn json(&mut self) -> serde_json::Value {
        let said = self.said();
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
    }

    /// The numbers of a frame of messages, and its cursor.
    #[track_caller]
    pub fn numbers(&mut self) -> (Vec<u64>, String) {
        let said = self.json();
        assert_eq!(said["type"], "messages", "{said}");
        let messages = said["messages"].as_array().expect("a list");
        let number = |message: &serde_json::Value| message["payload"]["n"].as_u64().expect("a number");
        (messages.iter().map(number).collect(), said["cursor"].as_str().expect("a cursor").to_owned())
    }

    /// Fails unless nothing else is on its way: a ping is answered next.
    #[track_caller]
    pub fn assert_nothing(&mut self) {
        self.say(r#"{"type":"ping"}"#);
        assert_eq!(self.said(), r#"{"type":"pong"}"#);
    }

    /// Fails unless the connection ends promptly without another word.
    #[track_caller]
    pub fn assert_ends(&mut self) {
        assert_eq!(self.heard(), Heard::End);
    }

    /// Closes in order.
    #[track_caller]
    pub fn close(mut self) {
        self.send(&frame(true, CLOSE, &1000_u16.to_be_bytes()));
        assert_eq!(self.heard(), Heard::Close(1000));
        self.assert_ends();
    }

    /// Ends the connection by RST.
    pub fn reset(self) {
        let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &now).expect("a TCP socket");
    }

    /// Takes at most so many bytes from the kernel. Says how many came.
    pub fn take(&mut self, max: usize, within: Duration) -> usize {
        let mut bytes = vec![0; max];
        self.stream.set_read_timeout(Some(within)).expect("not zero");
        let taken = self.stream.read(&mut bytes).unwrap_or(0);
        self.unread.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// A frame that has come whole.
    fn whole(&mut self) -> Option<Heard> {
        let (first, second) = (*self.unread.first()?, *self.unread.get(1)?);
        assert!(first & 0xf0 == 0x80 && second < 0x80, "a fragment, a reserved bit or a mask: {first:x} {second:x}");
        let (head, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(self.unread.get(2..4)?.try_into().expect("two")))),
            127 => (10, u64::from_be_bytes(self.unread.get(2..10)?.try_into().expect("eight"))),
            short => (2, u64::from(short)),
        };
        let end = head + usize::try_from(length).expect("it fits into memory");
        let payload = self.unread.get(head..end)?.to_vec();
        self.unread.drain(..end);
        Some(match first & 0xf {
            TEXT => Heard::Text(String::from_utf8(payload).expect("UTF-8")),
            PING => Heard::Ping,
            PONG => Heard::Pong(payload),
            CLOSE => Heard::Close(u16::from_be_bytes(payload[..2].try_into().expect("two"))),
            other => panic!("opcode {other}"),
        })
    }

    /// Reads something, or says how it ended; `None` if the time is up.
    fn more(&mut self, within: Duration) -> Result<(), Option<Heard>> {
        let mut chunk = [0; 16 << 10];
        self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("not zero");
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Some(Heard::End)),
            Ok(n) => {
                self.unread.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(None),
                ErrorKind::Interrupted => Ok(()),
                _ => Err(Some(Heard::Reset)),
            },
        }
    }
}

/// What a test does with protocol v1 beside its WebSocket.
impl Relay {
    /// Accepts a message, which holds its number.
    #[track_caller]
    pub fn accept(&self, to: &str, number: usize) {
        self.accept_payload(to, &format!(r#"{{"n":{number}}}"#));
    }

    #[track_caller]
    pub fn accept_payload(&self, to: &str, payload: &str) {
        let body = format!(r#"{{"to":"{to}","payload":{payload}}}"#);
        let answer = self.ask(request("POST", "/v1/messages", &[], body.as_bytes()));
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// The size of the relay's resident memory in bytes.
    #[track_caller]
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }
}
