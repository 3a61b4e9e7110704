//! The page to try the relay with, the doctor, the documentation, and what they are made of: embedded in the binary, so
//! that they ask no other host.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::reply::Reply;

/// What a browser can be given.
struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const FILES: [File; 20] = [
    page("/", include_str!("pages/index.html")),
    page("/doctor", include_str!("pages/doctor.html")),
    page("/docs", include_str!("pages/docs.html")),
    File { path: DESCRIPTION, content_type: "application/json", text: include_str!("pages/openapi.json") },
    script("/assets/try.js", include_str!("pages/try.js")),
    script("/assets/account.js", include_str!("pages/account.js")),
    script("/assets/credentials.js", include_str!("pages/credentials.js")),
    script("/assets/names.js", include_str!("pages/names.js")),
    script("/assets/raw.js", include_str!("pages/raw.js")),
    script("/assets/wire.js", include_str!("pages/wire.js")),
    script("/assets/x0.js", include_str!("pages/x0.js")),
    script("/assets/x0-relay.js", include_str!("../../client-js/dist/x0-relay.min.js")),
    script("/assets/doctor.js", include_str!("pages/doctor.js")),
    script("/assets/checks.js", include_str!("pages/checks.js")),
    script("/assets/ask.js", include_str!("pages/ask.js")),
    script("/assets/waits.js", include_str!("pages/waits.js")),
    script("/assets/docs.js", include_str!("pages/docs.js")),
    style("/assets/style.css", include_str!("pages/style.css")),
    style("/assets/docs.css", include_str!("pages/docs.css")),
    style("/assets/colours.css", include_str!("pages/colours.css")),
];

const fn page(path: &'static str, text: &'static str) -> File {
    File { path, content_type: HTML, text }
}

const fn script(path: &'static str, text: &'static str) -> File {
    File { path, content_type: SCRIPT, text }
}

const fn style(path: &'static str, text: &'static str) -> File {
    File { path, content_type: STYLE, text }
}

/// The description of all addresses (OpenAPI 3.1), which `/docs` shows.
const DESCRIPTION: &str = "/openapi.json";
/// Where others keep theirs, and where it is; relative, because a proxy may have put us below a path.
const MOVED: (&str, &str) = ("/documentation", "docs");

/// The page may use what comes from the relay itself, and nothing else; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// No window of another origin is to have a handle on a page that may hold a token.
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (OPENER, "same-origin"),
    (header::VARY, "Accept"),
];

/// What is at this path, if there is something; at `/` only for those who name HTML among what they accept. If the pages
/// are not `shown` (`pages = "off"`), the description alone is left: it is for programs.
pub fn find(path: &str, headers: &HeaderMap, shown: bool) -> Option<Reply> {
    if !shown && path != DESCRIPTION {
        return None;
    }
    if path == MOVED.0 {
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
        reply.headers_mut().insert(header::LOCATION, HeaderValue::from_static(MOVED.1));
        return Some(reply);
    }
    let file = FILES.iter().find(|file| file.path == path)?;
    if path == "/" && !accepts_html(headers) {
        return None;
    }
    let mut reply = Response::new(Full::new(Bytes::from_static(file.text.as_bytes())));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if path == DESCRIPTION {
        // Tools that run in a browser read it from elsewhere.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    Some(reply)
}

/// Whether `Accept` names `text/html` (RFC 9110 section 12.5.1). Ranges such as `*/*` do not count: curl sends that.
fn accepts_html(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/html"));
        named && !parts.any(is_refusal)
    })
}

/// Whether a parameter of a media range is a weight of zero.
fn is_refusal(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, value)| value.trim().parse() == Ok(0.0_f32))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn accept(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn html_is_for_those_who_name_it() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for yes in [&[browser][..], &["application/json, TEXT/HTML ; q=0.5"], &["a/b", "text/html;level=1"]] {
            assert!(find("/", &accept(yes), true).is_some(), "{yes:?}");
        }
        let odd = ["text/html; Q = 0.000", "text/htmlx", "x/text/html"];
        for no in [&[][..], &["*/*"], &["text/*"], &["application/json"], &odd] {
            assert!(find("/", &accept(no), true).is_none(), "{no:?}");
        }
    }

    #[test]
    fn every_file_has_its_headers_and_assets_are_for_everybody() {
        for file in FILES {
            let reply = find(file.path, &accept(&["text/html"]), true).expect("it is there");
            assert_eq!(reply.headers()[header::CONTENT_TYPE], file.content_type);
            assert_eq!(reply.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(reply.headers()[OPENER], "same-origin");
            assert_eq!(find(file.path, &HeaderMap::new(), true).is_some(), file.path != "/");
        }
        assert!(find("/assets/", &HeaderMap::new(), true).is_none());
    }

    /// What a file of the pages names of others: a page its assets, a script those that it imports.
    fn named(file: &File) -> BTreeSet<String> {
        let texts = file.text.split(['"', '\'']);
        match file.content_type {
            HTML => texts.filter(|text| text.starts_with("assets/")).map(|text| format!("/{text}")).collect(),
            SCRIPT => texts.filter_map(|text| text.strip_prefix("./")).map(|text| format!("/assets/{text}")).collect(),
            _ => BTreeSet::new(),
        }
    }

    #[test]
    fn what_the_pages_name_is_served_and_there_is_nothing_else() {
        let assets = || FILES.iter().filter(|file| file.path.starts_with("/assets/"));
        let served: BTreeSet<String> = assets().map(|file| file.path.to_owned()).collect();
        let named: BTreeSet<String> = FILES.iter().flat_map(named).collect();
        assert_eq!(named, served);
    }

    #[test]
    fn without_the_pages_the_description_is_left() {
        let left = FILES.iter().filter(|file| find(file.path, &accept(&["text/html"]), false).is_some());
        assert_eq!(left.map(|file| file.path).collect::<Vec<_>>(), [DESCRIPTION]);
        assert!(find(MOVED.0, &HeaderMap::new(), false).is_none());
    }

    #[test]
    fn the_other_name_of_the_documentation_leads_there() {
        let reply = find("/documentation", &HeaderMap::new(), true).expect("it is there");
        assert_eq!(
            (reply.status(), reply.headers()[header::LOCATION].as_bytes()),
            (StatusCode::PERMANENT_REDIRECT, &b"docs"[..])
        );
        assert!(FILES.iter().any(|file| file.path == "/docs"));
    }
}
