//! Idempotency keys: which were used, for what, and what was answered.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    error::{Error, Kind},
    id::{Digest, Key},
    message::UnixMs,
    storage::{Accepted, KEY_LIVES, KEYS_MAX, journal::KeptKey},
};

/// What a key costs: its place in three collections.
pub const KEY_BYTES: usize = 192;

type Answer = oneshot::Sender<Result<Accepted, Error>>;

/// All keys that are remembered.
#[derive(Debug, Default)]
pub struct Keys(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    used: HashMap<Digest, State>,
    /// Each sender's keys, the oldest first.
    senders: HashMap<Digest, VecDeque<(UnixMs, Digest)>>,
}

#[derive(Debug)]
enum State {
    /// What it was used for is on its way to safety; these wait to hear what becomes of it.
    UnderWay { body: Digest, waiting: Vec<Answer> },
    /// It was accepted.
    Used(KeptKey),
}

/// What is to be done with a message that has a key.
#[derive(Debug)]
pub enum Claim {
    /// The key is new: the message is to be sent, and then [`Keys::settle`] to be called.
    New,
    /// It was accepted before.
    Duplicate(Accepted),
    /// It is on its way; this will be its answer.
    UnderWay(oneshot::Receiver<Result<Accepted, Error>>),
}

/// Keys forgotten.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Which.
    pub digests: Vec<Digest>,
    /// How many uses of keys these were: a key may have been used again.
    pub uses: usize,
    /// How many of them before their time.
    pub early: usize,
}

impl Keys {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().used.len()
    }

    /// What a message with this key is.
    ///
    /// # Errors
    /// `KeyReused`: the key was used for another message.
    pub fn claim(&self, key: &Key, now: UnixMs) -> Result<Claim, Error> {
        let mut inner = self.0.lock();
        let claim = match inner.used.get_mut(&key.digest) {
            Some(State::UnderWay { body, waiting }) if *body == key.body => {
                let (answer, result) = oneshot::channel();
                waiting.push(answer);
                Claim::UnderWay(result)
            }
            Some(State::Used(kept)) if kept.expires <= now => Claim::New,
            Some(State::Used(kept)) if kept.key.body == key.body => Claim::Duplicate(duplicate(kept)),
            Some(State::UnderWay { .. } | State::Used(_)) => {
                return Err(Error::new(
                    Kind::KeyReused,
                    "this idempotency key was used for another message within 10 minutes; use a new key for each message",
                ));
            }
            None => Claim::New,
        };
        if matches!(claim, Claim::New) {
            inner.used.insert(key.digest, State::UnderWay { body: key.body, waiting: Vec::new() });
        }
        Ok(claim)
    }

    /// What became of a message whose key was new. Returns keys that make room for it.
    pub fn settle(&self, key: &Key, result: &Result<KeptKey, Error>) -> Forgotten {
        let mut inner = self.0.lock();
        let before = match result {
            Ok(kept) => inner.used.insert(key.digest, State::Used(*kept)),
            Err(_) => inner.used.remove(&key.digest),
        };
        let forgotten = match result {
            Ok(kept) => inner.line_up(kept),
            Err(_) => Forgotten::default(),
        };
        drop(inner);
        let Some(State::UnderWay { waiting, .. }) = before else { return forgotten };
        for answer in waiting {
            // Whoever waited may have gone.
            let _ = answer.send(result.as_ref().map(duplicate).map_err(Error::clone));
        }
        forgotten
    }

    /// Brings back a key.
    pub fn restore(&self, kept: KeptKey) {
        let mut inner = self.0.lock();
        inner.used.insert(kept.key.digest, State::Used(kept));
        inner.line_up(&kept);
    }

    /// Forgets what is older than it has to be remembered.
    pub fn expire(&self, now: UnixMs) -> Forgotten {
        let mut inner = self.0.lock();
        let Inner { used, senders } = &mut *inner;
        let mut forgotten = Forgotten::default();
        senders.retain(|_, line| {
            while line.front().is_some_and(|(expires, _)| *expires <= now) {
                let Some((expires, digest)) = line.pop_front() else { break };
                forgotten.uses += 1;
                forgotten.digests.extend(forget(used, digest, expires));
            }
            if line.len() < line.capacity() / 4 {
                line.shrink_to_fit();
            }
            !line.is_empty()
        });
        forgotten
    }

    /// Every key that was used, the oldest of each sender first.
    pub fn snapshot(&self) -> Vec<KeptKey> {
        let inner = self.0.lock();
        let in_line = inner.senders.values().flatten();
        in_line
            .filter_map(|(expires, digest)| match inner.used.get(digest) {
                Some(State::Used(kept)) if kept.expires == *expires => Some(*kept),
                _ => None,
            })
            .collect()
    }
}

