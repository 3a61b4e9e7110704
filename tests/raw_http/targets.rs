//! Methods, targets and paths.

use crate::{
    case::{Fate, Stage, assert_usable_or_told},
    common::{
        credentials::session,
        request,
        x0::{Answer, HANDLER, assert_carried, poll_body, post, set_body},
    },
};

const X0_PATHS: [&str; 6] = [HANDLER, "/get", "/set", "/del", "/python/getMessages.py", "/python/delMessages.py?a__=1"];

#[test]
fn other_methods_on_x0_paths_get_the_error_object() {
    let mut stage = Stage::new(&[]);
    for method in ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "X"] {
        for path in X0_PATHS {
            for body in [String::new(), poll_body("b")] {
                let name = format!("{method} {path} with {} bytes", body.len());
                stage.case(&name, |conn, _| {
                    let answer = conn.exchange(request(method, path, &[], body.as_bytes()));
                    assert_eq!(answer.status, 200, "{name}: {answer:?}");
                    // Legacy paths have it inside `Result`.
                    assert!(
                        answer.text().contains(r#""exception_id": "BadMethod""#)
                            || answer.text().contains(r#""exception_id":"BadMethod""#),
                        "{name}: {answer:?}"
                    );
                    answer.assert_readable();
                    assert_usable_or_told(conn, &answer, &name);
                });
            }
        }
    }
}

#[test]
fn lower_case_methods_are_other_methods() {
    let mut stage = Stage::new(&[]);
    stage.relay.set("a", "b", "{}");
    let answer = stage.answer("post", request("post", "/get", &[], poll_body("b").as_bytes()));
    answer.error("BadMethod");
    assert_eq!(stage.relay.poll("b").len(), 1);
}

#[test]
fn head_takes_no_message() {
    let mut stage = Stage::new(&[]);
    stage.relay.set("a", "b", r#"{"kept":1}"#);
    let (a, b) = (session("a"), session("b"));
    let targets = [
        &format!("/get?session_src={b}&type=GET"),
        &format!("/python/MsgHandler.py?Type=GET&Session={b}"),
        &format!("/python/getMessages.py?session_src={b}"),
        HANDLER,
        "/get",
        &format!("/del?session_src={b}"),
        &format!("/set?session_src={a}&session_dst=b"),
    ];
    for target in targets {
        stage.case(&format!("HEAD {target}"), |conn, _| {
            conn.send(request("HEAD", target, &[], b""));
            let answer = conn.response_to_head();
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            // Bytes of a body would break the next answer.
            assert_usable_or_told(conn, &answer, target);
        });
    }
    let body = poll_body("b");
    stage.case("HEAD with a body", |conn, _| {
        conn.send(request("HEAD", "/get", &[], body.as_bytes()));
        let answer = conn.response_to_head();
        assert_eq!(answer.status, 200);
        assert_usable_or_told(conn, &answer, "HEAD with a body");
    });
    assert_carried(&stage.relay.poll("b")[0], r#"{"kept":1}"#, "a");
}

#[test]
fn head_of_an_unknown_path_is_404() {
    let mut stage = Stage::new(&[]);
    stage.case("HEAD /nowhere", |conn, _| {
        conn.send(request("HEAD", "/nowhere", &[], b""));
        let answer = conn.response_to_head();
        assert_eq!(answer.status, 404);
        assert_usable_or_told(conn, &answer, "HEAD /nowhere");
    });
}

#[test]
fn connect_leads_nowhere() {
    let mut stage = Stage::new(&[]);
    for target in ["example.com:443", "127.0.0.1:1", "/get"] {
        stage.case(&format!("CONNECT {target}"), |conn, _| {
            match Fate::of(conn, request("CONNECT", target, &[], b"")) {
                Fate::Closed => {}
                Fate::Answered(answer) => {
                    let refused = matches!(answer.status, 400..=599);
                    assert!(refused || matches!(answer.x0(), Answer::Error(_)), "CONNECT {target}: {answer:?}");
                }
            }
        });
    }
}

#[test]
fn paths_are_literal() {
    let mut stage = Stage::new(&[]);
    stage.relay.set("a", "b", r#"{"kept":1}"#);
    let body = poll_body("b");
    let tricks = [
        "/get/",
        "//get",
        "/GET",
        "/Get",
        "/get%00",
        "/../get",
        "/./get",
        "/get/..",
        "/x/../get",
        "/get;x=1",
        "/get.",
        "/get%20",
        "/%2fget",
        "/get%2f",
        "/geT",
        "/python/",
        "/python/msghandler.py",
        "/python/MsgHandler.py/",
        "/python/MsgHandler.pyc",
        "/MsgHandler.py",
        "/getMessages",
        "/xgetMessages.py",
        "/getMessages.py/x",
        "/..%2f..%2fetc/passwd",
        "/set/../get",
        "/metrics/",
        "/healthz/x",
        "/assets",
        "/assets/",
        "/assets/../get",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/assets/%2e%2e/openapi.json",
        "/assets//try.js",
        "/assets/try.js%00.css",
        "/docs/../assets/try.js",
    ];
    for path in tricks {
        let answer = stage.answer(path, post(path, &body));
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        answer.assert_readable();
        assert!(matches!(Answer::parse(answer.text()), Answer::Error(e) if e.id == "NotFound"), "{path}: {answer:?}");
    }
    assert_carried(&stage.relay.poll("b")[0], r#"{"kept":1}"#, "a");
}

#[test]
fn a_percent_encoded_path_is_found_or_not_but_defined() {
    let mut stage = Stage::new(&[]);
    let answer = stage.answer("/%67et", post("/%67et", poll_body("b")));
    assert!(answer.status == 404 || answer.x0() == Answer::Nothing, "{answer:?}");
}

#[test]
fn an_absolute_target_is_its_path() {
    let mut stage = Stage::new(&[]);
    let set = post("http://another.host:81/set?a__=1", set_body("a", "b", "{}"));
    assert_eq!(stage.answer("an absolute SET", set).x0(), Answer::Accepted);
    let poll = post("HTTP://x0-msg-server.x0.localnet:8080/get", poll_body("b"));
    assert_eq!(stage.answer("an absolute poll", poll).mail().len(), 1);
}

#[test]
fn options_of_the_whole_server_is_a_preflight_too() {
    let mut stage = Stage::new(&[]);
    let answer = stage.answer("OPTIONS *", request("OPTIONS", "*", &[], b""));
    assert_eq!(answer.status / 100, 2, "{answer:?}");
    answer.assert_readable();
}

#[test]
fn targets_that_http_does_not_know() {
    let mut stage = Stage::new(&[]);
    for target in ["*", "get", "?session_src=b", "", "http://", "://", "/get x", "/get\tx", "\\get", "/get\x7f"] {
        let name = format!("GET {target:?}");
        stage.case(&name, |conn, _| {
            match Fate::of(conn, request("GET", target, &[], b"")) {
                Fate::Answered(answer) => assert!(matches!(answer.status, 400..=499), "{name}: {answer:?}"),
                Fate::Closed => {}
            };
        });
    }
}

#[test]
fn a_fragment_and_bytes_beyond_ascii_are_defined() {
    let mut stage = Stage::new(&[]);
    let b = session("b");
    for target in [&format!("/get#session_src={b}"), "/get?session_src=ä&type=GET", "/gät"] {
        stage.case(target, |conn, _| {
            match Fate::of(conn, request("GET", target, &[], b"")) {
                Fate::Answered(answer) if answer.status == 200 => drop(answer.x0()),
                Fate::Answered(answer) => assert!(matches!(answer.status, 400..=499), "{target}: {answer:?}"),
                Fate::Closed => {}
            };
        });
    }
}

#[test]
fn a_thousand_query_parameters_are_read() {
    let mut stage = Stage::new(&[]);
    stage.relay.set("a", "b", "{}");
    let many: String = (0..1000).map(|n| format!("p{n}={n}&")).collect();
    let answer = stage.answer(
        "1000 parameters",
        request("GET", &format!("/get?{many}session_src={}&type=GET", session("b")), &[], b""),
    );
    assert_eq!(answer.mail().len(), 1);
    let answer = stage.answer("1000 parameters of a POST", post(&format!("/set?{many}"), set_body("a", "b", "{}")));
    assert_eq!(answer.x0(), Answer::Accepted);
}

#[test]
fn queries_that_are_no_forms_are_errors_or_read_as_text() {
    let mut stage = Stage::new(&[]);
    let queries =
        ["&&&", "=", "=&=", "session_src", "session_src=%zz", "session_src=%", "session_src=%ff", "%", "?", "a=b=c"];
    for query in queries {
        // Whatever they are read as, none of them names a session that has mail.
        let answer = stage.answer(query, request("GET", &format!("/get?type=GET&{query}"), &[], b"")).x0();
        assert!(matches!(answer, Answer::Error(_) | Answer::Nothing), "{query}: {answer}");
    }
}

#[test]
fn an_empty_query_is_none() {
    let mut stage = Stage::new(&[]);
    stage.relay.set("a", "b", "{}");
    assert_eq!(stage.answer("/get?", post("/get?", poll_body("b"))).mail().len(), 1);
}
