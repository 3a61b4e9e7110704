//! The new relay's side: it asks for the running one's place, and goes on where that ends.

use std::{io, os::fd::OwnedFd, path::Path};

use tokio::time::timeout;

use super::{ANSWER_WITHIN, Broken, FAREWELL, YOURS_WITHIN, step};
use crate::{
    edge::seqpacket::Seqpacket,
    wire::{
        control::{self, PACKET_BYTES_MAX, Word},
        takeover::{Ask, Offer, Step, VERSION},
    },
};

/// A running relay that gives its place.
#[derive(Debug)]
pub struct Taking {
    peer: Seqpacket,
    /// What it has said of its sockets.
    pub offer: Offer,
}

/// Why there is no place to be had.
#[derive(Debug)]
pub enum Failed {
    /// The running relay does not give it.
    Refused(String),
    /// Whoever is there does not answer.
    Unreachable(String),
}

/// How the place became empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Empty {
    /// The old relay has emptied it.
    Given,
    /// The old relay has ended before it could.
    Left,
}

impl Taking {
    /// Asks the relay at `path` for its place and gets its sockets. `None` if no relay is there.
    ///
    /// # Errors
    /// It refuses, or does not answer. `trusted` says whether what belongs to a user is to be spoken with.
    pub async fn ask(
        path: &Path,
        trusted: impl FnOnce(u32) -> bool,
        ask: Ask,
    ) -> Result<Option<(Self, Vec<OwnedFd>)>, Failed> {
        let shown = path.display();
        let away = |error: io::Error| Failed::Unreachable(format!("no relay can be asked at {shown}: {error}"));
        let peer = match Seqpacket::connect(path) {
            Ok(peer) => peer,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(away(error)),
        };
        let owner = peer.peer_uid().map_err(away)?;
        if !trusted(owner) {
            return Err(Failed::Refused(format!("{shown} belongs to user {owner}, who is not you; name it: --socket")));
        }
        let asked = async {
            peer.send(control::word(&Word::Takeover(ask)).as_bytes()).await?;
            peer.receive_with(PACKET_BYTES_MAX).await
        };
        let (packet, sockets) = timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(|_| Failed::Unreachable(format!("whoever is at {shown} did not answer within {ANSWER_WITHIN:?}")))?
            .map_err(away)?;
        if packet.is_empty() {
            return Err(Failed::Unreachable(format!("whoever is at {shown} ended the connection without an answer")));
        }
        let refused = |why: &str| Failed::Refused(format!("the relay at {shown} does not give its place: {why}"));
        match Step::read(&packet) {
            Ok(Step::Sockets(offer)) if offer.version == VERSION => Ok(Some((Self { peer, offer }, sockets))),
            Ok(Step::Sockets(Offer { version, .. })) => {
                Err(refused(&format!("it speaks version {version} of the takeover, and this one version {VERSION}")))
            }
            Ok(Step::Refused(why)) => Err(refused(&why)),
            Ok(_) | Err(_) => Err(refused("it does not know the word takeover")),
        }
    }

    /// Says that nothing can fail any more but the store, and waits until the place is empty.
    ///
    /// # Errors
    /// The old relay keeps it.
    pub async fn ready(&self) -> Result<Empty, Failed> {
        let said = async {
            // If that fails, the old relay has said why before.
            let _ = self.peer.send(Step::Ready.write().as_bytes()).await;
            step(&self.peer).await
        };
        match timeout(YOURS_WITHIN, said).await {
            Ok(Ok(Step::Yours)) => Ok(Empty::Given),
            // One that keeps its place says so: this one's process is no more.
            Ok(Err(Broken::Ended)) => Ok(Empty::Left),
            Ok(Ok(Step::Refused(why))) => Err(Failed::Refused(format!("the running relay keeps its place: {why}"))),
            Ok(other) => Err(Failed::Refused(format!("the running relay makes no sense: {other:?}"))),
            Err(_) => Err(Failed::Refused(format!("the running relay did not end within {YOURS_WITHIN:?}"))),
        }
    }

    /// Says that connections are accepted: the old relay ends.
    pub async fn serving(&self) {
        self.tell(Step::Serving).await;
    }

    /// Says why it does not go on.
    pub async fn failed(&self, why: String) {
        self.tell(Step::Failed(why)).await;
    }

    async fn tell(&self, step: Step) {
        // If the old relay has gone, it need not be told.
        let _ = timeout(FAREWELL, self.peer.send(step.write().as_bytes())).await;
    }
}
