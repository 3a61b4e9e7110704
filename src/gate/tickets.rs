//! Tickets: what stands for an identity in a URL, once, within a minute, for one session.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use super::{crypto, who::Who};
use crate::{
    error::{Error, Kind},
    id::SessionId,
    message::UnixMs,
};

/// How long a ticket is good.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);
/// The most tickets that are out at once.
const TICKETS_MAX: usize = 100_000;
/// The most of them that one identity, or without one an address, has.
const TICKETS_EACH: usize = 256;
/// A ticket's bytes. They are random, and are written as 43 characters of base64url.
const TICKET_BYTES: usize = 32;

/// What a ticket stands for.
struct Issued {
    who: Who,
    session: SessionId,
    good_until: UnixMs,
}

/// The tickets that are out, by their digests: how long a look takes tells nothing of a ticket.
#[derive(Default)]
pub(super) struct Tickets(Mutex<Out>);

#[derive(Default)]
struct Out {
    tickets: HashMap<[u8; TICKET_BYTES], Issued>,
    held: HashMap<String, usize>,
}

fn key(ticket: &str) -> [u8; TICKET_BYTES] {
    let mut key = [0; TICKET_BYTES];
    key.copy_from_slice(digest(&SHA256, ticket.as_bytes()).as_ref());
    key
}

fn holder(who: &Who) -> String {
    who.principal().map_or_else(|| format!("{:?}", who.origin), |principal| principal.name.as_str().to_owned())
}

impl Out {
    fn take(&mut self, key: &[u8; TICKET_BYTES]) -> Option<Issued> {
        let issued = self.tickets.remove(key)?;
        let holder = holder(&issued.who);
        if let Some(held) = self.held.get_mut(&holder) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&holder);
            }
        }
        Some(issued)
    }

    fn forget_old(&mut self, now: UnixMs) {
        let old: Vec<_> =
            self.tickets.iter().filter(|(_, issued)| issued.good_until <= now).map(|(key, _)| *key).collect();
        for key in old {
            self.take(&key);
        }
    }
}

impl Tickets {
    /// A new ticket.
    ///
    /// # Errors
    /// [`Kind::TooManyTickets`].
    pub fn issue(&self, who: Who, session: SessionId, now: UnixMs) -> Result<String, Error> {
        let bytes: [u8; TICKET_BYTES] =
            crypto::random().map_err(|_| Error::new(Kind::Internal, "the system has no random bytes for a ticket"))?;
        let ticket = URL_SAFE_NO_PAD.encode(bytes);
        let holder = holder(&who);
        let mut out = self.0.lock();
        let full = |out: &Out| {
            out.tickets.len() >= TICKETS_MAX || out.held.get(&holder).is_some_and(|held| *held >= TICKETS_EACH)
        };
        if full(&out) {
            out.forget_old(now);
        }
        if full(&out) {
            let detail =
                format!("too many tickets are out that nobody has used; each ends after {} s", TICKET_LIFE.as_secs());
            return Err(Error::new(Kind::TooManyTickets, detail));
        }
        out.tickets.insert(key(&ticket), Issued { who, session, good_until: now.after(TICKET_LIFE) });
        *out.held.entry(holder).or_default() += 1;
        Ok(ticket)
    }

    /// Who has this ticket, and for which session. It is spent.
    ///
    /// # Errors
    /// [`Kind::TicketSpent`]: it is not good, or not any more.
    pub fn redeem(&self, ticket: &str, now: UnixMs) -> Result<(Who, SessionId), Error> {
        let found = self.0.lock().take(&key(ticket)).filter(|issued| now < issued.good_until);
        found.map(|issued| (issued.who, issued.session)).ok_or_else(|| {
            let detail = format!(
                "this ticket was used already, is older than {} s, or was never one: get another (POST /v1/tickets) for \
                 each connection",
                TICKET_LIFE.as_secs()
            );
            Error::new(Kind::TicketSpent, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SessionId {
        SessionId::new(text).expect("an id")
    }

    #[test]
    fn a_ticket_is_good_once_and_for_a_minute() {
        let tickets = Tickets::default();
        let issue = || tickets.issue(Who::anybody(), id("s"), UnixMs(0)).expect("room");
        let (one, two) = (issue(), issue());
        assert_ne!(one, two);
        assert_eq!(one.len(), 43);
        let last = UnixMs(u64::try_from(TICKET_LIFE.as_millis()).expect("short") - 1);
        assert_eq!(tickets.redeem(&one, last), Ok((Who::anybody(), id("s"))));
        assert_eq!(tickets.redeem(&one, last).expect_err("spent").kind, Kind::TicketSpent);
        assert_eq!(tickets.redeem(&two, UnixMs(last.0 + 1)).expect_err("old").kind, Kind::TicketSpent);
        assert_eq!(tickets.redeem("", UnixMs(0)).expect_err("none").kind, Kind::TicketSpent);
    }

    #[test]
    fn nobody_holds_more_than_a_share_and_time_gives_it_back() {
        let tickets = Tickets::default();
        let issue = |now| tickets.issue(Who::anybody(), id("s"), UnixMs(now));
        for _ in 0..TICKETS_EACH {
            issue(0).expect("room");
        }
        assert_eq!(issue(59_999).expect_err("full").kind, Kind::TooManyTickets);
        let other = Who::nobody(crate::gate::Origin::Local { uid: 1 });
        assert!(tickets.issue(other, id("s"), UnixMs(0)).is_ok(), "another has its own share");
        let fresh = issue(60_000).expect("the old are gone");
        tickets.redeem(&fresh, UnixMs(60_000)).expect("good");
        assert!(tickets.0.lock().held.is_empty() && tickets.0.lock().tickets.is_empty());
    }
}
