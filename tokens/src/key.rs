//! One key: what of a JWK (RFC 7517, 7518, 8037) is believed, and the check of a signature. What is wrong with a key is said in words, and
//! the key is not used.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::Algorithm;

/// Bits of an RSA modulus: fewer are broken, more only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What secrets sign to be known again: no token, since those have dots.
const FINGERPRINT: &[u8] = b"portunus: fingerprint of a secret";

/// A key, for the algorithms that it is for.
pub(crate) struct Key {
    pub(crate) kid: Option<String>,
    checks: Vec<(Algorithm, Check)>,
    /// The public part, by which a key is known again.
    public: Vec<u8>,
    /// By which it is known again in another set: a digest of the public part. Of a secret it is what only its holders can make, and
    /// nobody can go back from.
    pub(crate) fingerprint: [u8; 32],
}

enum Check {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl Key {
    /// Reads one entry of a set.
    ///
    /// # Errors
    /// Why it is not used: the kind is not known, it is for something else, or it is broken.
    pub(crate) fn of_jwk(jwk: &Map<String, Value>) -> Result<Self, String> {
        let kid = optional(jwk, "kid")?.map(str::to_owned);
        let kty = required(jwk, "kty")?;
        let kind = match kty {
            "RSA" => Kind::Rsa { n: unsigned(jwk, "n")?, e: unsigned(jwk, "e")? },
            "EC" => Kind::of_curve(jwk)?,
            "OKP" => match required(jwk, "crv")? {
                "Ed25519" => Kind::Ed25519(sized(jwk, "x", 32)?),
                other => return Err(format!("curve `{}` is not supported", shown(other))),
            },
            "oct" => return Err("secrets do not belong into a key set: give `secret_file`".to_owned()),
            other => return Err(format!("kind `{}` is not supported", shown(other))),
        };
        if ["d", "p", "q", "k"].iter().any(|private| jwk.contains_key(*private)) {
            return Err(
                "its private part is there for everybody to read: make a new key, and publish its public part".into()
            );
        }
        is_for_signatures(jwk)?;
        let mut algorithms = kind.algorithms().to_vec();
        if let Some(only) = optional(jwk, "alg")? {
            algorithms.retain(|algorithm| Algorithm::named(only) == Some(*algorithm));
            if algorithms.is_empty() {
                return Err(format!("algorithm `{}` does not fit a key of its kind, or is not supported", shown(only)));
            }
        }
        let check = |algorithm: Algorithm| Ok((algorithm, Check::Public(kind.check(algorithm)?)));
        let checks = algorithms.into_iter().map(check).collect::<Result<_, String>>()?;
        let public = kind.public();
        let fingerprint =
            octets_of(digest::digest(&digest::SHA256, &[kty.as_bytes(), &[0], &public].concat()).as_ref());
        Ok(Self { kid, checks, public, fingerprint })
    }

    /// A secret that both sides have, for those of the algorithms for which it is long enough.
    pub(crate) fn of_secret(secret: &[u8]) -> Self {
        let long_enough = |algorithm: &Algorithm| secret.len() >= least_secret(*algorithm);
        let check = |algorithm: Algorithm| {
            let digest = match algorithm {
                Algorithm::HS512 => hmac::HMAC_SHA512,
                Algorithm::HS384 => hmac::HMAC_SHA384,
                _ => hmac::HMAC_SHA256,
            };
            (algorithm, Check::Secret(Box::new(hmac::Key::new(digest, secret))))
        };
        let checks = Algorithm::SECRET.into_iter().filter(long_enough).map(check).collect();
        let fingerprint = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), FINGERPRINT);
        Self { kid: None, checks, public: Vec::new(), fingerprint: octets_of(fingerprint.as_ref()) }
    }

    /// Whether it is the same key, under the same name and for the same algorithms.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| key.checks.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>();
        self.fingerprint == other.fingerprint && self.kid == other.kid && algorithms(self) == algorithms(other)
    }

    /// Whether it is for an algorithm.
    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.checks.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether a signature is this key's over a text.
    pub(crate) fn has_signed(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        let check = self.checks.iter().find(|(own, _)| *own == algorithm).map(|(_, check)| check);
        match check {
            Some(Check::Public(key)) => key.verify_sig(text, signature).is_ok(),
            Some(Check::Secret(key)) => hmac::verify(key, text, signature).is_ok(),
            None => false,
        }
    }

    /// Whether the other is the same key, for the same use.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| key.checks.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>();
        // Secrets are never compared: they have no public part.
        !self.public.is_empty()
            && (&self.kid, &self.public) == (&other.kid, &other.public)
            && algorithms(self) == algorithms(other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.checks.iter().map(|(algorithm, _)| algorithm).collect();
        f.debug_struct("Key").field("kid", &self.kid).field("algorithms", &algorithms).finish_non_exhaustive()
    }
}

