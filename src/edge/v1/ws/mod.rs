//! WebSocket (RFC 6455): [`handshake`] opens it, [`session`] decides, [`pipe`] carries frames, [`drive`] brings them
//! together.

use std::io;

use hyper::http::request::Parts;

use super::{desk, refuse};
use crate::{
    cursor::Cursor,
    edge::{Doors, http::BESIDE_PAYLOAD_BYTES, socket::Socket},
    error::Error,
    gate::Who,
    hub::{Haste, Stream},
    id::RequestId,
    settings,
    wire::v1,
};

mod drive;
pub mod handshake;
mod out;
mod pipe;
mod session;

#[cfg(test)]
mod client;

use drive::Talk;
use handshake::Handshake;
use pipe::Peer;

/// A handshake that is to be answered outside of hyper.
#[derive(Debug)]
pub struct Park {
    who: Who,
    attach: v1::Attach,
    handshake: Handshake,
    id: RequestId,
}

impl Park {
    /// A request for a WebSocket.
    ///
    /// # Errors
    /// It is no handshake that is understood.
    pub fn new(who: Who, attach: v1::Attach, parts: &Parts, id: RequestId) -> Result<Self, Error> {
        Ok(Self { who, attach, handshake: Handshake::read(parts)?, id })
    }
}

/// The longest message that a client may send over it.
fn message_bytes_max(config: &settings::Http) -> usize {
    config.message_bytes + BESIDE_PAYLOAD_BYTES
}

/// Serves until the client, or a newer one, or the relay's end ends it.
pub async fn serve(park: Park, socket: &mut Socket, doors: &Doors) {
    if socket.has_ended() {
        // Nobody listens, and somebody else may be the receiver by now.
        return;
    }
    let result = match open(&park, doors).await {
        // Boxed, so that polls, which wait in the same place, need no room for it.
        Ok((stream, start)) => Box::pin(talk(&park, stream, start, socket, doors)).await,
        Err(error) => refuse(&error, park.id, socket, doors).await,
    };
    if let Err(error) = result {
        tracing::debug!(request = %park.id, session = %park.attach.session, %error, "WebSocket broken off");
    }
}

/// Becomes the session's receiver, and finds out where the mailbox stands.
async fn open(park: &Park, doors: &Doors) -> Result<(Stream, Cursor), Error> {
    let desk = desk(doors)?;
    let attach = &park.attach;
    let admission = desk.gate.receive(&park.who, attach.session.clone())?;
    if let Some(after) = attach.after {
        desk.hub.acknowledge(&admission, after, Haste::Soon).await?;
    }
    let stream = desk.hub.stream(&admission);
    let start = stream.start().await?;
    Ok((stream, start))
}

async fn talk<P: Peer>(park: &Park, stream: Stream, start: Cursor, peer: P, doors: &Doors) -> io::Result<()> {
    let Ok(desk) = desk(doors) else { return Ok(()) };
    // Also one of another epoch: until the gap is told that says so, the client must not believe to be further.
    let position = park.attach.after.unwrap_or(start);
    let mut talk = Talk::new(peer, park.who.clone(), park.attach.session.clone(), position, doors, desk, park.id);
    talk.begin(park.handshake.head());
    talk.run(stream).await?;
    talk.part().await
}

#[cfg(test)]
mod tests;
