//! `x0-relay token`: keys, tokens and signed sessions for people; and the flags of other commands that are about them.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Map, Value, json};

use super::{Done, Failure, send, show, text};
use crate::{
    config::KeyPlace,
    gate::{keys, policy::Patterns, signed},
    id::is_org,
};

/// Where `send` and `watch` find a token.
pub const VARIABLE: &str = "X0_RELAY_TOKEN";

/// What stands in front of the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 section 7).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// `--token-file`, for the commands that ask a relay over HTTP.
pub fn arg() -> Arg {
    Arg::new("token-file").long("token-file").value_name("FILE").help(
        "A file with the token or signed session to show, if the relay asks for one [env: X0_RELAY_TOKEN, the token itself]",
    )
}

/// `--org`.
pub fn org() -> Arg {
    Arg::new("org").long("org").value_name("NAME").value_parser(org_name).help("The organisation whose it is")
}

fn org_name(text: &str) -> Result<String, String> {
    if is_org(text) { Ok(text.to_owned()) } else { Err("1 to 64 of the characters A-Z a-z 0-9 . _ -".to_owned()) }
}

/// The token that is to be shown, if one is.
///
/// # Errors
/// Its file cannot be read.
pub fn shown(matches: &ArgMatches) -> Result<Option<String>, Failure> {
    match matches.try_get_one::<String>("token-file").ok().flatten() {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{path}: {error}")))?;
            Ok(Some(text.trim().to_owned()))
        }
        None => Ok(std::env::var(VARIABLE).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())),
    }
}

fn several(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("PATTERN").action(ArgAction::Append).help(help)
}

fn key_arg() -> Arg {
    Arg::new("key").long("key").value_name("FILE|env:NAME").required(true).help("The key to sign with")
}

fn for_arg(default: &'static str, help: &'static str) -> Arg {
    Arg::new("for").long("for").value_name("DURATION").default_value(default).help(help)
}

/// The command.
pub fn command() -> Command {
    let named = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("TEXT").help(help);
    Command::new("token")
        .about("Make keys, tokens and signed sessions")
        .subcommand_required(true)
        .subcommand(
            Command::new("key")
                .about("Print a new key: a secret for HS256 and for signed sessions, or with --ed25519 a private key")
                .arg(
                    Arg::new("ed25519")
                        .long("ed25519")
                        .action(ArgAction::SetTrue)
                        .help("A private key in PEM, for EdDSA: whoever only verifies need not know it"),
                ),
        )
        .subcommand(
            Command::new("public").about("Print what a relay needs of a private key, as a JWK set").arg(key_arg()),
        )
        .subcommand(
            Command::new("make")
                .about("Print a token")
                .arg(key_arg())
                .arg(named("sub", "Whose it is").required(true))
                .arg(several("receive", "Sessions it may receive for: one, or a beginning with *. May be repeated"))
                .arg(several("send", "Sessions it may send to. May be repeated"))
                .arg(several("from", "Sessions it may send as [default: those it receives for]. May be repeated"))
                .arg(org())
                .arg(named("id", "Its jti, by which it can be revoked [default: random]"))
                .arg(named("audience", "The relay's jwt-audience").default_value("x0-relay"))
                .arg(named("issuer", "The relay's jwt-issuer, if that is set"))
                .arg(for_arg("1h", "How long it is good")),
        )
        .subcommand(
            Command::new("session")
                .about("Print a signed session, for an x0 page")
                .arg(key_arg())
                .arg(Arg::new("session").value_name("ID").required(true).help("The session's id"))
                .arg(for_arg("12h", "How long it is good")),
        )
        .after_help(
            "Examples:
  umask 077
  x0-relay token key > secret
  x0-relay serve --auth jwt,signed --jwt-keys secret --signed-keys secret
      One secret for both; a key of each one's own is better.
  x0-relay token make --key secret --sub ann --receive 'ann-*' --send '*' --for 1h
  x0-relay token make --key secret --sub back-end --send '*' --from '*' --for 30days
      For a back end that sends to everybody, as anybody, and receives nothing.
  x0-relay token session --key secret tab-1
  x0-relay token key --ed25519 > private.pem; x0-relay token public --key private.pem > keys.json
      EdDSA: the relay gets keys.json, whoever makes tokens private.pem.

Whoever has a key can make tokens: keep keys out of command lines and shells' histories. docs/security.md has the claims.",
        )
}

/// `revoke` as a command.
pub fn revoke(command: Command) -> Command {
    let named = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .arg(named("token-id", "JTI", "The token with this jti"))
        .arg(named("subject", "SUB", "All tokens of this sub that were made until now"))
        .arg(org().requires("subject"))
        .arg(named("session", "ID", "This signed session"))
        .arg(for_arg("30days", "How long to remember it: at least as long as the credentials would be good"))
        .group(clap::ArgGroup::new("what").args(["token-id", "subject", "session"]).required(true))
        .after_help(
            "Examples:\n  x0-relay revoke --subject ann\n  x0-relay revoke --token-id 6f1c --for 1h\n\nFor root and the relay's own user, on the relay's machine. It is remembered in memory: a relay that starts anew has forgotten it.",
        )
}

