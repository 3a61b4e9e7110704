//! What two relays say to each other when one takes the other's place: an operator's word, and the steps after it.
//!
//! ```text
//! new  {"x0-relay":{"do":"takeover","version":1,"release":"0.1.0","discard":false,"data-dir":{…}}}
//! old  {"takeover":"sockets","version":1,"release":"0.1.0","tcp":1,"file":true}    with the sockets
//! new  {"takeover":"ready"}
//! old  {"takeover":"yours"}
//! new  {"takeover":"serving"}
//! ```
//!
//! Instead of any step the new one may say why it failed, and the old one refuses with x0's error object.

use super::{
    json::{self, Object},
    x0,
};
use crate::error::{Error, Kind};

/// What we speak. Another number is refused, whatever else is said.
pub const VERSION: u64 = 1;

/// What a relay says that wants another's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The version of these packets that it speaks.
    pub version: u64,
    /// Its own version, for people.
    pub release: String,
    /// What waits in memory alone may be lost.
    pub discard: bool,
    /// Where it is going to keep messages on disk, if it is.
    pub data_dir: Option<Directory>,
}

/// A directory, and by which name somebody knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Its name, for people.
    pub path: String,
    /// The file system's number.
    pub device: u64,
    /// The directory's number there.
    pub inode: u64,
}

impl Directory {
    /// Whether both are one directory, whatever each is called.
    pub fn is(&self, other: &Directory) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// One step after the word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Old to new: here are the sockets.
    Sockets(Offer),
    /// New to old: whatever can fail before the place is empty has not failed.
    Ready,
    /// Old to new: nothing is accepted here any more, the data directory is free.
    Yours,
    /// New to old: connections are accepted.
    Serving,
    /// New to old: it does not go on, and why.
    Failed(String),
    /// Old to new: it does not go on, and why.
    Refused(String),
}

/// What comes with the sockets: TCP ones in the order in which they were opened, then the control socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The version of these packets that the old one speaks.
    pub version: u64,
    /// Its own version, for people.
    pub release: String,
    /// How many of the sockets are TCP.
    pub tcp: usize,
    /// Whether the control socket's file is the relay's to remove.
    pub file: bool,
}

impl Ask {
    /// From the members beside `do`.
    ///
    /// # Errors
    /// [`Kind::BadRequest`].
    pub(super) fn read(ours: &Object<'_>) -> Result<Self, Error> {
        let directory = match ours.get("data-dir").filter(|text| *text != "null") {
            Some(text) => {
                let members = json::object(text)?;
                let path = members
                    .get("path")
                    .and_then(json::string)
                    .ok_or_else(|| bad("path is to be a string"))?
                    .into_owned();
                let (device, inode) = (number(&members, "device")?, number(&members, "inode")?);
                Some(Directory { path, device, inode })
            }
            None => None,
        };
        Ok(Self {
            version: number(ours, "version")?,
            release: text(ours, "release"),
            discard: flag(ours, "discard")?,
            data_dir: directory,
        })
    }

