//! `wire::control::Wish`: what a gateway's receiver wants is read as its JSON says, and can be written again.

use x0_relay::{error::Kind, wire::control::Wish};

use super::{
    dialect::session,
    judge::{Node, Verdict, judge},
    outcome,
};

/// Checks one frame's body.
pub fn check(bytes: &[u8]) -> bool {
    let wish = Wish::read(bytes);
    match (&wish, judge(bytes)) {
        (Ok(wish), Verdict::Object(object)) => {
            assert_eq!(source(&object).as_deref(), Some(wish.session.as_str()));
            assert_eq!(number(&object, "messages"), Some(wish.messages));
            assert_eq!(number(&object, "bytes"), Some(wish.bytes));
            assert_eq!(Wish::read(wish.write().as_bytes()).as_ref(), Ok(wish));
        }
        (Ok(wish), verdict) => panic!("{wish:?} out of {verdict:?}"),
        (Err(error), verdict) => {
            assert!(verdict.allows(error.kind), "{error:?}");
            if let Verdict::Object(object) = verdict {
                assert!(match error.kind {
                    Kind::InvalidSession => source(&object).is_none(),
                    Kind::BadRequest => ["messages", "bytes"].iter().any(|name| number(&object, name).is_none()),
                    _ => false,
                });
            }
            outcome::is_told(error);
        }
    }
    wish.is_ok()
}

fn source(object: &Node<'_>) -> Option<String> {
    session(object.last("session_src").and_then(Node::text))
}

fn number(object: &Node<'_>, name: &str) -> Option<usize> {
    object.last(name).and_then(Node::number)
}
