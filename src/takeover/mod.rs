//! One relay takes another's place: what the two say to each other on the control channel, and how long each waits.
//!
//! [`giving`] is the running relay's side, [`taking`] that of the one that comes; [`crate::wire::takeover`] has the
//! packets, and docs/control-channel.md what happens when either of them fails, step by step. The rule behind it: the
//! connection between the two is the lease on the sockets. As long as it lasts and nobody has said `serving`, the old
//! one may have its place back, once the new one is known to have ended; and an old one that ends without a word
//! leaves its place to the new one.

use std::time::Duration;

use crate::{
    edge::seqpacket::{Received, Seqpacket},
    wire::{control::PACKET_BYTES_MAX, takeover::Step},
};

pub mod giving;
pub mod taking;

pub use giving::Giving;
pub use taking::Taking;

/// How long a relay that is asked for its place may take to answer. It does nothing else for it than look.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the new relay may take for all that can fail before the place is empty.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long the old one may take to empty the place: its drain, and making everything safe on a slow disk.
const YOURS_WITHIN: Duration = Duration::from_secs(60);
/// How long the new one may take to open the store and accept. Connections wait meanwhile.
const SERVING_WITHIN: Duration = Duration::from_secs(10);
/// How long one that has said that it failed may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// The peer's next step.
///
/// # Errors
/// The connection has ended, or what came is no step; in words.
async fn step(peer: &Seqpacket) -> Result<Step, Broken> {
    match peer.receive(PACKET_BYTES_MAX).await {
        Ok(Received::Packet(packet)) => {
            Step::read(&packet).map_err(|error| Broken::Nonsense(error.detail.into_owned()))
        }
        Ok(Received::TooLarge(bytes)) => Err(Broken::Nonsense(format!("a packet of {bytes} bytes"))),
        Ok(Received::End) | Err(_) => Err(Broken::Ended),
    }
}

/// Why there is no step.
#[derive(Debug)]
enum Broken {
    /// The connection is over, and with it the process at its other end or its part in this.
    Ended,
    /// What came is no step.
    Nonsense(String),
}
