//! Who may do what. Nothing in [`crate::hub`] is reached without an [`Admission`], and only this room makes one.

use std::{path::Path, sync::Arc, time::Duration};

use founder::Till;
use limits::Limits;
use standing::Standing;
use tickets::Tickets;

use crate::{
    error::{Error, Kind},
    id::{SessionId, unsigned},
    lifecycle::Clock,
    message::UnixMs,
    settings::Auth,
    wire::control::Revoked,
};

mod crypto;
pub mod forwarded;
mod founder;
pub mod keys;
pub mod limits;
mod origin;
pub mod policy;
mod revoked;
pub mod signed;
mod standing;
mod tickets;
mod token;
mod who;

pub use founder::Founder;
pub use keys::Keys;
pub use origin::{Origins, Pattern, is_own};
pub use standing::{Change, NOTICE, Watch};
pub use tickets::TICKET_LIFE;
pub use token::TOKEN_BYTES_MAX;
pub use who::{Name, Origin, Principal, Who};

/// To send a message to all of `to`.
#[derive(Clone, Debug)]
pub struct Send {
    /// The sender, as its receivers are to see it; empty if it did not say.
    pub from: Box<str>,
    /// The receivers.
    pub to: Vec<SessionId>,
    /// Who is charged for the mailboxes of those that have none yet.
    pub by: Founder,
}

/// To receive what `of` was sent, and to remove it.
#[derive(Clone, Debug)]
pub struct Receive {
    /// The receiver.
    pub of: SessionId,
    /// Who is charged for the mailbox if there is none yet.
    pub by: Founder,
}

/// To see and change what belongs to others.
#[derive(Clone, Copy, Debug)]
pub struct Operate;

/// Proof that somebody may do what `I` says. Made by [`Gate`] alone.
#[derive(Clone, Debug)]
pub struct Admission<I>(I);

impl<I> Admission<I> {
    /// What is permitted.
    pub fn intent(&self) -> &I {
        &self.0
    }

    /// What is permitted, used up.
    pub fn into_intent(self) -> I {
        self.0
    }
}

/// Decides. In open mode mail is for everybody who can reach a door. Operating is for root and the relay's own user,
/// always. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    own_uid: u32,
    tickets: Arc<Tickets>,
    clock: Clock,
    till: Option<Arc<Till>>,
    /// Nothing: the relay is open.
    asks: Option<Arc<Asks>>,
}

/// What a relay has that asks who somebody is.
struct Asks {
    tokens: bool,
    sessions: bool,
    standing: Arc<Standing>,
}

impl Asks {
    fn no_credentials(&self) -> Error {
        let detail = match (self.tokens, self.sessions) {
            (true, true) => {
                "credentials are needed: Authorization: Bearer with a token or a signed session; on x0's addresses a \
                 signed session as session_src (ID.EXPIRY.SIGNATURE)"
            }
            (true, false) => "a token is needed: Authorization: Bearer TOKEN",
            _ => {
                "a signed session is needed (ID.EXPIRY.SIGNATURE): on x0's addresses as session_src, elsewhere as \
                 Authorization: Bearer"
            }
        };
        Error::new(Kind::Unauthorized, detail)
    }

    fn bearer(&self, credentials: &str) -> Result<Arc<Principal>, Error> {
        match signed::parse(credentials) {
            Some(signed) if self.sessions => self.session(&signed).map(|(principal, _)| principal),
            None if self.tokens => {
                let principal = token::verify(credentials, &self.standing.keys())?;
                Ok(Arc::new(principal))
            }
            Some(_) => Err(Error::new(Kind::InvalidToken, "this relay takes no signed sessions (auth)")),
            None => Err(Error::new(Kind::InvalidToken, "this relay takes no tokens, but signed sessions (auth)")),
        }
    }

    fn session(&self, said: &signed::Signed<'_>) -> Result<(Arc<Principal>, SessionId), Error> {
        let keys = self.standing.keys();
        let Some((id, key)) = said.verify(&keys.sessions) else {
            return Err(Error::new(Kind::InvalidToken, "the session's signature is not that of a key of this relay"));
        };
        let expires = UnixMs(said.expiry.saturating_mul(1000));
        if expires <= self.standing.now() {
            return Err(Error::new(Kind::Expired, "the signed session has expired: load the page again"));
        }
        let own = policy::Patterns::only(id.bare());
        let policy = policy::Policy { org: None, receive: own.clone(), send: policy::Patterns::all(), from: own };
        let name = Name::of_session(id.bare());
        let principal =
            Principal { name, subject: id.bare().into(), token: None, issued: None, expires, policy, key: key.print };
        Ok((Arc::new(principal), id))
    }

    /// The identity of somebody who has one that counts.
    fn principal<'w>(&self, who: &'w Who) -> Result<&'w Principal, Error> {
        let principal = who.principal().ok_or_else(|| self.no_credentials())?;
        self.standing.check(principal)?;
        Ok(principal)
    }
}

impl Gate {
    /// Mail open to everybody; `own_uid` and root may operate.
    pub fn open(own_uid: u32) -> Self {
        Self { own_uid, tickets: Arc::default(), clock: Clock::start(), till: None, asks: None }
    }

