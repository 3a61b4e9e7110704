//! What a request of the x0 dialect means, read from its JSON by the judge: the measure for `wire::x0::body`.

use x0_relay::{
    error::Kind,
    id::SESSION_BYTES_MAX,
    wire::x0::{Path, Payload, Request},
};

use super::{
    judge::{Member, Node, written},
    outcome,
};

/// All addresses.
pub const PATHS: [Path; 6] = [Path::Handler, Path::Get, Path::Set, Path::Del, Path::LegacyGet, Path::LegacyDel];

/// The largest payload that the checks allow, so that small inputs exceed it.
pub const MESSAGE_BYTES: usize = 512;

/// What a form's data becomes begins with this.
const FORM_HEAD: &str =
    r#"{"msg-type":"net-message","method-id":"set-data","dst-object":"FormlistExchangeData","payload":"#;

/// What an address does, whatever the request says.
pub fn verb_of(path: Path) -> Option<&'static str> {
    match path {
        Path::Handler => None,
        Path::Get | Path::LegacyGet => Some("GET"),
        Path::Set => Some("SET"),
        Path::Del | Path::LegacyDel => Some("DEL"),
    }
}

/// What is to be done, by the address and by what the request says; nothing if it is unclear.
pub fn agreed(path: Path, said: Option<&str>) -> Option<&'static str> {
    let said = match said {
        Some(said) => Some(["GET", "SET", "DEL"].into_iter().find(|verb| *verb == said)?),
        None => None,
    };
    match (verb_of(path), said) {
        (Some("GET" | "DEL"), Some("SET")) => None,
        (path, said) => path.or(said),
    }
}

/// A request other than SET is of the right kind, and for `session`.
pub fn is_for(path: Path, verb: &str, session: &str, request: &Request) {
    let fits = match request {
        Request::Receive(id) => !path.is_legacy() && verb == "GET" && id.as_str() == session,
        Request::Remove(id) => !path.is_legacy() && verb == "DEL" && id.as_str() == session,
        Request::Show(id) => path == Path::LegacyGet && id.as_str() == session,
        Request::RemoveShown(id) => path == Path::LegacyDel && id.as_str() == session,
        Request::Nothing | Request::Send { .. } => false,
    };
    assert!(fits, "{path:?} {verb} {session:?}: {request:?}");
}

/// What was taken for a payload is `sent` without its `session_src`, byte for byte where it had none.
pub fn is_payload(sent: &Node<'_>, payload: &Payload) {
    let taken = written(&payload.json);
    let members = sent.members().unwrap_or_default();
    if members.iter().any(|member| member.is("session_src")) {
        let kept: Vec<&Member<'_>> = members.iter().filter(|member| !member.is("session_src")).collect();
        assert_eq!(taken.members().unwrap_or_default().iter().collect::<Vec<_>>(), kept);
    } else {
        assert_eq!(taken.raw, sent.raw);
    }
    assert!(payload.json.len() <= MESSAGE_BYTES);
}

/// A text that may be a session id.
pub fn session(text: Option<String>) -> Option<String> {
    text.filter(|id| (1..=SESSION_BYTES_MAX).contains(&id.len()) && !id.starts_with('\u{10FFFF}'))
}

/// A request as an object, at an address.
pub struct Asked<'a> {
    /// Where.
    pub path: Path,
    /// What.
    pub object: &'a Node<'a>,
}

impl<'a> Asked<'a> {
    fn is_form(&self) -> bool {
        let has = |name| self.object.last(name).is_some();
        self.path == Path::Handler && !has("type") && has("RequestData")
    }

    fn verb(&self) -> Option<&'static str> {
        if self.is_form() {
            return Some("SET");
        }
        // A `type` that is no string is none of the three.
        let said = self.object.last("type").map(|said| said.text().unwrap_or_default());
        agreed(self.path, said.as_deref())
    }

    fn from(&self) -> Option<String> {
        let source = self.object.last("session_src").filter(|source| source.raw != "null");
        let source = match source {
            Some(source) if !self.is_form() => source.text(),
            _ if self.verb() == Some("SET") => {
                self.object.object("SessionData").and_then(|data| data.last("Value")).and_then(Node::text)
            }
            _ => None,
        };
        session(source)
    }

    fn form(&self) -> Option<&Node<'a>> {
        self.object.object("RequestData")
    }

    fn to(&self) -> Option<String> {
        let to = if self.is_form() {
            self.form()?.object("FormlistSelectDstUser")?.last("DstUserSession")
        } else {
            self.object.last("session_dst")
        };
        session(to.and_then(Node::text))
    }

    /// What is sent, or the data of the form.
    fn sent(&self) -> Option<&Node<'a>> {
        if self.is_form() { self.form()?.object("FormlistExchangeData") } else { self.object.object("payload") }
    }

    /// What was made of it is what it says.
    pub fn is(&self, request: &Request) {
        let (verb, from) = (self.verb().unwrap_or_default(), self.from().unwrap_or_default());
        let Request::Send { from: source, to, payload } = request else {
            return is_for(self.path, verb, &from, request);
        };
        assert_eq!((verb, source.as_str()), ("SET", &*from));
        assert_eq!(Some(to.as_str()), self.to().as_deref());
        let Some(sent) = self.sent() else { panic!("nothing was sent: {request:?}") };
        if self.is_form() {
            assert_eq!(payload.json, format!("{FORM_HEAD}{}}}", sent.raw));
        } else {
            is_payload(sent, payload);
        }
        outcome::is_delivered(source, payload);
    }

    /// It was refused for a reason that it has.
    pub fn has_fault(&self, kind: Kind) -> bool {
        let sends = self.verb() == Some("SET");
        match kind {
            Kind::BadRequest if self.is_form() => {
                self.form().is_none_or(|form| form.object("FormlistSelectDstUser").is_none()) || self.sent().is_none()
            }
            Kind::BadRequest => self.verb().is_none(),
            Kind::InvalidSession => self.from().is_none() || (sends && self.to().is_none()),
            Kind::PayloadNotObject => sends && !self.is_form() && self.sent().is_none(),
            Kind::TooLarge => sends && self.sent().is_some_and(|sent| self.size(sent) > MESSAGE_BYTES),
            _ => false,
        }
    }

    /// What a payload has at least, without the members that are taken out of it.
    fn size(&self, sent: &Node<'_>) -> usize {
        if self.is_form() {
            return FORM_HEAD.len() + sent.raw.len() + 1;
        }
        let members = sent.members().unwrap_or_default();
        if !members.iter().any(|member| member.is("session_src")) {
            return sent.raw.len();
        }
        let kept = members.iter().filter(|member| !member.is("session_src"));
        let bytes: usize = kept.map(|member| member.key.len() + 1 + member.value.raw.len() + 1).sum();
        bytes.saturating_sub(1) + 2
    }
}
