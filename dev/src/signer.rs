//! A key that signs tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use crate::Error;

/// How long a token is good for that says nothing else: an hour.
const LASTS: u64 = 3_600;

/// A private key.
pub struct Signer(Key);

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer of {}", self.algorithm())
    }
}

impl Signer {
    /// A new key in PEM (PKCS #8), for ES256.
    ///
    /// # Errors
    /// The system has no randomness, or the like.
    pub fn generate() -> Result<String, Error> {
        Ok(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?.serialize_pem())
    }

    /// By a private key in PEM (PKCS #8): of the curve P-256, Ed25519, or RSA.
    ///
    /// # Errors
    /// It is none of these.
    pub fn of_pem(pem: &[u8]) -> Result<Self, Error> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem);
        let key = key.map_err(|_| Error::Key("there is no private key in PEM (PKCS #8, `BEGIN PRIVATE KEY`) in it"))?;
        let der = key.secret_pkcs8_der();
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self(Key::P256(key)));
        }
        if let Ok(key) = Ed25519KeyPair::from_pkcs8(der) {
            return Ok(Self(Key::Ed25519(key)));
        }
        let rsa = RsaKeyPair::from_pkcs8(der).map(|key| Self(Key::Rsa(key)));
        rsa.map_err(|_| Error::Key("the private key is none of P-256, Ed25519 and RSA"))
    }

    fn algorithm(&self) -> &'static str {
        match self.0 {
            Key::P256(_) => "ES256",
            Key::Ed25519(_) => "EdDSA",
            Key::Rsa(_) => "RS256",
        }
    }

    /// Its public half as a key set (JWK set), which is what an issuer publishes. None for RSA, whose set is made by other tools.
    pub fn key_set(&self) -> Option<Value> {
        let mut key = self.public()?;
        let kid = self.kid();
        key.insert("kid".to_owned(), json!(kid));
        key.insert("alg".to_owned(), json!(self.algorithm()));
        key.insert("use".to_owned(), json!("sig"));
        Some(json!({ "keys": [key] }))
    }

    /// The members that make the key, in the order in which RFC 7638 hashes them.
    fn public(&self) -> Option<Map<String, Value>> {
        let text = |octets: &[u8]| json!(URL_SAFE_NO_PAD.encode(octets));
        let members = match &self.0 {
            Key::P256(key) => {
                // An octet that says that both coordinates follow, and these.
                let (x, y) = key.public_key().as_ref().get(1..)?.split_at_checked(32)?;
                vec![("crv", json!("P-256")), ("kty", json!("EC")), ("x", text(x)), ("y", text(y))]
            }
            Key::Ed25519(key) => {
                vec![("crv", json!("Ed25519")), ("kty", json!("OKP")), ("x", text(key.public_key().as_ref()))]
            }
            Key::Rsa(_) => return None,
        };
        Some(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Its name: the thumbprint of RFC 7638, where it is of a kind that [`key_set`](Self::key_set) is made of.
    fn kid(&self) -> Option<String> {
        let public = Value::Object(self.public()?).to_string();
        Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, public.as_bytes())))
    }

    /// A token with these claims. `iat` and `exp` are added where they are not there: now, and an hour later.
    ///
    /// # Errors
    /// The claims are no object, or the key does not sign.
    pub fn token(&self, claims: &Value) -> Result<String, Error> {
        let mut claims = claims.as_object().cloned().ok_or(Error::Claims("claims are a JSON object"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        claims.entry("iat").or_insert(json!(now));
        claims.entry("exp").or_insert(json!(now + LASTS));
        let mut header = Map::new();
        header.insert("alg".to_owned(), json!(self.algorithm()));
        header.insert("typ".to_owned(), json!("JWT"));
        if let Some(kid) = self.kid() {
            header.insert("kid".to_owned(), json!(kid));
        }
        let part = |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }

    fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let unsigned = |_| Error::Key("the key does not sign");
        Ok(match &self.0 {
            Key::P256(key) => key.sign(&random, octets).map_err(unsigned)?.as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(octets).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, octets, &mut signature).map_err(unsigned)?;
                signature
            }
        })
    }
}
