//! Problems, methods, unknown paths, limits, CORS.

use crate::common::{
    Conn, Relay, Response, assert_prompt, request, timed,
    v1::{get, numbered, post_json, send_request},
};

#[test]
fn problems_are_told_at_once_and_the_connection_lives_on() {
    let relay = Relay::start(&[]);
    let mut conn = Conn::open(relay.addr());
    for (bytes, status, kind) in [
        (post_json("/v1/messages", "not JSON"), 400, "not_json"),
        (get("/v1/messages"), 400, "invalid_session"),
        (get("/v1/nothing"), 404, "not_found"),
        (request("PUT", "/v1/messages", &[], b""), 405, "bad_method"),
    ] {
        let (response, took) = timed(|| conn.exchange(bytes));
        response.problem(status, kind);
        assert_prompt(kind, took);
        assert!(!response.closes(), "{response:?}");
    }
    assert_eq!(conn.exchange(send_request("a", "b", "{}", None)).sent().recipients, 1);
}

#[test]
fn a_method_that_is_not_served_is_405_and_allow_names_those_that_are() {
    let relay = Relay::start(&[]);
    for (path, served) in [
        ("/v1/messages", &["GET", "POST"][..]),
        ("/v1/ack", &["POST"]),
        ("/v1/events?session=b", &["GET", "POST"]),
        ("/v1/ws?session=b", &["GET"]),
        ("/v1/sessions/b", &["GET"]),
        ("/v1/sessions/b/messages", &["DELETE"]),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if served.contains(&method) {
                continue;
            }
            let response = relay.ask(request(method, path, &[], b""));
            response.problem(405, "bad_method");
            for name in served {
                assert!(response.lists("allow", name), "{method} {path}: {response:?}");
            }
            assert!(!response.lists("allow", method), "{method} {path}: {response:?}");
        }
    }
}

#[test]
fn what_lives_nowhere_is_404() {
    let relay = Relay::start(&[]);
    for path in
        ["/v1", "/v1/", "/v1/message", "/v1/messages/", "/v1/messages/b", "/v1/sessions/b/messages/", "/v2/messages"]
    {
        let response = relay.ask(get(path));
        assert_eq!(response.status, 404, "{path}: {response:?}");
        if path.starts_with("/v1/") {
            response.problem(404, "not_found");
        }
    }
}

#[test]
fn limits_are_problems_with_the_right_status_and_retry_after() {
    let relay = Relay::start(&["--mailbox-messages", "1", "--sessions", "2"]);
    relay.send_v1("b", &numbered(0));
    let problem = relay.ask(send_request("a", "b", "{}", None)).problem(507, "mailbox_full");
    assert_eq!(problem.addresses, ["session:b"]);
    relay.send_v1("c", &numbered(0));
    relay.ask(send_request("a", "d", "{}", None)).problem(503, "too_many_sessions");
    // A receiver makes its mailbox, and there is no room for one.
    relay.ask(get("/v1/messages?session=e&wait=0")).problem(503, "too_many_sessions");
    assert_eq!(relay.look("b", None).numbers(), [0]);
    let small = Relay::start(&["--memory", "80KiB", "--mailbox-bytes", "80KiB"]);
    let filler = format!("\"{}\"", "x".repeat(30_000));
    let refused: Vec<Response> = (0..4)
        .map(|n| small.ask(send_request("a", &format!("s{n}"), &filler, None)))
        .filter(|response| response.status != 201)
        .collect();
    assert!(!refused.is_empty());
    refused.iter().for_each(|response| drop(response.problem(503, "memory_full")));
}

#[test]
fn a_preflight_allows_what_v1_needs_by_name() {
    let relay = Relay::start(&[]);
    for path in ["/v1/messages", "/v1/ack", "/v1/events", "/v1/ws", "/v1/sessions/b/messages"] {
        let headers = [
            ("Origin", "https://app.example"),
            ("Access-Control-Request-Method", "DELETE"),
            ("Access-Control-Request-Headers", "authorization,idempotency-key"),
        ];
        let response = relay.ask(request("OPTIONS", path, &headers, b""));
        assert_eq!((response.status, response.header("access-control-allow-origin")), (204, Some("*")), "{response:?}");
        for name in ["Authorization", "Idempotency-Key", "Last-Event-ID", "Content-Type"] {
            assert!(response.lists("access-control-allow-headers", name), "{name}: {response:?}");
        }
        for method in ["GET", "POST", "DELETE"] {
            assert!(response.lists("access-control-allow-methods", method), "{method}: {response:?}");
        }
        let age = response.header("access-control-max-age").and_then(|age| age.parse::<u32>().ok());
        assert!(age.is_some_and(|age| age >= 600), "{response:?}");
    }
}

#[test]
fn answers_expose_retry_after_and_rate_limits() {
    let relay = Relay::start(&[]);
    let answers = [
        relay.ask(send_request("a", "b", "{}", None)),
        relay.ask(get("/v1/messages?session=b&wait=0")),
        relay.ask(get("/v1/sessions/b")),
        relay.ask(get("/v1/nothing")),
        relay.ask(post_json("/v1/messages", "no")),
    ];
    for response in answers {
        for name in ["Retry-After", "RateLimit"] {
            assert!(response.lists("access-control-expose-headers", name), "{name}: {response:?}");
        }
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("access-control-allow-credentials"), None, "not with *");
    }
}

#[test]
fn v1_does_not_change_what_x0_is_told() {
    let relay = Relay::start(&[]);
    // x0's addresses keep their own form of errors, with status 200.
    relay.refused(request("POST", "/get", &[], b"not JSON"), "NotJSON");
    let preflight = relay.ask(request("OPTIONS", "/get", &[], b""));
    for name in ["*", "Content-Type", "Cache-Control"] {
        assert!(preflight.lists("access-control-allow-headers", name), "{preflight:?}");
    }
}
