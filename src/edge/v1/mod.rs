//! The doors of protocol v1: routes, and what is answered at once. Receivers leave hyper: [`poll`], [`events`], [`ws`].

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
    time::Duration,
};

use hyper::{
    Method, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::request::Parts,
};

use super::{
    Doors,
    http::{self, Done, Visit},
    limits::Announced,
    line::Line,
    outside::Outside,
    reply::{self, Reply},
};
use crate::{
    error::{Error, Kind},
    gate::{Gate, TICKET_LIFE, Who, limits::What},
    hub::{self, Haste, Hub},
    id::{RequestId, SessionId},
    settings,
    wire::v1::{self, Draft},
};

pub mod events;
pub mod poll;
pub mod ws;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The first and the last moment at which clients come back after a drain, so that they do not come all at once.
const COME_BACK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// What protocol v1 needs of the house.
pub struct Desk<'a> {
    pub hub: &'a Hub,
    pub gate: &'a Gate,
    pub settings: &'a settings::V1,
    pub limits: v1::Limits,
}

/// Where protocol v1 is served.
///
/// # Errors
/// [`Kind::NotFound`] behind a gateway.
pub fn desk(doors: &Doors) -> Result<Desk<'_>, Error> {
    let here = doors.post.here().zip(doors.v1.as_ref());
    let ((hub, gate), settings) = here.ok_or_else(|| {
        Error::new(Kind::NotFound, "a gateway has no protocol v1: ask the relay (x0-relay serve) behind it")
    })?;
    let limits = v1::Limits { message_bytes: doors.config.message_bytes, ttl_max: settings.ttl_max };
    Ok(Desk { hub, gate, settings, limits })
}

/// What lives where.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Messages,
    Ack,
    Events,
    Socket,
    Tickets,
    Session(Result<SessionId, Error>),
    SessionMessages(Result<SessionId, Error>),
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/messages" => Place::Messages,
            "/v1/ack" => Place::Ack,
            "/v1/events" => Place::Events,
            "/v1/ws" => Place::Socket,
            "/v1/tickets" => Place::Tickets,
            _ => match v1::session_path(path)? {
                (session, false) => Place::Session(session),
                (session, true) => Place::SessionMessages(session),
            },
        })
    }

    fn allow(&self) -> &'static str {
        match self {
            Place::Messages | Place::Events => "GET, POST, OPTIONS",
            Place::Ack | Place::Tickets => "POST, OPTIONS",
            Place::Socket | Place::Session(_) => "GET, OPTIONS",
            Place::SessionMessages(_) => "DELETE, OPTIONS",
        }
    }
}

/// Whether a path belongs to protocol v1.
pub fn is_at(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/v1"
}

/// Serves a request of protocol v1, as far as it needs no waiting.
pub async fn handle(parts: &Parts, body: &mut Incoming, doors: &Arc<Doors>, visit: Visit<'_>) -> Done {
    let (id, mut paid) = (visit.id, None);
    let answer = match Place::of(parts.uri.path()) {
        Some(place) => {
            serve(&place, parts, body, doors, visit, &mut paid).await.map_err(|refusal| (refusal, Some(place)))
        }
        None => Err((Error::new(Kind::NotFound, "nothing lives here; /docs says what does").into(), None)),
    };
    match answer {
        Ok(Answer::Now(status, text)) => {
            let mut reply = with_exposed(reply::reply(status, reply::JSON, text));
            if let Some(paid) = paid {
                Announced::insert(&paid, reply.headers_mut());
            }
            Done::Now(reply)
        }
        Ok(Answer::Outside(outside)) => Done::Outside(outside),
        Err((Refusal { error, close }, place)) => {
            let error = doors.temper(error, http::origin(parts, visit, doors)).await;
            doors.refused(&error, id);
            let mut reply = with_exposed(reply::problem(&error, id));
            let headers = reply.headers_mut();
            match (error.kind, place) {
                (Kind::BadMethod, Some(place)) => {
                    headers.insert(header::ALLOW, HeaderValue::from_static(place.allow()));
                }
                (Kind::UpgradeRequired, _) => {
                    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(ws::handshake::VERSION));
                }
                _ => {}
            }
            Done::Now(if close { reply::closing(reply) } else { reply })
        }
    }
}

