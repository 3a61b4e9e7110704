//! The cryptography under jsonwebtoken: ring, which TLS uses too, so that there is one library of it in the process.
//!
//! Algorithms: HS256, RS256, ES256 (RFC 7518) and EdDSA with Ed25519 (RFC 8037). All others are unsupported.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Signer, Verifier},
};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Sign(*algorithm, key.clone()))),
    verifier_factory: |algorithm, key| Ok(Box::new(Verify(*algorithm, key.clone()))),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the process's cryptography for tokens. Often is as good as once.
pub fn install() {
    // It fails if it is there already.
    let _ = PROVIDER.install_default();
}

/// Random bytes that nobody guesses.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], ring::error::Unspecified> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)?;
    Ok(bytes)
}

struct Verify(Algorithm, DecodingKey);

impl Verify {
    fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let wrong = |_| Error::from(ErrorKind::InvalidSignature);
        let by = |algorithm: &'static dyn VerificationAlgorithm| {
            let key = self.1.try_get_as_bytes()?;
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(wrong)
        };
        match self.0 {
            // In constant time.
            Algorithm::HS256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.1.try_get_as_bytes()?);
                hmac::verify(&key, message, signature).map_err(wrong)
            }
            Algorithm::RS256 => match self.1.kind() {
                DecodingKeyKind::RsaModulusExponent { n, e } => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .map_err(wrong),
                DecodingKeyKind::SecretOrDer(_) => by(&RSA_PKCS1_2048_8192_SHA256),
            },
            Algorithm::ES256 => by(&ECDSA_P256_SHA256_FIXED),
            Algorithm::EdDSA => by(&ED25519),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl Verifier<Vec<u8>> for Verify {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.check(message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verify {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

struct Sign(Algorithm, EncodingKey);

impl Signer<Vec<u8>> for Sign {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let key = self.1.as_bytes();
        match self.0 {
            Algorithm::HS256 => Ok(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()),
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(|_| signature::Error::new())?;
                Ok(key.sign(message).as_ref().to_vec())
            }
            _ => Err(signature::Error::new()),
        }
    }
}

impl JwtSigner for Sign {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}