    /// The members beside `do`.
    pub(super) fn write(&self) -> String {
        let directory = self.data_dir.as_ref().map_or(String::new(), |directory| {
            let Directory { path, device, inode } = directory;
            format!(r#","data-dir":{{"path":{},"device":{device},"inode":{inode}}}"#, json::quote(path))
        });
        let (version, release, discard) = (self.version, json::quote(&self.release), self.discard);
        format!(r#""version":{version},"release":{release},"discard":{discard}{directory}"#)
    }
}

impl Step {
    /// The step as a packet.
    pub fn write(&self) -> String {
        match self {
            Step::Sockets(Offer { version, release, tcp, file }) => {
                let release = json::quote(release);
                format!(r#"{{"takeover":"sockets","version":{version},"release":{release},"tcp":{tcp},"file":{file}}}"#)
            }
            Step::Ready => r#"{"takeover":"ready"}"#.to_owned(),
            Step::Yours => r#"{"takeover":"yours"}"#.to_owned(),
            Step::Serving => r#"{"takeover":"serving"}"#.to_owned(),
            Step::Failed(why) => format!(r#"{{"takeover":"failed","why":{}}}"#, json::quote(why)),
            Step::Refused(why) => x0::error(&Error::new(Kind::TakeoverRefused, why.clone()), true),
        }
    }

    /// A packet as a step. Any error object is a refusal.
    ///
    /// # Errors
    /// [`Kind::BadRequest`], [`Kind::NotJson`]: it is none.
    pub fn read(packet: &[u8]) -> Result<Self, Error> {
        let members = json::object(json::text(packet)?)?;
        match members.get("takeover").and_then(json::string).as_deref() {
            Some("sockets") => Ok(Step::Sockets(Offer {
                version: number(&members, "version")?,
                release: text(&members, "release"),
                tcp: usize::try_from(number(&members, "tcp")?).map_err(|_| bad("tcp is too large"))?,
                file: flag(&members, "file")?,
            })),
            Some("ready") => Ok(Step::Ready),
            Some("yours") => Ok(Step::Yours),
            Some("serving") => Ok(Step::Serving),
            Some("failed") => Ok(Step::Failed(text(&members, "why"))),
            Some(_) => Err(bad("a step of a takeover that nobody knows")),
            None if flag(&members, "error")? => Ok(Step::Refused(text(&members, "detail"))),
            None => Err(bad("no step of a takeover")),
        }
    }
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, what.into())
}

fn number(members: &Object<'_>, name: &str) -> Result<u64, Error> {
    let text = members.get(name).unwrap_or_default();
    text.parse().map_err(|_| bad(format!("{name} is to be a whole number")))
}

fn flag(members: &Object<'_>, name: &str) -> Result<bool, Error> {
    match members.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad(format!("{name} is to be true or false"))),
    }
}

fn text(members: &Object<'_>, name: &str) -> String {
    members.get(name).and_then(json::string).unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{
        super::control::{self, Packet, Word},
        *,
    };
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_ask_comes_back(
            version: u64, release in ".*", discard: bool, dir in proptest::option::of((".*", any::<u64>(), any::<u64>())),
        ) {
            let data_dir = dir.map(|(path, device, inode)| Directory { path, device, inode });
            let word = Word::Takeover(Ask { version, release, discard, data_dir });
            prop_assert_eq!(control::packet(control::word(&word).as_bytes(), 9), Ok(Packet::Word(word)));
        }

        #[test]
        fn steps_come_back(version: u64, release in ".*", tcp: usize, file: bool, why in ".*") {
            let offer = Offer { version, release, tcp, file };
            let steps = [Step::Sockets(offer), Step::Ready, Step::Yours, Step::Serving];
            for step in steps.into_iter().chain([Step::Failed(why.clone()), Step::Refused(why)]) {
                prop_assert_eq!(Step::read(step.write().as_bytes()), Ok(step));
            }
        }

        #[test]
        fn no_packet_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in ".*") {
            let _ = (Step::read(&bytes), Step::read(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_refused() {
        for ours in [
            r#""release":"1""#,
            r#""version":"1""#,
            r#""version":1,"discard":"yes""#,
            r#""version":1,"data-dir":{"path":"/x","device":1}"#,
            r#""version":1,"data-dir":"/x""#,
        ] {
            let packet = format!(r#"{{"x0-relay":{{"do":"takeover",{ours}}}}}"#);
            assert!(control::packet(packet.as_bytes(), 9).is_err(), "{packet}");
        }
        for packet in [r#"{"takeover":"dance"}"#, r#"{"messages": null}"#, "[]", r#"{"takeover":"sockets"}"#] {
            assert!(Step::read(packet.as_bytes()).is_err(), "{packet}");
        }
    }

    #[test]
    fn a_directory_is_what_it_is_and_not_what_it_is_called() {
        let directory = |path: &str, inode| Directory { path: path.to_owned(), device: 3, inode };
        assert!(directory("/a", 7).is(&directory("b/../a", 7)));
        assert!(!directory("/a", 7).is(&directory("/a", 8)));
    }
}
