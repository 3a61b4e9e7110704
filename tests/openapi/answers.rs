//! What the built binary answers fits what is described for it: status, headers, media type, body.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    common::{Conn, PROMPT, Relay, Response, eventually, request},
    schema::Api,
};

/// A relay, and what is described.
struct Asked {
    api: Api,
    relay: Relay,
}

impl Asked {
    fn of(args: &[&str]) -> Self {
        Self { api: Api::read(), relay: Relay::start(args) }
    }

    /// Asks, and checks the answer against the description of `method` at `path`.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, query: &str, body: Option<&Value>) -> (u16, Value) {
        let target = format!("{}{query}", path.replace("{session}", "s"));
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = request(method, &target, &[("Content-Type", "application/json")], &body);
        self.fits(method, path, &Conn::open(self.relay.addr()).exchange(request))
    }

    /// An answer fits its description. Returns its status and its JSON, null if it is none.
    #[track_caller]
    fn fits(&self, method: &str, path: &str, answer: &Response) -> (u16, Value) {
        let operation = &self.api.0["paths"][path][method.to_lowercase()];
        let described = operation["responses"].get(answer.status.to_string());
        let described = described.unwrap_or_else(|| panic!("{method} {path} may not answer {answer:?}"));
        let described = self.api.resolve(described);
        let headers = described.get("headers").and_then(Value::as_object);
        for (name, header) in headers.into_iter().flatten() {
            let said = answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
            let misfit = self.api.misfit(&self.api.resolve(header)["schema"], &json!(said));
            assert_eq!(misfit, None, "{method} {path}: {name}");
        }
        let Some(content) = described.get("content").and_then(Value::as_object) else {
            assert!(answer.body.is_empty(), "{answer:?}");
            return (answer.status, Value::Null);
        };
        let named = answer.header("content-type").unwrap_or_default();
        let essence = named.split(';').next().unwrap_or_default();
        let media = content.get(essence).unwrap_or_else(|| panic!("{method} {path} may not answer with {named}"));
        if !essence.ends_with("json") {
            return (answer.status, Value::Null);
        }
        let value = serde_json::from_str(answer.text()).expect("JSON");
        if let Some(misfit) = self.api.misfit(&media["schema"], &value) {
            panic!("{method} {path}: {misfit}");
        }
        (answer.status, value)
    }

    #[track_caller]
    fn send(&self, body: &Value) -> (u16, Value) {
        self.ask("POST", "/v1/messages", "", Some(body))
    }

    #[track_caller]
    fn poll(&self, query: &str) -> Value {
        let (status, value) = self.ask("GET", "/v1/messages", query, None);
        assert_eq!(status, 200, "{value}");
        value
    }

    /// Asks, and checks that it is refused for this kind.
    #[track_caller]
    fn refused(&self, kind: &str, method: &str, path: &str, query: &str, body: Option<&Value>) {
        let (_, problem) = self.ask(method, path, query, body);
        assert_eq!(problem["kind"], kind, "{problem}");
    }
}

#[test]
fn answers_of_protocol_v1_fit() {
    let asked = Asked::of(&["--wait", "100ms"]);
    let message = json!({"to": ["session:s", "t"], "payload": {"n": 1}, "from": "a", "key": "k"});
    let (status, first) = asked.send(&message);
    assert_eq!((status, &first["recipients"], &first["duplicate"]), (201, &json!(2), &json!(false)));
    let (status, again) = asked.send(&message);
    assert_eq!((status, &again["id"], &again["duplicate"]), (201, &first["id"], &json!(true)));

    let mail = asked.poll("?session=s&wait=0");
    assert_eq!(mail["messages"][0]["id"], first["id"]);
    let after = format!("?session=s&wait=0&after={}", mail["cursor"].as_str().expect("a cursor"));
    assert_eq!(asked.poll(&after)["messages"], json!([]));
    for _ in 0..3 {
        asked.send(&json!({"to": "s", "payload": null}));
    }
    let one = asked.poll(&format!("{after}&limit=1"));
    assert_eq!((one["messages"].as_array().map(Vec::len), &one["more"]), (Some(1), &json!(true)));
    let ack = json!({"session": "s", "cursor": one["cursor"]});
    assert_eq!(asked.ask("POST", "/v1/ack", "", Some(&ack)), (200, json!({"acked": 1})));
    let (_, info) = asked.ask("GET", "/v1/sessions/{session}", "", None);
    assert_eq!((&info["pending"], &info["attached"]), (&json!(2), &json!(false)));
    let purged = asked.ask("DELETE", "/v1/sessions/{session}/messages", "", None);
    assert_eq!(purged, (200, json!({"purged": 2})));
    let after = format!("?session=s&wait=0&after={}", one["cursor"].as_str().expect("a cursor"));
    assert_eq!(asked.poll(&after)["gap"], json!({"from": 3, "to": 4, "reason": "purged"}));
    assert_eq!(asked.poll("?session=s&after=0000000000000001.0")["gap"]["reason"], "epoch");

    // Two at once: the first is told.
    let mut parked = Conn::open(asked.relay.addr());
    parked.send(request("GET", "/v1/messages?session=two&wait=60", &[], b""));
    eventually("the first waits", PROMPT, || (asked.relay.parked() == 1).then_some(()));
    asked.poll("?session=two&wait=0");
    let (_, told) = asked.fits("GET", "/v1/messages", &parked.response());
    assert_eq!(told["superseded"], true);
}

