//! The x0 door: always status 200, never a hot loop, and an answer counts as delivered only when it is known to be.

use std::sync::Arc;

use hyper::{Method, StatusCode, http::request::Parts};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Doors,
    http::{self, Done, Visit},
    lease,
    line::Line,
    outside::Outside,
    post::{Lease, Mode, Outcome, Receiver},
    reply,
};
use crate::{
    error::{Error, Kind},
    gate::{Origin, Who, limits::What},
    id::{RequestId, SessionId},
    lifecycle::Phase,
    wire::x0::{self, Path, Request},
};

/// A poll that is to wait outside of hyper.
#[derive(Debug)]
pub struct Park {
    who: Who,
    session: SessionId,
    mode: Mode,
    close: bool,
    deadline: Instant,
    /// When it is let in, if not at once.
    entry: Option<Instant>,
    id: RequestId,
}

impl Park {
    /// Whose mail it waits for.
    pub fn session(&self) -> &SessionId {
        &self.session
    }
}

/// Serves a request on one of the dialect's addresses, as far as it needs no waiting.
pub async fn handle(path: Path, parts: &Parts, body: hyper::body::Incoming, doors: &Arc<Doors>, visit: Visit) -> Done {
    let arrived = Instant::now();
    let close = http::ends_after(parts);
    let answer = match read(path, parts, body, doors).await {
        Ok(request) => carry_out(request, http::origin(parts, visit, doors), http::authorization(parts), doors).await,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(Answer::Text(text)) => Done::Now(reply::json(text)),
        Ok(Answer::Wait(who, session, mode)) => {
            let deadline = arrived + doors.config.wait;
            let entry = doors.entry(&who, visit.caller);
            Done::Outside(Outside::X0(Park { who, session, mode, close, deadline, entry, id: visit.id }))
        }
        Err(Refusal { error, close }) => {
            let error = doors.temper(error, http::origin(parts, visit, doors)).await;
            doors.refused(&error, visit.id);
            hold_back(doors).await;
            let reply = reply::json(error_text(path.is_legacy(), &error));
            Done::Now(if close { reply::closing(reply) } else { reply })
        }
    }
}

/// A refusal, and whether what the client sends next can be understood.
pub struct Refusal {
    error: Error,
    close: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, close: false }
    }
}

