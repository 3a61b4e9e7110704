//! What the page `/doctor` cannot find out of the relay's ordinary answers: which headers of a request arrive here, and
//! whether an error answer arrives there as it was written.

use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::reply::{self, Reply};

/// Where it is asked.
pub const ECHO: &str = "/doctor/echo";
/// Seconds; the page knows the figure.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("7");

/// Headers whose arrival is told: those that clients send, and those by which proxies show themselves.
const LISTED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
    header::VIA,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Status 429 with `Retry-After`, as if the client had asked too often, and which headers it came with; no header's value.
pub fn echo(headers: &HeaderMap) -> Reply {
    let arrived = LISTED.into_iter().filter(|name| headers.contains_key(name)).map(|name| format!("\"{name}\""));
    let list = arrived.collect::<Vec<_>>().join(",");
    let body = format!(r#"{{"doctor":"x0-relay","headers":[{list}]}}"#);
    let mut reply = reply::reply(StatusCode::TOO_MANY_REQUESTS, reply::JSON, body);
    reply.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn it_names_what_arrived_and_no_value() {
        let sent = [(header::AUTHORIZATION, "Bearer secret"), (header::COOKIE, "a=b"), (header::VIA, "1.1 proxy")];
        let headers = sent.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        let reply = echo(&headers);
        assert_eq!(
            (reply.status(), &reply.headers()[header::RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &RETRY_AFTER)
        );
        let body = reply.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(body, r#"{"doctor":"x0-relay","headers":["authorization","via"]}"#);
    }
}
