//! The control channel's packets: x0's own, the operator's words, and the frames between a gateway and its server.
//!
//! x0's packets and the words are JSON objects, one a packet. A word is `{"x0-relay":{"do":"stats"}}`. A gateway opens
//! with [`HELLO`], which to x0's own server is an ordinary GET; ours answers [`WELCOME`], and from then on both sides
//! speak in [`Frame`]s.

use std::time::Duration;

use super::{json, takeover, x0};
use crate::{
    error::{Error, Kind},
    id::{SessionId, is_org},
};

/// What x0's own front and server read of a packet, in bytes.
pub const X0_PACKET_BYTES: usize = 4096;
/// The largest packet between our own processes, in bytes.
pub const PACKET_BYTES_MAX: usize = 64 << 10;
/// What a gateway says first.
pub const HELLO: &str = r#"{"type":"GET","session_src":"x0-relay-gateway","x0-relay":{"do":"frames","version":1}}"#;
/// What our server answers.
pub const WELCOME: &str = r#"{"messages": null, "x0-relay": {"do":"frames","version":1}}"#;
/// How many sessions `sessions` lists if nobody says.
const SESSIONS_DEFAULT: usize = 100;

/// What a packet asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// What x0's front asks: SET, GET or DEL. The number is how many bytes its answer may have.
    X0(x0::Request, usize),
    /// To go on in frames.
    Frames,
    /// An operator's word.
    Word(Word),
}

/// What an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// Figures.
    Stats,
    /// Mailboxes, at most so many.
    Sessions(usize),
    /// Remove all that waits for a session.
    Purge(SessionId),
    /// End in order.
    Drain,
    /// Take credentials back, and remember that for so long.
    Revoke(Revoked, Duration),
    /// Give its place to the relay that says so.
    Takeover(takeover::Ask),
}

/// What is revoked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Revoked {
    /// The token with this `jti`.
    Token(Box<str>),
    /// All tokens of this `sub`, in an organisation or in none, that were made until now or do not say when (`iat`).
    Subject(Option<Box<str>>, Box<str>),
    /// This signed session.
    Session(Box<str>),
}

/// Reads a packet.
///
/// # Errors
/// Whatever is wrong with it; see [`Kind`].
pub fn packet(bytes: &[u8], message_bytes: usize) -> Result<Packet, Error> {
    let text = json::text(bytes)?;
    let object = json::object(text)?;
    let ours = match object.get("x0-relay").filter(|value| json::is_object(value)) {
        Some(text) => Some(json::object(text)?),
        None => None,
    };
    let word = ours.as_ref().and_then(|ours| ours.get("do")).and_then(json::string);
    match (ours, word.as_deref()) {
        (Some(_), Some("frames")) => Ok(Packet::Frames),
        (Some(ours), Some(word)) => Ok(Packet::Word(parse_word(word, &ours)?)),
        (ours, _) => {
            let bytes_max = match ours.as_ref().and_then(|ours| ours.get("bytes")) {
                Some(number) => number_of("bytes", number)?.clamp(X0_PACKET_BYTES, PACKET_BYTES_MAX),
                None => X0_PACKET_BYTES,
            };
            Ok(Packet::X0(x0::body(x0::Path::Handler, bytes, message_bytes)?, bytes_max))
        }
    }
}

fn parse_word(word: &str, ours: &json::Object<'_>) -> Result<Word, Error> {
    match word {
        "stats" => Ok(Word::Stats),
        "drain" => Ok(Word::Drain),
        "takeover" => takeover::Ask::read(ours).map(Word::Takeover),
        "sessions" => Ok(Word::Sessions(match ours.get("max") {
            Some(number) => number_of("max", number)?,
            None => SESSIONS_DEFAULT,
        })),
        "purge" => {
            let session = SessionId::new(&ours.get("session").and_then(json::string).unwrap_or_default())?;
            Ok(Word::Purge(match org_of(ours)? {
                Some(org) => session.within(&org),
                None => session,
            }))
        }
        "revoke" => {
            let text = |name: &str| ours.get(name).and_then(json::string).filter(|text| !text.is_empty());
            let what = match (text("token"), text("subject"), text("session")) {
                (Some(token), None, None) => Revoked::Token(token.into()),
                (None, Some(subject), None) => Revoked::Subject(org_of(ours)?.map(Into::into), subject.into()),
                (None, None, Some(session)) => Revoked::Session(session.into()),
                _ => {
                    let detail = "to revoke is one of token (a jti), subject and session, as a text";
                    return Err(Error::new(Kind::BadRequest, detail));
                }
            };
            let seconds = number_of("seconds", ours.get("seconds").unwrap_or_default())?;
            Ok(Word::Revoke(what, Duration::from_secs(seconds as u64)))
        }
        _ => Err(Error::new(
            Kind::BadRequest,
            "unknown word; there are stats, sessions, purge, revoke, drain and takeover",
        )),
    }
}

