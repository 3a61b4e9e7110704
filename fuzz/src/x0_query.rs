//! `wire::x0::query`: a GET to any of the addresses means what its query string says, or is refused for a fault that it has.

use x0_relay::{
    error::Kind,
    wire::x0::{self, Path, Request},
};

use super::{
    dialect::{MESSAGE_BYTES, PATHS, agreed, is_for, is_payload, session},
    judge::{Verdict, judge},
    outcome,
};

/// Checks one query string at every address.
pub fn check(bytes: &[u8]) -> bool {
    // What is no UTF-8 is no URL, and never comes here.
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let asked = Asked::read(text);
    let mut taken = false;
    for path in PATHS {
        match x0::query(path, text, MESSAGE_BYTES) {
            Ok(request) => {
                asked.is(path, &request);
                taken = true;
            }
            Err(error) => {
                assert!(asked.has_fault(path, error.kind), "{path:?}: {error:?}");
                outcome::is_told(&error);
            }
        }
    }
    taken
}

/// A parameter: not there, not decodable, or its text.
type Parameter = Option<Result<String, ()>>;

/// The parameters that mean something.
struct Asked {
    verb: Parameter,
    from: Parameter,
    to: Parameter,
    payload: Parameter,
}

impl Asked {
    fn read(text: &str) -> Self {
        let last = |names: &[&str]| -> Parameter {
            let mut pairs = text.split('&').rev().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(name, _)| names.contains(name)).map(|(_, value)| decoded(value).ok_or(()))
        };
        Self {
            verb: last(&["Type", "type"]),
            from: last(&["Session", "session_src", "SYS_SESSION"]),
            to: last(&["DestinationSession", "session_dst"]),
            payload: last(&["Payload", "payload"]),
        }
    }

    fn is_silent(&self) -> bool {
        [&self.verb, &self.from, &self.to, &self.payload].into_iter().all(Option::is_none)
    }

    fn verb(&self, path: Path) -> Option<&'static str> {
        match &self.verb {
            Some(Err(())) => None,
            Some(Ok(said)) => agreed(path, Some(said)),
            None => agreed(path, None),
        }
    }

    fn sent(&self) -> &str {
        match &self.payload {
            Some(Ok(text)) => text.trim_matches([' ', '\t', '\r', '\n']),
            _ => "",
        }
    }

    fn is(&self, path: Path, request: &Request) {
        if path == Path::Handler && self.is_silent() {
            return assert_eq!(*request, Request::Nothing);
        }
        let (verb, source) = (self.verb(path).unwrap_or_default(), id(&self.from).unwrap_or_default());
        let Request::Send { from, to, payload } = request else {
            return is_for(path, verb, &source, request);
        };
        assert_eq!((verb, from.as_str(), Some(to.as_str())), ("SET", &*source, id(&self.to).as_deref()));
        match judge(self.sent().as_bytes()) {
            Verdict::Object(sent) => is_payload(&sent, payload),
            other => panic!("{request:?} out of {other:?}"),
        }
        outcome::is_delivered(from, payload);
    }

    fn has_fault(&self, path: Path, kind: Kind) -> bool {
        let sends = self.verb(path) == Some("SET");
        let broken = |parameter: &Parameter| *parameter == Some(Err(()));
        let verdict = judge(self.sent().as_bytes());
        match kind {
            Kind::BadRequest => {
                self.verb(path).is_none()
                    || broken(&self.from)
                    || (sends && (broken(&self.to) || broken(&self.payload)))
            }
            Kind::InvalidSession => id(&self.from).is_none() || (sends && id(&self.to).is_none()),
            Kind::PayloadNotObject => sends && !matches!(verdict, Verdict::Object(_)),
            Kind::TooDeep => sends && matches!(verdict, Verdict::Neither { .. }),
            Kind::TooLarge => sends && self.sent().len() > MESSAGE_BYTES,
            _ => false,
        }
    }
}

fn id(parameter: &Parameter) -> Option<String> {
    session(parameter.clone().and_then(Result::ok))
}

/// A form's value: `+` is a space, `%` and two hexadecimal digits are a byte, all together UTF-8.
pub fn decoded(value: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut rest = value.as_bytes();
    let mut out = Vec::new();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, digit(behind.first()), digit(behind.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).ok()?);
                rest = &behind[2..];
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    String::from_utf8(out).ok()
}