#[test]
fn problems_of_protocol_v1_fit() {
    let asked = Asked::of(&[
        "--message-bytes",
        "100B",
        "--mailbox-messages",
        "1",
        "--body-timeout",
        "200ms",
        "--sessions",
        "1",
    ]);
    let to = |to: Value| json!({"to": to, "payload": 1});
    let send = |kind, body: &Value| asked.refused(kind, "POST", "/v1/messages", "", Some(body));
    send("bad_request", &json!({"to": "s", "payload": 1, "unknown": 1}));
    send("invalid_address", &to(json!("user:s")));
    send("too_large", &json!({"to": "s", "payload": "x".repeat(100)}));
    assert_eq!(asked.send(&json!({"to": "s", "payload": 1, "key": "k"})).0, 201);
    send("key_reused", &json!({"to": "s", "payload": 2, "key": "k"}));
    let (_, full) = asked.send(&to(json!("s")));
    assert_eq!((&full["kind"], &full["addresses"]), (&json!("mailbox_full"), &json!(["session:s"])));
    send("too_many_sessions", &to(json!("another")));
    let post = |body: &[u8], named: &str| request("POST", "/v1/messages", &[("Content-Type", named)], body);
    for (request, kind) in [
        (post(b"{", "application/json"), "not_json"),
        (post("[".repeat(501).as_bytes(), "text/plain"), "too_deep"),
        (post(b"{}", "text/html"), "unsupported_media"),
        (post(&[b'x'; 200_000], "application/json"), "too_large"),
    ] {
        let answer = Conn::open(asked.relay.addr()).exchange(request);
        assert_eq!(asked.fits("POST", "/v1/messages", &answer).1["kind"], kind);
    }
    let mut slow = Conn::open(asked.relay.addr());
    slow.send("POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{");
    assert_eq!(asked.fits("POST", "/v1/messages", &slow.response()).1["kind"], "too_slow");
    for (path, query, kind) in [
        ("/v1/messages", "", "invalid_session"),
        ("/v1/messages", "?session=s&wait=x", "bad_request"),
        ("/v1/messages", "?session=s&after=x", "invalid_cursor"),
        ("/v1/events", "?session=", "invalid_session"),
        ("/v1/ws", "", "invalid_session"),
        ("/v1/ws", "?session=s", "upgrade_required"),
    ] {
        asked.refused(kind, "GET", path, query, None);
    }
    asked.refused("upgrade_required", "GET", "/v1/ws", "?session=s", None);
    let answer = Conn::open(asked.relay.addr()).exchange(request("PUT", "/v1/messages", &[], b""));
    assert_eq!(asked.fits("POST", "/v1/messages", &answer).1["kind"], "bad_method");
}

#[test]
fn a_gateways_answer_fits() {
    let behind = Relay::start(&[]);
    let relay = Relay::builder().bare().args(&["gateway", "--listen", "127.0.0.1:0"]);
    let relay = relay.env("X0_RELAY_SOCKET", behind.control()).start();
    let asked = Asked { api: Api::read(), relay };
    asked.refused("not_found", "GET", "/v1/messages", "?session=s", None);
    asked.refused("not_found", "POST", "/v1/messages", "", Some(&json!({"to": "s", "payload": 1})));
}

/// The events of a stream that has ended: name, id, data.
fn events(stream: &str) -> Vec<(String, String, String)> {
    let field = |event: &str, name: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let events = stream.split("\n\n").map(|event| (field(event, "event"), field(event, "id"), field(event, "data")));
    events.filter(|(name, ..)| !name.is_empty()).collect()
}

