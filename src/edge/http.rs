//! Requests to doors: routes, and bodies that are bounded in size and time.

use std::{
    convert::Infallible,
    future::{poll_fn, ready},
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Version,
    body::{Body, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Doors, admin,
    cors::{self, Access},
    outside::Outside,
    reply::{self, Reply},
    turn::{Caller, Turn},
    v1, x0,
};
use crate::{
    error::{Error, Kind},
    gate::Origin,
    id::RequestId,
    settings, wire,
};

/// What a request may hold beside its payload: sessions, names, a form's other fields.
pub const BESIDE_PAYLOAD_BYTES: usize = 64 << 10;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What is read of a body beyond its limit so that its sender, who may not listen before, gets its answer.
const OVERLONG_BYTES: usize = 4 << 20;

/// Answers one request. Does not return if the request is to wait outside of hyper.
///
/// # Errors
/// None: an error is an answer too.
pub fn handle(request: Request<Incoming>, doors: &Arc<Doors>, turn: &Arc<Turn>) -> Answering {
    let id = turn.begin();
    // Before the future begins: whatever is handed to one is kept in it twice.
    let (parts, mut body) = request.into_parts();
    tracing::trace!(request = %id, method = %parts.method, path = %parts.uri.path(), "request");
    // A preflight, of which a page of x0's sends one with each poll, needs no room for what others need.
    if parts.method == Method::OPTIONS
        && let ControlFlow::Break(reply) = admit(&parts, &body, doors, Visit { id, caller: &turn.caller })
    {
        return Box::pin(ready(Ok(answered(reply, doors, turn))));
    }
    let (doors, turn) = (Arc::clone(doors), Arc::clone(turn));
    Box::pin(async move {
        let routed = route(&parts, &mut body, &doors, Visit { id, caller: &turn.caller }).await;
        let Some(reply) = routed.now_or_parked(&turn) else { return std::future::pending().await };
        Ok(answered(reply, &doors, &turn))
    })
}

fn answered(reply: Reply, doors: &Doors, turn: &Turn) -> Reply {
    turn.answered();
    if doors.life.is_draining() { reply::closing(reply) } else { reply }
}

/// A request that is being answered.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

/// What is known of a request beside what it says.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Its name.
    pub id: RequestId,
    /// Whose connection it came on.
    pub caller: &'a Caller,
}

/// What became of a request without waiting.
pub enum Routed {
    /// Its answer.
    Now(Reply),
    /// Who asked is to wait, or to be streamed to; and who may read that.
    Outside(Outside, Access),
}

impl Routed {
    /// The answer, if it is not for somebody outside of hyper to give.
    fn now_or_parked(self, turn: &Turn) -> Option<Reply> {
        match self {
            Routed::Now(reply) => Some(reply),
            Routed::Outside(outside, access) => {
                turn.park(outside, access);
                None
            }
        }
    }
}

/// What a door made of a request without waiting.
pub enum Done {
    /// Its answer.
    Now(Reply),
    /// Who asked is to wait, or to be streamed to.
    Outside(Outside),
}

/// Serves a request as far as it needs no waiting.
pub async fn route(parts: &Parts, body: &mut Incoming, doors: &Arc<Doors>, visit: Visit<'_>) -> Routed {
    let access = match admit(parts, body, doors, visit) {
        ControlFlow::Continue(access) => access,
        ControlFlow::Break(reply) => return Routed::Now(reply),
    };
    let done = if let Some(path) = wire::x0::Path::of(parts.uri.path(), parts.uri.query()) {
        x0::handle(path, parts, body, doors, visit).await
    } else if v1::is_at(parts.uri.path()) {
        // Larger than x0's, which is asked most: it does not make room for this.
        Box::pin(v1::handle(parts, body, doors, visit)).await
    } else {
        return Routed::Now(match Box::pin(admin::route(parts, &access, doors)).await {
            Ok(reply) => reply,
            Err(error) => refuse(&error, &access, (parts, body), doors, visit.id),
        });
    };
    match done {
        Done::Now(mut reply) => {
            access.add_to(reply.headers_mut());
            Routed::Now(reply)
        }
        Done::Outside(outside) => Routed::Outside(outside, access),
    }
}

