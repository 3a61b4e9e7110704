//! What receivers and senders are told when the relay ends; the gateway; the page and the description of the protocol.

use std::time::{Duration, Instant};

use crate::common::{
    Broken, Conn, PROMPT, Relay, assert_prompt, request,
    split::Place,
    v1::{Door, Event, EventStream, Item, Receiver, Said, get, numbered, poll_target, send_request},
};

const SOON: Duration = Duration::from_secs(60);

/// Fails unless a client that comes back after this is neither at once nor far too late.
#[track_caller]
fn assert_spread(seconds: f64) {
    assert!((0.0..=60.0).contains(&seconds), "come back in {seconds} s");
}

#[test]
fn a_waiting_poll_is_answered_at_once_empty_with_retry_after() {
    let mut relay = Relay::start(&[]);
    let cursor = relay.cursor("b");
    let mut polls: Vec<Conn> = (0..10)
        .map(|n| {
            let session = format!("s{n}");
            let mut conn = Conn::open(relay.addr());
            conn.send(get(&poll_target(&session, None, "wait=60")));
            conn
        })
        .collect();
    let mut known = Conn::open(relay.addr());
    known.send(get(&poll_target("b", Some(&cursor), "wait=60")));
    relay.until_parked(11);
    let start = Instant::now();
    relay.term();
    let response = known.response();
    let batch = response.batch();
    assert!(batch.messages.is_empty() && batch.gap.is_none() && !batch.superseded && !batch.more, "{batch:?}");
    assert_eq!(batch.cursor, cursor);
    assert!(response.closes());
    let mut times: Vec<f64> = batch.retry_after.into_iter().collect();
    times.extend(polls.iter_mut().filter_map(|conn| conn.response().batch().retry_after));
    assert_prompt("eleven polls after the signal", start.elapsed());
    assert_eq!(times.len(), 11);
    times.iter().for_each(|seconds| assert_spread(*seconds));
    times.dedup();
    assert!(times.len() > 1, "clients come back spread out: {times:?}");
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
}

#[test]
fn streams_and_sockets_are_told_goodbye_with_retry_after() {
    let mut relay = Relay::start(&[]);
    let (mut socket, _) = relay.socket("s", None);
    let mut stream = EventStream::open(relay.addr(), "e", None, "ack=explicit");
    let mut plain = Receiver::open(relay.addr(), "p", Door::PlainEvents, None);
    assert!(matches!(plain.next(PROMPT), Ok(Event::Cursor(_))));
    relay.until_parked(3);
    let start = Instant::now();
    relay.term();
    match socket.next(PROMPT) {
        Ok(Said::Goodbye { reason, retry_after: Some(seconds) }) => {
            assert_eq!(reason, "drain");
            assert_spread(seconds);
        }
        other => panic!("no goodbye but {other:?}"),
    }
    assert!(matches!(socket.next(PROMPT), Ok(Said::Close(1012, _))));
    socket.conn.assert_ends(PROMPT);
    let data = loop {
        match stream.next(PROMPT) {
            Ok(Item::Event { id, event, data }) if event == "relay:goodbye" => {
                assert_eq!(id, None);
                break data;
            }
            Ok(_) => {}
            Err(broken) => panic!("{broken:?}"),
        }
    };
    let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(data["reason"], "drain");
    assert_spread(data["retry_after"].as_f64().expect("seconds"));
    assert!(matches!(stream.next(PROMPT), Err(Broken::Ended)));
    assert!(matches!(plain.next(PROMPT), Ok(Event::Drain(Some(_)))));
    assert!(matches!(plain.next(PROMPT), Err(Broken::Ended)));
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    assert_prompt("the end, of which nothing held up anything", start.elapsed());
}

