//! The mailboxes as a journal sees them: what it brings back, and what it writes anew.

use super::boxes::{self, Boxes};
use crate::{
    cursor::Epoch,
    error::Error,
    id::SessionId,
    mailbox::{Letter, Mailbox, Missing},
    message::UnixMs,
    storage::journal::{Journal, KeptKey, Known, Memory, Snapshot},
};
use std::sync::atomic::Ordering::Relaxed;

impl<J: Journal> Memory for Boxes<J> {
    fn restore_mailbox(&self, of: &str, known: Known) -> Result<(), Error> {
        let Known { epoch, last, touched, seen, lost } = known;
        let mut mailbox = Mailbox::known(epoch, last, Missing::restore(lost));
        mailbox.touch(touched);
        mailbox.see(seen);
        self.returning(of, mailbox, |_| ())
    }

    fn restore(&self, of: &str, epoch: Epoch, letter: Letter) -> Result<(), Error> {
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(letter.message.cost(), Relaxed);
        let new = Mailbox::known(epoch, Default::default(), Missing::default());
        self.returning(of, new, |mailbox| {
            mailbox.touch(letter.message.accepted);
            mailbox.restore(letter);
        })
    }

    fn restore_key(&self, key: KeptKey) {
        if key.expires > self.clock.now() {
            self.bytes.fetch_add(super::keys::KEY_BYTES, Relaxed);
            self.keys.restore(key);
        }
    }

    fn begin_epochs(&self) -> Vec<(SessionId, Known)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            for (session, mailbox) in shard.lock().iter_mut() {
                mailbox.begin_epoch(self.new_epoch());
                all.push((session.clone(), boxes::known(mailbox)));
            }
        }
        all
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for shard in &self.shards {
            for (session, mailbox) in shard.lock().iter().filter(|(_, mailbox)| !mailbox.is_unused()) {
                snapshot.messages.extend(boxes::kept(session, mailbox));
                if !mailbox.is_told_by_letters() || mailbox.seen() > UnixMs(0) {
                    snapshot.mailboxes.push((session.clone(), boxes::known(mailbox)));
                }
            }
        }
        snapshot.keys = self.keys.snapshot();
        snapshot.messages.sort_unstable_by_key(|kept| kept.letter.arrival);
        snapshot
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}
