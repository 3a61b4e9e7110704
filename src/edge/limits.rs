//! Limits at the doors: what is charged, what waits for its turn, and how it is told
//! (draft-ietf-httpapi-ratelimit-headers).

use std::{
    fmt::Write as _,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{Doors, turn::Caller};
use crate::{
    error::{Error, Kind, Retry},
    gate::{
        Origin, Who,
        limits::{Entry, HELD_BACK, Limits, Paid, What},
    },
    id::SessionId,
    lifecycle::{Lifecycle, Phase},
    rate::Quota,
};

/// How many requests of the x0 dialect may wait for their turn at once.
const PACED_MAX: usize = 1024;
/// How many of those that come through other processes of this machine: fewer than connections of theirs.
const INDOORS_PACED_MAX: usize = 256;
/// All of this process together.
static INDOORS_PACED: Semaphore = Semaphore::const_new(INDOORS_PACED_MAX);

/// What the doors of one life share: the limits, and who waits for a turn.
pub struct Tolls {
    /// The limits.
    pub limits: Limits,
    paced: Semaphore,
}

impl Tolls {
    /// Nobody waits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, paced: Semaphore::new(PACED_MAX) }
    }
}

/// What identities pay that come through another process of this machine, a gateway or x0's own front. Those have no
/// limits as such: they cannot say for whom they speak.
#[derive(Clone, Debug)]
pub struct Indoors {
    /// The limits.
    pub limits: Limits,
    /// The process.
    pub life: Lifecycle,
}

impl Indoors {
    /// Charges a request to the identity that was verified, if one was, and waits until it is its turn. May be dropped.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] if too much waits already.
    pub async fn pace(&self, what: What, who: &Who, session: &SessionId) -> Result<(), Error> {
        if who.principal().is_none() {
            return Ok(());
        }
        let Paid { delay, .. } = self.limits.charge(what, who, session.as_str(), self.life.clock.uptime(), true)?;
        if delay.is_zero() {
            return Ok(());
        }
        let Ok(_place) = INDOORS_PACED.try_acquire() else {
            let detail = format!("{INDOORS_PACED_MAX} requests of this machine wait for their turn already");
            let retry = Retry { after: delay, limit: None, hold: Duration::ZERO };
            return Err(Error::new(Kind::TooManyRequests, detail).retry(retry));
        };
        tokio::select! {
            () = sleep(delay) => {}
            () = self.life.reached(Phase::Draining) => {}
        }
        Ok(())
    }
}

/// A number from 0 to 1, as random as the system's hashing: a new state has new keys.
fn jitter() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}

impl Doors {
    /// Charges a request.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`].
    pub fn charge(&self, what: What, who: &Who, session: &str) -> Result<Paid, Error> {
        self.tolls.limits.charge(what, who, session, self.life.clock.uptime(), false)
    }

    /// Charges a request that is not to be refused, and says how long it is to wait for its turn.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] if that is too long.
    pub fn toll(&self, what: What, who: &Who, session: &str) -> Result<Duration, Error> {
        self.tolls.limits.charge(what, who, session, self.life.clock.uptime(), true).map(|paid| paid.delay)
    }

    /// Waits until it is a request's turn. May be dropped.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] if too much waits already.
    pub async fn turn(&self, delay: Duration) -> Result<(), Error> {
        if delay.is_zero() { Ok(()) } else { Box::pin(self.wait_for_turn(delay)).await }
    }

    async fn wait_for_turn(&self, delay: Duration) -> Result<(), Error> {
        let Ok(_place) = self.tolls.paced.try_acquire() else {
            let detail = format!("{PACED_MAX} requests wait for their turn already");
            let retry = Retry { after: delay, limit: None, hold: delay.min(HELD_BACK) };
            return Err(Error::new(Kind::TooManyRequests, detail).retry(retry));
        };
        self.metrics.paced.inc();
        tokio::select! {
            () = sleep(delay) => {}
            () = self.life.reached(Phase::Draining) => {}
        }
        Ok(())
    }

    /// What a client is told in the place of an error, and when: too many wrong credentials of one address, which has to
    /// wait then, and whoever asks too often not at once, so that asking in a loop costs little.
    pub async fn temper(&self, error: Error, origin: Origin) -> Error {
        let wrong = matches!(error.kind, Kind::InvalidToken | Kind::Revoked | Kind::TicketSpent);
        let failed = || self.tolls.limits.failed_login(origin, self.life.clock.uptime());
        self.told_late(if wrong { failed().err().unwrap_or(error) } else { error }).await
    }

    /// The same of an error that is no wrong credential: what was shown was right, and ended later.
    pub async fn told_late(&self, error: Error) -> Error {
        if let (Kind::TooManyRequests, Some(retry)) = (error.kind, &error.retry) {
            tokio::select! {
                () = sleep(retry.hold) => {}
                () = self.life.reached(Phase::Draining) => {}
            }
        }
        error
    }

