//! How answers look on HTTP.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    cors::Access,
    limits::{Announced, seconds_up},
};
use crate::{
    error::{Error, Kind},
    gate::challenge,
    id::RequestId,
    wire::{v1, x0},
};

/// An answer.
pub type Reply = Response<Full<Bytes>>;

/// JSON as x0 labels it.
pub const JSON: &str = "application/json; charset=UTF-8";

/// Errors of protocol v1 (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";
/// Server-sent events.
pub const EVENTS: &str = "text/event-stream";
/// What a page of another origin may read beside the body.
pub const EXPOSED: &str = "Retry-After, RateLimit, RateLimit-Policy";
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// When to come back after an error that may pass, if nothing better is known, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// An answer with a body. Who may read it is [`super::cors::Access`]'s to say.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// JSON with status 200.
pub fn json(body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, JSON, body)
}

/// An error outside of the x0 dialect, with its own status.
pub fn error(error: &Error) -> Reply {
    reply(status(error), JSON, x0::error(error, false))
}

/// An error of protocol v1.
pub fn problem(error: &Error, id: RequestId) -> Reply {
    let mut reply = reply(status(error), PROBLEM, v1::problem(error, id));
    if let Some(after) = retry_after(error) {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
    }
    if let Some(announced) = Announced::refused(error) {
        announced.insert(reply.headers_mut());
    }
    if let Some(challenge) = challenge(error) {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    reply
}

/// An error's status outside of the x0 dialect.
pub fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What `Retry-After` says with it (RFC 9110 section 10.2.3), in seconds.
fn retry_after(error: &Error) -> Option<u64> {
    let passes = error.kind.retry() && error.kind != Kind::TooSlow;
    let known = error.retry.as_ref().map(|retry| seconds_up(retry.after).max(1));
    passes.then_some(known.unwrap_or(RETRY_AFTER_S))
}

/// Asks hyper to end the connection after this answer.
pub fn closing(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// More than the usual head has.
const HEAD_BYTES: usize = 320;

/// The head of an answer that is written without hyper (RFC 9112).
pub struct Head<'a> {
    /// How it went.
    pub status: StatusCode,
    /// What the body is.
    pub content_type: &'static str,
    /// Whether the connection ends with the answer.
    pub close: bool,
    /// How long the body is; if nobody knows, the connection's end is its end.
    pub body_bytes: Option<usize>,
    /// What went wrong, if something did.
    pub error: Option<&'a Error>,
    /// Whether it is an answer of protocol v1.
    pub v1: bool,
    /// The limits in force, if the request was charged.
    pub limits: Option<&'a Announced>,
}

impl Head<'_> {
    /// Its text, up to the empty line.
    pub fn text(&self, access: &Access) -> String {
        let mut text = String::with_capacity(HEAD_BYTES);
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| text.push_str(part));
            text.push_str("\r\n");
        };
        let reason = self.status.canonical_reason().unwrap_or_default();
        line(&["HTTP/1.1 ", self.status.as_str(), " ", reason]);
        line(&["content-type: ", self.content_type]);
        if let Access::Anybody = access {
            line(&["access-control-allow-origin: *"]);
        } else {
            line(&[access.text().trim_end()]);
        }
        if self.v1 {
            line(&["access-control-expose-headers: ", EXPOSED]);
        }
        line(&["cache-control: ", if self.body_bytes.is_some() { "no-store" } else { "no-store, no-transform" }]);
        if let Some(after) = self.error.and_then(retry_after) {
            line(&["retry-after: ", &after.to_string()]);
        }
        if let Some(announced) = self.error.and_then(Announced::refused).as_ref().or(self.limits) {
            line(&[announced.lines().trim_end()]);
        }
        if let Some(challenge) = self.error.and_then(challenge) {
            line(&["www-authenticate: ", challenge]);
        }
        if self.close || self.body_bytes.is_none() {
            line(&["connection: close"]);
        }
        match self.body_bytes {
            Some(bytes) => line(&["content-length: ", &bytes.to_string()]),
            // Proxies are to pass each event on as it comes.
            None => line(&["x-accel-buffering: no"]),
        }
        with_date(|date| line(&["date: ", date]));
        line(&[]);
        text
    }
}

/// The time as HTTP writes it, written once a second by each thread.
fn with_date<T>(each: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(written, date)| {
        if *written != second || date.is_empty() {
            (*written, *date) = (second, httpdate::fmt_http_date(now));
        }
        each(date)
    })
}

impl Head<'_> {
    /// The same for hyper, which adds what belongs to the connection, and the date.
    pub fn headers(&self, access: &Access) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        access.add_to(&mut headers);
        if self.v1 {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
        let cache = if self.body_bytes.is_some() { "no-store" } else { "no-store, no-transform" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        if let Some(after) = self.error.and_then(retry_after) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if let Some(announced) = self.error.and_then(Announced::refused).as_ref().or(self.limits) {
            announced.insert(&mut headers);
        }
        match self.body_bytes {
            Some(bytes) => headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes)),
            None => headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no")),
        };
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_by_hand_is_a_head() {
        let error = Error::new(Kind::MailboxFull, "");
        for body_bytes in [Some(7), None] {
            let (status, error) = (StatusCode::OK, Some(&error));
            let head = Head { status, content_type: JSON, close: true, body_bytes, error, v1: true, limits: None }
                .text(&Access::Anybody);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.ends_with(" GMT\r\n\r\n"), "{head}");
            assert_eq!(head.matches("\r\n\r\n").count(), 1);
            assert_eq!(head.contains("content-length: 7\r\n"), body_bytes.is_some());
            let of_connection = |line: &&str| line.starts_with("connection: ") || line.starts_with("date: ");
            let mut by_hand: Vec<&str> = head.trim_end().lines().skip(1).filter(|line| !of_connection(line)).collect();
            let headers = Head { status, content_type: JSON, close: true, body_bytes, error, v1: true, limits: None }
                .headers(&Access::Anybody);
            let line =
                |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("text"));
            let mut by_hyper: Vec<String> = headers.iter().map(line).collect();
            by_hand.sort_unstable();
            by_hyper.sort_unstable();
            assert_eq!(by_hand, by_hyper);
        }
    }
}
