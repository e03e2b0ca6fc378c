//! The keys of an issuer (RFC 7517 §5). Keys that cannot be used are left out, with the reason; the others work.

use std::sync::Arc;

use serde_json::Value;

use crate::key::Key;
use crate::{Algorithm, Rejection, json};

/// The longest set, in octets.
pub const MOST_OCTETS: usize = 256 * 1024;
/// The most keys of one.
const MOST_KEYS: usize = 100;
/// The most keys that are tried for a token that does not say which is its own.
const MOST_TRIED: usize = 8;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    /// It is one secret, which tokens may call what they like.
    is_secret: bool,
    skipped: Vec<String>,
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn read(octets: &[u8]) -> Result<Self, String> {
        if octets.len() > MOST_OCTETS {
            return Err(format!("the key set is over {MOST_OCTETS} octets"));
        }
        let set = json::object(octets).ok_or("it is no JSON object with each name once, so no key set")?;
        let Some(Value::Array(all)) = set.get("keys") else {
            return Err("it has no list `keys`, so is no key set".into());
        };
        if all.len() > MOST_KEYS {
            return Err(format!("the key set has {} keys, and {MOST_KEYS} is the most", all.len()));
        }
        let mut read = Self::default();
        for (at, key) in all.iter().enumerate() {
            let key = key.as_object().ok_or_else(|| "it is no JSON object".to_owned()).and_then(Key::of_jwk);
            match key {
                Ok(key) => read.keys.push(Arc::new(key)),
                Err(why) => read.skipped.push(format!("keys[{at}] is not used: {why}")),
            }
        }
        Ok(read)
    }

    /// A secret that both sides have. It must be as long as [`least_secret`](crate::least_secret) says for each algorithm that it is for.
    pub fn of_secret(secret: &[u8]) -> Self {
        Self { keys: vec![Arc::new(Key::of_secret(secret))], is_secret: true, skipped: Vec::new() }
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Each key that can be used, by its name if it has one, and for which of these algorithms it is.
    pub fn uses(&self, algorithms: &[Algorithm]) -> impl Iterator<Item = (Option<&str>, Vec<Algorithm>)> {
        self.keys.iter().map(|key| {
            let of_key = algorithms.iter().copied().filter(|algorithm| key.is_for(*algorithm));
            (key.kid.as_deref(), of_key.collect())
        })
    }

    /// Whether a token passes by this one exactly where it passes by the other.
    pub fn is_like(&self, other: &Self) -> bool {
        let (these, those) = (&self.keys, &other.keys);
        self.is_secret == other.is_secret
            && these.len() == those.len()
            && these.iter().zip(those).all(|(one, other)| one.is_like(other))
    }

    /// Why the others cannot.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The same, where keys that another set has too are the very same: whoever holds one sees that it is still in force.
    pub(crate) fn taking_from(mut self, other: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = other.keys.iter().find(|other| other.is(key)) {
                *key = Arc::clone(same);
            }
        }
        self
    }

    /// Whether this very key is in it.
    pub(crate) fn has(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|own| Arc::ptr_eq(own, key))
    }

    /// The key that has signed a text.
    pub(crate) fn signer(
        &self,
        (kid, algorithm): (Option<&str>, Algorithm),
        text: &[u8],
        signature: &[u8],
    ) -> Result<&Arc<Key>, Rejection> {
        let mut named = self.named(kid).peekable();
        if named.peek().is_none() {
            return Err(Rejection::UnknownKey);
        }
        let mut fit = named.filter(|key| key.is_for(algorithm)).peekable();
        if fit.peek().is_none() {
            // A token that names no key may be of one that has just been made.
            return Err(if kid.is_some() { Rejection::Algorithm } else { Rejection::UnknownKey });
        }
        let signer = fit.take(MOST_TRIED).find(|key| key.has_signed(algorithm, text, signature));
        signer.ok_or(Rejection::Signature)
    }

    /// Whether the key with this fingerprint would be asked for a token that says so of itself.
    pub(crate) fn has_signer(&self, (kid, algorithm): (Option<&str>, Algorithm), fingerprint: &[u8; 32]) -> bool {
        let mut fit = self.named(kid).filter(|key| key.is_for(algorithm)).take(MOST_TRIED);
        fit.any(|key| key.fingerprint == *fingerprint)
    }

    fn named(&self, kid: Option<&str>) -> impl Iterator<Item = &Arc<Key>> {
        let named = move |key: &&Arc<Key>| self.is_secret || kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        self.keys.iter().filter(named)
    }
}

#[cfg(test)]
impl KeySet {
    pub(crate) fn all(&self) -> &[Arc<Key>] {
        &self.keys
    }
}
