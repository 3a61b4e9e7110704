//! HTTP/2 (RFC 9113) over TLS: all of a browser's tabs on one connection, so that none of them waits for another's.
//!
//! hyper keeps the connection. A request that waits does so in a task of its own, whose way out is a [`stream::Stream`];
//! the handler passes its answer on, and is dropped when the client resets the stream.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, header, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::{
    Doors,
    guests::Stay,
    http::{self, Routed, Visit},
    outside,
    tls::Tcp,
    turn::Caller,
};
use crate::lifecycle::{Lifecycle, Phase};

mod body;
mod conn;
mod io;
mod stream;

use body::Body;
use conn::Conn;
use io::Io;

/// Requests of one client at once (RFC 9113 wants at least 100): a tab has one that waits, and sends beside it.
const STREAMS: u32 = 128;
/// What a client may send ahead of what is read, for one request and for all.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// What of an answer hyper holds for one stream.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that were reset before anybody looked at them, and that we have reset: beyond that the connection ends.
const RESET_UNSEEN: usize = 20;
const RESET_BY_US: usize = 128;
/// How often a silent client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a connection that is told to end may go on when nothing is open on it.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub async fn serve(tls: Box<TlsStream<Tcp>>, caller: Caller, stay: &Stay, doors: Arc<Doors>) {
    let conn = Arc::new(Conn::new(caller, Arc::clone(tls.get_ref().0.under())));
    let service = {
        let (doors, conn) = (Arc::clone(&doors), Arc::clone(&conn));
        service_fn(move |request| Box::pin(handle(request, Arc::clone(&doors), Arc::clone(&conn))))
    };
    let serving = http2::Builder::new(Spawn(doors.life.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(doors.config.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(RESET_BY_US)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(doors.config.write_timeout)
        .serve_connection(TokioIo::new(Io::new(tls, Arc::clone(&conn))), service);
    {
        let mut serving = pin!(serving);
        let mut open = conn.open();
        let mut leaving = None;
        let mut told = false;
        loop {
            if leaving.is_some() && !told {
                serving.as_mut().graceful_shutdown();
                told = true;
            }
            let idle = *open.borrow_and_update() == 0;
            let turn = poll_fn(|cx| {
                let progress = serving.as_mut().poll(cx);
                if progress.is_pending() {
                    conn.turn_ended(cx.waker());
                }
                progress.map(drop)
            });
            let away = conn.can_make_room(idle).then(|| stay.idle());
            let look_at = leaving.filter(|_| idle).unwrap_or_else(|| conn.look_at(idle, &doors.config));
            tokio::select! {
                biased;
                () = turn => break,
                () = doors.life.reached(Phase::Draining), if leaving.is_none() => {
                    leaving = Some(Instant::now() + LEAVE_WITHIN);
                }
                () = stay.has_to_leave(), if away.is_some() => {
                    doors.metrics.displaced.inc();
                    break;
                }
                () = conn.flooded() => {
                    tracing::debug!(connection = conn.caller.connection, "it resets its requests faster than they are served");
                    break;
                }
                _ = open.changed() => {}
                () = sleep_until(look_at) => {
                    if leaving.is_some_and(|until| idle && until <= Instant::now()) || conn.is_useless(idle, &doors.config) {
                        break;
                    }
                }
            }
        }
    }
    // What was answered may still have to be proved delivered.
    conn.end();
    // The sender lives as long as `conn`.
    let _ = conn.open().wait_for(|open| *open == 0).await;
}

/// Runs what hyper wants run: a stream's life.
#[derive(Clone)]
struct Spawn(Lifecycle);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, stream: F) {
        self.0.spawn_detached(stream);
    }
}

async fn handle(request: Request<Incoming>, doors: Arc<Doors>, conn: Arc<Conn>) -> Result<Response<Body>, Infallible> {
    let (id, asking) = conn.begin();
    let (parts, mut body) = request.into_parts();
    tracing::trace!(request = %id, method = %parts.method, path = %parts.uri.path(), "request");
    let mut reply = match http::route(&parts, &mut body, &doors, Visit { id, caller: &conn.caller }).await {
        Routed::Now(reply) => reply.map(Body::Whole),
        Routed::Outside(outside, access) => {
            let asked = outside.session().map(|session| conn.ask(session));
            let (stream, answer) = stream::open(Arc::clone(&conn), access, asked);
            let counted = (doors.life.busy(), conn.hold());
            let guest = Arc::clone(&doors);
            doors.life.spawn_detached(async move {
                let _counted = counted;
                tokio::select! {
                    () = outside::serve_stream(outside, stream, &guest) => {}
                    // Its time is up. If this process lives on, its mailboxes are another's by now.
                    () = guest.life.reached(Phase::Done) => {}
                }
            });
            answer.await
        }
    };
    asking.answered();
    // They are of HTTP/1.1 (RFC 9113 section 8.2.2).
    for name in [header::CONNECTION, header::UPGRADE] {
        reply.headers_mut().remove(name);
    }
    Ok(reply)
}