fn org_of(ours: &json::Object<'_>) -> Result<Option<String>, Error> {
    let Some(org) = ours.get("org") else { return Ok(None) };
    match json::string(org).filter(|org| is_org(org)) {
        Some(org) => Ok(Some(org.into_owned())),
        None => Err(Error::new(Kind::BadRequest, "org is to be 1 to 64 of the characters A-Z a-z 0-9 . _ -")),
    }
}

fn number_of(name: &str, text: &str) -> Result<usize, Error> {
    text.parse().map_err(|_| Error::new(Kind::BadRequest, format!("{name} is to be a whole number")))
}

/// A word as a packet.
pub fn word(word: &Word) -> String {
    let ours = match word {
        Word::Stats => r#""do":"stats""#.to_owned(),
        Word::Drain => r#""do":"drain""#.to_owned(),
        Word::Takeover(ask) => format!(r#""do":"takeover",{}"#, ask.write()),
        Word::Sessions(max) => format!(r#""do":"sessions","max":{max}"#),
        Word::Purge(session) => {
            format!(r#""do":"purge","session":{}{}"#, json::quote(session.bare()), org_member(session.org()))
        }
        Word::Revoke(what, remember) => {
            let (name, text, org) = match what {
                Revoked::Token(id) => ("token", id, None),
                Revoked::Subject(org, subject) => ("subject", subject, org.as_deref()),
                Revoked::Session(session) => ("session", session, None),
            };
            let (text, seconds) = (json::quote(text), remember.as_secs());
            format!(r#""do":"revoke","{name}":{text}{},"seconds":{seconds}"#, org_member(org))
        }
    };
    format!(r#"{{"x0-relay":{{{ours}}}}}"#)
}

/// `org` as a further member, if there is one.
pub fn org_member(org: Option<&str>) -> String {
    org.map_or_else(String::new, |org| format!(r#","org":{}"#, json::quote(org)))
}

/// A SET as a packet.
pub fn set(from: &SessionId, to: &SessionId, payload: &str) -> String {
    let (from, to) = (json::quote(from.as_str()), json::quote(to.as_str()));
    format!(r#"{{"type":"SET","session_src":{from},"session_dst":{to},"payload":{payload}}}"#)
}

/// A GET or DEL as a packet.
pub fn ask(verb: &str, session: &SessionId) -> String {
    format!(r#"{{"type":"{verb}","session_src":{}}}"#, json::quote(session.as_str()))
}

/// What a frame is for. The first half goes from gateway to server, the second back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// SET; the body is x0's packet.
    Send = 1,
    /// A receiver that takes its mail; the body is [`Wish`].
    Receive = 2,
    /// A receiver that is only shown it; the body is [`Wish`].
    Show = 3,
    /// DEL; the body is x0's packet.
    Remove = 4,
    /// Removes what was shown last; the body is x0's packet for DEL.
    RemoveShown = 5,
    /// The mail of this request has arrived.
    Settle = 6,
    /// It has not, or nobody waits for it any more.
    Return = 7,
    /// Done.
    Done = 33,
    /// Refused; the body is the error's label, a line break and its detail.
    Refused = 34,
    /// Messages; the body is a JSON array.
    Mail = 35,
    /// The server is about to end.
    Draining = 36,
}

impl FrameKind {
    fn of(byte: u8) -> Option<Self> {
        use FrameKind::{Done, Draining, Mail, Receive, Refused, Remove, RemoveShown, Return, Send, Settle, Show};
        [Send, Receive, Show, Remove, RemoveShown, Settle, Return, Done, Refused, Mail, Draining]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One packet of a request or answer: kind, whether more of it follows, the request's number, a piece of the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is for.
    pub kind: FrameKind,
    /// More of this body follows in another frame.
    pub more: bool,
    /// The request, as its gateway numbered it.
    pub id: u64,
    /// A piece of the body.
    pub body: Vec<u8>,
}

/// The head of a frame: kind, 1 if more follows, six bytes of zero, the number in little endian.
const FRAME_HEAD_BYTES: usize = 16;
/// The most body in one frame.
const FRAME_BODY_BYTES: usize = PACKET_BYTES_MAX - FRAME_HEAD_BYTES;

impl Frame {
    /// Reads a packet as a frame.
    ///
    /// # Errors
    /// [`Kind::BadRequest`]: it is none.
    pub fn read(packet: &[u8]) -> Result<Self, Error> {
        let bad = || Error::new(Kind::BadRequest, "not a frame of version 1");
        let (head, body) = packet.split_at_checked(FRAME_HEAD_BYTES).ok_or_else(bad)?;
        let kind = FrameKind::of(head[0]).ok_or_else(bad)?;
        let (flag, zeros) = (head[1], &head[2..8]);
        if flag > 1 || zeros.iter().any(|byte| *byte != 0) {
            return Err(bad());
        }
        let id = u64::from_le_bytes(head[8..16].try_into().map_err(|_| bad())?);
        Ok(Self { kind, more: flag == 1, id, body: body.to_vec() })
    }

    /// The frame as a packet.
    pub fn write(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(FRAME_HEAD_BYTES + self.body.len());
        packet.extend_from_slice(&[self.kind as u8, u8::from(self.more), 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&self.id.to_le_bytes());
        packet.extend_from_slice(&self.body);
        packet
    }

    /// A body of any length in as many frames as it takes.
    pub fn pieces(kind: FrameKind, id: u64, body: &[u8]) -> Vec<Frame> {
        if body.is_empty() {
            return vec![Frame { kind, more: false, id, body: Vec::new() }];
        }
        let last = body.len().div_ceil(FRAME_BODY_BYTES) - 1;
        let frame = |(index, piece): (usize, &[u8])| Frame { kind, more: index < last, id, body: piece.to_vec() };
        body.chunks(FRAME_BODY_BYTES).enumerate().map(frame).collect()
    }
}

/// What a gateway's receiver wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Whose mail.
    pub session: SessionId,
    /// The most messages in an answer.
    pub messages: usize,
    /// The most bytes in an answer.
    pub bytes: usize,
}

impl Wish {
    /// As a frame's body.
    pub fn write(&self) -> String {
        format!(
            r#"{{"session_src":{},"messages":{},"bytes":{}}}"#,
            json::quote(self.session.as_str()),
            self.messages,
            self.bytes
        )
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// [`Kind::BadRequest`], [`Kind::InvalidSession`], [`Kind::NotJson`].
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let object = json::object(json::text(body)?)?;
        let number = |name: &str| number_of(name, object.get(name).unwrap_or_default());
        let session = object.get("session_src").and_then(json::string).unwrap_or_default();
        Ok(Self { session: SessionId::new(&session)?, messages: number("messages")?, bytes: number("bytes")? })
    }
}

/// An error as a frame's body.
pub fn write_refusal(error: &Error) -> String {
    format!("{}\n{}", error.kind.label(), error.detail)
}

/// An error from a frame's body; an unknown one is [`Kind::Internal`].
pub fn read_refusal(body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let (label, detail) = text.split_once('\n').unwrap_or((&text, ""));
    let kind = Kind::ALL.iter().copied().find(|kind| kind.label() == label).unwrap_or(Kind::Internal);
    Error::new(kind, detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> SessionId {
        SessionId::new(text).expect("a legal id")
    }

    #[test]
    fn words_come_back() {
        let revoke = |what| Word::Revoke(what, Duration::from_secs(60));
        for sent in [
            Word::Stats,
            Word::Drain,
            Word::Sessions(7),
            Word::Purge(id("a\"\n")),
            Word::Purge(id("a").within("acme")),
            revoke(Revoked::Token("t\"".into())),
            revoke(Revoked::Subject(None, "s".into())),
            revoke(Revoked::Subject(Some("acme".into()), "s".into())),
            revoke(Revoked::Session("x".into())),
        ] {
            assert_eq!(packet(word(&sent).as_bytes(), 9), Ok(Packet::Word(sent)));
        }
        assert!(packet(br#"{"x0-relay":{"do":"dance"}}"#, 9).is_err());
    }

    #[test]
    fn x0_packets_are_understood() {
        let get = ask("GET", &id("s"));
        assert_eq!(packet(get.as_bytes(), 9), Ok(Packet::X0(x0::Request::Receive(id("s")), 4096)));
        let large = br#"{"type":"GET","session_src":"s","x0-relay":{"bytes":60000}}"#;
        assert_eq!(packet(large, 9), Ok(Packet::X0(x0::Request::Receive(id("s")), 60_000)));
        assert_eq!(packet(HELLO.as_bytes(), 9), Ok(Packet::Frames));
        assert!(x0::body(x0::Path::Handler, HELLO.as_bytes(), 9).is_ok(), "to x0's own server it is a GET");
    }

    proptest! {
        #[test]
        fn frames_come_back(id: u64, length in 0..200_000_usize, start: u8) {
            let body: Vec<u8> = (0..length).map(|n| start.wrapping_add((n % 251) as u8)).collect();
            let mut got = Vec::new();
            let frames = Frame::pieces(FrameKind::Mail, id, &body);
            for (index, frame) in frames.iter().enumerate() {
                let packet = frame.write();
                prop_assert!(packet.len() <= PACKET_BYTES_MAX);
                let read = Frame::read(&packet).expect("a frame");
                prop_assert_eq!(&read, frame);
                prop_assert_eq!(read.more, index + 1 < frames.len());
                got.extend_from_slice(&read.body);
            }
            prop_assert_eq!(got, body);
        }

        #[test]
        fn no_packet_breaks_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in ".*") {
            let _ = (packet(&bytes, 9), packet(text.as_bytes(), 9), Frame::read(&bytes), Wish::read(&bytes), read_refusal(&bytes));
        }

        #[test]
        fn wishes_and_refusals_come_back(session in ".{1,60}", messages: usize, bytes: usize) {
            let wish = Wish { session: id(&session), messages, bytes };
            prop_assert_eq!(Wish::read(wish.write().as_bytes()), Ok(wish));
            let error = Error::new(Kind::MailboxFull, session);
            prop_assert_eq!(read_refusal(write_refusal(&error).as_bytes()), error);
        }
    }
}
