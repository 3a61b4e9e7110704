//! Whether an identity still counts: what was revoked, which keys there are, and how those that wait hear of a change.

use std::{collections::HashMap, future::pending, pin::Pin, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::watch, time::sleep};

use super::{
    keys::Keys,
    who::{Name, Principal, Who},
};
use crate::{
    error::{Error, Kind},
    lifecycle::Clock,
    message::UnixMs,
    wire::control::Revoked,
};

/// The most revocations that are remembered.
const REVOKED_MAX: usize = 100_000;
/// How long before its end an identity's is announced.
pub const NOTICE: Duration = Duration::from_secs(60);

#[derive(PartialEq, Eq, Hash)]
enum Entry {
    Token(Box<str>),
    Name(Name),
}

struct Term {
    since: UnixMs,
    until: UnixMs,
}

/// What identities stand on.
pub(super) struct Standing {
    keys: RwLock<Arc<Keys>>,
    revoked: Mutex<HashMap<Entry, Term>>,
    /// Told of every change.
    changes: watch::Sender<()>,
    clock: Clock,
}

impl Standing {
    pub fn new(keys: Keys, clock: Clock) -> Self {
        let changes = watch::Sender::new(());
        Self { keys: RwLock::new(Arc::new(keys)), revoked: Mutex::default(), changes, clock }
    }

    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }

    pub fn exchange(&self, keys: Keys) {
        *self.keys.write() = Arc::new(keys);
        self.changes.send_replace(());
    }

    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    pub fn revoke(&self, what: &Revoked, remember: Duration) -> Result<(), Error> {
        let since = self.clock.now();
        let entry = match what {
            Revoked::Token(id) => Entry::Token(id.clone()),
            Revoked::Subject(org, subject) => Entry::Name(Name::of_token(org.as_deref(), subject)),
            Revoked::Session(id) => Entry::Name(Name::of_session(id)),
        };
        let mut revoked = self.revoked.lock();
        if revoked.len() >= REVOKED_MAX {
            revoked.retain(|_, term| term.until > since);
        }
        if revoked.len() >= REVOKED_MAX && !revoked.contains_key(&entry) {
            let detail = format!("{REVOKED_MAX} revocations are remembered already; exchange the keys instead");
            return Err(Error::new(Kind::MemoryFull, detail));
        }
        let until = since.after(remember);
        revoked
            .entry(entry)
            .and_modify(|term| *term = Term { since, until: term.until.max(until) })
            .or_insert(Term { since, until });
        drop(revoked);
        self.changes.send_replace(());
        Ok(())
    }

    /// Whether an identity counts now.
    pub fn check(&self, principal: &Principal) -> Result<(), Error> {
        let now = self.clock.now();
        if principal.expires <= now {
            return Err(Error::new(Kind::Expired, "the credentials have expired: get others"));
        }
        if self.is_revoked(principal, now) {
            return Err(Error::new(Kind::Revoked, "the credentials were revoked"));
        }
        if !self.keys().has(principal.key) {
            return Err(Error::new(Kind::Revoked, "the key of these credentials is none of this relay's any more"));
        }
        Ok(())
    }

    fn is_revoked(&self, principal: &Principal, now: UnixMs) -> bool {
        let revoked = self.revoked.lock();
        if revoked.is_empty() {
            return false;
        }
        let term = |entry: Entry| revoked.get(&entry).filter(|term| term.until > now);
        let token = principal.token.clone().and_then(|token| term(Entry::Token(token)));
        let name = term(Entry::Name(principal.name.clone()));
        token.is_some() || name.is_some_and(|term| principal.issued.is_none_or(|issued| issued <= term.since))
    }

    /// Waits until an identity does not count any more, or until its end is near.
    async fn change(&self, principal: &Principal, told: bool) -> Change {
        let mut changes = self.changes.subscribe();
        loop {
            if let Err(error) = self.check(principal) {
                return Change::Ended(error);
            }
            let left = Duration::from_millis(principal.expires.0.saturating_sub(self.clock.now().0));
            if left <= NOTICE && !told {
                return Change::Expiring(left);
            }
            let wait = if told { left } else { left - NOTICE };
            tokio::select! {
                _ = changes.changed() => {}
                // Not all at once, so that no date is too far for the timer.
                () = sleep(wait.min(Duration::from_secs(86_400))) => {}
            }
        }
    }
}

/// What becomes of an identity while somebody waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It ends in so long. Told once.
    Expiring(Duration),
    /// It does not count any more.
    Ended(Error),
}

/// Watches an identity. Of somebody without one it is nothing, and for ever.
pub struct Watch(Option<Waiting>);

type Waiting = Pin<Box<dyn Future<Output = (Change, Next)> + Send + Sync>>;

/// What watches on after a change.
type Next = Option<(Arc<Standing>, Arc<Principal>)>;

impl Watch {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(standing: Arc<Standing>, who: &Who) -> Self {
        Self(who.principal().map(|principal| wait(standing, Arc::clone(principal), false)))
    }

    /// The next change. May be dropped and called again.
    pub async fn next(&mut self) -> Change {
        let Some(waiting) = &mut self.0 else { return pending().await };
        let (change, next) = waiting.await;
        self.0 = next.map(|(standing, principal)| wait(standing, principal, true));
        change
    }

    /// Its end. May be dropped and called again.
    pub async fn ended(&mut self) -> Error {
        loop {
            if let Change::Ended(error) = self.next().await {
                return error;
            }
        }
    }
}

fn wait(
    standing: Arc<Standing>,
    principal: Arc<Principal>,
    told: bool,
) -> Pin<Box<dyn Future<Output = (Change, Next)> + Send + Sync>> {
    Box::pin(async move {
        let change = standing.change(&principal, told).await;
        let next = matches!(change, Change::Expiring(_)).then_some((standing, principal));
        (change, next)
    })
}
