//! `wire::json`: what is JSON is decided as RFC 8259 has it, and an object's members come and go by their true names.

use x0_relay::{
    error::Kind,
    wire::json::{self, Object},
};

use super::judge::{Member, Node, Verdict, judge, same_values, written};

/// Checks one text.
pub fn check(bytes: &[u8]) -> bool {
    let read = json::text(bytes).and_then(json::object);
    match (judge(bytes), &read) {
        (Verdict::Object(node), Ok(object)) => same_members(&node, object),
        (verdict, Err(error)) => {
            assert!(verdict.allows(error.kind), "{error:?}");
            assert!(!matches!(verdict, Verdict::Object(_)), "an object is refused: {error:?}");
            if let Verdict::Value(value) = verdict {
                assert_eq!(error.kind, Kind::BadRequest);
                same_values(&value);
            }
        }
        (verdict, Ok(_)) => panic!("taken for an object: {verdict:?}"),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(written(json::quote(text).as_bytes()).text().as_deref(), Some(text));
    }
    read.is_ok()
}

fn same_members(node: &Node<'_>, object: &Object<'_>) {
    let members = node.members().unwrap_or_default();
    assert!(object.members().eq(members.iter().map(pair)), "{object:?}");
    same_values(node);

    let absent = ["session_src", "type", "", "\"", "\u{fffd}"].map(str::to_owned);
    for name in members.iter().filter_map(Member::name).chain(absent) {
        assert_eq!(object.get(&name), node.last(&name).map(|value| value.raw), "{name:?}");
        assert_eq!(object.has(&name), object.get(&name).is_some());

        let rest = object.without(&name);
        let rest = written(rest.as_bytes());
        let kept = members.iter().filter(|member| !member.is(&name)).map(pair);
        assert!(rest.members().unwrap_or_default().iter().map(pair).eq(kept), "{name:?}: {}", rest.raw);
    }
}

/// A member as it stood in the text.
fn pair<'a>(member: &Member<'a>) -> (&'a str, &'a str) {
    (member.key, member.value.raw)
}
