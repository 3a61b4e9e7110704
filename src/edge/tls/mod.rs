//! TLS (RFC 8446, RFC 5246) on listening addresses: the handshake, and who serves what comes out of it.
//!
//! A handshake holds up nobody but its own connection, has as long as a request's head has, and makes room for newer ones when there
//! are too many.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Doors, connection, cors::Access, guests::Stay, h2, reply, turn::Caller};
use crate::{
    error::{Error, Kind},
    lifecycle::Phase,
    wire,
};

pub mod identity;
mod tcp;

pub use identity::Identity;
pub use tcp::{Tcp, Under};

/// How long a handshake may go on once the process drains.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// The way in through TLS, the same for all addresses that speak it.
pub struct Entrance {
    identity: Identity,
    /// How many handshakes may be under way.
    room: usize,
    /// Those that are, by the numbers of their connections, the oldest first. One that is taken out ends.
    under_way: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// What a connection that was to speak TLS turned out to be.
enum Entered {
    Tls(Box<TlsStream<Tcp>>),
    /// It speaks HTTP without TLS, as one does who forgets the s of https.
    Plain(TcpStream),
}

impl Entrance {
    /// For this many connections at once.
    pub fn new(identity: Identity, connections: usize) -> Self {
        // Handshakes cost more than what comes after them, and nothing of theirs is worth much yet.
        Self { identity, room: (connections / 4).max(1), under_way: Mutex::default() }
    }

    async fn enter(&self, tcp: TcpStream, number: u64) -> io::Result<Entered> {
        let (keep, displaced) = oneshot::channel();
        let _listed = Listed::new(self, number, keep);
        tokio::select! {
            biased;
            entered = self.shake(tcp) => entered,
            _ = displaced => Err(io::Error::new(io::ErrorKind::TimedOut, "it made room for another")),
        }
    }

    async fn shake(&self, tcp: TcpStream) -> io::Result<Entered> {
        // A TLS handshake begins with 22 (RFC 8446 section 5.1), an HTTP method with a capital.
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            return Ok(Entered::Plain(tcp));
        }
        let tls = TlsAcceptor::from(self.identity.now()).accept(Tcp::new(tcp)).await?;
        Ok(Entered::Tls(Box::new(tls)))
    }
}

/// A handshake's place among those that are under way.
struct Listed<'a>(&'a Entrance, u64);

impl<'a> Listed<'a> {
    /// The newest; if there is no room for it, the oldest makes some.
    fn new(entrance: &'a Entrance, number: u64, keep: oneshot::Sender<()>) -> Self {
        let mut under_way = entrance.under_way.lock();
        under_way.insert(number, keep);
        if under_way.len() > entrance.room {
            under_way.pop_first();
        }
        Self(entrance, number)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().remove(&self.1);
    }
}

/// Serves a connection to an address that speaks TLS until it ends.
pub async fn serve(tcp: TcpStream, caller: Caller, stay: &Stay, entrance: Arc<Entrance>, doors: Arc<Doors>) {
    let deadline = Instant::now() + doors.config.header_timeout;
    let idle = stay.idle();
    let entered = tokio::select! {
        entered = Box::pin(entrance.enter(tcp, caller.connection)) => entered,
        () = too_late(deadline, &doors) => Err(io::ErrorKind::TimedOut.into()),
        () = stay.has_to_leave() => {
            doors.metrics.displaced.inc();
            return;
        }
    };
    drop(idle);
    match entered {
        Ok(Entered::Tls(tls)) => {
            drop(entrance);
            let protocol = tls.get_ref().1.alpn_protocol();
            if protocol == Some(identity::H2) {
                Box::pin(h2::serve(tls, caller, stay, doors)).await;
            } else {
                connection::secure(tls, caller, stay, doors).await;
            }
        }
        Ok(Entered::Plain(tcp)) => not_here(tcp, &doors).await,
        Err(error) => tracing::debug!(connection = caller.connection, %error, "no TLS handshake"),
    }
}

async fn too_late(deadline: Instant, doors: &Doors) {
    tokio::select! {
        () = sleep_until(deadline) => {}
        () = async {
            doors.life.reached(Phase::Draining).await;
            sleep_until(Instant::now() + DRAIN_GRACE).await;
        } => {}
    }
}

/// Tells a client that it speaks HTTP where HTTPS is spoken.
async fn not_here(mut tcp: TcpStream, doors: &Doors) {
    /// What is read of what it says, so that it hears its answer.
    const HEARD_BYTES: usize = 16 << 10;
    let error = Error::new(Kind::BadRequest, "TLS is spoken here, and this is HTTP: write https:// in the address");
    doors.metrics.error(error.kind);
    let body = wire::x0::error(&error, false);
    let (status, body_bytes) = (reply::status(&error), Some(body.len()));
    let head = reply::Head {
        status,
        content_type: reply::JSON,
        close: true,
        body_bytes,
        error: None,
        v1: false,
        limits: None,
    };
    let text = head.text(&Access::Nobody) + &body;
    let answer = async {
        tcp.write_all(text.as_bytes()).await?;
        tcp.shutdown().await?;
        let mut scrap = [0; 4096];
        let mut heard = 0;
        while heard < HEARD_BYTES {
            tcp.readable().await?;
            match tcp.try_read(&mut scrap) {
                Ok(0) => break,
                Ok(n) => heard += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    // Whether it hears it or not.
    let _ = tokio::time::timeout(DRAIN_GRACE, answer).await;
}
