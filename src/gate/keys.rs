//! Keys: where they are read from, in what form, and what they verify. Each is bound to one algorithm when it is read,
//! so no token can choose how it is checked.

use std::{ffi::OsStr, path::Path};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use ring::hmac;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};

use super::crypto;
use crate::{
    error::{Error, Kind},
    id::Digest,
    settings::{Auth, Jwt, KeyPlace},
};

/// The most keys of a kind.
pub const KEYS_MAX: usize = 64;
/// The shortest secret, in bytes (RFC 7518 section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// The largest file of keys that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How far the clock of whoever makes tokens may be off, in seconds.
pub const LEEWAY_S: u64 = 10;

/// A key for tokens.
pub(super) struct TokenKey {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    pub validation: Validation,
    /// What stands for it where it is remembered.
    pub print: Digest,
}

/// A key for signed sessions.
pub(super) struct SessionKey {
    pub key: hmac::Key,
    pub print: Digest,
}

/// All keys of a relay that asks who somebody is. Read whole, exchanged whole.
#[derive(Default)]
pub struct Keys {
    pub(super) tokens: Vec<TokenKey>,
    pub(super) sessions: Vec<SessionKey>,
    /// Keys of a set that are for something else, and were passed over.
    pub skipped: usize,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} for tokens, {} for sessions)", self.tokens.len(), self.sessions.len())
    }
}

impl Keys {
    /// Reads all keys that the settings name, from files and the environment.
    ///
    /// # Errors
    /// [`Kind::BadRequest`] with the place and what is wrong there; nothing of a key is in it.
    pub fn load(auth: &Auth) -> Result<Self, Error> {
        let mut keys = Self::default();
        if let Some(jwt) = &auth.jwt {
            let text = read(&jwt.keys)?;
            keys.read_tokens(&text, jwt).map_err(|wrong| at(&jwt.keys, &wrong))?;
        }
        if let Some(place) = &auth.signed {
            let text = read(place)?;
            keys.read_sessions(&text).map_err(|wrong| at(place, &wrong))?;
        }
        Ok(keys)
    }

    /// Whether a key is still among them.
    pub(super) fn has(&self, print: Digest) -> bool {
        self.tokens.iter().any(|key| key.print == print) || self.sessions.iter().any(|key| key.print == print)
    }

    /// Reads a JWK set, a JWK, public keys as PEM, or secrets, one a line.
    pub(super) fn read_tokens(&mut self, text: &str, jwt: &Jwt) -> Result<(), String> {
        crypto::install();
        let text = text.trim();
        if text.starts_with('{') {
            self.read_jwks(text, jwt)?;
        } else if text.contains("-----BEGIN") {
            self.read_pem(text, jwt)?;
        } else {
            for secret in secrets(text)? {
                self.add(None, Algorithm::HS256, DecodingKey::from_secret(secret).map_err(said)?, jwt, secret);
            }
        }
        match self.tokens.len() {
            0 => Err("there is no key for HS256, RS256, ES256 or EdDSA".to_owned()),
            n if n > KEYS_MAX => Err(format!("there may be {KEYS_MAX} keys, these are {n}")),
            _ => Ok(()),
        }
    }

    fn add(&mut self, id: Option<String>, algorithm: Algorithm, key: DecodingKey, jwt: &Jwt, material: &[u8]) {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(&[&jwt.audience]);
        let mut required = vec!["exp", "sub", "aud"];
        if let Some(issuer) = &jwt.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let issuer = jwt.issuer.as_deref().unwrap_or_default().as_bytes();
        let print = Digest::of(&[format!("{algorithm:?}").as_bytes(), material, jwt.audience.as_bytes(), issuer]);
        self.tokens.push(TokenKey { id, algorithm, key, validation, print });
    }

    fn read_jwks(&mut self, text: &str, jwt: &Jwt) -> Result<(), String> {
        let set =
            match serde_json::from_str::<JwkSet>(text) {
                Ok(set) => set.keys,
                // serde's words may hold what is in the text.
                Err(_) => vec![serde_json::from_str::<Jwk>(text).map_err(|error| {
                    format!("no JWK set (RFC 7517): line {}, column {}", error.line(), error.column())
                })?],
            };
        for (index, jwk) in set.into_iter().enumerate() {
            let Some(algorithm) = algorithm_of(&jwk) else {
                self.skipped += 1;
                continue;
            };
            if let AlgorithmParameters::OctetKey(secret) = &jwk.algorithm
                && secret.value.len() * 3 / 4 < SECRET_BYTES_MIN
            {
                return Err(format!("key {}: a secret has at least {SECRET_BYTES_MIN} bytes", index + 1));
            }
            let key = DecodingKey::from_jwk(&jwk).map_err(|_| format!("key {} cannot be read", index + 1))?;
            let material = serde_json::to_vec(&jwk.algorithm).map_err(said)?;
            self.add(jwk.common.key_id, algorithm, key, jwt, &material);
        }
        Ok(())
    }

