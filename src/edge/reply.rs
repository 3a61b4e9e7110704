//! How answers look on HTTP.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};

use crate::{error::Error, wire::x0};

/// An answer.
pub type Reply = Response<Full<Bytes>>;

/// JSON as x0 labels it.
pub const JSON: &str = "application/json; charset=UTF-8";

/// An answer with a body.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// JSON with status 200.
pub fn json(body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, JSON, body)
}

/// An error outside of the x0 dialect, with its own status.
pub fn error(error: &Error) -> Reply {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(status, JSON, x0::error(error, false))
}

/// Asks hyper to end the connection after this answer.
pub fn closing(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// The head of an answer that is written without hyper (RFC 9112).
pub fn head(status: StatusCode, body_bytes: usize, close: bool) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let connection = if close { "connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {JSON}\r\naccess-control-allow-origin: *\r\ncache-control: no-store\r\n\
         {connection}content-length: {body_bytes}\r\ndate: {date}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_by_hand_is_a_head() {
        let head = head(StatusCode::OK, 7, true);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.ends_with(" GMT\r\n\r\n"), "{head}");
        assert_eq!(head.matches("\r\n\r\n").count(), 1);
    }
}