#[test]
fn events_fit() {
    let asked = Asked::of(&[]);
    asked.send(&json!({"to": "s", "payload": 1, "type": "chat"}));
    asked.ask("DELETE", "/v1/sessions/{session}/messages", "", None);
    asked.send(&json!({"to": "s", "payload": {"n": 2}, "type": "chat"}));
    let mut first = Conn::open(asked.relay.addr());
    first.send(request("GET", "/v1/events?session=s&ack=explicit", &[], b""));
    let read = |conn: &mut Conn, until: &str| {
        eventually(until, PROMPT, || {
            _ = conn.take(100, Duration::from_millis(10));
            String::from_utf8_lossy(conn.unread()).contains(until).then_some(())
        });
    };
    read(&mut first, "event: chat");
    let mut second = Conn::open(asked.relay.addr());
    let body = json!({"session": "s", "ack": "explicit"}).to_string();
    second.send(request("POST", "/v1/events", &[("Content-Type", "application/json")], body.as_bytes()));
    let answer = first.response();
    asked.fits("GET", "/v1/events", &answer);

    let described =
        asked.api.0["paths"]["/v1/events"]["get"]["responses"]["200"]["x-events"].as_array().expect("events");
    let seen = events(answer.text());
    let names: Vec<&str> = seen.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["relay:welcome", "relay:gap", "chat", "relay:goodbye"]);
    for (name, id, data) in &seen {
        let known = described.iter().find(|event| event["event"] == **name);
        let event = known.or(described.iter().find(|event| event["event"] == "the message's type")).expect("described");
        let data = serde_json::from_str(data).expect("JSON");
        assert_eq!(asked.api.misfit(&event["data"], &data), None, "{name}");
        assert_eq!(event["id"], !id.is_empty(), "{name}");
        if !id.is_empty() {
            assert_eq!(asked.api.misfit(asked.api.schema("Cursor"), &json!(id)), None);
        }
    }
    read(&mut second, "event: chat");
    asked.ask("DELETE", "/v1/sessions/{session}/messages", "", None);
    asked.relay.term();
    let answer = second.response();
    asked.fits("POST", "/v1/events", &answer);
    let (name, id, data) = events(answer.text()).pop().expect("an event");
    let data: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((name.as_str(), id.as_str(), &data["reason"]), ("relay:goodbye", "", &json!("drain")));
    assert_eq!(asked.api.misfit(asked.api.schema("Farewell"), &data), None);
}

#[test]
fn answers_of_x0s_addresses_fit() {
    let asked = Asked::of(&["--wait", "100ms", "--error-hold", "0s"]);
    let set = json!({"session_src": "a", "session_dst": "b", "payload": {"n": 1}});
    let get = json!({"session_src": "b"});
    let asks = |path: &str, body: &Value| asked.ask("POST", path, "", Some(body)).1;
    assert_eq!(asks("/set", &set)["status"], "ok");
    assert_eq!(asks("/python/getMessages.py", &get)["Result"]["messages"][0]["n"], 1);
    assert_eq!(asks("/python/delMessages.py", &get)["Result"]["messages"], Value::Null);
    assert_eq!(asks("/get", &get)["messages"], Value::Null);
    asked.send(&json!({"to": "b", "payload": 7}));
    assert_eq!(asks("/get", &get), json!({"messages": [{"payload": 7, "session_src": ""}]}));
    assert_eq!(asks("/del", &get)["messages"], Value::Null);
    for path in ["/get", "/set", "/del", "/python/MsgHandler.py"] {
        assert_eq!(asks(path, &json!({}))["error"], true, "{path}");
    }
    for path in ["/python/getMessages.py", "/python/delMessages.py"] {
        assert_eq!(asks(path, &json!({}))["Result"]["error"], true, "{path}");
    }
    for (path, query) in [
        ("/set", "?session_src=a&session_dst=b&payload=%7B%7D"),
        ("/get", "?session_src=b"),
        ("/del", "?session_src=b"),
        ("/python/MsgHandler.py", "?Type=GET&Session=b"),
        ("/python/getMessages.py", "?Session=b"),
        ("/python/delMessages.py", "?Session=b"),
    ] {
        let (_, value) = asked.ask("GET", path, query, None);
        assert_eq!(value.get("error"), None, "{path}");
    }
}

#[test]
fn answers_for_operators_fit() {
    let asked = Asked::of(&["--drain-notice", "10s"]);
    for path in ["/", "/healthz", "/readyz", "/metrics", "/docs", "/doctor"] {
        assert_eq!(asked.ask("GET", path, "", None).0, 200, "{path}");
    }
    let html = request("GET", "/", &[("Accept", "text/html")], b"");
    assert_eq!(asked.fits("GET", "/", &Conn::open(asked.relay.addr()).exchange(html)).1, Value::Null);
    assert_eq!(asked.ask("GET", "/openapi.json", "", None).1, asked.api.0);
    assert_eq!(asked.ask("GET", "/documentation", "", None).0, 308);
    assert_eq!(
        asked.ask("GET", "/doctor/echo", "", None),
        (429, serde_json::json!({"doctor": "x0-relay", "headers": []}))
    );
    asked.relay.term();
    eventually("it says that it will end", PROMPT, || (asked.ask("GET", "/readyz", "", None).0 == 503).then_some(()));
}
