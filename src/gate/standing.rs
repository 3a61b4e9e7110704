//! Whether an identity still counts: what was revoked, which keys there are, and how those that wait hear of a change.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use super::{
    keys::Keys,
    revoked::Revocations,
    who::{Principal, Who},
};
use crate::{
    error::{Error, Kind},
    lifecycle::{self, Clock},
    message::UnixMs,
    wire::control::Revoked,
};

/// How long before its end an identity's is announced.
pub const NOTICE: Duration = Duration::from_secs(60);

/// What identities stand on.
pub(super) struct Standing {
    keys: RwLock<Arc<Keys>>,
    pub revoked: Revocations,
    /// Told of every change.
    changes: watch::Sender<()>,
    clock: Clock,
}

impl Standing {
    pub fn new(keys: Keys, clock: Clock) -> Self {
        let changes = watch::Sender::new(());
        Self { keys: RwLock::new(Arc::new(keys)), revoked: Revocations::default(), changes, clock }
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

    /// Ends what was handed out; those who wait are told.
    pub fn revoke(&self, what: &Revoked, remember: Duration) -> Result<(), Error> {
        self.revoked.add(what, self.clock.now(), remember)?;
        self.changes.send_replace(());
        Ok(())
    }

    /// Waits until what was revoked outlives the process, if anything of it does.
    pub async fn keep(self: &Arc<Self>) -> Result<(), Error> {
        if !self.revoked.is_kept() {
            return Ok(());
        }
        let (answer, kept) = oneshot::channel();
        let standing = Arc::clone(self);
        let failed = |why: &dyn std::fmt::Display| {
            let detail = format!("revoked as long as this relay runs, and not written down: {why}; say it again");
            Error::new(Kind::StorageFailed, detail)
        };
        // On a thread of its own: a disk may take its time, and others are served meanwhile.
        let write = move || _ = answer.send(standing.revoked.write(standing.clock.now()));
        lifecycle::thread("revocations", write).map_err(|error| failed(&error))?;
        kept.await.unwrap_or_else(|_| Err(failed(&"the thread gave no answer")))
    }

    /// Whether an identity counts now.
    pub fn check(&self, principal: &Principal) -> Result<(), Error> {
        let now = self.clock.now();
        if principal.expires <= now {
            return Err(Error::new(Kind::Expired, "the credentials have expired: get others"));
        }
        if self.revoked.has(principal, now) {
            return Err(Error::new(Kind::Revoked, "the credentials were revoked"));
        }
        if !self.keys().has(principal.key) {
            return Err(Error::new(Kind::Revoked, "the key of these credentials is none of this relay's any more"));
        }
        Ok(())
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
