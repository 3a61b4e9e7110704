//! Who waits for a session's mail, in what order, and who holds it just now.
//!
//! A session's *desk* exists only while somebody is at it. Its newest receiver is the one that is served; others wait
//! behind it. To look into the mailbox a receiver takes the desk's [`Hold`]; mail that is on its way keeps the hold
//! until it is known to have arrived, so nothing later overtakes it.
//!
//! A receiver that *yields* is sent away by a newer one; any other waits behind it. Sessions that are quarrelled over,
//! and clients that ask the same again and again, are slowed down.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::repeats::{Asked, Known, Repeats};
use crate::{
    cursor::Cursor,
    id::{BySession, SessionId},
    message::UnixMs,
    storage::Ring,
};

const SHARDS: usize = 64;
/// How far back supersessions are remembered.
const MEMORY_MS: u64 = 10_000;
/// How long the loser of a quarrel waits for its answer.
const LOSER_WAITS: Duration = Duration::from_secs(1);

/// One waiting receiver's bell. A ring before the wait is kept.
#[derive(Debug)]
struct Bell {
    id: u64,
    rung: Notify,
    /// Whether a newer receiver sends it away.
    yields: bool,
    /// Set when one has: how long its answer is to wait.
    superseded: OnceLock<Duration>,
}

#[derive(Debug, Default)]
struct Desk {
    /// The newest is last.
    receivers: Vec<Arc<Bell>>,
    /// Somebody looks or has mail on its way.
    held: bool,
    /// What a legacy client was last shown, and when.
    shown: Option<(Cursor, UnixMs)>,
    /// When receivers were sent away: the last time, and the one before.
    quarrels: [UnixMs; 2],
    /// What was answered, and may be asked for again.
    repeats: Repeats,
}

fn is_recent(when: UnixMs, now: UnixMs) -> bool {
    when.0 + MEMORY_MS > now.0
}

impl Desk {
    fn is_idle(&self) -> bool {
        self.receivers.is_empty()
            && !self.held
            && self.shown.is_none()
            && self.quarrels == [UnixMs(0); 2]
            && self.repeats.is_empty()
    }

    /// Sends away whoever yields. Returns how many those are.
    fn supersede(&mut self, now: UnixMs) -> usize {
        let yielding = self.receivers.iter().filter(|bell| bell.yields).count();
        if yielding == 0 {
            return 0;
        }
        let quarrel = is_recent(self.quarrels[1], now) && self.quarrels[1] > UnixMs(0);
        let wait = if quarrel { LOSER_WAITS } else { Duration::ZERO };
        self.quarrels = [now, self.quarrels[0]];
        self.receivers.retain(|bell| {
            if bell.yields && bell.superseded.set(wait).is_ok() {
                bell.rung.notify_one();
            }
            !bell.yields
        });
        yielding
    }

    fn forget(&mut self, shown_before: UnixMs, now: UnixMs) {
        self.shown = self.shown.filter(|(_, when)| *when >= shown_before);
        for when in &mut self.quarrels {
            *when = Some(*when).filter(|when| is_recent(*when, now)).unwrap_or_default();
        }
        self.repeats.forget(now);
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

type Shard = HashMap<SessionId, Desk, BySession>;

/// All desks.
#[derive(Debug)]
pub struct Desks {
    shards: Vec<Mutex<Shard>>,
    next_bell: AtomicU64,
}

impl Default for Desks {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), next_bell: AtomicU64::new(1) }
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
        self.shards[session.shard(SHARDS)].lock()
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

    /// Hangs a bell: its owner is the session's newest receiver from now on. Returns how many others that sent away.
    pub fn hang(self: &Arc<Self>, session: SessionId, yields: bool, now: UnixMs) -> (Place, usize) {
        let id = self.next_bell.fetch_add(1, Relaxed);
        let bell = Arc::new(Bell { id, rung: Notify::new(), yields, superseded: OnceLock::new() });
        let superseded = self.change(&session, |desk| {
            let superseded = desk.supersede(now);
            desk.receivers.push(Arc::clone(&bell));
            superseded
        });
        (Place { desks: Arc::clone(self), session, bell }, superseded)
    }

    /// How long an answer is to be held back, because it was had again and again.
    pub fn hold_back(&self, session: &SessionId, asked: Asked, now: UnixMs) -> Duration {
        self.change(session, |desk| desk.repeats.hold_back(asked, now))
    }

