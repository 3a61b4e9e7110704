//! `wire::v1`'s queries: a receiver's request is what its query, `Last-Event-ID` and body say, or is refused for a fault
//! that it has. The first line is the query, the second the header, the rest the body, which is an acknowledgement too.

use std::time::Duration;

use x0_relay::{
    cursor::Cursor,
    error::{Error, Kind},
    id::SESSION_BYTES_MAX,
    wire::v1,
};

use super::{
    judge::{Node, Verdict, judge},
    outcome,
    x0_query::decoded,
};

/// Checks one request.
pub fn check(bytes: &[u8]) -> bool {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    // What is no UTF-8 is no URL, and never comes here.
    let Ok(query) = std::str::from_utf8(lines.next().unwrap_or_default()) else { return false };
    let last = lines.next();
    let body = lines.next().unwrap_or_default();
    let asked = Asked::read(query);
    let taken = [poll(&asked, query), attach(&asked, query), events(&asked, query, last, body), ack(body), path(query)];
    taken.contains(&true)
}

/// A parameter: how often it is there, and the last one's text if it can be decoded.
struct Parameter {
    times: usize,
    text: Option<String>,
}

impl Parameter {
    fn is_broken(&self) -> bool {
        self.times > 1 || (self.times == 1 && self.text.is_none())
    }

    /// It is there, and is not what it should be.
    fn is_not(&self, legal: impl Fn(&str) -> bool) -> bool {
        self.text.as_deref().is_some_and(|text| !legal(text))
    }
}

struct Asked(Vec<(String, Option<String>)>);

impl Asked {
    fn read(query: &str) -> Self {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (decoded(name).unwrap_or_default(), decoded(value))).collect())
    }

    fn get(&self, name: &str) -> Parameter {
        let all: Vec<_> = self.0.iter().filter(|(said, _)| said == name).collect();
        Parameter { times: all.len(), text: all.last().and_then(|(_, text)| text.clone()) }
    }

    fn has_broken(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_broken())
    }
}

fn is_session(text: &str) -> bool {
    (1..=SESSION_BYTES_MAX).contains(&text.len()) && !text.starts_with('\u{10FFFF}')
}

fn cursor(text: Option<&str>) -> Option<Cursor> {
    text.map(|text| Cursor::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")))
}

fn is_cursor(text: &str) -> bool {
    Cursor::parse(text).is_ok()
}

fn seconds(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let legal = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    text.parse().ok().filter(|seconds| legal && (0.0..=60.0).contains(seconds))
}

fn count(text: &str) -> Option<usize> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|n| (1..=1000).contains(n))
}

/// A refusal has its reason among those that `faults` gives for its kind.
fn is_refused(error: &Error, faults: &[(Kind, bool)]) {
    assert!(faults.contains(&(error.kind, true)), "{error:?} of {faults:?}");
    outcome::is_told_to_v1(error);
}

fn poll(asked: &Asked, query: &str) -> bool {
    let [session, after, wait, limit] = ["session", "after", "wait", "limit"].map(|name| asked.get(name));
    let result = v1::poll(Some(query));
    match &result {
        Ok(poll) => {
            assert_eq!(Some(poll.session.as_str()), session.text.as_deref());
            assert_eq!(poll.after, cursor(after.text.as_deref()));
            assert_eq!(poll.wait, wait.text.as_deref().and_then(seconds).map(Duration::from_secs_f64));
            assert_eq!(poll.wait.is_some(), wait.times > 0);
            assert_eq!((poll.limit, poll.limit.is_some()), (limit.text.as_deref().and_then(count), limit.times > 0));
        }
        Err(error) => {
            let broken = asked.has_broken(&["session", "after", "wait", "limit"]);
            let odd = wait.is_not(|text| seconds(text).is_some()) || limit.is_not(|text| count(text).is_some());
            is_refused(
                error,
                &[
                    (Kind::BadRequest, broken || odd),
                    (Kind::InvalidSession, session.times == 0 || session.is_not(is_session)),
                    (Kind::InvalidCursor, after.is_not(is_cursor)),
                ],
            );
        }
    }
    result.is_ok()
}

fn attach(asked: &Asked, query: &str) -> bool {
    let [session, after] = ["session", "after"].map(|name| asked.get(name));
    let result = v1::attach(Some(query), None);
    match &result {
        Ok(attach) => {
            assert_eq!(Some(attach.session.as_str()), session.text.as_deref());
            assert_eq!(attach.after, cursor(after.text.as_deref()));
        }
        Err(error) => is_refused(
            error,
            &[
                (Kind::BadRequest, asked.has_broken(&["session", "after"])),
                (Kind::InvalidSession, session.times == 0 || session.is_not(is_session)),
                (Kind::InvalidCursor, after.is_not(is_cursor)),
            ],
        ),
    }
    result.is_ok()
}

