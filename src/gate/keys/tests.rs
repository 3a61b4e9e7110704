//! Keys in every form that is read, and what is refused.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn jwt() -> Jwt {
    let keys = KeyPlace::File("keys".into());
    Jwt { keys, audience: "x0-relay".to_owned(), issuer: None }
}

fn tokens(text: &str) -> Result<Vec<Algorithm>, String> {
    let mut keys = Keys::default();
    keys.read_tokens(text, &jwt())?;
    Ok(keys.tokens.iter().map(|key| key.algorithm).collect())
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

/// A `SubjectPublicKeyInfo` of Ed25519 (RFC 8410).
fn ed25519() -> Vec<u8> {
    [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &[7; 32]].concat()
}

#[test]
fn each_key_has_one_algorithm() {
    assert_eq!(tokens(&format!("# a comment\n\n{SECRET}\n{SECRET}2\n")), Ok(vec![Algorithm::HS256; 2]));
    let set = r#"{"keys":[
        {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty":"RSA","n":"AQAB","e":"AQAB","kid":"r"},
        {"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
    let four = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256, Algorithm::HS256];
    assert_eq!(tokens(set), Ok(four.to_vec()));
    assert_eq!(tokens(&pem(&ed25519())), Ok(vec![Algorithm::EdDSA]));
}

#[test]
fn keys_for_something_else_are_passed_over() {
    let set = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","use":"enc"},{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"PS256"},
        {"kty":"EC","crv":"P-384","x":"AA","y":"AA"},{"kty":"new","z":1},{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
    let mut keys = Keys::default();
    keys.read_tokens(set, &jwt()).expect("one is good");
    assert_eq!((keys.tokens.len(), keys.skipped), (1, 4));
}

#[test]
fn what_is_no_key_is_refused_without_showing_it() {
    for (text, told) in [
        ("", "no key"),
        ("short-secret", "it is to have at least 32"),
        ("{\"keys\":[]}", "there is no key for"),
        ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}", "a secret has at least 32"),
        ("{\"keys\":\"secret-secret-secret\"", "no JWK set"),
        ("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----", "the public one"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "neither RSA"),
    ] {
        let error = tokens(text).expect_err(text);
        assert!(error.contains(told) && !error.contains("secret-s") && !error.contains("AAAA"), "{text}: {error}");
    }
    let many = format!("{SECRET}\n").repeat(KEYS_MAX + 1);
    assert!(tokens(&many).expect_err("many").contains("64"));
}

#[test]
fn a_cut_key_is_no_key() {
    let whole = ed25519();
    assert!(public_key(&whole).is_some());
    for end in 0..whole.len() {
        assert_eq!(public_key(&whole[..end]), None, "cut at {end}");
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(public_key(&longer), None, "something behind it");
}

#[test]
fn keys_come_from_files_and_the_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    std::fs::write(&path, SECRET).expect("written");
    let auth = |place| Auth { jwt: None, signed: Some(place) };
    let keys = Keys::load(&auth(KeyPlace::File(path.clone()))).expect("good");
    assert_eq!((keys.tokens.len(), keys.sessions.len()), (0, 1));
    assert_eq!(format!("{keys:?}"), "Keys(0 for tokens, 1 for sessions)");
    let missing = KeyPlace::File(dir.path().join("none"));
    let error = Keys::load(&auth(missing)).expect_err("missing");
    assert!(error.detail.contains("none: No such file"), "{error}");
    let error = Keys::load(&auth(KeyPlace::Environment("NOT_SET_BY_ANYBODY".to_owned()))).expect_err("unset");
    assert!(error.detail.starts_with("env:NOT_SET_BY_ANYBODY: no such variable"), "{error}");
}
