//! What requests may cost: rates for each principal, each session and, last, each address. Time is passed in.
//!
//! A request of a verified identity does not count for its address: many people stand behind one. Addresses that are
//! exempt, and processes of this machine, have limits for their identity alone.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use super::{
    forwarded::{self, holds},
    who::{Origin, Who},
};
use crate::{
    error::{Error, Kind, Retry},
    live::Live,
    rate::Rule,
    settings,
};

mod bucket;
mod table;

pub use bucket::{HELD_BACK, Limit, Pass, Standing, Wait};
pub use table::{Key, Keys};

/// How long a request in the x0 dialect, which must not be refused, waits for its turn at most.
pub const BACKLOG: Duration = Duration::from_secs(10);
/// How far ahead receivers that have to come back are spread.
const INVITED_WITHIN: Duration = Duration::from_secs(60);
/// The most keys that one limit remembers; some 100 bytes each.
const KEYS_MAX: usize = 50_000;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// To send a message.
    Send,
    /// Anything else that belongs to a session: polls, streams, acknowledgements.
    Poll,
}

/// A request that was paid for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Paid {
    /// How long it has to wait before it is carried out; zero unless it was patient.
    pub delay: Duration,
    /// The limits in force, and where they stand now.
    pub standings: Vec<(&'static str, Standing)>,
}

/// Whether a receiver on a fresh connection is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// After so long, which is zero unless it was patient.
    In(Duration),
    /// Not now: there is a turn for it then, if it comes back.
    Later(Duration),
}

/// What is in force, and what everybody has left of it. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Limits {
    force: Live<Force>,
    keys: Keys,
}

/// One set of settings with their buckets.
#[derive(Debug)]
struct Force {
    settings: settings::Limits,
    sends: Scopes,
    polls: Scopes,
    connects: Arc<Limit>,
    failed_logins: Arc<Limit>,
    mailboxes: Founded,
    admission: Arc<Limit>,
    /// Turns that were promised to receivers that were sent away.
    invitations: Arc<Limit>,
}

/// What each may make.
#[derive(Debug)]
struct Founded {
    principal: Arc<Limit>,
    address: Arc<Limit>,
}

#[derive(Debug)]
struct Scopes {
    principal: Arc<Limit>,
    session: Arc<Limit>,
    address: Arc<Limit>,
}

/// The limit of before if its rule is the same, with all that it remembers.
fn kept(rule: &Rule, before: Option<&Arc<Limit>>, backlog: Duration) -> Arc<Limit> {
    match before.filter(|before| before.rule() == rule) {
        Some(before) => Arc::clone(before),
        None => Arc::new(Limit::new(rule.clone(), backlog, KEYS_MAX)),
    }
}

impl Founded {
    fn new(rules: &settings::Founded, before: Option<&Self>) -> Self {
        Self {
            principal: kept(&rules.principal, before.map(|before| &before.principal), BACKLOG),
            address: kept(&rules.address, before.map(|before| &before.address), BACKLOG),
        }
    }
}

impl Scopes {
    fn new(rules: &settings::Scopes, before: Option<&Self>) -> Self {
        let limit = |rule: &Rule, before| kept(rule, before, BACKLOG);
        Self {
            principal: limit(&rules.principal, before.map(|before| &before.principal)),
            session: limit(&rules.session, before.map(|before| &before.session)),
            address: limit(&rules.address, before.map(|before| &before.address)),
        }
    }
}

impl Force {
    fn new(settings: settings::Limits, before: Option<&Self>) -> Self {
        Self {
            sends: Scopes::new(&settings.sends, before.map(|before| &before.sends)),
            polls: Scopes::new(&settings.polls, before.map(|before| &before.polls)),
            connects: kept(&settings.connects, before.map(|before| &before.connects), BACKLOG),
            failed_logins: kept(&settings.failed_logins, before.map(|before| &before.failed_logins), BACKLOG),
            mailboxes: Founded::new(&settings.mailboxes, before.map(|before| &before.mailboxes)),
            admission: kept(&settings.admission, before.map(|before| &before.admission), BACKLOG),
            invitations: kept(&settings.admission, before.map(|before| &before.invitations), INVITED_WITHIN),
            settings,
        }
    }
}

impl Limits {
    /// These limits; nobody has used anything of them.
    pub fn new(settings: settings::Limits) -> Self {
        Self { force: Live::new(Force::new(settings, None)), keys: Keys::default() }
    }

    /// Other settings. Whoever is limited by a rule that stays has used as much of it as before.
    pub fn exchange(&self, settings: settings::Limits) {
        let before = self.force.now();
        self.force.set(Force::new(settings, Some(&before)));
    }

