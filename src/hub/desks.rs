//! Who waits for a session's mail, in what order, and who holds it just now.
//!
//! A session's *desk* exists only while somebody is at it. Its newest receiver is the one that is served; others wait
//! behind it. To look into the mailbox a receiver takes the desk's [`Hold`]; mail that is on its way keeps the hold
//! until it is known to have arrived, so nothing later overtakes it.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{
    id::SessionId,
    message::{Seq, UnixMs},
    storage::Ring,
};

const SHARDS: usize = 64;

/// One waiting receiver's bell. A ring before the wait is kept.
#[derive(Debug)]
struct Bell {
    id: u64,
    rung: Notify,
}

#[derive(Debug, Default)]
struct Desk {
    /// The newest is last.
    receivers: Vec<Arc<Bell>>,
    /// Somebody looks or has mail on its way.
    held: bool,
    /// What a legacy client was last shown, and when.
    shown: Option<(Seq, UnixMs)>,
}

impl Desk {
    fn is_idle(&self) -> bool {
        self.receivers.is_empty() && !self.held && self.shown.is_none()
    }

    fn ring_newest(&self) {
        if let Some(bell) = self.receivers.last() {
            bell.rung.notify_one();
        }
    }

    fn hold(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }
}

type Shard = HashMap<SessionId, Desk>;

/// All desks.
#[derive(Debug)]
pub struct Desks {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    next_bell: AtomicU64,
}

impl Default for Desks {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            next_bell: AtomicU64::new(1),
        }
    }
}

impl Ring for Desks {
    fn ring(&self, session: &SessionId) {
        if let Some(desk) = self.shard(session).get(session) {
            desk.ring_newest();
        }
    }
}

impl Desks {
    fn shard(&self, session: &SessionId) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(session) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock()
    }

    fn change<T>(&self, session: &SessionId, change: impl FnOnce(&mut Desk) -> T) -> T {
        let mut shard = self.shard(session);
        let desk = match shard.get_mut(session) {
            Some(desk) => desk,
            None => shard.entry(session.clone()).or_default(),
        };
        let result = change(desk);
        if desk.is_idle() {
            shard.remove(session);
        }
        result
    }

    /// Hangs a bell: its owner is the session's newest receiver from now on.
    pub fn hang(self: &Arc<Self>, session: SessionId) -> Place {
        let bell = Arc::new(Bell { id: self.next_bell.fetch_add(1, Relaxed), rung: Notify::new() });
        self.change(&session, |desk| desk.receivers.push(Arc::clone(&bell)));
        Place { desks: Arc::clone(self), session, bell }
    }

    /// Notes what a legacy client was shown.
    fn note_shown(&self, session: &SessionId, upto: Seq, now: UnixMs) {
        self.change(session, |desk| desk.shown = Some((upto, now)));
    }

    /// What a legacy client was last shown; forgotten with this.
    pub fn take_shown(&self, session: &SessionId) -> Option<Seq> {
        self.change(session, |desk| desk.shown.take()).map(|(upto, _)| upto)
    }

    /// Forgets what was shown before `before`.
    pub fn sweep(&self, before: UnixMs) {
        for shard in &self.shards {
            shard.lock().retain(|_, desk| {
                desk.shown = desk.shown.filter(|(_, when)| *when >= before);
                !desk.is_idle()
            });
        }
    }

    /// Wakes every waiting receiver.
    pub fn ring_all(&self) {
        for shard in &self.shards {
            for bell in shard.lock().values().flat_map(|desk| &desk.receivers) {
                bell.rung.notify_one();
            }
        }
    }

    /// How many receivers wait at this session's desk.
    pub fn receivers(&self, session: &SessionId) -> usize {
        self.shard(session).get(session).map_or(0, |desk| desk.receivers.len())
    }

    /// Sessions that somebody waits for.
    pub fn attached(&self) -> Vec<SessionId> {
        let occupied = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.iter().filter(|(_, desk)| !desk.receivers.is_empty()).map(|(session, _)| session.clone()).collect()
        };
        self.shards.iter().flat_map(|shard| -> Vec<SessionId> { occupied(shard) }).collect()
    }
}