/// The fewest octets of a secret (RFC 7518 §3.2: as many as the digest has).
pub fn least_secret(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    }
}

/// What a key is made of.
enum Kind {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec(Algorithm, Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Kind {
    fn of_curve(jwk: &Map<String, Value>) -> Result<Self, String> {
        let (algorithm, size) = match required(jwk, "crv")? {
            "P-256" => (Algorithm::ES256, 32),
            "P-384" => (Algorithm::ES384, 48),
            "P-521" => (Algorithm::ES512, 66),
            other => return Err(format!("curve `{}` is not supported", shown(other))),
        };
        // Uncompressed, as SEC 1 writes a point.
        let point = [vec![4], sized(jwk, "x", size)?, sized(jwk, "y", size)?].concat();
        Ok(Self::Ec(algorithm, point))
    }

    fn algorithms(&self) -> &[Algorithm] {
        use Algorithm::{EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa { .. } => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::Ec(algorithm, _) => std::slice::from_ref(algorithm),
            Self::Ed25519(_) => &[EdDSA],
        }
    }

    fn check(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, String> {
        let broken = |_| "its numbers are no key".to_owned();
        match self {
            Self::Rsa { n, e } => {
                let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err(format!(
                        "its modulus has {bits} bits, and only 2048 to 8192 are taken: make a new key"
                    ));
                }
                // 65537 is what everybody uses; 3 and even numbers have been somebody's way in.
                if e.len() < 3 || e.len() > 4 || e.last().is_none_or(|last| last.is_multiple_of(2)) {
                    return Err("its exponent is not an odd number between 65537 and 2^32: make a new key".to_owned());
                }
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(rsa(algorithm)).map_err(broken)
            }
            Self::Ec(_, point) => {
                let curve = match algorithm {
                    Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
                    Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
                    _ => &signature::ECDSA_P521_SHA512_FIXED,
                };
                ParsedPublicKey::new(curve, point).map_err(broken)
            }
            Self::Ed25519(x) => ParsedPublicKey::new(&signature::ED25519, x).map_err(broken),
        }
    }

    fn public(self) -> Vec<u8> {
        match self {
            // The length keeps the two apart.
            Self::Rsa { n, e } => [n.len().to_be_bytes().to_vec(), n, e].concat(),
            Self::Ec(_, point) => point,
            Self::Ed25519(x) => x,
        }
    }
}

fn rsa(algorithm: Algorithm) -> &'static RsaParameters {
    match algorithm {
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

/// A key that says what it is for must be for checking signatures.
fn is_for_signatures(jwk: &Map<String, Value>) -> Result<(), String> {
    if optional(jwk, "use")?.is_some_and(|used| used != "sig") {
        return Err("it is not for signatures (`use`)".to_owned());
    }
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(all)) => {
            if all.iter().any(|one| !one.is_string()) {
                return Err("its `key_ops` are no list of texts".to_owned());
            }
            all.iter().any(|one| one == "verify")
        }
        Some(_) => return Err("its `key_ops` are no list of texts".to_owned()),
    };
    if verifies { Ok(()) } else { Err("it is not for checking signatures (`key_ops`)".to_owned()) }
}

fn optional<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, String> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is no text")),
    }
}

fn required<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<&'j str, String> {
    optional(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"))
}

fn octets(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = required(jwk, name)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its `{name}` is no base64url without padding"))
}

/// A number without the zeros in front that some write.
fn unsigned(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let octets = octets(jwk, name)?;
    let number: Vec<u8> = octets.into_iter().skip_while(|octet| *octet == 0).collect();
    if number.is_empty() { Err(format!("its `{name}` is zero")) } else { Ok(number) }
}

fn sized(jwk: &Map<String, Value>, name: &str, size: usize) -> Result<Vec<u8>, String> {
    let octets = octets(jwk, name)?;
    if octets.len() == size { Ok(octets) } else { Err(format!("its `{name}` does not have {size} octets")) }
}

/// A digest of SHA-256 as an array.
fn octets_of(digest: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.iter_mut().zip(digest).for_each(|(octet, of)| *octet = *of);
    octets
}

/// What strangers wrote, short enough for a log line.
fn shown(text: &str) -> String {
    text.chars().take(32).map(|c| if c.is_control() { '?' } else { c }).collect()
}