    /// The client behind a peer, by what a trusted proxy says of it in these headers.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl Iterator<Item = &'a [u8]>,
        x_forwarded_for: impl Iterator<Item = &'a [u8]>,
    ) -> IpAddr {
        forwarded::client(peer, &self.force.look().settings.trusted_proxies, forwarded, x_forwarded_for)
    }

    /// One more request of `who` for a session. Who is `patient` passes also if its turn comes within [`BACKLOG`].
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`]; nothing was counted then.
    pub fn charge(&self, what: What, who: &Who, session: &str, now: Duration, patient: bool) -> Result<Paid, Error> {
        let force = self.force.look();
        let (scopes, names) = match what {
            What::Send => (&force.sends, ["sends-per-principal", "sends-per-session", "sends-per-address"]),
            What::Poll => (&force.polls, ["polls-per-principal", "polls-per-session", "polls-per-address"]),
        };
        let principal = who.principal();
        let limited = force.limited(who);
        if principal.is_none() && limited.is_none() {
            return Ok(Paid::default());
        }
        let mut tolls: Vec<(&'static str, &Limit, Key)> = Vec::with_capacity(2);
        if let Some(principal) = principal {
            tolls.push((names[0], &scopes.principal, self.keys.of(principal.name.as_str())));
        }
        if let Some(address) = limited {
            if !session.is_empty() {
                // Whose session it is makes a difference: nobody uses up what is another's.
                let owner = principal.map(|principal| principal.name.as_str());
                tolls.push((names[1], &scopes.session, self.keys.of((owner, session))));
            }
            if principal.is_none() {
                tolls.push((names[2], &scopes.address, self.keys.of(network(address))));
            }
        }
        tolls.retain(|(_, limit, _)| !limit.rule().is_none());
        // First all are asked, so that what one refuses uses nothing of another.
        if tolls.len() > 1 {
            for (name, limit, key) in &tolls {
                limit.look(*key, now, patient).map_err(|wait| too_many(name, limit, *key, now, wait))?;
            }
        }
        let mut paid = Paid::default();
        for (name, limit, key) in tolls {
            let pass = limit.take(key, now, patient).map_err(|wait| too_many(name, limit, key, now, wait))?;
            paid.delay = paid.delay.max(pass.delay);
            paid.standings.extend(pass.standings.into_iter().map(|standing| (name, standing)));
        }
        Ok(paid)
    }

    /// A mailbox that `who` is about to make by naming it.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`]: it is not to be made.
    pub fn found(&self, who: &Who, now: Duration) -> Result<(), Error> {
        let force = self.force.now();
        let (name, limit, key) = match (who.principal(), force.limited(who)) {
            (Some(principal), _) => {
                ("mailboxes-per-principal", &force.mailboxes.principal, self.keys.of(principal.name.as_str()))
            }
            (None, Some(address)) => {
                ("mailboxes-per-address", &force.mailboxes.address, self.keys.of(network(address)))
            }
            (None, None) => return Ok(()),
        };
        let took = limit.take(key, now, false);
        took.map(drop).map_err(|wait| {
            let detail = format!(
                "this names a session that has no mailbox yet, and of new ones {} are allowed ({name}); those that there \
                 are go on",
                limit.rule()
            );
            Error::new(Kind::TooManyRequests, detail).retry(retry(name, limit, key, now, wait))
        })
    }

    /// A new connection of a peer.
    ///
    /// # Errors
    /// It has to wait.
    pub fn connect(&self, peer: IpAddr, now: Duration) -> Result<(), Wait> {
        let force = self.force.look();
        if force.is_free(peer) {
            Ok(())
        } else {
            force.connects.take(self.keys.of(network(peer)), now, false).map(drop)
        }
    }

    /// The most connections that a peer may have at once.
    pub fn connections(&self, peer: IpAddr) -> Option<usize> {
        let force = self.force.look();
        if force.is_free(peer) { None } else { force.settings.connections_per_address }
    }

    /// Credentials of `who`'s address were refused.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`]: so often that this is what it should be told instead.
    pub fn failed_login(&self, origin: Origin, now: Duration) -> Result<(), Error> {
        let Origin::Remote(address) = origin else { return Ok(()) };
        let force = self.force.look();
        let limit = &force.failed_logins;
        let key = self.keys.of(network(address));
        let took = limit.take(key, now, false);
        took.map(drop).map_err(|wait| too_many("failed-logins-per-address", limit, key, now, wait))
    }

    /// A receiver on a fresh connection. Who is not `patient` may be sent away, to come back at a time of its own; `jitter`
    /// is a random number from 0 to 1.
    pub fn enter(&self, who: &Who, now: Duration, patient: bool, jitter: f64) -> Entry {
        let force = self.force.look();
        if force.limited(who).is_none() {
            return Entry::In(Duration::ZERO);
        }
        let all = self.keys.of(());
        match force.admission.take(all, now, patient) {
            Ok(pass) => Entry::In(pass.delay),
            // Its patience is a question of seconds, and whoever waits holds a connection anyway.
            Err(_) if patient => Entry::In(BACKLOG.mul_f64(1.0 + jitter)),
            Err(_) => {
                let turn = force.invitations.take(all, now, true).map_or(INVITED_WITHIN, |pass| pass.delay);
                Entry::Later(turn + Duration::from_secs_f64(0.1 + jitter) + turn.mul_f64(jitter / 8.0))
            }
        }
    }
}

impl Force {
    /// The address of whoever has limits for that.
    fn limited(&self, who: &Who) -> Option<IpAddr> {
        match who.origin {
            Origin::Remote(address) if !holds(&self.settings.exempt, address) => Some(address),
            _ => None,
        }
    }

    /// Whether a peer's connections have no limits: they may be everybody's.
    fn is_free(&self, peer: IpAddr) -> bool {
        holds(&self.settings.exempt, peer) || holds(&self.settings.trusted_proxies, peer)
    }
}

/// What counts as one address: IPv4 as it is, IPv6 by the 64 bits that one customer has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn too_many(name: &'static str, limit: &Limit, key: Key, now: Duration, wait: Wait) -> Error {
    let detail = format!("{} are allowed ({name})", limit.rule());
    Error::new(Kind::TooManyRequests, detail).retry(retry(name, limit, key, now, wait))
}

fn retry(name: &'static str, limit: &Limit, key: Key, now: Duration, wait: Wait) -> Retry {
    let quota = limit.rule().quotas().first().map(|quota| (name, *quota));
    Retry { after: wait.0, limit: quota, hold: limit.hold(key, now, wait) }
}

#[cfg(test)]
mod rules;
