//! A request inside another's body must never be carried out, whatever becomes of the connection.

use std::time::Duration;

use crate::{
    case::Stage,
    common::{
        Conn,
        credentials::{self, session},
        x0::{poll_body, set_body},
    },
};

/// What must not happen: a message of the smuggler's to the victim.
fn smuggled() -> String {
    let body = set_body("evil", "victim", r#"{"smuggled":1}"#);
    let who = credentials::line();
    format!("POST /set HTTP/1.1\r\nHost: x\r\n{who}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[track_caller]
fn assert_not_smuggled(stage: &mut Stage, name: &str, parts: &[String]) {
    stage.case(name, |conn, relay| {
        for part in parts {
            // The relay may end the connection at any time.
            let _ = conn.try_send(part);
            // Time for what came before to be taken for something whole.
            let _ = conn.try_response(Duration::from_millis(150));
        }
        let mut victim = Conn::open(relay.addr());
        let answer = victim.exchange(crate::common::x0::poll_request("victim"));
        assert_eq!(answer.text(), r#"{"messages": null}"#, "{name}");
    });
}

#[test]
fn the_body_of_a_get_is_no_request() {
    let mut stage = Stage::new(&["--wait", "300ms"]);
    let inner = smuggled();
    let (who, z) = (credentials::line(), session("z"));
    let targets = [
        &format!("/get?session_src={z}"),
        &format!("/python/MsgHandler.py?Type=GET&Session={z}"),
        "/python/MsgHandler.py",
    ];
    for target in targets {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{who}Content-Length: {}\r\n\r\n", inner.len());
        assert_not_smuggled(&mut stage, target, &[head.clone(), inner.clone()]);
        assert_not_smuggled(&mut stage, target, &[format!("{head}{inner}")]);
    }
}

#[test]
fn a_poll_of_two_framings_ends_its_connection() {
    let mut stage = Stage::new(&["--wait", "300ms"]);
    let (poll, inner) = (poll_body("z"), smuggled());
    let chunked = format!("{:x}\r\n{poll}\r\n0\r\n\r\n", poll.len());
    let length = format!("Content-Length: {}", chunked.len() + inner.len());
    let encoding = "Transfer-Encoding: chunked".to_owned();
    for (first, second) in [(&length, &encoding), (&encoding, &length)] {
        let who = credentials::line();
        let head = format!("POST /get HTTP/1.1\r\nHost: x\r\n{who}{first}\r\n{second}\r\n\r\n");
        assert_not_smuggled(&mut stage, first, &[format!("{head}{chunked}{inner}")]);
        assert_not_smuggled(&mut stage, first, &[format!("{head}{chunked}"), inner.clone()]);
    }
}
