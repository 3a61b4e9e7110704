//! Long polls of protocol v1: what came after a cursor, or nothing after a while.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use super::{
    super::{Doors, lease, limits::Announced, line::Line, reply},
    come_back, desk,
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    gate::{self, Admission, Who},
    hub::{Asked, Event, Haste, Hub, Known, Stream},
    id::{RequestId, SessionId},
    mailbox::{Batch, Max},
    settings,
    wire::v1::{self, Extra},
};

/// A poll that is to wait outside of hyper.
#[derive(Debug)]
pub struct Park {
    who: Who,
    poll: v1::Poll,
    max: Max,
    close: bool,
    deadline: Instant,
    id: RequestId,
    limits: Option<Box<Announced>>,
}

impl Park {
    /// A poll whose request is read. `close`: its connection ends with the answer.
    pub fn new(
        who: Who,
        poll: v1::Poll,
        close: bool,
        limits: Option<Box<Announced>>,
        config: &settings::Http,
        id: RequestId,
    ) -> Self {
        let deadline = Instant::now() + poll.wait.unwrap_or(config.wait);
        let messages = poll.limit.unwrap_or(usize::MAX).min(config.answer_messages);
        let max = Max { messages, bytes: config.answer_bytes };
        Self { who, poll, max, close, deadline, id, limits }
    }
}

impl Park {
    /// Whose messages it waits for.
    pub fn session(&self) -> &SessionId {
        &self.poll.session
    }
}

/// An answer, and what it begins at, if that counts.
struct Answer {
    asked: Option<Asked>,
    batch: Batch,
    extra: Extra,
}

/// Waits for messages and answers. Returns whether the connection can serve another request.
pub async fn wait(park: &Park, line: &mut impl Line, doors: &Doors) -> bool {
    let mut ended = false;
    let answer = answer(park, line, &mut ended, doors).await;
    let close = park.close || ended || doors.life.is_draining();
    let (status, content_type, body) = match &answer {
        Ok(Answer { batch, extra, .. }) => (StatusCode::OK, reply::JSON, v1::answer(batch, *extra)),
        Err(error) => {
            doors.refused(error, park.id);
            (reply::status(error), reply::PROBLEM, v1::problem(error, park.id))
        }
    };
    let head = reply::Head {
        status,
        content_type,
        close,
        body_bytes: Some(body.len()),
        error: answer.as_ref().err(),
        v1: true,
        limits: park.limits.as_deref(),
    };
    // What the client sent before its answer proves nothing of it.
    line.note_what_is_there(doors.config.header_bytes);
    if let Err(error) = line.answer(&head, body, doors.config.write_timeout).await {
        tracing::debug!(request = %park.id, session = %park.poll.session, %error, "answer not written");
        return false;
    }
    let Some(asked) = answer.ok().filter(|answer| !answer.batch.is_empty()).map(|answer| answer.asked) else {
        return !close;
    };
    let proof = lease::prove(line, close).await;
    if proof.has_it
        && let Some(asked) = asked
        && let Ok((hub, admission)) = admit(park, doors)
    {
        let known = if proof.said_so { Known::ByClient } else { Known::ByKernel };
        hub.note_answered(&admission, asked, known);
    }
    proof.open && !close
}

fn admit<'a>(park: &Park, doors: &'a Doors) -> Result<(&'a Hub, Admission<gate::Receive>), Error> {
    let desk = desk(doors)?;
    Ok((desk.hub, desk.gate.receive(&park.who, park.poll.session.clone())?))
}

async fn answer(park: &Park, line: &mut impl Line, ended: &mut bool, doors: &Doors) -> Result<Answer, Error> {
    let (hub, admission) = admit(park, doors)?;
    let after = park.poll.after;
    if let Some(after) = after {
        hub.acknowledge(&admission, after, Haste::Soon).await?;
    }
    if line.has_ended() {
        // What it asked for came late, perhaps behind a newer receiver of the same client: it is shown, and nothing more.
        *ended = true;
        let batch = hub.glance(&admission, after, park.max).await?;
        return Ok(Answer { asked: None, batch, extra: Extra::default() });
    }
    let mut stream = hub.stream(&admission);
    let mut watch = desk(doors)?.gate.watch(&park.who);
    // Without a cursor it is where the client stands that tells whether it asks the same again.
    let at = standing_at(after, &stream).await?;
    let asked = Asked { at, named: after.is_some(), connection: park.id.connection };
    let event = {
        let held_back = hub.hold_back(&admission, asked);
        tokio::select! {
            biased;
            ended = watch.ended() => match ended.kind {
                // The next request says so.
                Kind::Expired => Event::Quiet,
                _ => return Err(ended),
            },
            event = listen(&mut stream, park, held_back) => event?,
            _ = line.ended(Some(doors.config.header_bytes)) => {
                *ended = true;
                Event::Quiet
            }
        }
    };
    let (asked, mut extra) = (Some(asked), Extra::default());
    match event {
        Event::Batch(batch) => return Ok(Answer { asked, batch, extra }),
        Event::Quiet => {}
        Event::Superseded(wait) => {
            extra.superseded = true;
            if !doors.life.is_draining() {
                sleep(wait).await;
            }
        }
        Event::Draining => extra.retry_after = Some(come_back()),
    }
    let cursor = standing_at(after, &stream).await?;
    Ok(Answer { asked, batch: Batch { cursor, ..Batch::default() }, extra })
}

/// Waits, if the client asks the same again and again not before it was `held_back`.
async fn listen(stream: &mut Stream, park: &Park, held_back: Duration) -> Result<Event, Error> {
    let not_before = Instant::now() + held_back;
    if !held_back.is_zero() {
        match stream.ended(not_before).await {
            Event::Quiet => {}
            ended => return Ok(ended),
        }
    }
    stream.next(park.poll.after, park.max, park.deadline.max(not_before)).await
}

/// The cursor of an answer in which there is nothing.
async fn standing_at(after: Option<Cursor>, stream: &Stream) -> Result<Cursor, Error> {
    match after {
        Some(after) => Ok(after),
        None => stream.start().await,
    }
}
