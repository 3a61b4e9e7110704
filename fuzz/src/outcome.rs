//! What goes out: messages as their receivers get them, and refusals.

use std::sync::Arc;

use uuid::Uuid;
use x0_relay::{
    error::Error,
    id::{RequestId, SessionId},
    mailbox::Letter,
    message::{Message, Seq, UnixMs},
    wire::{
        v1,
        x0::{self, Payload},
    },
};

use super::judge::{Node, written};

/// The payload reaches its receiver with its members as they are and the sender behind them, once.
pub fn is_delivered(from: &SessionId, payload: &Payload) {
    let message = Message {
        id: Uuid::nil(),
        from: from.as_str().into(),
        kind: Box::default(),
        accepted: UnixMs(0),
        expires: UnixMs(0),
        payload: payload.json.clone(),
        shape: payload.shape,
    };
    let letter = Letter { seq: Seq(1), arrival: Default::default(), message: Arc::new(message) };
    let mut out = Vec::new();
    x0::write_message(&letter, &mut out);
    is_message(&written(&out), from, payload);

    let array = x0::array(&[letter.clone(), letter]);
    let answers = [x0::mail(&array, false), x0::mail(&array, true)];
    let [answer, legacy] = [written(&answers[0]), written(&answers[1])];
    let expected = format!("[{0}, {0}]", String::from_utf8_lossy(&out));
    assert_eq!(answer.last("messages").map(|messages| messages.raw), Some(&*expected));
    assert_eq!(legacy.last("Result").and_then(|result| result.last("messages")).map(|list| list.raw), Some(&*expected));
}

fn is_message(message: &Node<'_>, from: &SessionId, payload: &Payload) {
    let before = written(&payload.json);
    let (Some(before), Some(after)) = (before.members(), message.members()) else {
        panic!("no object: {message:?}");
    };
    let Some((source, rest)) = after.split_last() else { panic!("without a sender: {message:?}") };
    assert_eq!(rest, before);
    assert!(source.is("session_src") && source.value.text().as_deref() == Some(from.as_str()), "{source:?}");
    assert!(!rest.iter().any(|member| member.is("session_src")), "two senders: {message:?}");
}

/// The refusal can be told in one line, and as a problem.
pub fn is_told_to_v1(error: &Error) {
    is_a_line(error);
    let problem = v1::problem(error, RequestId::default());
    let problem = written(&problem);
    let said = |name: &str| problem.last(name).and_then(Node::text);
    assert_eq!(said("kind").as_deref(), Some(error.kind.label()));
    assert_eq!(said("title").as_deref(), Some(error.kind.title()));
    assert_eq!(said("detail").as_deref(), Some(&*error.detail));
    assert_eq!(problem.last("status").and_then(Node::number), Some(error.kind.status().into()));
}

fn is_a_line(error: &Error) {
    let line = error.to_string();
    assert!(!error.detail.is_empty() && line.len() < 300 && !line.contains(char::is_control), "{line:?}");
}

/// The refusal can be told: in one line, and as x0's error object.
pub fn is_told(error: &Error) {
    is_a_line(error);
    for (text, wrapped) in
        [(x0::error(error, false), false), (x0::error(error, true), false), (x0::legacy_error(error), true)]
    {
        let answer = written(text.as_bytes());
        let Some(object) = (if wrapped { answer.object("Result") } else { Some(&answer) }) else {
            panic!("no Result: {text}");
        };
        let said = |name: &str| object.last(name).and_then(Node::text);
        assert_eq!(object.last("error").map(|value| value.raw), Some("true"));
        assert_eq!(said("exception_id").as_deref(), Some(error.kind.x0_name()));
        assert_eq!(said("exception").as_deref(), Some(error.kind.title()));
        assert_eq!(said("detail").as_deref(), Some(&*error.detail));
    }
}