enum Answer {
    Text(&'static str),
    Wait(Who, SessionId, Mode),
}

async fn read(path: Path, parts: &Parts, body: hyper::body::Incoming, doors: &Doors) -> Result<Request, Refusal> {
    let message_bytes = doors.config.message_bytes;
    http::check_framing(parts).map_err(|error| Refusal { error, close: true })?;
    match parts.method {
        Method::POST => {
            let body = http::body(body, &doors.config).await.map_err(|error| Refusal { error, close: true })?;
            Ok(x0::body(path, &body, message_bytes)?)
        }
        Method::GET | Method::HEAD => {
            // A body has no meaning here, and must not be taken for the next request.
            http::body(body, &doors.config).await.map_err(|error| Refusal { error, close: true })?;
            // HEAD asks what a GET would answer with; it must not take anybody's mail.
            match parts.method {
                Method::HEAD => Ok(Request::Nothing),
                _ => Ok(x0::query(path, parts.uri.query().unwrap_or_default(), message_bytes)?),
            }
        }
        _ => {
            let detail = format!("{} is not served here; use POST, or GET with a query", parts.method);
            Err(Refusal { error: Error::new(Kind::BadMethod, detail), close: true })
        }
    }
}

async fn carry_out(
    request: Request,
    origin: Origin,
    authorization: Option<&[u8]>,
    doors: &Doors,
) -> Result<Answer, Refusal> {
    let who = doors.post.identify(origin, authorization)?;
    let count = |door, verb| doors.metrics.request(door, verb);
    match request {
        Request::Nothing => Ok(Answer::Text("")),
        Request::Send { from, to, payload } => {
            count("x0", "set");
            let (who, from) = admit(What::Send, who, from, doors).await?;
            doors.post.send(&who, from, to, payload).await?;
            Ok(Answer::Text(x0::ACCEPTED))
        }
        Request::Receive(session) => {
            count("x0", "get");
            let (who, session) = admit(What::Poll, who, session, doors).await?;
            Ok(Answer::Wait(who, session, Mode::Take))
        }
        Request::Remove(session) => {
            count("x0", "del");
            let (who, session) = admit(What::Poll, who, session, doors).await?;
            doors.post.remove(&who, session).await?;
            Ok(Answer::Text(x0::NOTHING))
        }
        Request::Show(session) => {
            count("legacy", "get");
            let (who, session) = admit(What::Poll, who, session, doors).await?;
            Ok(Answer::Wait(who, session, Mode::Show))
        }
        Request::RemoveShown(session) => {
            count("legacy", "del");
            let (who, session) = admit(What::Poll, who, session, doors).await?;
            doors.post.remove_shown(&who, session).await?;
            Ok(Answer::Text(x0::LEGACY_NOTHING))
        }
    }
}

/// Finds out who asks, and as which session, before it is charged to them, and waits for their turn.
async fn admit(what: What, who: Who, said: SessionId, doors: &Doors) -> Result<(Who, SessionId), Error> {
    let (who, session) = doors.post.claim(who, said)?;
    doors.pace(what, &who, session.as_str()).await?;
    Ok((who, session))
}

fn error_text(legacy: bool, error: &Error) -> String {
    if legacy { x0::legacy_error(error) } else { x0::error(error, false) }
}

/// x0's client asks again at once whatever it is told: an error has to take its time.
async fn hold_back(doors: &Doors) {
    if !doors.life.is_draining() {
        sleep(doors.config.error_hold).await;
    }
}

/// Waits for mail and answers. Returns whether the connection can serve another request.
pub async fn wait(park: Park, line: &mut impl Line, doors: &Doors) -> bool {
    let legacy = park.mode == Mode::Show;
    if let Some(entry) = park.entry
        && !wait_for(entry.min(park.deadline), line, doors).await
    {
        return false;
    }
    let (outcome, ended) = match doors.post.receive(&park.who, park.session.clone(), park.mode) {
        Ok(receiver) => listen(receiver, &park, line, doors).await,
        Err(error) => (Err(error), false),
    };
    let (body, lease) = match outcome {
        Ok(Outcome::Mail(array, lease)) => (x0::mail(&array, legacy), lease),
        Ok(Outcome::Quiet | Outcome::Draining) => {
            (if legacy { x0::LEGACY_NOTHING } else { x0::NOTHING }.as_bytes().to_vec(), None)
        }
        Err(error) => {
            let error = doors.temper(error, park.who.origin).await;
            doors.refused(&error, park.id);
            hold_back(doors).await;
            (error_text(legacy, &error).into_bytes(), None)
        }
    };
    let close = park.close || ended || doors.life.is_draining();
    let body_bytes = Some(body.len());
    let head = reply::Head {
        status: StatusCode::OK,
        content_type: reply::JSON,
        close,
        body_bytes,
        error: None,
        v1: false,
        limits: None,
    };
    // What the client sent before its answer proves nothing of it. What the runtime has not heard of yet is missed here,
    // and counts as sent after; x0's pages never send ahead.
    line.note_what_is_there(doors.config.header_bytes);
    if let Err(error) = line.answer(&head, body, doors.config.write_timeout).await {
        tracing::debug!(request = %park.id, session = %park.session, %error, "answer not written");
        return false;
    }
    match lease {
        Some(lease) => settle_or_return(lease, line, close, &park).await,
        None => !close,
    }
}

/// Waits until a receiver is let in; false if its client goes before.
async fn wait_for(entry: Instant, line: &mut impl Line, doors: &Doors) -> bool {
    tokio::select! {
        () = sleep_until(entry) => true,
        () = doors.life.reached(Phase::Draining) => true,
        _ = line.ended(Some(doors.config.header_bytes)) => false,
    }
}

/// Waits at the desk and for the client's end. The flag says that the client has ended its side.
async fn listen(
    mut receiver: Receiver,
    park: &Park,
    line: &mut impl Line,
    doors: &Doors,
) -> (Result<Outcome, Error>, bool) {
    tokio::select! {
        biased;
        outcome = receiver.next(doors.answer_max(), park.deadline) => (outcome, false),
        _ = line.ended(Some(doors.config.header_bytes)) => (Ok(Outcome::Quiet), true),
    }
}

async fn settle_or_return(lease: Lease, line: &mut impl Line, close: bool, park: &Park) -> bool {
    let proof = lease::prove(line, close).await;
    if proof.has_it {
        if let Err(error) = lease.settle().await {
            tracing::warn!(request = %park.id, session = %park.session, %error, "delivered, but not settled: it will come again");
        }
    } else {
        tracing::debug!(request = %park.id, session = %park.session, "not delivered: put back");
        drop(lease);
    }
    proof.open && !close
}
