//! A connection's life: idle, one or more requests in hyper, perhaps a poll outside of it, idle again.
//!
//! Idle connections and waiting polls hold no hyper: what waits is a socket, a bell and a timer.

use std::{convert::Infallible, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    StatusCode,
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep_until, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{
    Doors,
    cors::Access,
    guests::Stay,
    http,
    outside::{self, Outside},
    reply,
    socket::Socket,
    tls::Tcp,
    turn::{Caller, Turn, Verdict},
};
use crate::{
    error::{Error, Kind},
    lifecycle::Phase,
    wire,
};

/// How long a connection that has served nothing may still ask while the process drains.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long one that has served something: what it sent before it knew is here or will be soon.
const DRAIN_GRACE_USED: Duration = Duration::from_millis(20);

/// What a stay in hyper ended with.
enum Left {
    /// The request is to be served outside.
    Park(Box<(Outside, Access)>),
    /// Nothing more has come.
    Idle,
    /// The connection is over; its end is to be told.
    Over,
    /// A request head took too long.
    SlowHead,
    /// The peer is of no use any more.
    Dead,
}

/// Serves a connection until it ends.
pub async fn serve(tcp: TcpStream, caller: Caller, stay: &Stay, doors: Arc<Doors>) {
    live(Socket::new(tcp, Arc::new(Turn::new(caller))), stay, doors).await;
}

/// Serves a connection whose TLS handshake is done until it ends.
pub async fn secure(tls: Box<TlsStream<Tcp>>, caller: Caller, stay: &Stay, doors: Arc<Doors>) {
    live(Socket::secure(tls, Arc::new(Turn::new(caller))), stay, doors).await;
}

async fn live(mut socket: Socket, stay: &Stay, doors: Arc<Doors>) {
    loop {
        socket.skip_empty_lines();
        if socket.unread.is_empty() && !Box::pin(next_request(&mut socket, stay, &doors)).await {
            // Nothing of ours is on its way, so there is nothing to wait for.
            return;
        }
        let left;
        (left, socket) = Box::pin(in_hyper(socket, &doors)).await;
        match left {
            Left::Park(park) => {
                let (park, access) = *park;
                socket.access = access;
                if !outside::serve(park, &mut socket, &doors).await {
                    return Box::pin(socket.close()).await;
                }
            }
            Left::Idle => {}
            Left::Over => return Box::pin(socket.close()).await,
            Left::SlowHead => return Box::pin(too_slow(socket, &doors)).await,
            Left::Dead => return,
        }
    }
}

/// Waits for the first bytes of a request; false if none will come.
async fn next_request(socket: &mut Socket, stay: &Stay, doors: &Doors) -> bool {
    let _idle = stay.idle();
    let limit = doors.config.header_bytes;
    let waited = tokio::select! {
        biased;
        read = timeout(doors.config.idle_timeout, socket.read_request(limit)) => read,
        () = stay.has_to_leave() => {
            doors.metrics.displaced.inc();
            return false;
        }
        () = doors.life.reached(Phase::Draining) => {
            // Browsers send a request again only if a connection breaks that has served one.
            let grace = if socket.turn.request_id().request == 0 { DRAIN_GRACE } else { DRAIN_GRACE_USED };
            timeout(grace, socket.read_request(limit)).await
        }
    };
    matches!(waited, Ok(Ok(n)) if n > 0)
}

/// A connection in hyper's hands.
type Hyper<S> = http1::Connection<TokioIo<Socket>, S>;

/// Lets hyper serve requests until one is to wait, or nothing more comes.
fn in_hyper(socket: Socket, doors: &Arc<Doors>) -> impl Future<Output = (Left, Socket)> + Send + '_ {
    let turn = Arc::clone(&socket.turn);
    turn.expect();
    let service = {
        let (doors, turn) = (Arc::clone(doors), Arc::clone(&turn));
        service_fn(move |request| http::handle(request, &doors, &turn))
    };
    let mut conn = http1::Builder::new()
        .half_close(true)
        .max_header_size(doors.config.header_bytes)
        .max_buf_size(doors.config.header_bytes.max(8192))
        .serve_connection(TokioIo::new(socket), service);
    // Beside the connection it holds next to nothing: an async function would hold the socket twice more.
    async move { (until_left(&mut conn, &turn, doors).await, taken_back(conn)) }
}

async fn until_left<S>(conn: &mut Hyper<S>, turn: &Turn, doors: &Doors) -> Left
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Unpin> + Unpin,
{
    let mut serve = poll_fn(|cx| {
        let progress = conn.poll_without_shutdown(cx);
        match turn.take_park() {
            Some(park) => Poll::Ready(Left::Park(park)),
            None => progress.map(|_| Left::Over),
        }
    });
    loop {
        let look_at = match turn.verdict(&doors.config) {
            Verdict::At(time) => time,
            Verdict::Idle => return Left::Idle,
            Verdict::SlowHead => return Left::SlowHead,
            Verdict::Stalled => return Left::Dead,
        };
        tokio::select! {
            biased;
            left = &mut serve => return left,
            () = sleep_until(look_at) => {}
        }
    }
}

/// The socket, with what hyper has read ahead in front of what is unread.
fn taken_back<S>(conn: Hyper<S>) -> Socket
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
{
    let parts = conn.into_parts();
    let mut socket = parts.io.into_inner();
    if !parts.read_buf.is_empty() {
        socket.unread = [&parts.read_buf[..], &socket.unread].concat().into();
    }
    socket
}

async fn too_slow(mut socket: Socket, doors: &Doors) {
    let detail = format!("the request head did not arrive within {:?} (header-timeout)", doors.config.header_timeout);
    let error = Error::new(Kind::TooSlow, detail);
    doors.refused(&error, socket.turn.request_id());
    let body = wire::x0::error(&error, false);
    let (status, body_bytes) = (StatusCode::REQUEST_TIMEOUT, Some(body.len()));
    let head = reply::Head {
        status,
        content_type: reply::JSON,
        close: true,
        body_bytes,
        error: None,
        v1: false,
        limits: None,
    };
    // Whom it is for is not known: nothing of it was understood.
    let head = head.text(if doors.pages.any() { &Access::Anybody } else { &Access::Nobody });
    if socket.write(head.as_bytes(), body.as_bytes(), doors.config.write_timeout).await.is_ok() {
        socket.close().await;
    }
}
