//! What an identity may do: patterns of sessions, in its own organisation's space and in others'.

use serde::{Deserialize, Deserializer, de};

use crate::id::{ORG_BYTES_MAX, SessionId};

/// The most patterns in one list.
pub const PATTERNS_MAX: usize = 256;
/// The longest pattern, in bytes: the longest session id, its organisation, and what stands around them.
const PATTERN_BYTES_MAX: usize = 256 + ORG_BYTES_MAX + 16;

/// One session, or all that begin with something.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pattern {
    /// Whether it is the beginning alone that counts: it was written with `*` at its end.
    prefix: bool,
    /// Whether it is an address in another organisation: it was written with `org:`, and its text begins so.
    elsewhere: bool,
    text: Box<str>,
}

/// A list of sessions or addresses, as a token's claims have it: one text, or an array of texts.
///
/// `tab-1` is one session, `tab-*` all that begin with `tab-`, `*` all. `session:` may stand before it. What begins with
/// `org:` is an address in another organisation: `org:acme/tab-*`, `org:acme/*`, `org:*`. Any other word before a first
/// colon is a kind of address that this relay does not have, and matches nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// One session alone.
    pub fn only(session: &str) -> Self {
        Self(vec![Pattern { prefix: false, elsewhere: false, text: session.into() }])
    }

    /// Everything in one's own space.
    pub fn all() -> Self {
        Self(vec![Pattern { prefix: true, elsewhere: false, text: "".into() }])
    }

    /// Reads patterns.
    ///
    /// # Errors
    /// A text that is empty or too long, or too many.
    pub fn read<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        if texts.len() > PATTERNS_MAX {
            return Err(format!("a list of sessions may have {PATTERNS_MAX} patterns, this one has {}", texts.len()));
        }
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts.iter().map(AsRef::as_ref) {
            if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
                return Err(format!(
                    "a pattern of sessions has 1 to {PATTERN_BYTES_MAX} bytes, one has {}",
                    text.len()
                ));
            }
            let (elsewhere, text) = match text.split_once(':') {
                None => (false, text),
                // Whatever the id begins with: it is one of one's own space.
                Some(("session", session)) => (false, session),
                Some(("org", _)) => (true, text),
                // A kind of address that is not known here.
                Some(_) => continue,
            };
            let (prefix, text) = text.strip_suffix('*').map_or((false, text), |start| (true, start));
            patterns.push(Pattern { prefix, elsewhere, text: text.into() });
        }
        Ok(Self(patterns))
    }

    /// Whether a session of one's own space is among them.
    pub fn has(&self, session: &str) -> bool {
        // What names another's space names none of one's own, even if the ids read alike.
        self.0.iter().filter(|pattern| !pattern.elsewhere).any(|pattern| pattern.fits(session))
    }

    /// Whether a session of another space is among them.
    pub fn has_elsewhere(&self, org: &str, session: &str) -> bool {
        let address = format!("org:{org}/{session}");
        self.0.iter().filter(|pattern| pattern.elsewhere).any(|pattern| pattern.fits(&address))
    }
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        if self.prefix { text.starts_with(&*self.text) } else { *text == *self.text }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Texts {
            One(String),
            Many(Vec<String>),
        }
        match Texts::deserialize(from)? {
            Texts::One(text) => Self::read(&[text]),
            Texts::Many(texts) => Self::read(&texts),
        }
        .map_err(de::Error::custom)
    }
}

/// What an identity may do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Policy {
    /// The organisation whose sessions are meant; none: the sessions of nobody's.
    pub org: Option<Box<str>>,
    /// The sessions that it may receive for.
    pub receive: Patterns,
    /// The addresses that it may send to.
    pub send: Patterns,
    /// The sessions that it may send as.
    pub from: Patterns,
}

impl Policy {
    /// A session of this identity's space, if it may receive for it.
    pub fn receives(&self, session: &SessionId) -> Option<SessionId> {
        (session.org().is_none() && self.receive.has(session.bare())).then(|| self.own(session))
    }