fn member(object: Option<&Node<'_>>, name: &str) -> Option<String> {
    object?.last(name)?.text()
}

/// An object with these members at most, each once, and all of them strings.
fn has_strings(object: &Node<'_>, names: &[&str]) -> bool {
    let members = object.members().unwrap_or_default();
    let once = |name: &&str| members.iter().filter(|member| member.is(name)).count() <= 1;
    names.iter().all(once)
        && members.iter().all(|member| names.iter().any(|name| member.is(name)) && member.value.text().is_some())
}

fn events(asked: &Asked, query: &str, last: Option<&[u8]>, body: &[u8]) -> bool {
    const NAMES: [&str; 3] = ["session", "after", "ack"];
    let verdict = judge(body);
    let object = if let Verdict::Object(object) = &verdict { Some(object) } else { None };
    let [session, after, ack] = NAMES.map(|name| asked.get(name).text.or(member(object, name)));
    let last = last.map(|id| String::from_utf8_lossy(id.trim_ascii()).into_owned()).filter(|id| !id.is_empty());
    let result = v1::events(Some(query), last.as_deref().map(str::as_bytes), body, None);
    match &result {
        Ok(events) => {
            assert_eq!(Some(events.session.as_str()), session.as_deref());
            assert_eq!(events.after, cursor(last.or(after).as_deref()));
            assert_eq!(events.explicit, ack.as_deref() == Some("explicit"));
            assert!(ack.is_none() || events.explicit);
        }
        Err(error) if !body.trim_ascii().is_empty() && object.is_none() => {
            assert!(verdict.allows(error.kind) || asked.has_broken(&NAMES), "{error:?}");
            outcome::is_told_to_v1(error);
        }
        Err(error) => {
            let both =
                NAMES.iter().any(|name| asked.get(name).times > 0 && object.is_some_and(|o| o.last(name).is_some()));
            let odd = object.is_some_and(|object| !has_strings(object, &NAMES));
            let ack = ack.is_some_and(|ack| ack != "explicit");
            let no_cursor = [&after, &last].into_iter().flatten().any(|text| !is_cursor(text));
            is_refused(
                error,
                &[
                    (Kind::BadRequest, asked.has_broken(&NAMES) || both || odd || ack),
                    (Kind::InvalidSession, session.is_none_or(|session| !is_session(&session))),
                    (Kind::InvalidCursor, no_cursor),
                ],
            );
        }
    }
    result.is_ok()
}

fn ack(body: &[u8]) -> bool {
    let result = v1::ack(body);
    match (&result, judge(body)) {
        (Ok(ack), Verdict::Object(object)) => {
            assert!(has_strings(&object, &["session", "cursor"]));
            assert_eq!(member(Some(&object), "session").as_deref(), Some(ack.session.as_str()));
            assert_eq!(Some(ack.cursor), cursor(member(Some(&object), "cursor").as_deref()));
        }
        (Ok(ack), verdict) => panic!("{ack:?} out of {verdict:?}"),
        (Err(error), Verdict::Object(object)) => {
            let said = |name| object.last(name);
            let text = |name| member(Some(&object), name);
            is_refused(
                error,
                &[
                    (Kind::BadRequest, !has_strings(&object, &["session", "cursor"]) || said("cursor").is_none()),
                    (Kind::InvalidSession, text("session").is_none_or(|session| !is_session(&session))),
                    (Kind::InvalidCursor, text("cursor").is_some_and(|cursor| !is_cursor(&cursor))),
                ],
            );
        }
        (Err(error), verdict) => {
            assert!(verdict.allows(error.kind), "{error:?}");
            outcome::is_told_to_v1(error);
        }
    }
    result.is_ok()
}

/// The query as a path below `/v1/sessions/`.
fn path(text: &str) -> bool {
    let (id, messages) = text.strip_suffix("/messages").map_or((text, false), |id| (id, true));
    match v1::session_path(&format!("/v1/sessions/{text}")) {
        None => assert!(id.contains('/'), "{text:?}"),
        Some((Ok(session), of_messages)) => {
            assert_eq!((decoded(&id.replace('+', "%2B")), of_messages), (Some(session.as_str().to_owned()), messages));
        }
        Some((Err(error), _)) => {
            let id = decoded(&id.replace('+', "%2B"));
            is_refused(
                &error,
                &[(Kind::BadRequest, id.is_none()), (Kind::InvalidSession, id.is_some_and(|id| !is_session(&id)))],
            );
        }
    }
    false
}
