//! Files of keys: whatever they hold is read or refused without a word of it, and what was read verifies what it should
//! and nothing else.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::OnceLock,
};

use x0_relay::{
    error::Kind,
    gate::{Gate, Keys, Origin, signed},
    id::SessionId,
    lifecycle::Clock,
    settings::{Auth, Jwt, KeyPlace},
};

use super::{claims::token, outcome};

const HERE: Origin = Origin::Remote(IpAddr::V4(Ipv4Addr::LOCALHOST));
/// Of a token that every secret may sign.
const CLAIMS: &[u8] = br#"{"sub":"a","aud":"x0-relay","exp":9999999999}"#;
const EXPIRY: u64 = 9_999_999_999;
/// What is shorter may stand in a sentence by chance.
const WORD_MIN: usize = 20;
const STRANGER: &str = "nobody-has-put-this-secret-anywhere-0123456789";

fn place() -> &'static PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("x0f").tempdir().expect("a directory");
        dir.keep().join("keys")
    })
}

fn load(bytes: &[u8], for_tokens: bool) -> Result<Gate, ()> {
    std::fs::write(place(), bytes).expect("a place for a file");
    let keys = KeyPlace::File(place().clone());
    let jwt = Jwt { keys: keys.clone(), audience: "x0-relay".to_owned(), issuer: None };
    let auth = match for_tokens {
        true => Auth { jwt: Some(jwt), signed: None },
        false => Auth { jwt: None, signed: Some(keys) },
    };
    match Keys::load(&auth) {
        Ok(keys) => {
            let shown = format!("{keys:?}");
            assert!(shown.len() < 60, "{shown}");
            Ok(Gate::new(0, &auth, keys, Clock::start()))
        }
        Err(error) => {
            assert_eq!(error.kind, Kind::BadRequest, "{error:?}");
            outcome::is_told_to_v1(&error);
            let said = error.detail.replace(&*place().to_string_lossy(), "");
            let text = String::from_utf8_lossy(bytes);
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= WORD_MIN);
            assert!(!words.any(|word| said.contains(word)), "a piece of a key: {said:?}");
            Err(())
        }
    }
}

/// The secrets of a file that has one a line.
fn secrets(bytes: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    Some(lines)
}

/// Checks one file, as keys for tokens and as keys for signed sessions.
pub fn check(bytes: &[u8]) -> bool {
    let secrets = secrets(bytes);
    let all_good = secrets
        .as_ref()
        .is_some_and(|all| (1..=64).contains(&all.len()) && all.iter().all(|secret| secret.len() >= 32));
    let text = String::from_utf8_lossy(bytes);
    let other_form = text.trim().starts_with('{') || text.contains("-----BEGIN");

    let tokens = load(bytes, true);
    let takes = |gate: &Gate, token: &str| gate.identify(HERE, Some(format!("Bearer {token}").as_bytes())).is_ok();
    if let Ok(gate) = &tokens {
        assert!(!takes(gate, &token(CLAIMS, STRANGER.as_bytes())));
        // A public key, or a set of keys, is nobody's secret.
        for secret in [bytes, bytes.trim_ascii(), text.trim().as_bytes()] {
            assert!(!other_form || !takes(gate, &token(CLAIMS, secret)), "taken for a secret");
        }
        assert!(!takes(gate, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiYXVkIjoieDAtcmVsYXkiLCJleHAiOjk5OTk5OTk5OTl9."));
    }
    if !other_form {
        assert_eq!(tokens.is_ok(), all_good, "{text:?}");
        if let (Ok(gate), Some(secrets)) = (&tokens, &secrets) {
            assert!(secrets.iter().all(|secret| takes(gate, &token(CLAIMS, secret.as_bytes()))), "{text:?}");
        }
    }

    let sessions = load(bytes, false);
    assert_eq!(sessions.is_ok(), all_good, "{text:?}");
    if let (Ok(gate), Some(secrets)) = (&sessions, &secrets) {
        let id = SessionId::new("tab").expect("an id");
        let signed = |secret: &str| signed::sign(secret.as_bytes(), &id, EXPIRY).expect("short enough");
        assert!(secrets.iter().all(|secret| takes(gate, &signed(secret))), "{text:?}");
        assert!(!takes(gate, &signed(STRANGER)));
    }
    tokens.is_ok() || sessions.is_ok()
}
