//! Tokens (JWT, RFC 7519; JWS, RFC 7515): from text to an identity, or to why not. What is said never holds a piece of a
//! token.

use jsonwebtoken::{decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use super::{
    keys::{Keys, LEEWAY_S},
    policy::{Patterns, Policy},
    who::{Name, Principal},
};
use crate::{
    error::{Error, Kind},
    id::is_org,
    message::UnixMs,
};

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8192;
/// The longest `sub` and `jti`, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// The claims that the relay reads; others are passed over. `aud`, `iss` and `nbf` are jsonwebtoken's.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    iat: Option<f64>,
    jti: Option<String>,
    org: Option<String>,
    #[serde(default)]
    receive: Patterns,
    #[serde(default)]
    send: Patterns,
    /// The sessions that it receives for, if it does not say.
    from: Option<Patterns>,
}

fn bad(detail: &'static str) -> Error {
    Error::new(Kind::InvalidToken, detail)
}

/// Verifies a token.
///
/// # Errors
/// [`Kind::InvalidToken`] and [`Kind::Expired`].
pub(super) fn verify(token: &str, keys: &Keys) -> Result<Principal, Error> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Error::new(Kind::InvalidToken, format!("a token may have {TOKEN_BYTES_MAX} bytes here")));
    }
    let header = decode_header(token)
        .map_err(|_| bad("not a token: a JWT in compact form, with an algorithm that is known here, is expected"))?;
    // The header says which key to try, not how: each has one algorithm.
    let fits = |id: &Option<String>| id.is_none() || header.kid.is_none() || *id == header.kid;
    let candidates = keys.tokens.iter().filter(|key| key.algorithm == header.alg && fits(&key.id));
    let mut refusal = bad("no key of this relay is for such a token: its algorithm or its kid is another");
    for candidate in candidates {
        match decode::<Claims>(token, &candidate.key, &candidate.validation) {
            Ok(verified) => return principal(verified.claims, candidate.print),
            Err(error) if *error.kind() == ErrorKind::InvalidSignature => {
                refusal = bad("the token's signature is not that of a key of this relay");
            }
            Err(error) => return Err(refused(error.kind())),
        }
    }
    Err(refusal)
}

fn refused(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => Error::new(Kind::Expired, "the token has expired: get another"),
        ErrorKind::ImmatureSignature => bad("the token is not good yet (nbf)"),
        ErrorKind::InvalidAudience => bad("the token is for somebody else (aud; this relay's is jwt-audience)"),
        ErrorKind::InvalidIssuer => bad("the token is from somebody else (iss; this relay takes jwt-issuer's)"),
        ErrorKind::MissingRequiredClaim(claim) => {
            Error::new(Kind::InvalidToken, format!("the token has no {claim}, which is needed here"))
        }
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => bad(
            "the token's claims are not those of a relay's token: sub is a text, exp a number, receive, send and from \
             are patterns of sessions",
        ),
        _ => bad("the token cannot be read"),
    }
}

fn principal(claims: Claims, key: crate::id::Digest) -> Result<Principal, Error> {
    let Claims { sub, exp, iat, jti, org, receive, send, from } = claims;
    let named = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len());
    if !named(&sub) || !jti.as_deref().is_none_or(named) {
        return Err(bad("the token's sub or jti is empty or longer than 256 bytes"));
    }
    if !org.as_deref().is_none_or(is_org) {
        return Err(bad("the token's org is to be 1 to 64 of the characters A-Z a-z 0-9 . _ -"));
    }
    let org: Option<Box<str>> = org.map(Into::into);
    let from = from.unwrap_or_else(|| receive.clone());
    Ok(Principal {
        name: Name::of_token(org.as_deref(), &sub),
        subject: sub.into(),
        token: jti.map(Into::into),
        issued: iat.map(ms),
        expires: ms(exp).after(std::time::Duration::from_secs(LEEWAY_S)),
        policy: Policy { org, receive, send, from },
        key,
    })
}

/// A time of RFC 7519, which may have a fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is not negative")]
fn ms(seconds: f64) -> UnixMs {
    UnixMs((seconds.max(0.0) * 1000.0) as u64)
}