/// Who may read the answer to a request, or the answer to one that no door need see.
fn admit(parts: &Parts, body: &Incoming, doors: &Doors, visit: Visit<'_>) -> ControlFlow<Reply, Access> {
    // What a client over TLS calls the relay is its name.
    let access = cors::access(parts, &doors.pages, doors.trusts_names || visit.caller.secure);
    if parts.method == Method::OPTIONS {
        doors.metrics.request("http", "options");
        return ControlFlow::Break(cors::preflight(access.as_ref().unwrap_or(&Access::Nobody)));
    }
    if parts.method == Method::CONNECT {
        // A 200 would mean that a tunnel is open.
        return ControlFlow::Break(reply::closing(reply::error(&Error::new(Kind::BadMethod, "this is no proxy"))));
    }
    match access {
        Ok(access) => ControlFlow::Continue(access),
        Err(error) => ControlFlow::Break(refuse(&error, &Access::Nobody, (parts, body), doors, visit.id)),
    }
}

fn refuse(error: &Error, access: &Access, (parts, body): (&Parts, &Incoming), doors: &Doors, id: RequestId) -> Reply {
    doors.refused(error, id);
    let mut reply = if v1::is_at(parts.uri.path()) { reply::problem(error, id) } else { reply::error(error) };
    access.add_to(reply.headers_mut());
    // What is left of a body would be taken for the next request's head.
    if body.is_end_stream() { reply } else { reply::closing(reply) }
}

/// Where a request comes from.
pub fn origin(parts: &Parts, visit: Visit<'_>, doors: &Doors) -> Origin {
    // Looked for only if they are looked at, which is seldom.
    let values = |name: HeaderName| {
        let all = move || parts.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        std::iter::once_with(all).flatten()
    };
    let (forwarded, x) = (values(header::FORWARDED), values(X_FORWARDED_FOR));
    Origin::Remote(doors.tolls.limits.client(visit.caller.peer, forwarded, x))
}

/// The credentials of a request that has any.
pub fn authorization(parts: &Parts) -> Option<&[u8]> {
    parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes)
}

/// Whether the connection is to end after the answer (RFC 9112 sections 6.1 and 9.6).
///
/// A request with `Transfer-Encoding` ends it if it is answered outside of hyper, because hyper removes a
/// `Content-Length` beside it, and with that the sign that somebody before us may see its end elsewhere.
pub fn ends_after(parts: &Parts) -> bool {
    let named = parts.headers.get_all(header::CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|list| list.split(',').any(|token| token.trim().eq_ignore_ascii_case("close")))
    });
    named || parts.version < Version::HTTP_11 || parts.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Refuses a body in a coding that is not understood. Nothing is ever decompressed, so no small body becomes a large one.
///
/// # Errors
/// [`Kind::BadRequest`], [`Kind::UnsupportedMedia`].
pub fn check_framing(parts: &Parts) -> Result<(), Error> {
    let codings = parts.headers.get_all(header::TRANSFER_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(Error::new(Kind::BadRequest, "of transfer codings chunked alone is understood"));
    }
    let mut compressed = parts.headers.get_all(header::CONTENT_ENCODING).iter();
    if compressed.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::new(Kind::UnsupportedMedia, "a body is read as it is: send it without Content-Encoding"));
    }
    Ok(())
}

/// Reads a body within its limits.
///
/// # Errors
/// [`Kind::TooLarge`], [`Kind::TooSlow`], and [`Kind::BadRequest`] if it breaks off; the connection is then of no use.
pub async fn body(body: &mut Incoming, config: &settings::Http) -> Result<Bytes, Error> {
    let limit = config.message_bytes + BESIDE_PAYLOAD_BYTES;
    let mut deadline = None;
    let too_large = || {
        let detail = format!(
            "a message may have {} bytes (message-bytes), this body has more than {limit}",
            config.message_bytes
        );
        Error::new(Kind::TooLarge, detail)
    };
    let announced = body.size_hint().lower();
    if announced > (limit + OVERLONG_BYTES) as u64 {
        return Err(too_large());
    }
    let mut all = BytesMut::new();
    let mut first: Option<Bytes> = None;
    let mut seen = 0;
    loop {
        // Nearly always it is there already, and no clock is asked.
        let there = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        let frame = match there {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + config.body_timeout);
                Box::pin(timeout_at(deadline, body.frame())).await.map_err(|_| {
                    let detail = format!("the body did not arrive within {:?} (body-timeout)", config.body_timeout);
                    Error::new(Kind::TooSlow, detail)
                })?
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Error::new(Kind::BadRequest, "the body broke off, or is badly framed"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > limit + OVERLONG_BYTES {
            break;
        }
        if seen <= limit {
            match first.take() {
                None if all.is_empty() => first = Some(data),
                None => all.extend_from_slice(&data),
                Some(before) => {
                    all.extend_from_slice(&before);
                    all.extend_from_slice(&data);
                }
            }
        }
    }
    if seen > limit { Err(too_large()) } else { Ok(first.unwrap_or_else(|| all.freeze())) }
}