    /// Lets a receiver of protocol v1 in, or sends it away, if it is the first on its connection.
    ///
    /// # Errors
    /// [`Kind::Busy`].
    pub fn enter(&self, who: &Who, caller: &Caller) -> Result<(), Error> {
        if caller.guest.has_entered() {
            return Ok(());
        }
        match self.tolls.limits.enter(who, self.life.clock.uptime(), false, jitter()) {
            Entry::In(_) => {
                caller.guest.let_in();
                Ok(())
            }
            Entry::Later(after) => {
                self.metrics.deferred.inc();
                let detail =
                    "more receivers come back at once than are let in (admission): there is a turn for this one";
                Err(Error::new(Kind::Busy, detail).retry(Retry { after, limit: None, hold: Duration::ZERO }))
            }
        }
    }

    /// When a receiver of the x0 dialect, which is never sent away, is let in.
    pub fn entry(&self, who: &Who, caller: &Caller) -> Option<Instant> {
        if caller.guest.has_entered() {
            return None;
        }
        caller.guest.let_in();
        match self.tolls.limits.enter(who, self.life.clock.uptime(), true, jitter()) {
            Entry::In(after) if !after.is_zero() => {
                self.metrics.deferred.inc();
                Some(Instant::now() + after)
            }
            Entry::In(_) | Entry::Later(_) => None,
        }
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// The values of `RateLimit-Policy` and `RateLimit`: for each quota, how many may come in which time (`q`, `w`), how many
/// more at once (`r`), and after how many seconds all of them (`t`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    policy: String,
    standing: String,
}

impl Announced {
    /// Nothing, if no limit is in force.
    pub fn paid(paid: &Paid) -> Option<Self> {
        let mut announced = Self::default();
        for (name, standing) in &paid.standings {
            announced.add(name, &standing.quota, standing.remaining, standing.whole_in);
        }
        (!paid.standings.is_empty()).then_some(announced)
    }

    /// The limit that stood against a request, if one did.
    pub fn refused(error: &Error) -> Option<Self> {
        let Retry { after, limit, .. } = error.retry.as_deref()?;
        let (name, quota) = limit.as_ref()?;
        let mut announced = Self::default();
        announced.add(name, quota, 0, *after);
        Some(announced)
    }

    fn add(&mut self, name: &str, quota: &Quota, remaining: u32, whole_in: Duration) {
        let separator = if self.policy.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        _ = write!(self.policy, r#"{separator}"{name}";q={};w={}"#, quota.burst, seconds_up(quota.per));
        _ = write!(self.standing, r#"{separator}"{name}";r={remaining};t={}"#, seconds_up(whole_in));
    }

    /// As lines of a head.
    pub fn lines(&self) -> String {
        format!("{POLICY}: {}\r\n{STANDING}: {}\r\n", self.policy, self.standing)
    }

    /// Puts them among other headers.
    pub fn insert(&self, headers: &mut HeaderMap) {
        for (name, value) in [(POLICY, &self.policy), (STANDING, &self.standing)] {
            // Names of settings and numbers make no bad value.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whole seconds, as headers have them, and never too few.
pub fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::limits::Standing;

    #[test]
    fn limits_are_announced_as_structured_fields() {
        let quota = Quota { count: 50, per: Duration::from_secs(1), burst: 100 };
        let standing = Standing { quota, remaining: 7, whole_in: Duration::from_millis(1_860) };
        let standings = vec![("sends-per-session", standing), ("sends-per-address", standing)];
        let paid = Paid { standings, ..Paid::default() };
        assert_eq!(
            Announced::paid(&paid).expect("two limits").lines(),
            "ratelimit-policy: \"sends-per-session\";q=100;w=1, \"sends-per-address\";q=100;w=1\r\n\
             ratelimit: \"sends-per-session\";r=7;t=2, \"sends-per-address\";r=7;t=2\r\n"
        );
        assert_eq!(Announced::paid(&Paid::default()), None);
        let retry =
            Retry { after: Duration::from_secs(3), limit: Some(("sends-per-session", quota)), hold: Duration::ZERO };
        let error = Error::new(Kind::TooManyRequests, "").retry(retry);
        let mut headers = HeaderMap::new();
        Announced::refused(&error).expect("a limit").insert(&mut headers);
        assert_eq!(headers[STANDING], "\"sends-per-session\";r=0;t=3");
        assert_eq!(Announced::refused(&Error::new(Kind::MailboxFull, "")), None);
    }

    #[test]
    fn jitter_is_spread_between_0_and_1() {
        let drawn: Vec<f64> = (0..64).map(|_| jitter()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..1.0).contains(drawn)));
        assert!(drawn.iter().any(|drawn| *drawn < 0.5) && drawn.iter().any(|drawn| *drawn >= 0.5));
    }
}