    /// The mailbox that an address means, if it may send there.
    pub fn sends(&self, to: &SessionId) -> Option<SessionId> {
        match to.org() {
            None => self.send.has(to.bare()).then(|| self.own(to)),
            // One's own space by its name is one's own space.
            Some(org) if org == self.org.as_deref().unwrap_or_default() => {
                self.send.has(to.bare()).then(|| self.own(to))
            }
            Some(org) => self.send.has_elsewhere(org, to.bare()).then(|| to.within(org)),
        }
    }

    /// Whether it may say that a message is from this session; from none, anybody may.
    pub fn speaks_as(&self, from: &str) -> bool {
        from.is_empty() || self.from.has(from)
    }

    fn own(&self, session: &SessionId) -> SessionId {
        session.within(self.org.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> SessionId {
        SessionId::new(text).expect("an id")
    }

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::read(texts).expect("patterns")
    }

    #[test]
    fn exact_ones_prefixes_and_all() {
        let some = patterns(&["tab-*", "session:one", "a:b", "user:ann"]);
        for (session, has) in [("tab-", true), ("tab-1", true), ("tab", false), ("one", true), ("one2", false)] {
            assert_eq!(some.has(session), has, "{session}");
        }
        assert!(!some.has("a:b") && !some.has("b") && !some.has("user:ann") && !some.has("ann"));
        assert!(patterns(&["session:a:b"]).has("a:b"));
        assert!(Patterns::all().has("anything") && !Patterns::default().has("anything"));
        assert!(patterns(&["a*b"]).has("a*b") && !patterns(&["a*b"]).has("axb"), "a star elsewhere is a star");
    }

    #[test]
    fn a_space_is_reached_by_its_name_alone() {
        let own = Policy { org: Some("acme".into()), send: Patterns::all(), ..Policy::default() };
        assert_eq!(own.sends(&id("t")).expect("own").org(), Some("acme"));
        assert_eq!(own.sends(&id("t").within("acme")), own.sends(&id("t")));
        assert_eq!(own.sends(&id("t").within("other")), None, "\"*\" is one's own space");
        let all = Policy { send: patterns(&["org:other/t*"]), ..own };
        assert_eq!(all.sends(&id("t1").within("other")).expect("named").org(), Some("other"));
        assert_eq!(all.sends(&id("u").within("other")), None);
        assert_eq!(all.sends(&id("org:other/t1")), None, "a session whose id reads like an address");
        let nobody = Policy { send: patterns(&["org:*"]), ..Policy::default() };
        assert!(nobody.sends(&id("x").within("any")).is_some() && nobody.sends(&id("x")).is_none());
    }

    #[test]
    fn an_id_that_reads_like_another_space_is_one_of_ones_own() {
        let policy =
            Policy { org: Some("acme".into()), send: patterns(&["session:org:other/t*"]), ..Policy::default() };
        assert_eq!(policy.sends(&id("t1").within("other")), None, "\"session:\" never leads elsewhere");
        assert_eq!(policy.sends(&id("org:other/t1")).expect("its own").org(), Some("acme"));
    }

    #[test]
    fn lists_are_bounded() {
        assert!(Patterns::read(&["x"; PATTERNS_MAX]).is_ok());
        assert!(Patterns::read(&["x"; PATTERNS_MAX + 1]).is_err());
        assert!(Patterns::read(&[""]).is_err() && Patterns::read(&["x".repeat(PATTERN_BYTES_MAX + 1)]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_of_another_space_is_ones_own(org in "[a-z]{1,8}", other in "[a-z]{1,8}", session in ".{1,40}", texts in proptest::collection::vec("[a-z:*/]{1,12}", 0..6)) {
            let Ok(send) = Patterns::read(&texts) else { return Ok(()) };
            let policy = Policy { org: Some(org.as_str().into()), receive: send.clone(), send, ..Policy::default() };
            let session = id(&session);
            if let Some(receives) = policy.receives(&session) {
                prop_assert_eq!(receives.org(), Some(org.as_str()));
            }
            prop_assert_eq!(policy.receives(&session.within(&other)), None);
            if other != org && !texts.iter().any(|text| text.starts_with("org:")) {
                prop_assert_eq!(policy.sends(&session.within(&other)), None);
            }
        }
    }
}
