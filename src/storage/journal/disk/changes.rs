//! What is to be written: by the next commit, and of what the log has, by the next fold into the tables.

use std::collections::{BTreeMap, HashMap};

use crate::{
    id::{Digest, SessionId},
    message::Arrival,
    storage::journal::{Change, Kept, KeptKey, Known, Record},
};

/// What the next transaction is to change. What has come and left before it is not in it.
#[derive(Default, Debug)]
pub struct Changes {
    pub messages: BTreeMap<Arrival, Kept>,
    /// Messages of earlier transactions.
    pub left: Vec<Arrival>,
    /// `None`: forgotten.
    pub mailboxes: HashMap<SessionId, Option<Known>>,
    /// `None`: forgotten. With the first of the messages that it was used for.
    pub keys: HashMap<Digest, Option<(Arrival, KeptKey)>>,
    /// See [`super::file::Replayed::loose`].
    pub loose: Option<bool>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows are to be written or removed.
    pub fn len(&self) -> usize {
        let rows = self.messages.len() + self.left.len() + self.mailboxes.len() + self.keys.len();
        rows + usize::from(self.loose.is_some())
    }

    /// Adds what was noted after all this.
    pub fn note(&mut self, change: Change) {
        match change {
            Change::Left(arrivals) => self.leave(arrivals),
            Change::Known(session, known) => _ = self.mailboxes.insert(session, Some(known)),
            Change::Forgotten(session) => _ = self.mailboxes.insert(session, None),
            Change::Keys(digests) => self.keys.extend(digests.into_iter().map(|digest| (digest, None))),
        }
    }

    fn leave(&mut self, arrivals: Vec<Arrival>) {
        self.left.extend(arrivals.into_iter().filter(|arrival| self.messages.remove(arrival).is_none()));
    }

    /// Adds what happened after all this.
    pub fn append(&mut self, later: Self) {
        self.leave(later.left);
        self.messages.extend(later.messages);
        self.mailboxes.extend(later.mailboxes);
        self.keys.extend(later.keys);
        self.loose = later.loose.or(self.loose);
    }

    /// Adds what was promised after all this, beginning with the arrival `first`.
    pub fn record(&mut self, first: Arrival, record: Record) {
        self.messages.extend(record.messages.into_iter().map(|kept| (kept.letter.arrival, kept)));
        self.keys.extend(record.key.map(|kept| (kept.key.digest, Some((first, kept)))));
    }
}