enum Answer {
    Now(StatusCode, Vec<u8>),
    Outside(Outside),
}

/// A refusal, and whether what the client sends next can be understood.
struct Refusal {
    error: Error,
    close: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, close: false }
    }
}

async fn serve(
    place: &Place,
    parts: &Parts,
    body: &mut Incoming,
    doors: &Arc<Doors>,
    visit: Visit<'_>,
    paid: &mut Option<Box<Announced>>,
) -> Result<Answer, Refusal> {
    let id = visit.id;
    let lost = |error| Refusal { error, close: true };
    http::check_framing(parts).map_err(lost)?;
    // A body that is not asked for must not be taken for the next request.
    let body = http::body(body, &doors.config).await.map_err(lost)?;
    let Desk { hub, gate, limits, .. } = desk(doors)?;
    let origin = http::origin(parts, visit, doors);
    let query = parts.uri.query();
    // A ticket stands for all other credentials, where there can be none.
    let ticket = match (place, v1::ticket_in(query)) {
        (Place::Events | Place::Socket, ticket) => ticket?,
        _ => None,
    };
    let (who, of_ticket) = match ticket {
        Some(ticket) => gate.redeem(origin, &ticket.0).map(|(who, session)| (who, Some(session)))?,
        None => (gate.identify(origin, http::authorization(parts))?, None),
    };
    let of_ticket = of_ticket.as_ref();
    let count = |verb| doors.metrics.request("v1", verb);
    let ok = |text| Ok(Answer::Now(StatusCode::OK, text));
    let mut charge = |what, who: &Who, session: &str| -> Result<(), Error> {
        *paid = Announced::paid(&doors.charge(what, who, session)?).map(Box::new);
        Ok(())
    };
    match (place, &parts.method) {
        (Place::Messages, &Method::POST) => {
            check_json(&parts.headers)?;
            let key = parts.headers.get(&IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
            let draft = v1::draft(&body, key, &limits)?;
            count("send");
            charge(What::Send, &who, &draft.from)?;
            let sent = gate.send(&who, &draft.from, draft.to.clone())?;
            let accepted = hub.send(sent, for_hub(draft, &who)).await?;
            let text = v1::accepted(&accepted.id, accepted.recipients, accepted.duplicate);
            Ok(Answer::Now(StatusCode::CREATED, text))
        }
        (Place::Messages, &Method::GET) => {
            let poll = v1::poll(query)?;
            count("poll");
            charge(What::Poll, &who, poll.session.as_str())?;
            doors.enter(&who, visit.caller)?;
            let (close, limits) = (http::ends_after(parts), paid.take());
            Ok(Answer::Outside(Outside::Poll(poll::Park::new(who, poll, close, limits, &doors.config, id))))
        }
        (Place::Ack, &Method::POST) => {
            check_json(&parts.headers)?;
            let v1::Ack { session, cursor } = v1::ack(&body)?;
            count("ack");
            charge(What::Poll, &who, session.as_str())?;
            let admission = gate.receive(&who, session)?;
            ok(v1::acked(hub.acknowledge(&admission, cursor, Haste::Safe).await?))
        }
        (Place::Events, &Method::GET | &Method::POST) => {
            let last = parts.headers.get(&LAST_EVENT_ID).map(HeaderValue::as_bytes);
            let said: &[u8] = if parts.method == Method::POST { &body } else { &[] };
            if !said.is_empty() {
                check_json(&parts.headers)?;
            }
            let events = v1::events(query, last, said, of_ticket)?;
            count("events");
            charge(What::Poll, &who, events.session.as_str())?;
            doors.enter(&who, visit.caller)?;
            Ok(Answer::Outside(Outside::Events(events::Park::new(who, events, paid.take(), id))))
        }
        (Place::Socket, &Method::GET) => {
            let attach = v1::attach(query, of_ticket)?;
            charge(What::Poll, &who, attach.session.as_str())?;
            doors.enter(&who, visit.caller)?;
            let park = ws::Park::new(who, attach, parts, id)?;
            count("ws");
            Ok(Answer::Outside(Outside::Socket(park)))
        }
        (Place::Tickets, &Method::POST) => {
            check_json(&parts.headers)?;
            let v1::TicketFor { session } = v1::ticket_for(&body)?;
            count("ticket");
            let (who, session) = gate.claim(who, session)?;
            charge(What::Poll, &who, session.as_str())?;
            let ticket = gate.ticket(&who, session.clone())?;
            Ok(Answer::Now(StatusCode::CREATED, v1::ticket(&ticket, &session, TICKET_LIFE)))
        }
        (Place::Session(session), &Method::GET) => {
            let session = session.clone()?;
            charge(What::Poll, &who, session.as_str())?;
            let admission = gate.receive(&who, session)?;
            count("session");
            let info = hub.session(&admission).await?;
            let mailbox = &info.mailbox;
            ok(v1::session(&mailbox.session, mailbox.messages, info.receivers > 0, mailbox.seen))
        }
        (Place::SessionMessages(session), &Method::DELETE) => {
            let session = session.clone()?;
            charge(What::Poll, &who, session.as_str())?;
            let admission = gate.receive(&who, session)?;
            count("purge");
            ok(v1::purged(hub.remove_all(&admission, Haste::Safe).await?))
        }
        (place, method) => {
            let detail = format!("{method} is not served here; {} are", place.allow());
            Err(Error::new(Kind::BadMethod, detail).into())
        }
    }
}

/// Refuses whoever has left hyper and is to be no receiver; the connection ends with it.
async fn refuse(error: &Error, id: RequestId, line: &mut impl Line, doors: &Doors) -> io::Result<()> {
    doors.refused(error, id);
    let body = v1::problem(error, id);
    let head = reply::Head {
        status: reply::status(error),
        content_type: reply::PROBLEM,
        close: true,
        body_bytes: Some(body.len()),
        error: Some(error),
        v1: true,
        limits: None,
    };
    line.answer(&head, body, doors.config.write_timeout).await
}

/// What a sender hands in, as the hub takes it.
pub fn for_hub(draft: Draft, who: &Who) -> hub::Draft {
    let key = draft.key(who.principal().map(|principal| principal.name.as_str()));
    let Draft { kind, ttl, payload, .. } = draft;
    hub::Draft { kind, payload: payload.json, shape: payload.shape, ttl, key }
}

/// Refuses a body that says that it is something else than JSON. Plain text is let through: browsers send that without
/// asking first.
fn check_json(headers: &HeaderMap) -> Result<(), Error> {
    let Some(named) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let named = named.to_str().unwrap_or("unreadable");
    let essence = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json =
        matches!(essence.as_str(), "application/json" | "text/plain" | "text/json") || essence.ends_with("+json");
    if json {
        return Ok(());
    }
    let detail = format!("Content-Type is \"{}\"; application/json is read here", named.escape_debug());
    Err(Error::new(Kind::UnsupportedMedia, detail))
}

/// Lets a page of another origin read more than the body.
fn with_exposed(mut reply: Reply) -> Reply {
    let exposed = HeaderValue::from_static(reply::EXPOSED);
    reply.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    reply
}

/// When a client that is sent away should come back.
pub fn come_back() -> Duration {
    let (first, last) = COME_BACK;
    let spread_ms = u64::try_from((last - first).as_millis()).unwrap_or(0).max(1);
    // A new state has new keys: this is as random as the system's hashing.
    first + Duration::from_millis(RandomState::new().hash_one(()) % spread_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_may_be_json_or_say_nothing() {
        let check = |named: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(named))]);
            check_json(&headers).is_ok()
        };
        assert!(check_json(&HeaderMap::new()).is_ok());
        assert!(check("application/json; charset=utf-8") && check("TEXT/plain") && check("application/a+json"));
        assert!(!check("text/html") && !check("application/x-www-form-urlencoded") && !check(""));
    }

    #[test]
    fn clients_come_back_spread_out() {
        let times: std::collections::HashSet<Duration> = (0..64).map(|_| come_back()).collect();
        assert!(times.len() > 16);
        assert!(times.iter().all(|time| (COME_BACK.0..COME_BACK.1).contains(time)));
    }
}
