//! Cross-origin requests (the Fetch standard's CORS protocol). x0's page comes from another host, and preflights every
//! poll, because every poll has a new URL: this is the cheapest thing that the relay does.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::reply::Reply;

/// The answer to `OPTIONS` anywhere.
pub fn preflight() -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, HEAD, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    *reply.headers_mut() = headers;
    reply
}

/// What x0's request layer and protocol v1's clients send, by name (`*` does not cover `Authorization`), and whatever
/// else by `*`.
const ALLOWED_HEADERS: &str = "*, Accept, Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, \
                               Upgrade-Insecure-Requests";
