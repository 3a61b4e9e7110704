//! A WebSocket client (RFC 6455) that frames by hand, so that it can also say what no client may.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use super::{Batch, Cursor, requests::target};
use crate::common::{Broken, Conn, Cut, Relay, Response, request};

/// Our sub-protocol.
pub const PROTOCOL: &str = "x0-relay.v1";

/// The key of RFC 6455 section 1.3, and what a server must answer to it.
pub const KEY: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The headers of a handshake.
pub const HANDSHAKE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY.0),
    ("Sec-WebSocket-Protocol", PROTOCOL),
];

/// One frame from the relay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A client's frame, masked as it must be.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![(u8::from(fin) << 7) | opcode];
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

/// What the relay says on a WebSocket.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    Welcome {
        session: String,
        cursor: Cursor,
        window: u64,
    },
    Messages(Batch),
    Sent {
        reference: Option<String>,
        id: String,
        recipients: u64,
        duplicate: Option<bool>,
    },
    Error {
        reference: Option<String>,
        status: u16,
        kind: String,
        addresses: Vec<String>,
    },
    Pong,
    Goodbye {
        reason: String,
        retry_after: Option<f64>,
    },
    /// A close frame: its code and reason. The client has answered it.
    Close(u16, String),
}

#[derive(Deserialize)]
struct Type {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWelcome {
    #[serde(rename = "type")]
    _type: String,
    session: String,
    cursor: String,
    window: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSent {
    #[serde(rename = "type")]
    _type: String,
    r#ref: Option<String>,
    id: String,
    recipients: u64,
    duplicate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawError {
    #[serde(rename = "type")]
    _type: String,
    r#ref: Option<String>,
    status: u16,
    title: String,
    detail: String,
    kind: String,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    retry_after: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGoodbye {
    #[serde(rename = "type")]
    _type: String,
    reason: String,
    retry_after: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPong {
    #[serde(rename = "type")]
    _type: String,
}

#[track_caller]
fn strict<'a, T: Deserialize<'a>>(text: &'a str) -> T {
    super::or_fail(super::strict(text))
}

impl Said {
    #[track_caller]
    fn parse(text: &str) -> Self {
        match strict::<Type>(text).r#type.as_str() {
            "welcome" => {
                let RawWelcome { session, cursor, window, .. } = strict(text);
                Self::Welcome { session, cursor: Cursor::new(cursor), window }
            }
            "messages" => Self::Messages(Batch::parse_frame(text)),
            "sent" => {
                let RawSent { r#ref: reference, id, recipients, duplicate, .. } = strict(text);
                assert!(super::is_uuid7(&id), "{text}");
                Self::Sent { reference, id, recipients, duplicate }
            }
            "error" => {
                let RawError { r#ref: reference, status, title, detail, kind, addresses, .. } = strict(text);
                assert!(!title.is_empty() && !detail.is_empty(), "{text}");
                Self::Error { reference, status, kind, addresses }
            }
            "goodbye" => {
                let RawGoodbye { reason, retry_after, .. } = strict(text);
                Self::Goodbye { reason, retry_after }
            }
            "pong" => {
                let RawPong { .. } = strict(text);
                Self::Pong
            }
            other => panic!("a frame of type {other:?}: {text}"),
        }
    }
}

/// One WebSocket.
pub struct Socket {
    pub conn: Conn,
    /// The answer to the handshake, once it is there.
    head: Option<Response>,
    /// Answers no ping.
    pub deaf: bool,
}

impl Socket {
    /// Asks for it on this connection.
    ///
    /// # Errors
    /// The request could not be sent.
    pub fn ask(mut conn: Conn, session: &str, after: Option<&Cursor>) -> std::io::Result<Self> {
        conn.try_send(request("GET", &target("/v1/ws", session, after, ""), HANDSHAKE, b""))?;
        Ok(Self::on(conn))
    }

    /// On a connection on which it was asked for.
    pub fn on(conn: Conn) -> Self {
        Self { conn, head: None, deaf: false }
    }

    #[track_caller]
    pub fn open(to: SocketAddr, session: &str, after: Option<&Cursor>) -> Self {
        Self::ask(Conn::open(to), session, after).expect("the relay takes what is sent")
    }

    /// The answer to the handshake, which must be right.
    ///
    /// # Errors
    /// [`Broken`] says how far it came.
    #[track_caller]
    pub fn head(&mut self, within: Duration) -> Result<&Response, Broken> {
        let head = match self.head.take() {
            Some(head) => head,
            None => {
                let head = self.conn.try_head(within)?;
                assert_eq!(head.status, 101, "{head:?}");
                assert!(head.lists("connection", "upgrade") && head.lists("upgrade", "websocket"), "{head:?}");
                assert_eq!(head.header("sec-websocket-accept"), Some(KEY.1), "{head:?}");
                assert_eq!(head.header("sec-websocket-extensions"), None, "none was offered: {head:?}");
                head
            }
        };
        Ok(self.head.insert(head))
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// The connection's.
    pub fn try_say(&mut self, text: &str) -> std::io::Result<()> {
        self.conn.try_send(frame(true, TEXT, text.as_bytes()))
    }

    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.try_say(text).expect("the relay takes what is sent");
    }

    #[track_caller]
    pub fn ack(&mut self, cursor: &Cursor) {
        self.say(&format!(r#"{{"type":"ack","cursor":"{cursor}"}}"#));
    }

    /// The next frame of any kind. Fails at one that no server may send.
    ///
    /// # Errors
    /// [`Broken`] says how far it came; what came stays if it was late.
    #[track_caller]
    pub fn next_frame(&mut self, within: Duration) -> Result<Frame, Broken> {
        self.head(within)?;
        let start = self.conn.need(2, within)?;
        let (first, second) = (start[0], start[1]);
        assert_eq!(first & 0xf0, 0x80, "a fragment or a reserved bit: {first:#x}");
        assert!(second < 0x80, "a server's frame is not masked");
        let (head, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(self.conn.need(4, within)?[2..4].try_into().expect("two")))),
            127 => (10, u64::from_be_bytes(self.conn.need(10, within)?[2..10].try_into().expect("eight"))),
            short => (2, u64::from(short)),
        };
        let length = usize::try_from(length).expect("a frame that fits into memory");
        self.conn.need(head + length, within)?;
        let payload = self.conn.consume(head + length).split_off(head);
        let opcode = first & 0xf;
        assert!(opcode < 8 || length < 126, "a long control frame");
        Ok(Frame { opcode, payload })
    }

    /// The next thing that is said. Pings are answered on the way.
    ///
    /// # Errors
    /// As [`Socket::next_frame`].
    #[track_caller]
    pub fn next(&mut self, within: Duration) -> Result<Said, Broken> {
        loop {
            let Frame { opcode, payload } = self.next_frame(within)?;
            match opcode {
                TEXT => return Ok(Said::parse(std::str::from_utf8(&payload).expect("a text frame is UTF-8"))),
                CLOSE => {
                    // It may have closed altogether.
                    let _ = self.conn.try_send(frame(true, CLOSE, &payload));
                    let code = payload.get(..2).map_or(1005, |c| u16::from_be_bytes(c.try_into().expect("two")));
                    let reason = String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).expect("UTF-8");
                    return Ok(Said::Close(code, reason));
                }
                PING if self.deaf => {}
                PING => drop(self.conn.try_send(frame(true, PONG, &payload))),
                PONG => {}
                other => panic!("a frame with opcode {other}"),
            }
        }
    }

    pub fn cut(self, how: Cut) {
        self.conn.cut(how);
    }
}

impl Relay {
    /// A WebSocket that has its welcome.
    #[track_caller]
    pub fn socket(&self, session: &str, after: Option<&Cursor>) -> (Socket, Cursor) {
        let mut socket = Socket::open(self.addr(), session, after);
        match socket.next(crate::common::PROMPT) {
            Ok(Said::Welcome { session: named, cursor, .. }) => {
                assert_eq!(named, session);
                (socket, cursor)
            }
            other => panic!("no welcome but {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TEXT, frame};

    #[test]
    fn frames_are_masked_and_their_lengths_are_written_as_short_as_can_be() {
        // RFC 6455 section 5.7.
        assert_eq!(frame(true, TEXT, b"Hello"), [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert_eq!(frame(false, TEXT, &[0; 126])[..4], [0x01, 0xfe, 0, 126]);
        assert_eq!(frame(true, TEXT, &[0; 0x1_0000])[1..10], [0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
