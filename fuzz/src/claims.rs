//! The claims of a token that is signed as it should be: who gets in is named in them, until when and for this relay, and
//! may receive and send exactly what a plain reading of its patterns says.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::OnceLock,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use x0_relay::{
    error::Kind,
    gate::{Gate, Keys, Origin, Who},
    id::SessionId,
    lifecycle::Clock,
    settings::{Auth, Jwt, KeyPlace},
};

use super::{
    judge::{Node, Shape, Verdict, judge},
    outcome,
};

const SECRET: &str = "another-secret-for-fuzzing-0123456789";
const HERE: Origin = Origin::Remote(IpAddr::V4(Ipv4Addr::LOCALHOST));
const AUDIENCE: &str = "x0-relay";

fn gate() -> &'static Gate {
    static GATE: OnceLock<Gate> = OnceLock::new();
    GATE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("x0-relay-fuzz-claims-{}", std::process::id()));
        std::fs::write(&path, SECRET).expect("a place for a file");
        let place = KeyPlace::File(path.clone());
        let auth = Auth { jwt: Some(Jwt { keys: place, audience: AUDIENCE.to_owned(), issuer: None }), signed: None };
        let keys = Keys::load(&auth).expect("a secret");
        std::fs::remove_file(path).expect("it was there");
        Gate::new(0, &auth, keys, Clock::start())
    })
}

/// A token with these claims, signed with a secret (HS256).
pub fn token(claims: &[u8], secret: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Checks one set of claims.
pub fn check(bytes: &[u8]) -> bool {
    let bearer = format!("Bearer {}", token(bytes, SECRET.as_bytes()));
    let who = match gate().identify(HERE, Some(bearer.as_bytes())) {
        Ok(who) => who,
        Err(error) => {
            assert!(matches!(error.kind, Kind::InvalidToken | Kind::Expired), "{error:?}");
            outcome::is_told_to_v1(&error);
            return false;
        }
    };
    // Claims that are passed over need not be UTF-8; they are signed.
    let text = String::from_utf8_lossy(bytes);
    let Verdict::Object(claims) = judge(text.as_bytes()) else { panic!("{who:?} out of what is no object") };
    let principal = who.principal().expect("a token is somebody's");
    let subject = claims.last("sub").and_then(Node::text).expect("a subject");
    assert!((1..=256).contains(&subject.len()), "{subject:?}");
    assert!(texts(claims.last("aud")).iter().any(|audience| audience == AUDIENCE), "{who:?}");
    assert!(principal.expires.0 > Clock::start().now().0, "{who:?}");
    let org = claims.last("org").filter(|org| org.raw != "null").map(|org| org.text().expect("a text"));
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    assert!(org.as_deref().is_none_or(|org| (1..=64).contains(&org.len()) && org.chars().all(is_fit)), "{org:?}");
    does_what_it_says(&who, &claims, org.as_deref().unwrap_or_default());
    true
}

/// One text, or an array of them.
fn texts(claim: Option<&Node<'_>>) -> Vec<String> {
    let Some(claim) = claim else { return Vec::new() };
    match &claim.shape {
        Shape::Array(items) => items.iter().filter_map(Node::text).collect(),
        _ => claim.text().into_iter().collect(),
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

/// Whether patterns name a session of one's own space.
fn own(patterns: &[String], session: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.split_once(':') {
        None => fits(pattern, session),
        Some(("session", id)) => fits(id, session),
        Some(_) => false,
    })
}

/// Whether patterns name a session of another organisation.
fn elsewhere(patterns: &[String], org: &str, session: &str) -> bool {
    let address = format!("org:{org}/{session}");
    patterns.iter().any(|pattern| pattern.starts_with("org:") && fits(pattern, &address))
}

fn does_what_it_says(who: &Who, claims: &Node<'_>, org: &str) {
    let (receive, send) = (texts(claims.last("receive")), texts(claims.last("send")));
    // What the patterns are about, and something beside it.
    let stems = receive.iter().chain(&send).flat_map(|pattern| {
        let id = pattern.split_once(':').map_or(&**pattern, |(_, id)| id);
        let id = id.rsplit_once('/').map_or(id, |(_, id)| id).trim_end_matches('*');
        [id.to_owned(), format!("{id}1"), pattern.clone()]
    });
    for probe in stems.chain(["a".to_owned(), "org:acme/a".to_owned()]).take(60) {
        let Ok(session) = SessionId::new(&probe) else { continue };
        let (receives, sends) = (own(&receive, session.bare()), own(&send, session.bare()));
        match gate().receive(who, session.clone()) {
            Ok(_) => assert!(receives, "{probe:?} by {receive:?}"),
            Err(error) => assert!(!receives && error.kind == Kind::Forbidden, "{probe:?} by {receive:?}: {error:?}"),
        }
        assert_eq!(gate().send(who, "", vec![session.clone()]).is_ok(), sends, "{probe:?} by {send:?}");
        for other in ["acme", "other", org] {
            let there = if other == org { sends } else { elsewhere(&send, other, session.bare()) };
            let to = session.within(other);
            if to.org().is_some() {
                assert!(gate().receive(who, to.clone()).is_err(), "{probe:?} of {other:?}: nobody receives elsewhere");
                assert_eq!(gate().send(who, "", vec![to]).is_ok(), there, "{probe:?} of {other:?} by {send:?}");
            }
        }
    }
}