/// A span of time that somebody typed.
///
/// # Errors
/// It is none.
pub fn span(text: &str) -> Result<Duration, Failure> {
    humantime::parse_duration(text)
        .map_err(|_| Failure::usage(format!("{text:?} is no span of time such as 1h or 30days")))
}

/// Runs the command.
pub fn run(matches: &ArgMatches) -> Done {
    let line = match matches.subcommand() {
        Some(("key", matches)) => new_key(matches.get_flag("ed25519"))?,
        Some(("public", matches)) => public(&key(matches)?)?,
        Some(("make", matches)) => make(&key(matches)?, matches)?,
        Some(("session", matches)) => session(&key(matches)?, matches)?,
        _ => return Err(Failure::usage("no such command")),
    };
    show::lines([line])
}

/// A key to sign with.
enum Key {
    Secret(String),
    Ed25519(Vec<u8>),
}

fn key(matches: &ArgMatches) -> Result<Key, Failure> {
    let place = text(matches, "key");
    let place = match place.strip_prefix("env:") {
        Some(name) => KeyPlace::Environment(name.to_owned()),
        None => KeyPlace::File(Path::new(place).to_owned()),
    };
    let text = keys::read(&place).map_err(|error| Failure::usage(error.detail))?;
    let wrong = |what: &str| Failure::usage(format!("{place}: {what}"));
    if text.contains("-----BEGIN") {
        let der = keys::private_key(&text).map_err(|error| wrong(&error))?;
        return match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            Ok(_) => Ok(Key::Ed25519(der)),
            Err(_) => Err(wrong("no Ed25519 key; others are read by the tools of their makers")),
        };
    }
    // Of several the first signs.
    let secret = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    match secret {
        Some(secret) if secret.len() >= keys::SECRET_BYTES_MIN && !secret.starts_with('{') => {
            Ok(Key::Secret(secret.to_owned()))
        }
        _ => Err(wrong("no secret of at least 32 bytes, and no private key in PEM")),
    }
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("the system has no random bytes"))?;
    Ok(bytes)
}

fn new_key(ed25519: bool) -> Result<String, Failure> {
    let seed = random()?;
    if !ed25519 {
        return Ok(URL_SAFE_NO_PAD.encode(seed));
    }
    let der = STANDARD.encode([&PKCS8_ED25519[..], &seed].concat());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----"))
}

fn public(key: &Key) -> Result<String, Failure> {
    let Key::Ed25519(der) = key else {
        return Err(Failure::usage("a secret has no public part: the relay needs the secret itself"));
    };
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| Failure::failed("no Ed25519 key"))?;
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    Ok(json!({"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","x":x}]}).to_string())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn make(key: &Key, matches: &ArgMatches) -> Result<String, Failure> {
    let mut claims = Map::new();
    for (claim, argument) in [("sub", "sub"), ("aud", "audience"), ("iss", "issuer"), ("org", "org"), ("jti", "id")] {
        if let Some(text) = matches.get_one::<String>(argument) {
            claims.insert(claim.to_owned(), text.as_str().into());
        }
    }
    if !claims.contains_key("jti") {
        claims.insert("jti".to_owned(), URL_SAFE_NO_PAD.encode(&random()?[..12]).into());
    }
    for claim in ["receive", "send", "from"] {
        let Some(patterns) = matches.get_many::<String>(claim) else { continue };
        let patterns: Vec<&String> = patterns.collect();
        Patterns::read(&patterns).map_err(|error| Failure::usage(format!("--{claim}: {error}")))?;
        claims.insert(claim.to_owned(), json!(patterns));
    }
    let now = now();
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), now.saturating_add(span(text(matches, "for"))?.as_secs()).into());
    let (algorithm, key) = match key {
        Key::Secret(secret) => {
            (Algorithm::HS256, EncodingKey::from_secret(secret.as_bytes()).map_err(Failure::failed)?)
        }
        Key::Ed25519(der) => (Algorithm::EdDSA, EncodingKey::from_ed_der(der)),
    };
    keys::ready();
    encode(&Header::new(algorithm), &Value::Object(claims), &key).map_err(Failure::failed)
}

fn session(key: &Key, matches: &ArgMatches) -> Result<String, Failure> {
    let Key::Secret(secret) = key else {
        return Err(Failure::usage("sessions are signed with a secret (x0-relay token key)"));
    };
    let id = send::session(text(matches, "session"))?;
    let expiry = now().saturating_add(span(text(matches, "for"))?.as_secs());
    signed::sign(secret.as_bytes(), &id, expiry).map_err(|error| Failure::usage(error.detail))
}
