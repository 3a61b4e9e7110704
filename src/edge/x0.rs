//! The x0 door: always status 200, never a hot loop, and an answer counts as delivered only when it is known to be.

use std::{pin::Pin, sync::Arc, time::Duration};

use hyper::{Method, StatusCode, body::Incoming, http::request::Parts};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Doors,
    http::{self, Done, Visit},
    lease,
    line::Line,
    outside::Outside,
    post::{Lease, Mode, Outcome},
    reply::{self, Reply},
};
use crate::{
    error::{Error, Kind},
    gate::{Who, limits::What},
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
pub async fn handle(path: Path, parts: &Parts, body: &mut Incoming, doors: &Arc<Doors>, visit: Visit<'_>) -> Done {
    let close = http::ends_after(parts);
    match answer(path, parts, body, doors, visit).await {
        Ok(Answer::Text(text)) => Done::Now(reply::json(text)),
        Ok(Answer::Wait(who, session, mode)) => {
            let deadline = Instant::now() + doors.config.wait;
            let entry = doors.entry(&who, visit.caller);
            Done::Outside(Outside::X0(Park { who, session, mode, close, deadline, entry, id: visit.id }))
        }
        // Apart, so that what is asked most makes no room for it.
        Err(refusal) => Done::Now(Box::pin(refuse(refusal, path, parts, doors, visit)).await),
    }
}

async fn refuse(refusal: Refusal, path: Path, parts: &Parts, doors: &Doors, visit: Visit<'_>) -> Reply {
    let error = doors.temper(refusal.error, http::origin(parts, visit, doors)).await;
    doors.refused(&error, visit.id);
    hold_back(doors).await;
    let reply = reply::json(error_text(path.is_legacy(), &error));
    if refusal.close { reply::closing(reply) } else { reply }
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

/// What a request asks for, once its body is read.
fn understood(path: Path, parts: &Parts, body: &[u8], message_bytes: usize) -> Result<Request, Error> {
    match parts.method {
        Method::POST => x0::body(path, body, message_bytes),
        // HEAD asks what a GET would answer with; it must not take anybody's mail.
        Method::HEAD => Ok(Request::Nothing),
        _ => x0::query(path, parts.uri.query().unwrap_or_default(), message_bytes),
    }
}

fn check_method(method: &Method) -> Result<(), Error> {
    if matches!(*method, Method::POST | Method::GET | Method::HEAD) {
        return Ok(());
    }
    let detail = format!("{method} is not served here; use POST, or GET with a query");
    Err(Error::new(Kind::BadMethod, detail))
}

async fn answer(
    path: Path,
    parts: &Parts,
    body: &mut Incoming,
    doors: &Doors,
    visit: Visit<'_>,
) -> Result<Answer, Refusal> {
    let request = read(path, parts, body, doors).await?;
    let who = doors.post.identify(http::origin(parts, visit, doors), http::authorization(parts))?;
    match carry_out(request, who, doors)? {
        Step::Done(answer) => Ok(answer),
        Step::Work(work) => Ok(work.await?),
    }
}

async fn read(path: Path, parts: &Parts, body: &mut Incoming, doors: &Doors) -> Result<Request, Refusal> {
    let lost = |error| Refusal { error, close: true };
    http::check_framing(parts).and_then(|()| check_method(&parts.method)).map_err(lost)?;
    // A GET's body has no meaning here, and must not be taken for the next request.
    let body = http::body(body, &doors.config).await.map_err(lost)?;
    Ok(understood(path, parts, &body, doors.config.message_bytes)?)
}

/// What a request comes to.
enum Step<'a> {
    Done(Answer),
    /// In a box of its own, so that a request that waits for nothing makes no room for it.
    Work(Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send + 'a>>),
}

fn carry_out(request: Request, who: Who, doors: &Doors) -> Result<Step<'_>, Error> {
    let count = |door, verb| doors.metrics.request(door, verb);
    match request {
        Request::Nothing => Ok(Step::Done(Answer::Text(""))),
        Request::Send { from, to, payload } => {
            count("x0", "set");
            let Admitted { who, session: from, delay } = admit(What::Send, who, from, doors)?;
            Ok(Step::Work(Box::pin(async move {
                doors.turn(delay).await?;
                doors.post.send(&who, from, to, payload).await.map(|()| Answer::Text(x0::ACCEPTED))
            })))
        }
        Request::Receive(session) => {
            count("x0", "get");
            wait_as(Mode::Take, who, session, doors)
        }
        Request::Remove(session) => {
            count("x0", "del");
            let Admitted { who, session, delay } = admit(What::Poll, who, session, doors)?;
            Ok(Step::Work(Box::pin(async move {
                doors.turn(delay).await?;
                doors.post.remove(&who, session).await.map(|()| Answer::Text(x0::NOTHING))
            })))
        }
        Request::Show(session) => {
            count("legacy", "get");
            wait_as(Mode::Show, who, session, doors)
        }
        Request::RemoveShown(session) => {
            count("legacy", "del");
            let Admitted { who, session, delay } = admit(What::Poll, who, session, doors)?;
            Ok(Step::Work(Box::pin(async move {
                doors.turn(delay).await?;
                doors.post.remove_shown(&who, session).await.map(|()| Answer::Text(x0::LEGACY_NOTHING))
            })))
        }
    }
}

fn wait_as(mode: Mode, who: Who, session: SessionId, doors: &Doors) -> Result<Step<'_>, Error> {
    let Admitted { who, session, delay } = admit(What::Poll, who, session, doors)?;
    let answer = Answer::Wait(who, session, mode);
    if delay.is_zero() {
        return Ok(Step::Done(answer));
    }
    Ok(Step::Work(Box::pin(async move { doors.turn(delay).await.map(|()| answer) })))
}

