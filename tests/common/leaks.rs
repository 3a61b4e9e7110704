//! Finds in what a relay wrote what nobody may find there: tokens, tickets, signed sessions, keys and payloads. Every
//! process of the harness is looked through when it is dropped, so the whole test run is.
//!
//! Credentials are known by their shape, and those that this run has made also by their very text. Payloads are JSON
//! objects, nearly all of them, and nothing else in a log is.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Secrets, and payloads of another kind than objects, that this run knows.
static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// More would make the search slow.
const KNOWN_MAX: usize = 200;
/// What is shorter may well stand somewhere by chance.
const KNOWN_BYTES_MIN: usize = 16;

/// Lines that show JSON, and may: what a relay tells people to try, and what `x0-relay health` was answered.
const EXEMPT: [&str; 2] = [r#"x0-relay send tab-b '{"hello":"world"}'"#, r#"x0-relay: not ready: {"ready""#];

/// From now on this must not be found anywhere.
pub fn know(secret: &str) {
    let mut known = KNOWN.lock();
    if secret.len() >= KNOWN_BYTES_MIN && known.len() < KNOWN_MAX {
        known.insert(secret.to_owned());
    }
}

/// The same for what `x0-relay token` said: keys, tokens and signed sessions. Of these the signature alone is secret.
pub fn know_made(output: &str) {
    for line in output.lines().filter(|line| !line.starts_with("-----")) {
        know(line.trim().rsplit('.').next().unwrap_or_default());
    }
}

/// What leaked, each with its line.
pub fn leaks(output: &str) -> Vec<String> {
    let known: Vec<String> = KNOWN.lock().iter().cloned().collect();
    let mut found: Vec<String> = known
        .iter()
        .filter(|secret| output.contains(secret.as_str()))
        .map(|secret| format!("{secret:?}, which this run knows: {:?}", line_with(output, secret)))
        .collect();
    for line in output.lines().filter(|line| !EXEMPT.iter().any(|exempt| line.contains(exempt))) {
        // Lines that are JSON themselves hold texts.
        let texts = match line.starts_with('{').then(|| serde_json::from_str(line)) {
            Some(Ok(value)) => texts(value),
            _ => vec![line.to_owned()],
        };
        found.extend(texts.iter().filter_map(|text| Some(format!("{}: {line:?}", shape(text)?))));
    }
    found
}

fn line_with<'a>(output: &'a str, text: &str) -> Option<&'a str> {
    output.lines().find(|line| line.contains(text))
}

fn texts(value: serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.into_iter().flat_map(texts).collect(),
        Value::Object(members) => members.into_iter().flat_map(|(_, value)| texts(value)).collect(),
        _ => Vec::new(),
    }
}

fn shape(text: &str) -> Option<&'static str> {
    // Also within a text with escapes, and as a list of bytes.
    let begins = |(at, _)| text[at + 1..].trim_start_matches('\\').starts_with('"');
    if text.match_indices('{').any(begins) || text.contains("[123, 34, ") {
        return Some("a payload");
    }
    if text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let mut bearer = false;
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.~+/=".contains(c))).find_map(|word| {
        let after_bearer = std::mem::replace(&mut bearer, word == "Bearer");
        credential(word).or_else(|| (after_bearer && word.len() >= KNOWN_BYTES_MIN).then_some("a bearer"))
    })
}

fn credential(word: &str) -> Option<&'static str> {
    if word.len() < 24 {
        return None;
    }
    let parts: Vec<&str> = word.split(['.', '=', '/']).collect();
    if parts.windows(2).any(|two| two[0].starts_with("eyJ") && two[0].len() >= 10 && !two[1].is_empty()) {
        return Some("a token");
    }
    let (last, before) = parts.split_last()?;
    let random = |part: &str| {
        let has = |of: fn(&u8) -> bool| part.bytes().any(|byte| of(&byte));
        part.len() == 43 && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
    };
    let expiry = before.last().is_some_and(|part| part.len() == 10 && part.bytes().all(|byte| byte.is_ascii_digit()));
    match random(last) {
        true if expiry => Some("a signed session"),
        true => Some("a ticket or a key"),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "k3Xr7Yw0Qz5Tt1Vv9Bb2Nn4Mm6Pp8Ss-Aa_Cc0Dd1Ee";

    #[track_caller]
    fn found(line: &str, what: &str) {
        let output = format!("12:00:00 INFO serving http://127.0.0.1:8080\n{line}\n");
        let leaks = leaks(&output);
        assert!(leaks.len() == 1 && leaks[0].starts_with(what) && leaks[0].contains("INFO"), "{line}: {leaks:?}");
    }

    #[test]
    fn each_kind_of_secret_is_found_in_a_line() {
        let token = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.{SIGNATURE}");
        for payload in [r#"{"n":1}"#, r#""{\"n\":1}""#, r#"Text("{\\\"n\\\":1}")"#, "[123, 34, 110, 34, 58, 49, 125]"] {
            found(&format!("INFO sent payload={payload}"), "a payload");
        }
        found(&format!("INFO who={token}"), "a token");
        found(&format!("INFO path=/v1/ws?token={token}&x=1"), "a token");
        found("INFO cut off: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ", "a token");
        found(&format!("INFO session=tab.1.1893456000.{SIGNATURE} parked"), "a signed session");
        found(&format!("INFO path=\"/v1/ws?session=s&ticket={SIGNATURE}\""), "a ticket");
        found("INFO authorization=\"Bearer opaque-but-long-enough\"", "a bearer");
        found("INFO -----BEGIN PRIVATE KEY-----", "a private key");
        let json = format!(r#"{{"level":"INFO","fields":{{"message":"x","ticket":"{SIGNATURE}"}}}}"#);
        found(&json, "a ticket");
        found(r#"{"level":"INFO","fields":{"payload":"{\"n\":1}"}}"#, "a payload");
    }

    #[test]
    fn what_this_run_has_made_is_found_whatever_its_shape() {
        know("a text that is no object, 1");
        found("INFO payload=\"a text that is no object, 1\"", "\"a text that is no object");
        know_made(&format!("eyJh.eyJz.{}\n", "only-this-part-is-secret"));
        found("INFO cut=only-this-part-is-secret", "\"only-this-part");
        know("short");
        assert!(leaks("INFO a short line").is_empty());
    }

    #[test]
    fn what_logs_say_is_no_secret() {
        let output = "12:00:00 INFO x0_relay: serving http://127.0.0.1:8080 auth=jwt,signed\n\
             DEBUG request{id=12.3}: path=/v1/messages session=tab.1.1893456000 cursor=c5f0a1e2-0b7d-7e9a-8f60-0123456789ab-17\n\
             x0-relay send tab-b '{\"hello\":\"world\"}' --url http://127.0.0.1:8080\n\
             WARN the Bearer token is missing; {} {a} [1, 2] /tmp/x0rAbCdEf/control.sock ssssssssssssssssssssssssssssssssssssssssss9S\n\
             {\"timestamp\":\"2025\",\"level\":\"INFO\",\"fields\":{\"message\":\"serving\"}}\n";
        assert_eq!(leaks(output), Vec::<String>::new());
    }
}
