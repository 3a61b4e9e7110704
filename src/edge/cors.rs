//! Cross-origin requests (the Fetch standard's CORS protocol): which pages may ask at all, and who may read an answer.
//! x0's page comes from another host, and preflights every poll, because every poll has a new URL: that is the cheapest
//! thing that the relay does.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
    http::request::Parts,
};

use super::reply::Reply;
use crate::{
    error::{Error, Kind},
    gate::{self, Origins},
    live::Live,
};

/// What an answer says of who may read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Every page.
    Anybody,
    /// The page that asked, and which answer it gets depends on that.
    Only(HeaderValue),
    /// No page of another origin; another one that asks may get another answer.
    Nobody,
}

/// The pages that may use the relay, as long as nobody lists others. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Pages(Arc<(AtomicBool, Live<Origins>)>);

impl Pages {
    /// Those of these origins.
    #[must_use]
    pub fn new(origins: Origins) -> Self {
        Self(Arc::new((AtomicBool::new(origins.any()), Live::new(origins))))
    }

    /// Whether every page may. This is asked for each request, so it costs next to nothing.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.0.load(Relaxed)
    }

    /// Others may from now on.
    pub fn set(&self, origins: Origins) {
        self.0.0.store(origins.any(), Relaxed);
        self.0.1.set(origins);
    }

    fn has(&self, origin: &str) -> bool {
        self.0.1.now().has(origin)
    }
}

/// Who may read the answer to a request.
///
/// # Errors
/// [`Kind::OriginRefused`] if it comes from a page that may not ask. What is no browser names no origin.
pub fn access(parts: &Parts, pages: &Pages, trusts_names: bool) -> Result<Access, Error> {
    if pages.any() {
        return Ok(Access::Anybody);
    }
    let Some(value) = parts.headers.get(header::ORIGIN) else { return Ok(Access::Nobody) };
    let origin = value.to_str().unwrap_or_default();
    if pages.has(origin) {
        return Ok(Access::Only(value.clone()));
    }
    let authority = match parts.uri.authority() {
        // HTTP/2 names it there, and so does a request to a proxy.
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    if gate::is_own(origin, authority, trusts_names) {
        return Ok(Access::Nobody);
    }
    let detail =
        format!("pages of \"{}\" may not use this relay: its operator lists those that may (origins)", shown(origin));
    Err(Error::new(Kind::OriginRefused, detail))
}

fn shown(origin: &str) -> String {
    origin.chars().take(100).flat_map(char::escape_debug).collect()
}

impl Access {
    /// As header lines.
    pub fn text(&self) -> String {
        match self {
            Access::Anybody => "access-control-allow-origin: *\r\n".to_owned(),
            Access::Only(origin) => {
                let origin = origin.to_str().unwrap_or_default();
                format!("access-control-allow-origin: {origin}\r\nvary: origin\r\n")
            }
            Access::Nobody => "vary: origin\r\n".to_owned(),
        }
    }

    /// Adds it to an answer's headers.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        let allowed = match self {
            Access::Anybody => HeaderValue::from_static("*"),
            Access::Only(origin) => origin.clone(),
            Access::Nobody => {
                headers.append(header::VARY, HeaderValue::from_static("origin"));
                return;
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if *self != Access::Anybody {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}

/// The answer to `OPTIONS` anywhere. Without access a browser takes it for a no.
pub fn preflight(access: &Access) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let mut headers = HeaderMap::with_capacity(4);
    access.add_to(&mut headers);
    if *access != Access::Nobody {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
        headers
            .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, HEAD, OPTIONS"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    *reply.headers_mut() = headers;
    reply
}

/// What x0's request layer and protocol v1's clients send, by name (`*` does not cover `Authorization`), and whatever
/// else by `*`.
const ALLOWED_HEADERS: &str = "*, Accept, Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, \
                               Upgrade-Insecure-Requests";

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn ask(listed: &[&str], origin: Option<&str>, host: &str, trusts_names: bool) -> Result<Access, Kind> {
        let mut request = Request::builder().uri("/get").header("Host", host);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let origins = Origins::new(&listed.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        access(&parts, &Pages::new(origins), trusts_names).map_err(|error| error.kind)
    }

    #[test]
    fn who_may_ask_and_who_may_read() {
        let (app, evil) = (Some("https://app.example"), Some("https://evil.example"));
        let only = Ok(Access::Only(HeaderValue::from_static("https://app.example")));
        let no = Err(Kind::OriginRefused);
        for (listed, origin, host, trusts_names, expected) in [
            (&["*"][..], evil, "relay", false, Ok(Access::Anybody)),
            (&["*"], Some("null"), "relay", false, Ok(Access::Anybody)),
            (&["https://app.example"], app, "relay", false, only.clone()),
            (&["https://*.example"], app, "relay", false, only),
            (&["https://app.example"], evil, "relay", false, no.clone()),
            (&["https://app.example"], Some("null"), "relay", false, no.clone()),
            (&["https://app.example"], None, "relay", false, Ok(Access::Nobody)),
            (&[], evil, "relay", false, no.clone()),
            (&[], Some("http://127.0.0.1:1"), "127.0.0.1:1", false, Ok(Access::Nobody)),
            (&[], Some("http://127.0.0.1:2"), "127.0.0.1:1", false, no.clone()),
            (&[], Some("http://evil.example:1"), "evil.example:1", false, no),
            (&[], Some("https://relay.example"), "relay.example", true, Ok(Access::Nobody)),
        ] {
            assert_eq!(ask(listed, origin, host, trusts_names), expected, "{listed:?} {origin:?} {host}");
        }
    }

    #[test]
    fn by_hand_and_by_hyper_it_says_the_same() {
        for access in [Access::Anybody, Access::Only(HeaderValue::from_static("https://a.example")), Access::Nobody] {
            let mut headers = HeaderMap::new();
            access.add_to(&mut headers);
            let text: String =
                headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text"))).collect();
            assert_eq!(text, access.text());
        }
    }
}
