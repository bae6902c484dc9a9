//! Capability tokens: minting (the server) and verifying (the agent, offline).
//!
//! A token is a JWT (RFC 7519) with one permitted algorithm, EdDSA over
//! Ed25519 (RFC 8037). The algorithm is never read from the token. The
//! signatures are ring's, the tree's one crypto provider, behind jsonwebtoken's
//! provider interface.

use std::{collections::HashSet, sync::Once, time::SystemTime};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error as JwtError, ErrorKind},
    signature::{Error as SignatureError, Signer, Verifier},
};
use remora_proto_model::{Capability, Fault, Reason};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

/// Longest token that is looked at, in bytes: one that names every verb, a long
/// prefix and 64 containers stays below 8 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Leeway for clocks that differ, in seconds. Both ends are ours and run NTP;
/// a minute would be a twelfth of a token's life.
const LEEWAY_SECONDS: u64 = 5;

/// Signs capabilities.
pub struct CapabilitySigner {
    key: EncodingKey,
    public: Vec<u8>,
}

impl CapabilitySigner {
    /// A new random key, as PKCS#8 DER (RFC 5958).
    pub fn generate() -> Vec<u8> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the system's random source answers")
            .as_ref()
            .to_vec()
    }

    /// A signer with the key in `pkcs8` (DER).
    pub fn new(pkcs8: &[u8]) -> Result<Self, Fault> {
        install_provider();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8)
            .map_err(|error| Fault::invalid("signing key", format!("is no Ed25519 key in PKCS#8: {error}")))?;
        Ok(CapabilitySigner { key: EncodingKey::from_ed_der(pkcs8), public: pair.public_key().as_ref().to_vec() })
    }

    /// The 32 bytes that verify what this signs.
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// The token for `capability`.
    pub fn mint(&self, capability: &Capability) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), capability, &self.key)
            .expect("claims of plain strings and numbers serialise")
    }
}

impl std::fmt::Debug for CapabilitySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CapabilitySigner(..)")
    }
}

/// Verifies tokens against a set of public keys (several, so that keys rotate
/// without a moment in which valid tokens are refused).
#[derive(Clone)]
pub struct CapabilityVerifier {
    keys: Vec<DecodingKey>,
}

impl CapabilityVerifier {
    /// A verifier for tokens signed by any of `public_keys` (32 bytes each).
    /// None at all is refused: it would be an agent without authentication.
    pub fn new<'a>(public_keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Fault> {
        install_provider();
        let keys = public_keys
            .into_iter()
            .map(|key| match key.len() {
                32 => Ok(DecodingKey::from_ed_der(key)),
                length => Err(Fault::invalid("token public key", format!("has {length} bytes; an Ed25519 key has 32"))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(Fault::invalid("token public keys", "none was given; without one every call would be open"));
        }
        Ok(CapabilityVerifier { keys })
    }

    /// The capability in `token`, where the signature, the audience and the
    /// times hold. Project, generation and verb are the caller's to compare.
    pub fn verify(&self, token: &str) -> Result<Capability, Fault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Fault::new(
                Reason::CredentialsInvalid,
                format!("the token has {} bytes; at most {MAX_TOKEN_BYTES}", token.len()),
            ));
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = false;
        validation.set_audience(&[Capability::AUDIENCE]);
        validation.required_spec_claims = HashSet::from(["exp".to_owned(), "aud".to_owned(), "sub".to_owned()]);
        let mut last = None;
        for key in &self.keys {
            match jsonwebtoken::decode::<Capability>(token, key, &validation) {
                Ok(data) => return bounded(data.claims),
                Err(error) => last = Some(error),
            }
        }
        Err(refusal(last.as_ref()))
    }
}

impl std::fmt::Debug for CapabilityVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CapabilityVerifier({} keys)", self.keys.len())
    }
}

/// A signed token may still claim a life longer than the rule allows.
fn bounded(capability: Capability) -> Result<Capability, Fault> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let life = capability.exp.saturating_sub(capability.iat);
    if life > Capability::MAX_LIFETIME_SECONDS || capability.iat > now + LEEWAY_SECONDS {
        return Err(Fault::new(
            Reason::CredentialsInvalid,
            format!(
                "the token claims a life of {life} s from {}; at most {} s from now are accepted",
                capability.iat,
                Capability::MAX_LIFETIME_SECONDS
            ),
        ));
    }
    Ok(capability)
}

