//! What was revoked, in memory and, where there is a data directory, in a file of it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    token::NAME_BYTES_MAX,
    who::{Name, Principal},
};
use crate::{
    error::{Error, Kind},
    message::UnixMs,
    storage::whole,
    wire::control::Revoked,
};

/// The most revocations that are remembered.
const REVOKED_MAX: usize = 100_000;
/// The file's name in the data directory.
const FILE: &str = "revoked.json";
/// The longest file: longer than what may be remembered, however it is escaped.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The form of the file.
const VERSION: u32 = 1;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Entry {
    /// A token's `jti`.
    Token(Box<str>),
    /// An identity's name.
    Name(Name),
}

#[derive(Clone, Copy)]
struct Term {
    /// Older credentials of a name are revoked.
    since: UnixMs,
    /// Then it is forgotten.
    until: UnixMs,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    what: What,
    since_ms: u64,
    until_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Token(Box<str>),
    Name(Box<str>),
}

impl Line {
    fn new(entry: &Entry, Term { since, until }: Term) -> Self {
        let what = match entry {
            Entry::Token(id) => What::Token(id.clone()),
            Entry::Name(name) => What::Name(name.as_str().into()),
        };
        Self { what, since_ms: since.0, until_ms: until.0 }
    }

    fn read(self) -> (Entry, Term) {
        let entry = match self.what {
            What::Token(id) => Entry::Token(id),
            What::Name(name) => Entry::Name(Name::kept(&name)),
        };
        (entry, Term { since: UnixMs(self.since_ms), until: UnixMs(self.until_ms) })
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    revoked: Vec<Line>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Revocations {
    known: Mutex<HashMap<Entry, Term>>,
    /// The file; nothing: they end with the process.
    file: OnceLock<PathBuf>,
    /// Whether another relay is about to read it.
    given: AtomicBool,
    /// Held while it is written, so that what is written last is the newest.
    writing: Mutex<()>,
}

impl Revocations {
    /// Remembers one more, in memory.
    pub fn add(&self, what: &Revoked, since: UnixMs, remember: Duration) -> Result<(), Error> {
        self.is_ours()?;
        let (Revoked::Token(text) | Revoked::Subject(_, text) | Revoked::Session(text)) = what;
        if text.len() > NAME_BYTES_MAX {
            let detail = format!("{} bytes name nobody: no credentials have more than {NAME_BYTES_MAX}", text.len());
            return Err(Error::new(Kind::BadRequest, detail));
        }
        let entry = match what {
            Revoked::Token(id) => Entry::Token(id.clone()),
            Revoked::Subject(org, subject) => Entry::Name(Name::of_token(org.as_deref(), subject)),
            Revoked::Session(id) => Entry::Name(Name::of_session(id)),
        };
        let mut known = self.known.lock();
        if known.len() >= REVOKED_MAX {
            known.retain(|_, term| term.until > since);
        }
        if known.len() >= REVOKED_MAX && !known.contains_key(&entry) {
            let detail = format!("{REVOKED_MAX} revocations are remembered already; exchange the keys instead");
            return Err(Error::new(Kind::MemoryFull, detail));
        }
        let until = since.after(remember);
        known
            .entry(entry)
            .and_modify(|term| *term = Term { since, until: term.until.max(until) })
            .or_insert(Term { since, until });
        Ok(())
    }

    /// Whether an identity is among them.
    pub fn has(&self, principal: &Principal, now: UnixMs) -> bool {
        let known = self.known.lock();
        if known.is_empty() {
            return false;
        }
        let term = |entry: Entry| known.get(&entry).filter(|term| term.until > now);
        let token = principal.token.clone().and_then(|token| term(Entry::Token(token)));
        let name = term(Entry::Name(principal.name.clone()));
        token.is_some() || name.is_some_and(|term| principal.issued.is_none_or(|issued| issued <= term.since))
    }

    /// Brings back what is in the file of this directory, beside what is known already, and keeps them there from now on.
    pub fn keep_in(&self, directory: &Path, now: UnixMs) -> Result<(), Error> {
        let path = directory.join(FILE);
        let unfit = |why: String| {
            let detail = format!(
                "the revoked credentials in {} cannot be read: {why}; put it right, or remove it, and with it what was \
                 revoked",
                path.display()
            );
            Error::new(Kind::StorageFailed, detail)
        };
        let bytes = whole::read(&path, FILE_BYTES_MAX).map_err(|error| unfit(error.to_string()))?;
        if let Some(bytes) = bytes {
            let File { version, revoked } = serde_json::from_slice(&bytes)
                .map_err(|error| unfit(format!("line {}, column {}", error.line(), error.column())))?;
            if version != VERSION || revoked.len() > REVOKED_MAX {
                return Err(unfit(format!("{} entries in form {version}", revoked.len())));
            }
            let mut known = self.known.lock();
            for (entry, there) in revoked.into_iter().map(Line::read).filter(|(_, term)| term.until > now) {
                let term = known.entry(entry).or_insert(there);
                *term = Term { since: term.since.max(there.since), until: term.until.max(there.until) };
            }
            known.retain(|_, term| term.until > now);
        }
        // There is one directory in a process's life.
        let _ = self.file.set(path);
        Ok(())
    }

    /// Whether they are kept in a file.
    pub fn is_kept(&self) -> bool {
        self.file.get().is_some()
    }

    /// Writes the file, if they are kept in one. Takes as long as the disk.
    pub fn write(&self, now: UnixMs) -> Result<(), Error> {
        let Some(path) = self.file.get() else { return Ok(()) };
        let _turn = self.writing.lock();
        self.is_ours()?;
        let lines = {
            let mut known = self.known.lock();
            known.retain(|_, term| term.until > now);
            known.iter().map(|(entry, term)| Line::new(entry, *term)).collect()
        };
        let written = serde_json::to_vec(&File { version: VERSION, revoked: lines })
            .map_err(std::io::Error::other)
            .and_then(|bytes| whole::replace(path, &bytes));
        written.map_err(|error| {
            let detail = format!(
                "revoked as long as this relay runs, and perhaps no longer: {} cannot be written: {error}; say it again when \
                 it can",
                path.display()
            );
            Error::new(Kind::StorageFailed, detail)
        })
    }

    /// Another relay is about to read the file: from now on nothing is revoked here. Waits until what is being written is.
    pub fn give(&self) {
        self.given.store(self.is_kept(), SeqCst);
        drop(self.writing.lock());
    }

    /// Nothing came of that.
    pub fn take_back(&self) {
        self.given.store(false, SeqCst);
    }

    fn is_ours(&self) -> Result<(), Error> {
        if self.given.load(SeqCst) {
            let detail = "another relay is taking this one's place: say it again, to that one";
            return Err(Error::new(Kind::Draining, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn known(revocations: &Revocations) -> usize {
        revocations.known.lock().len()
    }

    #[test]
    fn what_was_revoked_comes_back_until_it_is_to_be_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let before = Revocations::default();
        before.keep_in(dir.path(), UnixMs(0)).expect("nothing there");
        let all = [
            Revoked::Token("t\"1".into()),
            Revoked::Subject(Some("acme".into()), "ann".into()),
            Revoked::Subject(None, "a/b".into()),
            Revoked::Session("tab".into()),
        ];
        for what in &all {
            before.add(what, UnixMs(1_000), HOUR).expect("room");
        }
        before.add(&Revoked::Token("soon".into()), UnixMs(1_000), Duration::from_secs(1)).expect("room");
        before.write(UnixMs(1_500)).expect("written");
        let after = Revocations::default();
        after.keep_in(dir.path(), UnixMs(1_999)).expect("readable");
        assert_eq!(known(&after), 5);
        after.keep_in(dir.path(), UnixMs(2_000)).expect("readable");
        let same = |entry: &Entry| {
            let known = before.known.lock();
            let (was, is) = (known[entry], after.known.lock()[entry]);
            (was.since, was.until) == (is.since, is.until)
        };
        let entries: Vec<Entry> = after.known.lock().keys().cloned().collect();
        assert!(entries.len() == 4 && entries.iter().all(same));
        // What is known here alone stays.
        before.add(&Revoked::Token("unwritten".into()), UnixMs(1_500), HOUR).expect("room");
        before.keep_in(dir.path(), UnixMs(2_000)).expect("readable");
        assert_eq!(known(&before), 5);
        // What is past is not written again.
        after.add(&Revoked::Token("new".into()), UnixMs(3_601_000), HOUR).expect("room");
        after.write(UnixMs(3_601_000)).expect("written");
        assert_eq!(known(&after), 1);
    }

    #[test]
    fn what_cannot_be_read_or_written_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let revocations = Revocations::default();
        for broken in ["{", "{\"version\":1}", "{\"version\":2,\"revoked\":[]}", "[]"] {
            std::fs::write(dir.path().join(FILE), broken).expect("written");
            let told = revocations.keep_in(dir.path(), UnixMs(0)).expect_err(broken);
            assert!(told.kind == Kind::StorageFailed && told.detail.contains("revoked.json"), "{told}");
        }
        std::fs::remove_file(dir.path().join(FILE)).expect("there");
        revocations.keep_in(dir.path(), UnixMs(0)).expect("nothing there");
        revocations.add(&Revoked::Token("t".into()), UnixMs(0), HOUR).expect("room");
        drop(dir);
        assert_eq!(revocations.write(UnixMs(0)).expect_err("no directory").kind, Kind::StorageFailed);
        let long = Revoked::Token("x".repeat(NAME_BYTES_MAX + 1).into());
        assert_eq!(revocations.add(&long, UnixMs(0), HOUR).expect_err("nobody's").kind, Kind::BadRequest);
    }

    #[test]
    fn nothing_is_revoked_where_another_relay_is_about_to_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let revocations = Revocations::default();
        revocations.keep_in(dir.path(), UnixMs(0)).expect("nothing there");
        let add = || revocations.add(&Revoked::Token("t".into()), UnixMs(0), HOUR);
        revocations.give();
        assert_eq!(add().expect_err("given").kind, Kind::Draining);
        assert_eq!(revocations.write(UnixMs(0)).expect_err("given").kind, Kind::Draining);
        revocations.take_back();
        add().and_then(|()| revocations.write(UnixMs(0))).expect("as before");
        let memory = Revocations::default();
        memory.give();
        memory.add(&Revoked::Token("t".into()), UnixMs(0), HOUR).expect("there is nothing to be read");
    }
}