#[test]
fn a_send_during_a_drain_is_503_with_retry_after() {
    let mut relay = Relay::start(&[]);
    let mut fresh = Conn::open(relay.addr());
    let mut parked = Conn::open(relay.addr());
    parked.send(get(&poll_target("b", None, "wait=60")));
    relay.until_parked(1);
    relay.term();
    // Answered: the relay drains.
    assert!(parked.response().batch().retry_after.is_some());
    let response = fresh.exchange(send_request("a", "b", "{}", None));
    response.problem(503, "draining");
    assert!(response.closes(), "{response:?}");
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_message_that_waits_is_handed_out_before_the_goodbye() {
    let mut relay = Relay::start(&["--drain-notice", "60s"]);
    let mut socket = relay.socket("b", None).0;
    relay.term();
    crate::common::eventually("the notice", PROMPT, || (relay.ask(get("/readyz")).status == 503).then_some(()));
    // During the notice everything is served.
    relay.send_v1("b", &numbered(0));
    assert!(matches!(socket.next(PROMPT), Ok(Said::Messages(batch)) if batch.numbers() == [0]));
    assert_eq!(relay.look("b", None).numbers(), [0]);
    relay.term();
    relay.wait_exit(SOON);
}

#[test]
fn after_a_drain_nothing_that_was_accepted_is_lost() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().to_str().expect("UTF-8");
    let mut relay = Relay::start(&["--data-dir", path]);
    relay.send_numbers("b", 0..3);
    let cursor = relay.look("b", None).cursor.at(1);
    let (mut socket, _) = relay.socket("b", Some(&cursor));
    assert!(matches!(socket.next(PROMPT), Ok(Said::Messages(batch)) if batch.numbers() == [1, 2]));
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    let relay = Relay::start(&["--data-dir", path]);
    let batch = relay.look("b", Some(&cursor));
    assert_eq!((batch.numbers(), batch.gap), (vec![1, 2], None), "the epoch is the same");
    relay.send_v1("b", &numbered(3));
    assert_eq!(relay.look("b", Some(&cursor)).seqs(), [2, 3, 4]);
}

#[test]
fn behind_a_gateway_v1_is_a_problem_that_says_where_it_is() {
    let place = Place::new();
    let _server = place.serve();
    let (gateway, _http) = place.gateway(&[]);
    for bytes in [
        get("/v1/messages?session=b"),
        send_request("a", "b", "{}", None),
        get("/v1/events?session=b"),
        get("/v1/ws?session=b"),
        get("/v1/sessions/b"),
    ] {
        let problem = gateway.ask(bytes).problem(404, "not_found");
        assert!(problem.detail.contains("x0-relay serve"), "{problem:?}");
    }
}

#[test]
fn the_description_of_the_protocol_names_every_address() {
    let relay = Relay::start(&[]);
    let response = relay.ask(get("/openapi.json"));
    assert_eq!((response.status, response.header("access-control-allow-origin")), (200, Some("*")), "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    let document: serde_json::Value = serde_json::from_str(response.text()).expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{}", document["openapi"]);
    for (path, methods) in [
        ("/v1/messages", &["get", "post"][..]),
        ("/v1/ack", &["post"]),
        ("/v1/events", &["get", "post"]),
        ("/v1/ws", &["get"]),
        ("/v1/sessions/{session}", &["get"]),
        ("/v1/sessions/{session}/messages", &["delete"]),
        ("/healthz", &["get"]),
        ("/readyz", &["get"]),
        ("/metrics", &["get"]),
    ] {
        for method in methods {
            let operation = &document["paths"][path][method];
            assert!(operation["responses"].is_object(), "{method} {path} is not described");
        }
    }
}

#[test]
fn the_page_of_the_description_asks_no_other_host() {
    let relay = Relay::start(&[]);
    let page = relay.ask(get("/docs"));
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.header("content-type").is_some_and(|t| t.starts_with("text/html")), "{page:?}");
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'"), "{policy:?}");
    let sources = policy.split([' ', ';']).filter(|word| word.contains([':', '.', '*']) && *word != "data:");
    assert_eq!(sources.collect::<Vec<_>>(), Vec::<&str>::new(), "a browser would ask these too");
    // What it is made of is here.
    let text = page.text();
    let parts: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| text.split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|target| !target.starts_with('#') && !target.starts_with("data:"))
        .collect();
    assert!(!parts.is_empty(), "{text}");
    for part in parts {
        assert!(!part.contains(':') && !part.starts_with("//"), "{part} is elsewhere");
        let path = format!("/{}", part.trim_start_matches(['.', '/']));
        assert_eq!(relay.ask(get(&path)).status, 200, "{part}");
    }
    let old = relay.ask(get("/documentation"));
    // Relative, so that it holds behind a proxy's prefix.
    assert_eq!((old.status / 100, old.header("location")), (3, Some("docs")), "{old:?}");
}

#[test]
fn health_is_for_machines_and_a_page_for_browsers() {
    let relay = Relay::start(&[]);
    let health = relay.ask(get("/"));
    let value: serde_json::Value = serde_json::from_str(health.text()).expect("JSON");
    assert_eq!((health.status, &value["status"]), (200, &"ok".into()));
    let page = relay.ask(request("GET", "/", &[("Accept", "text/html")], b""));
    assert!(page.header("content-type").is_some_and(|t| t.starts_with("text/html")), "{page:?}");
}
