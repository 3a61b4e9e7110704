//! What somebody who sends over protocol v1 means, read from the JSON by the judge: the measure for drafts and frames.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use uuid::Uuid;
use x0_relay::{
    error::Kind,
    id::{SESSION_BYTES_MAX, is_org},
    mailbox::Letter,
    message::{KIND, Message, Seq, Shape, UnixMs},
    wire::{
        v1::{self, ADDRESSES_MAX, Draft, FROM_BYTES_MAX, KEY_BYTES_MAX, KIND_BYTES_MAX, Limits},
        x0,
    },
};

use super::judge::{Node, written};

/// Small, so that small inputs exceed them.
pub const LIMITS: Limits = Limits { message_bytes: 512, ttl_max: Duration::from_secs(3600) };

/// Something that is sent.
pub struct Sending<'a> {
    /// Its JSON.
    pub object: &'a Node<'a>,
    /// What the member is called that says the message's type.
    pub kind: &'static str,
    /// The members that it may have.
    pub names: &'static [&'static str],
}

impl Sending<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.object.last(name)?.text()
    }

    /// A member that may be missing, but not be anything else.
    fn optional(&self, name: &str, legal: impl Fn(&str) -> bool) -> bool {
        self.object.last(name).is_none() || self.text(name).is_some_and(|text| legal(&text))
    }

    /// Each address as it was written, unless one is no string.
    fn addresses(&self) -> Option<Vec<String>> {
        match &self.object.last("to")?.shape {
            super::judge::Shape::String(_) => Some(vec![self.text("to")?]),
            super::judge::Shape::Array(items) => items.iter().map(Node::text).collect(),
            _ => None,
        }
    }

    /// The receivers, each with the organisation that is named.
    fn receivers(&self) -> Option<Vec<(Option<String>, String)>> {
        let mut known = BTreeSet::new();
        let mut to = Vec::new();
        for address in self.addresses()? {
            let (org, id) = match address.split_once(':') {
                Some(("session", id)) => (None, id.to_owned()),
                Some(("org", rest)) => {
                    let (org, id) = rest.split_once('/').filter(|(org, _)| org.is_empty() || is_org(org))?;
                    (Some(org.to_owned()), id.to_owned())
                }
                Some(_) => return None,
                None => (None, address),
            };
            if !(1..=SESSION_BYTES_MAX).contains(&id.len()) || id.starts_with('\u{10FFFF}') {
                return None;
            }
            let id = (org, id);
            if known.insert(id.clone()) {
                to.push(id);
            }
        }
        (1..=ADDRESSES_MAX).contains(&to.len()).then_some(to)
    }

    fn ttl(&self) -> Option<u64> {
        let seconds: f64 = self.object.last("ttl")?.raw.parse().ok()?;
        (seconds.fract() == 0.0 && (1.0..=3600.0).contains(&seconds)).then_some(seconds as u64)
    }

    /// Its members are known ones, each there once.
    pub fn has_right_members(&self) -> bool {
        let members = self.object.members().unwrap_or_default();
        let mut seen = BTreeSet::new();
        members.iter().all(|member| member.name().is_some_and(|name| self.names.contains(&&*name) && seen.insert(name)))
    }

    /// What was made of it is what it says.
    pub fn is(&self, draft: &Draft) {
        assert!(self.has_right_members());
        let to = draft.to.iter().map(|id| (id.org().map(str::to_owned), id.bare().to_owned())).collect();
        assert_eq!(Some(to), self.receivers());
        assert_eq!(&*draft.from, self.text("from").unwrap_or_default());
        let kind = if draft.kind.is_empty() { KIND } else { &*draft.kind };
        assert_eq!(kind, self.text(self.kind).unwrap_or(KIND.to_owned()));
        assert!(self.optional(self.kind, is_kind) && draft.from.len() <= FROM_BYTES_MAX);
        assert_eq!(draft.ttl.map(|ttl| ttl.as_secs()), self.ttl());
        assert_eq!(self.ttl().is_some(), self.object.last("ttl").is_some());
        let payload = self.object.last("payload").unwrap_or_else(|| panic!("nothing was sent: {draft:?}"));
        assert_eq!(draft.payload.json, payload.raw);
        assert!(payload.raw.len() <= LIMITS.message_bytes);
        let marked = payload.members().is_some_and(|members| members.iter().any(|member| member.is(x0::SOURCE)));
        let shape = if marked {
            Shape::Marked
        } else if payload.is_object() {
            Shape::Object
        } else {
            Shape::Other
        };
        assert_eq!(draft.payload.shape, shape);
        is_delivered(draft);
    }

    /// It was refused for a reason that it has.
    pub fn has_fault(&self, kind: Kind) -> bool {
        let payload = self.object.last("payload");
        match kind {
            Kind::BadRequest => {
                !self.has_right_members()
                    || self.addresses().is_none()
                    || payload.is_none()
                    || !self.optional("from", |from| from.len() <= FROM_BYTES_MAX)
                    || !self.optional(self.kind, is_kind)
                    || !self.optional("key", |key| (1..=KEY_BYTES_MAX).contains(&key.len()))
                    || (self.object.last("ttl").is_some() && self.ttl().is_none())
            }
            // The first address that is wrong is told, which may stand before one that is no string.
            Kind::InvalidAddress => self.receivers().is_none(),
            Kind::TooLarge => payload.is_some_and(|payload| payload.raw.len() > LIMITS.message_bytes),
            _ => false,
        }
    }
}

fn is_kind(text: &str) -> bool {
    let legal = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    (1..=KIND_BYTES_MAX).contains(&text.len()) && text.chars().all(legal)
}

/// It reaches receivers of both kinds with its payload as it is.
fn is_delivered(draft: &Draft) {
    let message = Message {
        id: Uuid::nil(),
        from: draft.from.clone(),
        kind: draft.kind.clone(),
        accepted: UnixMs(1),
        expires: UnixMs(2),
        payload: draft.payload.json.clone(),
        shape: draft.payload.shape,
    };
    let letter = Letter { seq: Seq(1), arrival: Default::default(), message: Arc::new(message) };
    let sent = written(&draft.payload.json);

    let mut out = Vec::new();
    v1::write_message(&letter, &mut out);
    let names = ["id", "seq", "from", "type", "ts", "payload"];
    let message = written(&out);
    let members = message.members().unwrap_or_default();
    assert!(members.len() == names.len() && members.iter().zip(names).all(|(member, name)| member.is(name)));
    assert_eq!(message.last("payload").map(|payload| payload.raw), Some(sent.raw));

    let mut out = Vec::new();
    x0::write_message(&letter, &mut out);
    let message = written(&out);
    let Some((source, rest)) = message.members().and_then(<[_]>::split_last) else { panic!("no sender: {message:?}") };
    assert!(source.is(x0::SOURCE) && source.value.text().as_deref() == Some(&*draft.from), "{source:?}");
    match sent.members() {
        Some(members) => {
            assert!(members.iter().filter(|member| !member.is(x0::SOURCE)).eq(rest.iter()), "{message:?}");
        }
        None => assert!(rest.len() == 1 && rest[0].is("payload") && rest[0].value.raw == sent.raw, "{message:?}"),
    }
}