/// A receiver's place in line; given up on drop, which makes the next newest the receiver.
#[derive(Debug)]
pub struct Place {
    desks: Arc<Desks>,
    session: SessionId,
    bell: Arc<Bell>,
}

impl Place {
    /// Waits for the bell; a ring since the last wait counts.
    pub async fn rung(&self) {
        self.bell.rung.notified().await;
    }

    /// Notes what this receiver, a legacy client, was shown.
    pub fn note_shown(&self, upto: Seq, now: UnixMs) {
        self.desks.note_shown(&self.session, upto, now);
    }

    /// Takes the desk if this is its newest receiver and nobody holds it. If not, the bell will ring when that changes.
    pub fn hold(&self) -> Option<Hold> {
        let held = self.desks.change(&self.session, |desk| {
            let newest = desk.receivers.last().is_some_and(|bell| bell.id == self.bell.id);
            newest && desk.hold()
        });
        held.then(|| Hold {
            desks: Arc::clone(&self.desks),
            session: self.session.clone(),
            by: self.bell.id,
            found_nothing: false,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desks.change(&self.session, |desk| {
            let newest = desk.receivers.last().is_some_and(|bell| bell.id == self.bell.id);
            desk.receivers.retain(|bell| bell.id != self.bell.id);
            if newest {
                desk.ring_newest();
            }
        });
    }
}

/// The right to look into a session's mailbox; while it lasts nobody else gets anything out of it.
#[derive(Debug)]
pub struct Hold {
    desks: Arc<Desks>,
    session: SessionId,
    by: u64,
    found_nothing: bool,
}

impl Hold {
    /// Whose mailbox it is.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Lets go after a look that found nothing: its owner need not be told to look again.
    pub fn nothing_there(mut self) {
        self.found_nothing = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.desks.change(&self.session, |desk| {
            desk.held = false;
            let owner_is_newest = desk.receivers.last().is_some_and(|bell| bell.id == self.by);
            if !(self.found_nothing && owner_is_newest) {
                desk.ring_newest();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId::new("s").expect("id")
    }

    #[tokio::test]
    async fn the_newest_is_served_and_the_next_follows() {
        let desks = Arc::new(Desks::default());
        let old = desks.hang(id());
        let new = desks.hang(id());
        assert!(old.hold().is_none());
        drop(new);
        old.rung().await;
        assert!(old.hold().is_some());
    }

    #[tokio::test]
    async fn a_hold_keeps_others_out_and_its_end_rings() {
        let desks = Arc::new(Desks::default());
        let first = desks.hang(id());
        let hold = first.hold().expect("free");
        let second = desks.hang(id());
        assert!(second.hold().is_none());
        hold.nothing_there();
        second.rung().await;
        assert!(second.hold().is_some());
    }

    #[tokio::test]
    async fn a_look_that_found_nothing_does_not_wake_its_owner() {
        let desks = Arc::new(Desks::default());
        let place = desks.hang(id());
        place.hold().expect("free").nothing_there();
        assert!(tokio::time::timeout(std::time::Duration::ZERO, place.rung()).await.is_err());
    }

    #[tokio::test]
    async fn a_ring_before_the_wait_is_kept() {
        let desks = Arc::new(Desks::default());
        let place = desks.hang(id());
        desks.ring(&id());
        place.rung().await;
    }

    #[test]
    fn an_empty_desk_is_forgotten() {
        let desks = Arc::new(Desks::default());
        let place = desks.hang(id());
        drop(place.hold());
        drop(place);
        desks.note_shown(&id(), Seq(1), UnixMs(5));
        desks.sweep(UnixMs(6));
        assert!(desks.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
