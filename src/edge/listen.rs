//! TCP: bound here or inherited. Overload waits in the kernel, not in our memory: only one connection is accepted that
//! has no permit yet, and while it waits the connection that has been idle longest makes room.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};

use super::{Doors, connection};
use crate::{lifecycle::Phase, metrics::Counted};

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

/// Accepts connections until the process stops doing so; `open` is dropped once the listener is closed.
pub async fn accept(listener: TcpListener, doors: Arc<Doors>, permits: Arc<Semaphore>, open: mpsc::Sender<()>) {
    tokio::select! {
        () = doors.life.reached(Phase::Closing) => {}
        () = accept_all(&listener, &doors, &permits) => {}
    }
    // In this order: whoever waits for `open` may rely on the listener being closed.
    drop(listener);
    drop(open);
}

async fn accept_all(listener: &TcpListener, doors: &Arc<Doors>, permits: &Arc<Semaphore>) {
    let mut pause = PAUSE_FIRST;
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "accept failed, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LAST);
                continue;
            }
        };
        pause = PAUSE_FIRST;
        if permits.available_permits() == 0 {
            doors.crowded.notify_one();
        }
        // Fails only if the semaphore is closed, which nobody does.
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
        // Only costs latency if it fails.
        let _ = tcp.set_nodelay(true);
        let number = doors.metrics.connections_total.inc() + 1;
        // Counted here, so that a drain that begins now waits for it.
        let counted = (Counted::new(&doors.metrics.connections), doors.life.busy(), permit);
        let guest = Arc::clone(doors);
        doors.life.spawn_detached(async move {
            let _counted = counted;
            connection::serve(tcp, number, guest).await;
        });
    }
}