    /// Mail for those whom the keys identify, if the settings ask for any; `own_uid` and root may operate.
    pub fn new(own_uid: u32, auth: &Auth, keys: Keys, clock: Clock) -> Self {
        let standing = Arc::new(Standing::new(keys, clock));
        let asks = Asks { tokens: auth.jwt.is_some(), sessions: auth.signed.is_some(), standing };
        let asks = (!auth.is_open()).then(|| Arc::new(asks));
        Self { own_uid, tickets: Arc::default(), clock, till: None, asks }
    }

    /// Charges new mailboxes to whoever makes them.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { till: Some(Arc::new(Till { limits, clock: self.clock })), ..self }
    }

    fn founder(&self, who: &Who) -> Founder {
        Founder::new(who, self.till.as_ref())
    }

    /// Whether nobody is asked who they are.
    pub fn is_open(&self) -> bool {
        self.asks.is_none()
    }

    /// Exchanges all keys at once. What rests on a key that is not among them ends; those who wait are told.
    pub fn exchange(&self, keys: Keys) {
        if let Some(asks) = &self.asks {
            asks.standing.exchange(keys);
        }
    }

    /// Who asks, by where from and the value of the header `Authorization`. Schemes other than `Bearer` belong to
    /// somebody in front of the relay.
    ///
    /// # Errors
    /// Credentials that are no good: [`Kind::InvalidToken`], [`Kind::Expired`], [`Kind::Revoked`]. None while the relay
    /// is open.
    pub fn identify(&self, origin: Origin, authorization: Option<&[u8]>) -> Result<Who, Error> {
        let (Some(asks), Some(said)) = (&self.asks, authorization) else { return Ok(Who::nobody(origin)) };
        let Some(credentials) = bearer(said) else { return Ok(Who::nobody(origin)) };
        let principal = asks.bearer(credentials)?;
        asks.standing.check(&principal)?;
        Ok(Who::somebody(origin, principal))
    }

    /// The same identity with newer credentials.
    ///
    /// # Errors
    /// As [`Gate::identify`]; [`Kind::Forbidden`] if they are somebody else's.
    pub fn renew(&self, who: &Who, credentials: &str) -> Result<Who, Error> {
        let Some(asks) = &self.asks else {
            return Err(Error::new(Kind::BadRequest, "this relay asks nobody for a token (auth = \"open\")"));
        };
        let principal = asks.bearer(credentials)?;
        asks.standing.check(&principal)?;
        if who.principal().is_none_or(|before| before.name != principal.name) {
            let detail = "these credentials are somebody else's (sub, org): open another connection with them";
            return Err(Error::new(Kind::Forbidden, detail));
        }
        Ok(Who::somebody(who.origin, principal))
    }

    /// Who asks, and as which session, by the name that it gives its session in the x0 dialect: that may be a signed
    /// session.
    ///
    /// # Errors
    /// A signed session that is no good, as [`Gate::identify`]. None while the relay is open.
    pub fn claim(&self, who: Who, said: SessionId) -> Result<(Who, SessionId), Error> {
        let Some(asks) = self.asks.as_ref().filter(|asks| asks.sessions) else { return Ok((who, said)) };
        let Some(signed) = signed::parse(said.as_str()) else { return Ok((who, said)) };
        let (principal, id) = asks.session(&signed)?;
        asks.standing.check(&principal)?;
        Ok((Who::somebody(who.origin, principal), id))
    }

    /// A ticket, for whoever may receive for this session.
    ///
    /// # Errors
    /// As [`Gate::receive`], and [`Kind::TooManyTickets`].
    pub fn ticket(&self, who: &Who, session: SessionId) -> Result<String, Error> {
        self.receive(who, session.clone())?;
        self.tickets.issue(who.clone(), session, self.clock.now())
    }

    /// Who has a ticket, and for which session. The ticket is spent, whatever comes of it.
    ///
    /// # Errors
    /// [`Kind::TicketSpent`]; as [`Gate::identify`] if its owner does not count any more.
    pub fn redeem(&self, origin: Origin, ticket: &str) -> Result<(Who, SessionId), Error> {
        let (mut who, session) = self.tickets.redeem(ticket, self.clock.now())?;
        who.origin = origin;
        if let (Some(asks), Some(principal)) = (&self.asks, who.principal()) {
            asks.standing.check(principal)?;
        }
        Ok((who, session))
    }

    /// Watches whether an identity goes on to count.
    pub fn watch(&self, who: &Who) -> Watch {
        self.asks.as_ref().map_or_else(Watch::none, |asks| Watch::of(Arc::clone(&asks.standing), who))
    }

    /// May they send to these sessions, and as this one?
    ///
    /// # Errors
    /// [`Kind::Unauthorized`], [`Kind::Expired`], [`Kind::Revoked`], [`Kind::Forbidden`]: the same whether or not there
    /// is such a session. While the relay is open, [`Kind::Forbidden`] for organisations.
    pub fn send(&self, who: &Who, from: &str, to: Vec<SessionId>) -> Result<Admission<Send>, Error> {
        let Some(asks) = &self.asks else {
            if to.iter().any(|to| to.org().is_some()) {
                let detail = "this relay asks nobody who they are, so it has no organisations (auth = \"open\")";
                return Err(Error::new(Kind::Forbidden, detail));
            }
            return Ok(Admission(Send { from: from.into(), to, by: self.founder(who) }));
        };
        let policy = &asks.principal(who)?.policy;
        if !policy.speaks_as(from) {
            return Err(Error::new(Kind::Forbidden, "these credentials do not allow to send as this session (from)"));
        }
        let (mut allowed, mut refused) = (Vec::with_capacity(to.len()), Vec::new());
        for to in to {
            match policy.sends(&to) {
                // It may have been named in two ways.
                Some(mailbox) if allowed.contains(&mailbox) => {}
                Some(mailbox) => allowed.push(mailbox),
                None => refused.push(to.bare().into()),
            }
        }
        if !refused.is_empty() {
            let detail = "these credentials do not allow to send to this address (send)";
            return Err(Error { about: refused, ..Error::new(Kind::Forbidden, detail) });
        }
        let own = policy.org.as_deref();
        let from = if !from.is_empty() && allowed.iter().any(|to| to.org() != own) {
            // In another space the bare id would be somebody else's.
            format!("org:{}/{from}", own.unwrap_or_default()).into()
        } else {
            from.into()
        };
        Ok(Admission(Send { from, to: allowed, by: self.founder(who) }))
    }

    /// May they receive for this session?
    ///
    /// # Errors
    /// As [`Gate::send`].
    pub fn receive(&self, who: &Who, of: SessionId) -> Result<Admission<Receive>, Error> {
        let by = self.founder(who);
        let Some(asks) = &self.asks else { return Ok(Admission(Receive { of, by })) };
        if asks.sessions && unsigned(of.bare()).is_some() {
            let detail = "a signed session is a credential: send it as Authorization: Bearer, and name the session by its \
                          bare id";
            return Err(Error::new(Kind::InvalidSession, detail));
        }
        match asks.principal(who)?.policy.receives(&of) {
            Some(of) => Ok(Admission(Receive { of, by })),
            None => {
                let detail = "these credentials do not allow to receive for this session (receive)";
                Err(Error::new(Kind::Forbidden, detail))
            }
        }
    }

    /// May they operate?
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for all but root and the relay's own user.
    pub fn operate(&self, who: &Who) -> Result<Admission<Operate>, Error> {
        match who.origin {
            Origin::Local { uid } if uid == 0 || uid == self.own_uid => Ok(Admission(Operate)),
            _ => Err(Error::new(
                Kind::Forbidden,
                format!("this is for root and the relay's own user (uid {}) over the control socket", self.own_uid),
            )),
        }
    }

    /// Ends what was handed out, within moments, and remembers that for so long; on disk too before it returns, if it is
    /// remembered there.
    ///
    /// # Errors
    /// [`Kind::BadRequest`] while the relay is open, [`Kind::MemoryFull`], [`Kind::Draining`] in a takeover: nothing has
    /// ended. [`Kind::StorageFailed`]: it has, and perhaps not for longer than this process.
    pub async fn revoke(&self, _: &Admission<Operate>, what: &Revoked, remember: Duration) -> Result<(), Error> {
        let Some(asks) = &self.asks else {
            return Err(Error::new(Kind::BadRequest, "this relay asks nobody who they are (auth = \"open\")"));
        };
        asks.standing.revoke(what, remember)?;
        asks.standing.keep().await
    }

    /// Brings back what was revoked, from the data directory, and remembers it there from now on.
    ///
    /// # Errors
    /// [`Kind::StorageFailed`]: what is there cannot be read.
    pub fn keep_revocations_in(&self, directory: &Path) -> Result<(), Error> {
        match &self.asks {
            Some(asks) => asks.standing.revoked.keep_in(directory, self.clock.now()),
            None => Ok(()),
        }
    }

    /// Another relay is about to read the data directory: from now on nothing is revoked here.
    pub fn give_revocations(&self) {
        if let Some(asks) = &self.asks {
            asks.standing.revoked.give();
        }
    }

    /// Nothing came of that.
    pub fn take_revocations_back(&self) {
        if let Some(asks) = &self.asks {
            asks.standing.revoked.take_back();
        }
    }
}

/// Says how to show credentials (RFC 6750 section 3), with an error that is about them.
pub fn challenge(error: &Error) -> Option<&'static str> {
    match error.kind {
        Kind::Unauthorized | Kind::TicketSpent => Some("Bearer realm=\"x0-relay\""),
        Kind::InvalidToken | Kind::Expired | Kind::Revoked => {
            Some("Bearer realm=\"x0-relay\", error=\"invalid_token\"")
        }
        Kind::Forbidden => Some("Bearer realm=\"x0-relay\", error=\"insufficient_scope\""),
        _ => None,
    }
}

/// The credentials of `Authorization: Bearer` (RFC 6750 section 2.1).
fn bearer(said: &[u8]) -> Option<&str> {
    let (scheme, credentials) = std::str::from_utf8(said).ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim())
}

#[cfg(test)]
mod tests;
