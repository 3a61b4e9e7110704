//! Web pages and the relay: who may ask, who may read, and that a page of another origin opens no WebSocket.

mod common;

use std::{fs, time::Duration};

use common::{
    Conn, Relay, Response, request,
    tls::Certificate,
    x0::{HANDLER, poll_body, set_body},
};
use nix::sys::signal::Signal;

const APP: &str = "https://app.example";
const TENANT: &str = "https://a.b.tenants.example";
const EVIL: &str = "https://evil.example";

const LISTED: [&str; 2] = ["--origins", "https://app.example,https://*.tenants.example"];

fn asked(method: &str, target: &str, origin: Option<&str>, body: &str) -> Vec<u8> {
    let headers: Vec<(&str, &str)> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
    request(method, target, &headers, body.as_bytes())
}

fn readers(answer: &Response) -> (Option<&str>, bool) {
    (answer.header("access-control-allow-origin"), answer.lists("vary", "origin"))
}

/// The answer, of an event stream its head.
fn ask(relay: &Relay, bytes: &[u8]) -> Response {
    let mut conn = Conn::open(relay.addr());
    conn.send(bytes);
    let head = conn.try_head(Duration::from_secs(30)).expect("a head");
    if head.header("content-type") == Some("text/event-stream") { head } else { relay.ask(bytes) }
}

/// Every address of mail: what hyper answers, and what is answered by hand.
fn requests(origin: Option<&str>) -> Vec<Vec<u8>> {
    let poll = poll_body("nobody");
    let message = r#"{"to":"session:b","from":"a","payload":{}}"#;
    vec![
        asked("POST", HANDLER, origin, &set_body("a", "b", "{}")),
        asked("POST", "/get", origin, &poll),
        asked("GET", "/get?session_src=nobody", origin, ""),
        asked("POST", "/set", origin, "no JSON"),
        asked("POST", "/v1/messages", origin, message),
        asked("GET", "/v1/messages?session=nobody&wait=0", origin, ""),
        asked("GET", "/v1/messages?session=nobody&after=nonsense", origin, ""),
        asked("GET", "/v1/events?session=nobody&after=0000000000000000.7", origin, ""),
        asked("GET", "/v1/sessions/b", origin, ""),
        asked("GET", "/readyz", origin, ""),
        asked("GET", "/no/such", origin, ""),
    ]
}

#[test]
fn while_it_is_open_every_page_may() {
    let relay = Relay::start(&["--wait", "100ms"]);
    for origin in [None, Some(APP), Some(EVIL), Some("null")] {
        for bytes in requests(origin) {
            let answer = ask(&relay, &bytes);
            assert_eq!(readers(&answer), (Some("*"), false), "{answer:?}");
            assert_ne!(answer.status, 403);
        }
    }
}

#[test]
fn listed_pages_may_and_others_may_not() {
    let relay = Relay::start(&[&LISTED[..], &["--wait", "100ms"]].concat());
    for origin in [APP, TENANT] {
        for bytes in requests(Some(origin)) {
            let answer = ask(&relay, &bytes);
            assert_eq!(readers(&answer), (Some(origin), true), "{answer:?}");
            assert_ne!(answer.status, 403, "{answer:?}");
        }
    }
    for origin in [EVIL, "null", "http://app.example", "https://app.example.evil", "https://tenants.example"] {
        for bytes in requests(Some(origin)) {
            let answer = ask(&relay, &bytes);
            assert_eq!(readers(&answer), (None, true), "{answer:?}");
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(answer.text().contains("(origins)"), "{answer:?}");
        }
    }
    // Programs name no origin; the relay's own pages name its own.
    let own = format!("http://{}", relay.addr());
    let by_address = |origin: &str| {
        let host = relay.addr().to_string();
        let bytes = format!("POST /set HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: 2\r\n\r\n{{}}");
        Conn::open(relay.addr()).exchange(bytes)
    };
    for bytes in requests(None) {
        let answer = ask(&relay, &bytes);
        assert_eq!(readers(&answer), (None, true), "{answer:?}");
        assert_ne!(answer.status, 403);
    }
    assert_eq!((readers(&by_address(&own)), by_address(&own).status), ((None, true), 200));
    assert_eq!(by_address("http://127.0.0.1:1").status, 403);
    // Nothing that is refused is accepted.
    let pending = || relay.ask(asked("GET", "/v1/sessions/b", None, "")).text().to_owned();
    let before = pending();
    assert_eq!(relay.ask(asked("POST", HANDLER, Some(EVIL), &set_body("a", "b", "{}"))).status, 403);
    assert_eq!(pending(), before);
}

#[test]
fn a_name_that_leads_here_is_no_proof_of_being_the_relays_own_page_unless_tls_vouches_for_it() {
    let certificate = Certificate::new();
    let relay = Relay::builder().args(&certificate.and_https()).args(&["--origins", "none"]).start();
    let ask = |scheme: &str| {
        format!("GET /v1/sessions/b HTTP/1.1\r\nHost: rebound.example\r\nOrigin: {scheme}://rebound.example\r\n\r\n")
    };
    assert_eq!(Conn::open(relay.addr()).exchange(ask("http")).status, 403);
    assert_eq!(Conn::open_tls(relay.https(), &certificate.trust()).exchange(ask("https")).status, 200);
}

#[test]
fn preflights_are_answered_for_those_who_may() {
    let relay = Relay::start(&LISTED);
    for target in ["/get", HANDLER, "/v1/messages", "/anything"] {
        let allowed = relay.ask(asked("OPTIONS", target, Some(APP), ""));
        assert_eq!((allowed.status, readers(&allowed)), (204, (Some(APP), true)));
        assert!(allowed.lists("access-control-allow-headers", "Authorization"), "{allowed:?}");
        assert!(allowed.lists("access-control-allow-methods", "DELETE"));
        assert_eq!(allowed.header("access-control-max-age"), Some("86400"));
        let refused = relay.ask(asked("OPTIONS", target, Some(EVIL), ""));
        assert_eq!(readers(&refused), (None, true));
        assert_eq!(refused.header("access-control-allow-methods"), None);
    }
}

#[test]
fn no_page_of_another_origin_opens_a_websocket() {
    let relay = Relay::start(&LISTED);
    let open = |origin: Option<&str>| {
        let mut headers = vec![
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        Conn::open(relay.addr()).exchange(request("GET", "/v1/ws?session=b", &headers, b""))
    };
    assert_eq!((open(Some(APP)).status, open(None).status), (101, 101));
    let refused = open(Some(EVIL));
    assert_eq!((refused.status, refused.header("content-type")), (403, Some("application/problem+json")));
    assert!(refused.text().contains(r#""kind":"origin_refused""#), "{refused:?}");
    assert_eq!(open(Some("null")).status, 403);
}

#[test]
fn the_list_changes_while_it_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("relay.toml");
    fs::write(&file, "origins = [\"https://app.example\"]\n").expect("written");
    let relay = Relay::start(&["--config", file.to_str().expect("UTF-8")]);
    let status = |origin| relay.ask(asked("GET", "/v1/sessions/b", Some(origin), "")).status;
    assert_eq!((status(APP), status(EVIL)), (200, 403));
    fs::write(&file, "origins = [\"https://evil.example\"]\n").expect("written");
    relay.process.signal(Signal::SIGHUP);
    relay.logged("the settings are in force");
    assert_eq!((status(APP), status(EVIL)), (403, 200));
}