impl Inner {
    fn line_up(&mut self, kept: &KeptKey) -> Forgotten {
        let line = self.senders.entry(kept.key.sender).or_default();
        line.push_back((kept.expires, kept.key.digest));
        let mut forgotten = Forgotten::default();
        while line.len() > KEYS_MAX {
            let Some((expires, digest)) = line.pop_front() else { break };
            forgotten.uses += 1;
            forgotten.digests.extend(forget(&mut self.used, digest, expires));
        }
        forgotten.early = forgotten.digests.len();
        forgotten
    }
}

/// Forgets a key, unless it has been used again since.
fn forget(used: &mut HashMap<Digest, State>, digest: Digest, expires: UnixMs) -> Option<Digest> {
    let this = matches!(used.get(&digest), Some(State::Used(kept)) if kept.expires == expires);
    this.then(|| used.remove(&digest))?.map(|_| digest)
}

fn duplicate(kept: &KeptKey) -> Accepted {
    Accepted {
        id: kept.id,
        recipients: usize::try_from(kept.recipients).unwrap_or(usize::MAX),
        duplicate: true,
        dropped: Default::default(),
    }
}

/// What is remembered of a key whose message is accepted `now`.
pub fn kept(key: Key, id: uuid::Uuid, recipients: usize, now: UnixMs) -> KeptKey {
    KeptKey { key, id, recipients: u32::try_from(recipients).unwrap_or(u32::MAX), expires: now.after(KEY_LIVES) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(name: u128, body: u128) -> Key {
        Key { digest: Digest(name), sender: Digest(1), body: Digest(body) }
    }

    fn used(keys: &Keys, name: u128, now: u64) -> Forgotten {
        let key = key(name, 0);
        assert!(matches!(keys.claim(&key, UnixMs(now)), Ok(Claim::New)));
        keys.settle(&key, &Ok(kept(key, Uuid::from_u128(name), 1, UnixMs(now))))
    }

    #[test]
    fn a_key_is_good_for_one_message_for_ten_minutes() {
        let keys = Keys::default();
        used(&keys, 7, 0);
        let again = keys.claim(&key(7, 0), UnixMs(599_999));
        assert!(matches!(again, Ok(Claim::Duplicate(Accepted { id, duplicate: true, .. })) if id.as_u128() == 7));
        assert_eq!(keys.claim(&key(7, 1), UnixMs(599_999)).expect_err("other body").kind, Kind::KeyReused);
        assert!(matches!(keys.claim(&key(7, 1), UnixMs(600_000)), Ok(Claim::New)));
    }

    #[test]
    fn a_key_used_again_is_not_forgotten_with_its_first_use() {
        let keys = Keys::default();
        used(&keys, 7, 0);
        used(&keys, 7, 600_000);
        let first = keys.expire(UnixMs(600_000));
        assert_eq!((first.digests.len(), first.uses), (0, 1));
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.expire(UnixMs(1_200_000)).digests, [Digest(7)]);
        assert_eq!((keys.len(), keys.snapshot().len()), (0, 0));
    }

    #[tokio::test]
    async fn the_second_waits_for_the_first() {
        let keys = Keys::default();
        let key = key(7, 0);
        assert!(matches!(keys.claim(&key, UnixMs(0)), Ok(Claim::New)));
        let Ok(Claim::UnderWay(second)) = keys.claim(&key, UnixMs(0)) else { panic!("under way") };
        keys.settle(&key, &Err(Error::new(Kind::MailboxFull, "")));
        assert_eq!(second.await.expect("told").expect_err("refused").kind, Kind::MailboxFull);
        assert!(matches!(keys.claim(&key, UnixMs(0)), Ok(Claim::New)), "a refusal uses no key up");
    }

    #[test]
    fn the_oldest_of_too_many_make_room() {
        let keys = Keys::default();
        let early: usize = (0..KEYS_MAX as u128 + 5).map(|name| used(&keys, name, 0).early).sum();
        assert_eq!((early, keys.len()), (5, KEYS_MAX));
    }
}
