//! x0's own message server behind the gateway: one connection, one exchange, 4096 bytes, no waiting.

use std::{io, time::Duration};

use tokio::time::timeout;

use super::{Link, Way, away};
use crate::{
    edge::{
        post::Outcome,
        seqpacket::{Received, Seqpacket},
    },
    error::{Error, Kind},
    id::SessionId,
    wire::{
        control::{self, X0_PACKET_BYTES},
        json,
    },
};

/// How often it is asked for mail.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take: it serves one request a second, in turn.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// The largest answer that is understood: it does not keep to what its own front can read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// SET or DEL.
///
/// # Errors
/// [`Kind::TooLarge`] if it would be cut there; [`Kind::Refused`] if nobody answers; else what it said.
pub async fn tell(link: &Link, packet: &str) -> Result<(), Error> {
    if packet.len() > X0_PACKET_BYTES {
        let detail = format!(
            "x0's own message server, which is behind this gateway, reads {X0_PACKET_BYTES} bytes; this request has {}",
            packet.len()
        );
        return Err(Error::new(Kind::TooLarge, detail));
    }
    exchange(link, packet).await.map(drop)
}

/// GET; `None` if nothing waits.
///
/// # Errors
/// As [`tell`].
pub async fn ask(link: &Link, session: &SessionId) -> Result<Option<Outcome>, Error> {
    let answer = match exchange(link, &control::ask("GET", session)).await {
        // A server that is away is waited for.
        Err(error) if error.kind == Kind::Refused => return Ok(None),
        result => result?,
    };
    let object = json::object(json::text(&answer)?)?;
    let array = object.get("messages").filter(|array| array.starts_with('[') && array[1..].trim() != "]");
    // It has removed them already: there is nothing to settle.
    Ok(array.map(|array| Outcome::Mail(array.as_bytes().to_vec(), None)))
}

async fn exchange(link: &Link, packet: &str) -> Result<Vec<u8>, Error> {
    let answer = match timeout(ANSWER_WITHIN, once(link, packet)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an exchange with x0's own server failed");
            link.0.way.send_replace(Way::Down);
            return Err(away());
        }
        Err(_) => return Err(Error::new(Kind::Refused, "the message server behind this gateway does not answer")),
    };
    if answer.is_empty() {
        return Err(Error::new(
            Kind::BadRequest,
            "the message server behind this gateway gave no answer to this request",
        ));
    }
    let object = json::object(json::text(&answer)?)?;
    if object.get("error") == Some("true") {
        let text = object.get("exception").and_then(json::string).unwrap_or_default().into_owned();
        let kind = if text == Kind::InvalidSession.title() { Kind::InvalidSession } else { Kind::Internal };
        return Err(Error::new(kind, format!("the message server behind this gateway said: {text}")));
    }
    Ok(answer)
}

/// One connection, one packet each way. Empty if it closed without an answer.
async fn once(link: &Link, packet: &str) -> io::Result<Vec<u8>> {
    let peer = Seqpacket::connect(&link.0.path)?;
    peer.send(packet.as_bytes()).await?;
    match peer.receive(ANSWER_BYTES_MAX).await? {
        Received::Packet(answer) => Ok(answer),
        Received::End => Ok(Vec::new()),
        Received::TooLarge(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}
