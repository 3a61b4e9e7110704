//! TCP: bound here or inherited. Overload waits in the kernel, not in our memory: only one connection is accepted that
//! has no permit yet, and while it waits the connection that has been idle longest makes room.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

use super::{
    Doors, connection,
    guests::Stay,
    reply,
    tls::{self, Entrance},
    turn::Caller,
};
use crate::{
    error::{Error, Kind},
    lifecycle::Phase,
    metrics::Counted,
    wire,
};

/// How many connections the kernel queues while nobody accepts; it caps this itself.
const BACKLOG: u32 = 4096;
/// The first and the longest pause after a failed accept (too many open files, for example).
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// Binds an address.
///
/// # Errors
/// The system's, with the address.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    socket.listen(BACKLOG)?.into_std()
}

/// Accepts connections, which speak TLS if there is an entrance for that, until the process stops doing so; `open` is dropped once this listener is closed.
pub async fn accept(
    (listener, tls): (TcpListener, Option<Arc<Entrance>>),
    doors: Arc<Doors>,
    permits: Arc<Semaphore>,
    open: mpsc::Sender<()>,
) {
    accept_all(&listener, tls.as_ref(), &doors, &permits).await;
    // In this order: whoever waits for `open` may rely on the listener being closed.
    drop(listener);
    drop(open);
}

async fn accept_all(listener: &TcpListener, tls: Option<&Arc<Entrance>>, doors: &Arc<Doors>, permits: &Arc<Semaphore>) {
    let mut pause = PAUSE_FIRST;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = doors.life.reached(Phase::Closing) => return,
        };
        let (tcp, peer) = match accepted {
            Ok((tcp, peer)) => (tcp, peer.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "accept failed, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LAST);
                continue;
            }
        };
        pause = PAUSE_FIRST;
        let number = doors.metrics.connections_total.inc() + 1;
        let Some(stay) = place(peer, number, doors) else {
            if tls.is_none() {
                turn_away(&tcp);
            }
            continue;
        };
        if permits.available_permits() == 0 {
            doors.guests.make_room();
        }
        let permit = tokio::select! {
            permit = Arc::clone(permits).acquire_owned() => permit.ok(),
            // It is accepted, so it is served, as the last one.
            () = doors.life.reached(Phase::Closing) => None,
        };
        // Only costs latency if it fails.
        let _ = tcp.set_nodelay(true);
        // Counted here, so that a drain that begins now waits for it.
        let counted = (Counted::new(&doors.metrics.connections), doors.life.busy(), permit);
        let caller = Caller { connection: number, peer, secure: tls.is_some(), guest: stay.guest() };
        let (guest, entrance) = (Arc::clone(doors), tls.cloned());
        doors.life.spawn_detached(async move {
            let _counted = counted;
            let serve = async {
                match entrance {
                    None => connection::serve(tcp, caller, &stay, Arc::clone(&guest)).await,
                    Some(entrance) => Box::pin(tls::serve(tcp, caller, &stay, entrance, Arc::clone(&guest))).await,
                }
            };
            tokio::select! {
                () = serve => {}
                // Its time is up. If this process lives on, its mailboxes are another's by now.
                () = guest.life.reached(Phase::Done) => {}
            }
        });
    }
}

/// A place for a new connection; none if its address has too many, or comes too often.
fn place(peer: IpAddr, number: u64, doors: &Doors) -> Option<Stay> {
    let limits = &doors.tolls.limits;
    if let Ok(()) = limits.connect(peer, doors.life.clock.uptime())
        && let Ok(stay) = doors.guests.arrive(peer, number, limits.connections(peer))
    {
        return Some(stay);
    }
    doors.metrics.turned_away.inc();
    tracing::debug!(%peer, "too many connections of one address");
    None
}

/// Says so if that costs nothing.
fn turn_away(tcp: &TcpStream) {
    let error =
        Error::new(Kind::Busy, "too many connections of this address (connections-per-address, connects-per-address)");
    let body = wire::x0::error(&error, false);
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\naccess-control-allow-origin: *\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        reply::JSON,
        body.len()
    );
    // It fits into an empty buffer, or the peer is gone.
    let _ = tcp.try_write(answer.as_bytes());
}