    fn read_pem(&mut self, text: &str, jwt: &Jwt) -> Result<(), String> {
        if text.contains("PRIVATE KEY-----") {
            return Err("a private key: the relay needs the public one (PUBLIC KEY) alone".to_owned());
        }
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
            let der = key.map_err(|_| "no PEM of a public key (BEGIN PUBLIC KEY, RFC 7468)".to_owned())?;
            let (algorithm, key) =
                public_key(&der).ok_or_else(|| "a public key that is neither RSA, P-256 nor Ed25519".to_owned())?;
            let decoding = match algorithm {
                Algorithm::RS256 => DecodingKey::from_rsa_der(key),
                Algorithm::ES256 => DecodingKey::from_ec_der(key),
                _ => DecodingKey::from_ed_der(key),
            };
            self.add(None, algorithm, decoding, jwt, key);
        }
        Ok(())
    }

    /// Reads secrets for signed sessions, one a line.
    pub(super) fn read_sessions(&mut self, text: &str) -> Result<(), String> {
        for secret in secrets(text)? {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            self.sessions.push(SessionKey { key, print: Digest::of(&[b"session", secret]) });
        }
        Ok(())
    }
}

/// The one algorithm that a key of a set is for, if it is for signatures that are known here.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|said| said == name).then_some(algorithm)
}

/// Lines that are secrets; empty ones, and those that begin with `#`, are none.
fn secrets(text: &str) -> Result<Vec<&[u8]>, String> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    if lines.is_empty() {
        return Err("there is no key".to_owned());
    }
    if lines.len() > KEYS_MAX {
        return Err(format!("there may be {KEYS_MAX} keys, these are {}", lines.len()));
    }
    match lines.iter().position(|line| line.len() < SECRET_BYTES_MIN) {
        Some(index) => Err(format!(
            "secret {} has {} bytes; it is to have at least {SECRET_BYTES_MIN}: x0-relay token key makes one",
            index + 1,
            lines[index].len()
        )),
        None => Ok(lines.into_iter().map(str::as_bytes).collect()),
    }
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The key inside a `SubjectPublicKeyInfo` (RFC 5280 section 4.1), and what it is for.
fn public_key(spki: &[u8]) -> Option<(Algorithm, &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const BITS: u8 = 0x03;
    const OID: u8 = 0x06;
    let (body, []) = element(SEQUENCE, spki)? else { return None };
    let (algorithm, key) = element(SEQUENCE, body)?;
    let (bits, []) = element(BITS, key)? else { return None };
    let (oid, parameters) = element(OID, algorithm)?;
    let key = bits.strip_prefix(&[0])?;
    match oid {
        RSA => Some((Algorithm::RS256, key)),
        EC if element(OID, parameters)?.0 == P256 => Some((Algorithm::ES256, key)),
        ED25519 => Some((Algorithm::EdDSA, key)),
        _ => None,
    }
}

/// An element of DER (X.690): what is in it, and what follows.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2)?;
    let (length, rest) = match head[1] {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    (head[0] == tag).then(|| rest.split_at_checked(length)).flatten()
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn at(place: &KeyPlace, wrong: &str) -> Error {
    Error::new(Kind::BadRequest, format!("{place}: {wrong}"))
}

/// The text at a place of keys.
///
/// # Errors
/// It is not there, too large, or not UTF-8.
pub fn read(place: &KeyPlace) -> Result<String, Error> {
    let text = match place {
        KeyPlace::File(path) => read_file(path),
        KeyPlace::Environment(name) => {
            std::env::var(OsStr::new(name)).map_err(|_| "no such variable, or not UTF-8".to_owned())
        }
    };
    text.map_err(|wrong| at(place, &wrong))
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(said)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes are no file of keys"));
    }
    std::fs::read_to_string(path).map_err(said)
}

/// Makes tokens possible in a process that reads no keys for verifying any.
pub fn ready() {
    crypto::install();
}

/// The private key of a PKCS #8 file, as DER.
///
/// # Errors
/// There is none.
pub fn private_key(pem: &str) -> Result<Vec<u8>, String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
    key.map(|key| key.secret_pkcs8_der().to_vec()).map_err(|_| "no PEM of a private key (BEGIN PRIVATE KEY)".to_owned())
}

#[cfg(test)]
mod tests;