/// Finds out who asks, and as which session, before it is charged to them.
fn admit(what: What, who: Who, said: SessionId, doors: &Doors) -> Result<Admitted, Error> {
    let (who, session) = doors.post.claim(who, said)?;
    let delay = doors.toll(what, &who, session.as_str())?;
    Ok(Admitted { who, session, delay })
}

/// Who asks, as which session, and how long they have to wait for their turn.
struct Admitted {
    who: Who,
    session: SessionId,
    delay: Duration,
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
pub async fn wait(park: &Park, line: &mut impl Line, doors: &Doors) -> bool {
    if let Some(entry) = park.entry
        && !Box::pin(wait_for(entry.min(park.deadline), line, doors)).await
    {
        return false;
    }
    // One after the other in futures of their own, which take the same room.
    let found = find(park, line, doors).await;
    tell(found, park, line, doors).await
}

/// What a poll is to be told.
struct Found {
    body: Vec<u8>,
    lease: Option<Lease>,
    /// Whether the connection ends with it.
    close: bool,
}

async fn find(park: &Park, line: &mut impl Line, doors: &Doors) -> Found {
    let mut ended = false;
    let outcome = listen(park, &mut ended, line, doors).await;
    let (body, lease) = match told(outcome, park) {
        Ok(found) => found,
        Err(error) => (Box::pin(apologize(error, park, doors)).await, None),
    };
    Found { body, lease, close: park.close || ended || doors.life.is_draining() }
}

fn told(outcome: Result<Outcome, Error>, park: &Park) -> Result<(Vec<u8>, Option<Lease>), Error> {
    let legacy = park.mode == Mode::Show;
    Ok(match outcome? {
        Outcome::Mail(array, lease) => (x0::mail(&array, legacy), lease),
        Outcome::Quiet | Outcome::Draining => {
            (if legacy { x0::LEGACY_NOTHING } else { x0::NOTHING }.as_bytes().to_vec(), None)
        }
    })
}

async fn apologize(error: Error, park: &Park, doors: &Doors) -> Vec<u8> {
    // Whose credentials ended while they waited has shown no wrong ones. Behind a gateway it is only here that wrong ones
    // are known.
    let error = match error.kind {
        Kind::Revoked => doors.told_late(error).await,
        _ => doors.temper(error, park.who.origin).await,
    };
    doors.refused(&error, park.id);
    hold_back(doors).await;
    error_text(park.mode == Mode::Show, &error).into_bytes()
}

fn tell<'a>(
    found: Found,
    park: &'a Park,
    line: &'a mut impl Line,
    doors: &'a Doors,
) -> impl Future<Output = bool> + Send + 'a {
    let Found { body, lease, close } = found;
    async move {
        let head = reply::Head {
            status: StatusCode::OK,
            content_type: reply::JSON,
            close,
            body_bytes: Some(body.len()),
            error: None,
            v1: false,
            limits: None,
        };
        // What the client sent before its answer proves nothing of it. What the runtime has not heard of yet is missed
        // here, and counts as sent after; x0's pages never send ahead.
        line.note_what_is_there(doors.config.header_bytes);
        if let Err(error) = line.answer(&head, body, doors.config.write_timeout).await {
            tracing::debug!(request = %park.id, session = %park.session, %error, "answer not written");
            return false;
        }
        match lease {
            Some(lease) => settle_or_return(lease, line, close, park).await,
            None => !close,
        }
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

/// Waits at the desk and for the client's end, of which `ended` tells.
async fn listen(park: &Park, ended: &mut bool, line: &mut impl Line, doors: &Doors) -> Result<Outcome, Error> {
    let mut receiver = doors.post.receive(&park.who, park.session.clone(), park.mode)?;
    tokio::select! {
        biased;
        outcome = receiver.next(doors.answer_max(), park.deadline) => outcome,
        _ = line.ended(Some(doors.config.header_bytes)) => {
            *ended = true;
            Ok(Outcome::Quiet)
        }
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