    /// Notes that an answer in which there was something has arrived.
    pub fn note_answered(&self, session: &SessionId, asked: Asked, known: Known, now: UnixMs) {
        self.change(session, |desk| desk.repeats.note(asked, known, now));
    }

    /// Notes what a legacy client was shown.
    fn note_shown(&self, session: &SessionId, upto: Cursor, now: UnixMs) {
        self.change(session, |desk| desk.shown = Some((upto, now)));
    }

    /// What a legacy client was last shown; forgotten with this.
    pub fn take_shown(&self, session: &SessionId) -> Option<Cursor> {
        self.change(session, |desk| desk.shown.take()).map(|(upto, _)| upto)
    }

    /// Forgets what was shown before `shown_before`, and what else is of no use any more.
    pub fn sweep(&self, shown_before: UnixMs, now: UnixMs) {
        for shard in &self.shards {
            shard.lock().retain(|_, desk| {
                desk.forget(shown_before, now);
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

    /// Whose mail it waits for.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Whether a newer receiver has sent this one away, and how long its answer is to wait.
    pub fn superseded(&self) -> Option<Duration> {
        self.bell.superseded.get().copied()
    }

    /// Notes what this receiver, a legacy client, was shown.
    pub fn note_shown(&self, upto: Cursor, now: UnixMs) {
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

    fn hang(desks: &Arc<Desks>, yields: bool) -> Place {
        desks.hang(id(), yields, UnixMs(1)).0
    }

    #[tokio::test]
    async fn who_yields_is_sent_away_and_who_waits_is_not() {
        let desks = Arc::new(Desks::default());
        let (waits, yields) = (hang(&desks, false), hang(&desks, true));
        let newest = hang(&desks, true);
        yields.rung().await;
        assert_eq!(yields.superseded(), Some(Duration::ZERO));
        assert!(yields.hold().is_none() && waits.superseded().is_none());
        drop(yields);
        drop(newest);
        assert!(waits.hold().is_some());
    }

    #[test]
    fn the_loser_of_the_third_quarrel_within_ten_seconds_waits() {
        let desks = Arc::new(Desks::default());
        let mut at = 50_000;
        let mut last = desks.hang(id(), true, UnixMs(at)).0;
        let mut wait = |passed| {
            at += passed;
            let new = desks.hang(id(), true, UnixMs(at)).0;
            std::mem::replace(&mut last, new).superseded().expect("sent away")
        };
        let waits: Vec<u64> = [100, 100, 100, 9_700, 9_900, 10_000, 1].map(|passed| wait(passed).as_secs()).into();
        assert_eq!(waits, [0, 0, 1, 1, 0, 0, 0]);
    }

    #[tokio::test]
    async fn the_newest_is_served_and_the_next_follows() {
        let desks = Arc::new(Desks::default());
        let old = hang(&desks, false);
        let new = hang(&desks, false);
        assert!(old.hold().is_none());
        drop(new);
        old.rung().await;
        assert!(old.hold().is_some());
    }

    #[tokio::test]
    async fn a_hold_keeps_others_out_and_its_end_rings() {
        let desks = Arc::new(Desks::default());
        let first = hang(&desks, false);
        let hold = first.hold().expect("free");
        let second = hang(&desks, false);
        assert!(second.hold().is_none());
        hold.nothing_there();
        second.rung().await;
        assert!(second.hold().is_some());
    }

    #[tokio::test]
    async fn a_look_that_found_nothing_does_not_wake_its_owner() {
        let desks = Arc::new(Desks::default());
        let place = hang(&desks, false);
        place.hold().expect("free").nothing_there();
        assert!(tokio::time::timeout(std::time::Duration::ZERO, place.rung()).await.is_err());
    }

    #[tokio::test]
    async fn a_ring_before_the_wait_is_kept() {
        let desks = Arc::new(Desks::default());
        let place = hang(&desks, false);
        desks.ring(&id());
        place.rung().await;
    }

    #[test]
    fn an_empty_desk_is_forgotten() {
        let desks = Arc::new(Desks::default());
        let place = hang(&desks, false);
        drop(place.hold());
        drop(place);
        desks.note_shown(&id(), Cursor::default(), UnixMs(5));
        desks.sweep(UnixMs(6), UnixMs(6));
        assert!(desks.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
