//! Signed sessions: `ID.EXPIRY.SIGNATURE`, for pages that can say nothing but their session's id.
//!
//! EXPIRY is Unix seconds in decimal, without zeros in front. SIGNATURE is base64url, without padding, of an
//! HMAC-SHA-256 over a line that says what it is for, a line with EXPIRY, and ID. No other use of the same key makes
//! such a text by chance, and no two pairs of ID and EXPIRY make the same.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use super::keys::SessionKey;
use crate::{
    error::{Error, Kind},
    id::SessionId,
};

/// What the signature is for: the first line of what is signed.
const PURPOSE: &str = "x0-relay signed session 1";
/// The most digits of EXPIRY.
const EXPIRY_DIGITS_MAX: usize = 11;

/// A signed session, taken apart. Nothing of it is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed<'a> {
    /// The session's id.
    pub id: &'a str,
    /// Until when it is good, in Unix seconds.
    pub expiry: u64,
    signature: &'a str,
}

/// Takes a signed session apart. `None`: it does not look like one.
pub fn parse(text: &str) -> Option<Signed<'_>> {
    let (rest, signature) = text.rsplit_once('.')?;
    let (id, digits) = rest.rsplit_once('.')?;
    let canonical = (1..=EXPIRY_DIGITS_MAX).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    let expiry = digits.parse().ok().filter(|_| canonical && !id.is_empty())?;
    Some(Signed { id, expiry, signature })
}

fn text(id: &str, expiry: u64) -> Vec<u8> {
    format!("{PURPOSE}\n{expiry}\n{id}").into_bytes()
}

impl Signed<'_> {
    /// The session and the key that signed it, if one of these did. In constant time for each key.
    pub(super) fn verify<'k>(&self, keys: &'k [SessionKey]) -> Option<(SessionId, &'k SessionKey)> {
        let signature = URL_SAFE_NO_PAD.decode(self.signature).ok()?;
        let text = text(self.id, self.expiry);
        let key = keys.iter().find(|key| hmac::verify(&key.key, &text, &signature).is_ok())?;
        Some((SessionId::new(self.id).ok()?, key))
    }
}

/// Signs a session until `expiry`, in Unix seconds.
///
/// # Errors
/// [`Kind::InvalidSession`]: signed, it would be longer than an id may be.
pub fn sign(secret: &[u8], id: &SessionId, expiry: u64) -> Result<String, Error> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, &text(id.bare(), expiry)));
    let signed = format!("{}.{expiry}.{signature}", id.bare());
    match SessionId::new(&signed) {
        Ok(_) => Ok(signed),
        Err(error) => Err(Error::new(Kind::InvalidSession, format!("signed, {}", error.detail))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn keys(secrets: &[&[u8]]) -> Vec<SessionKey> {
        let key = |secret: &&[u8]| SessionKey {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            print: Digest::of(&[secret]),
        };
        secrets.iter().map(key).collect()
    }

    fn verified(text: &str, keys: &[SessionKey]) -> Option<(String, u64)> {
        let signed = parse(text)?;
        signed.verify(keys).map(|(id, _)| (id.bare().to_owned(), signed.expiry))
    }

    #[test]
    fn one_of_several_keys_is_enough_and_each_byte_counts() {
        let id = SessionId::new("tab.1").expect("an id");
        let signed = sign(SECRET, &id, 1_800_000_000).expect("short");
        let both = keys(&[b"another-secret-another-secret-....", SECRET]);
        assert_eq!(verified(&signed, &both), Some(("tab.1".into(), 1_800_000_000)));
        assert_eq!(verified(&signed, &both[..1]), None);
        for at in 0..signed.len() {
            let mut other = signed.clone().into_bytes();
            other[at] = if other[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(verified(std::str::from_utf8(&other).expect("ASCII"), &both), None, "byte {at}");
            assert_eq!(verified(&signed[..at], &both), None, "cut at {at}");
        }
    }

    #[test]
    fn an_expiry_is_spelled_in_one_way() {
        for text in ["a.01.x", "a.+1.x", "a..x", "a.1e3.x", "a.123456789012.x", ".1.x", "a.0.x", "1.x", "x", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn another_hmac_of_the_same_key_is_no_signature() {
        let other = |text: &str| {
            URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes()))
        };
        for text in ["a", "a.1800000000", "1800000000\na", "x0-relay signed session 11800000000a"] {
            assert_eq!(verified(&format!("a.1800000000.{}", other(text)), &keys(&[SECRET])), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_is_verified(id in "[^\u{10FFFF}].{0,60}", expiry in 1..99_999_999_999_u64) {
            let signed = sign(SECRET, &SessionId::new(&id).expect("an id"), expiry);
            let Ok(signed) = signed else { return Ok(()) };
            prop_assert_eq!(verified(&signed, &keys(&[SECRET])), Some((id, expiry)));
        }

        #[test]
        fn nothing_breaks_the_parser(text in ".*") {
            prop_assert_eq!(verified(&text, &keys(&[SECRET])), None);
        }
    }
}