fn refusal(error: Option<&JwtError>) -> Fault {
    match error.map(JwtError::kind) {
        Some(ErrorKind::ExpiredSignature) => Fault::new(Reason::CredentialsExpired, "the token has expired")
            .hint("ask for a new one; a token lives at most 15 minutes"),
        Some(ErrorKind::InvalidAudience) => Fault::new(Reason::CredentialsInvalid, "the token is for another audience")
            .hint("an agent takes tokens for remora.agent.v1"),
        // One answer for every other defect: a forger learns nothing from it.
        _ => Fault::new(Reason::CredentialsInvalid, "the token does not verify")
            .hint("use a token that this project's server minted"),
    }
}

fn install_provider() {
    static ONCE: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| {
            only_eddsa(algorithm)?;
            let pair =
                Ed25519KeyPair::from_pkcs8(key.as_bytes()).map_err(|_| JwtError::from(ErrorKind::InvalidEddsaKey))?;
            Ok(Box::new(RingSigner(pair)) as Box<dyn JwtSigner>)
        },
        verifier_factory: |algorithm, key| {
            only_eddsa(algorithm)?;
            let public = UnparsedPublicKey::new(&ED25519, key.try_get_as_bytes()?.to_vec());
            Ok(Box::new(RingVerifier(public)) as Box<dyn JwtVerifier>)
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    // An error says that another crate of this process was first. None is in the tree.
    ONCE.call_once(|| _ = PROVIDER.install_default());
}

fn only_eddsa(algorithm: &Algorithm) -> Result<(), JwtError> {
    match algorithm {
        Algorithm::EdDSA => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct RingSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct RingVerifier(UnparsedPublicKey<Vec<u8>>);

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.0.verify(message, signature).map_err(SignatureError::from_source)
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::{Generation, ProjectId, Verb};

    use super::*;

    fn now() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    fn capability() -> Capability {
        Capability {
            sub: "alice".to_owned(),
            aud: Capability::AUDIENCE.to_owned(),
            iat: now(),
            exp: now() + 60,
            jti: "1".to_owned(),
            project: ProjectId::new(),
            generation: Generation(3),
            verbs: vec![Verb::FileRead],
            path_prefix: None,
            containers: None,
        }
    }

    fn pair() -> (CapabilitySigner, CapabilityVerifier) {
        let signer = CapabilitySigner::new(&CapabilitySigner::generate()).unwrap();
        let verifier = CapabilityVerifier::new([signer.public_key()]).unwrap();
        (signer, verifier)
    }

    #[test]
    fn a_token_comes_back_whole() {
        let (signer, verifier) = pair();
        let capability = capability();
        assert_eq!(verifier.verify(&signer.mint(&capability)), Ok(capability));
    }

    #[test]
    fn after_a_rotation_both_keys_verify() {
        let (old, _) = pair();
        let (new, _) = pair();
        let verifier = CapabilityVerifier::new([new.public_key(), old.public_key()]).unwrap();
        assert!(verifier.verify(&old.mint(&capability())).is_ok());
        assert!(verifier.verify(&new.mint(&capability())).is_ok());
    }

    /// a078: forged, expired, foreign and unsigned tokens.
    #[test]
    fn a078_tokens_that_do_not_hold_are_refused() {
        let (signer, verifier) = pair();
        let reason = |token: &str| verifier.verify(token).unwrap_err().reason;

        let (stranger, _) = pair();
        assert_eq!(reason(&stranger.mint(&capability())), Reason::CredentialsInvalid);

        let expired = Capability { iat: now() - 600, exp: now() - 60, ..capability() };
        assert_eq!(reason(&signer.mint(&expired)), Reason::CredentialsExpired);

        let audience = Capability { aud: "other".to_owned(), ..capability() };
        assert_eq!(reason(&signer.mint(&audience)), Reason::CredentialsInvalid);

        let eternal = Capability { exp: now() + 3_600, ..capability() };
        assert_eq!(reason(&signer.mint(&eternal)), Reason::CredentialsInvalid);

        // alg=none, with the claims of a good token and no signature.
        let good = signer.mint(&capability());
        let claims = good.split('.').nth(1).unwrap();
        assert_eq!(reason(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")), Reason::CredentialsInvalid);

        for garbage in ["", ".", "..", "a.b.c", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert_eq!(reason(garbage), Reason::CredentialsInvalid, "{garbage:.20}");
        }

        // One flipped bit anywhere.
        for at in (0..good.len()).step_by(7) {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(verifier.verify(&String::from_utf8_lossy(&bytes)).is_err(), "bit at {at}");
        }
    }

    #[test]
    fn a_verifier_without_keys_is_refused() {
        assert!(CapabilityVerifier::new([]).is_err());
        assert!(CapabilityVerifier::new([&[0_u8; 31][..]]).is_err());
    }
}
