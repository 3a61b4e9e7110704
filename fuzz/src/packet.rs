//! `wire::control::packet`: a packet is x0's request, a word or the gateway's opening, and can be written again.

use x0_relay::{
    error::Kind,
    id::is_org,
    wire::{
        control::{self, PACKET_BYTES_MAX, Packet, Revoked, Word, X0_PACKET_BYTES},
        takeover::Directory,
        x0::{Path, Request},
    },
};

use super::{
    dialect::{Asked, MESSAGE_BYTES, session},
    judge::{Node, Verdict, judge},
    outcome,
};

/// Checks one packet.
pub fn check(bytes: &[u8]) -> bool {
    let packet = control::packet(bytes, MESSAGE_BYTES);
    match (&packet, judge(bytes)) {
        (Ok(packet), Verdict::Object(object)) => {
            is_meant(packet, &object);
            comes_back(packet);
        }
        (Ok(packet), verdict) => panic!("{packet:?} out of {verdict:?}"),
        (Err(error), verdict) => {
            assert!(verdict.allows(error.kind), "{error:?}");
            if let Verdict::Object(object) = verdict {
                assert!(has_fault(&object, error.kind), "{error:?}");
            }
            outcome::is_told(error);
        }
    }
    packet.is_ok()
}

/// The word that a packet says, if it says one.
fn word(object: &Node<'_>) -> Option<String> {
    object.object("x0-relay")?.last("do")?.text()
}

fn is_meant(packet: &Packet, object: &Node<'_>) {
    let said = word(object);
    let ours = |name| object.object("x0-relay").and_then(|ours| ours.last(name));
    match packet {
        Packet::Frames => assert_eq!(said.as_deref(), Some("frames")),
        Packet::Word(Word::Stats) => assert_eq!(said.as_deref(), Some("stats")),
        Packet::Word(Word::Drain) => assert_eq!(said.as_deref(), Some("drain")),
        Packet::Word(Word::Sessions(max)) => {
            assert_eq!(said.as_deref(), Some("sessions"));
            assert!(ours("max").is_none_or(|said| said.number() == Some(*max)));
        }
        Packet::Word(Word::Purge(session)) => {
            assert_eq!(said.as_deref(), Some("purge"));
            assert_eq!(ours("session").and_then(Node::text).as_deref(), Some(session.bare()));
            assert_eq!(ours("org").and_then(Node::text).as_deref(), session.org());
        }
        Packet::Word(Word::Revoke(what, remember)) => {
            assert_eq!(said.as_deref(), Some("revoke"));
            assert_eq!(number(ours("seconds")), Some(remember.as_secs()));
            let (name, text) = match what {
                Revoked::Token(id) => ("token", id),
                Revoked::Session(session) => ("session", session),
                Revoked::Subject(org, subject) => {
                    assert_eq!(ours("org").and_then(Node::text).as_deref(), org.as_deref());
                    ("subject", subject)
                }
            };
            assert_eq!(ours(name).and_then(Node::text).as_deref(), Some(&**text));
        }
        Packet::Word(Word::Takeover(ask)) => {
            assert_eq!(said.as_deref(), Some("takeover"));
            assert_eq!(number(ours("version")), Some(ask.version));
            assert_eq!(ours("release").and_then(Node::text).unwrap_or_default(), ask.release);
            assert_eq!(ours("discard").is_some_and(|said| said.raw == "true"), ask.discard);
            let said = directory(object).map(|directory| directory.expect("it was accepted"));
            assert_eq!(said, ask.data_dir.clone());
        }
        Packet::X0(request, bytes_max) => {
            assert_eq!(said, None);
            Asked { path: Path::Handler, object }.is(request);
            let asked = ours("bytes").map_or(Some(X0_PACKET_BYTES), Node::number);
            assert_eq!(asked.map(|asked| asked.clamp(X0_PACKET_BYTES, PACKET_BYTES_MAX)), Some(*bytes_max));
        }
    }
}

fn number(node: Option<&Node<'_>>) -> Option<u64> {
    node.and_then(Node::number).and_then(|number| u64::try_from(number).ok())
}

/// The data directory that a takeover names: none, one, or something that is none.
fn directory(object: &Node<'_>) -> Option<Option<Directory>> {
    let named = object.object("x0-relay")?.last("data-dir").filter(|said| said.raw != "null")?;
    let read = || {
        let path = named.last("path")?.text()?;
        Some(Directory { path, device: number(named.last("device"))?, inode: number(named.last("inode"))? })
    };
    Some(read())
}

fn has_fault(object: &Node<'_>, kind: Kind) -> bool {
    let ours = |name| object.object("x0-relay").and_then(|ours| ours.last(name));
    let no_number = |name| ours(name).is_some_and(|said| said.number().is_none());
    match word(object).as_deref() {
        Some("sessions") => kind == Kind::BadRequest && no_number("max"),
        Some("purge") if kind == Kind::InvalidSession => session(ours("session").and_then(Node::text)).is_none(),
        Some("purge") => kind == Kind::BadRequest && no_org(ours("org")),
        Some("revoke") => {
            let names = ["token", "subject", "session"].map(|name| ours(name).and_then(Node::text));
            let one = names.iter().flatten().filter(|text| !text.is_empty()).count() == 1;
            kind == Kind::BadRequest
                && (!one || no_number("seconds") || ours("seconds").is_none() || no_org(ours("org")))
        }
        Some("frames" | "stats" | "drain") => false,
        Some("takeover") => {
            let no_flag = ours("discard").is_some_and(|said| !matches!(said.raw, "true" | "false"));
            let no_directory = directory(object).is_some_and(|directory| directory.is_none());
            kind == Kind::BadRequest && (number(ours("version")).is_none() || no_flag || no_directory)
        }
        Some(_) => kind == Kind::BadRequest,
        None => {
            (kind == Kind::BadRequest && no_number("bytes")) || Asked { path: Path::Handler, object }.has_fault(kind)
        }
    }
}

fn no_org(said: Option<&Node<'_>>) -> bool {
    said.is_some_and(|said| !said.text().is_some_and(|text| is_org(&text)))
}

fn comes_back(packet: &Packet) {
    let again = match packet {
        Packet::Frames => control::HELLO.to_owned(),
        Packet::Word(word) => control::word(word),
        Packet::X0(Request::Receive(session), _) => control::ask("GET", session),
        Packet::X0(Request::Remove(session), _) => control::ask("DEL", session),
        Packet::X0(Request::Send { from, to, payload }, _) => {
            control::set(from, to, &String::from_utf8_lossy(&payload.json))
        }
        Packet::X0(other, _) => panic!("no packet says {other:?}"),
    };
    let expected = match packet {
        Packet::X0(request, _) => Packet::X0(request.clone(), X0_PACKET_BYTES),
        other => other.clone(),
    };
    assert_eq!(control::packet(again.as_bytes(), MESSAGE_BYTES), Ok(expected), "{again}");
}
