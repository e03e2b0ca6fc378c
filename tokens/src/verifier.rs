//! What checks tokens: several issuers, of which `iss` chooses one, and a memory of what has passed.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::cache::{Cache, Passed};
use crate::{Algorithm, Clock, Issuer, Rejection, Waiting, jws};

/// Checks tokens, and makes a `T` of each that passes.
#[derive(Debug)]
pub struct Verifier<T> {
    issuers: Vec<Arc<Issuer>>,
    cache: Cache<T>,
    clock: Arc<dyn Clock>,
    make: fn(Verified) -> T,
}

/// A token that has passed.
pub struct Verified {
    /// Its `iss`.
    pub issuer: Arc<str>,
    /// Everything that it says.
    pub claims: Map<String, Value>,
    /// The second since 1970 from which on it does not pass any more: its `exp`, and the leeway.
    pub ends: u64,
    /// How it was signed.
    pub signed: Signed,
}

/// How a token was signed: by what it can be told later whether it would still pass.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed<S = String> {
    /// `alg` of its header.
    pub algorithm: Algorithm,
    /// `kid`, if it named a key.
    pub kid: Option<S>,
    /// `typ`, if it said what it is.
    pub typ: Option<S>,
    /// By which the key is known again.
    pub key: [u8; 32],
}

/// What becomes of a token.
#[derive(Debug)]
pub enum Answer<T> {
    /// It has passed.
    Verified(Arc<T>),
    /// It has not.
    Rejected(Rejection),
    /// Its key is not there, and a fetch under way may bring it: to be asked again when that is over.
    Wait(Waiting),
}

impl<T> Verifier<T> {
    /// For tokens of these issuers, no two of which have the same `iss`.
    pub fn new(issuers: Vec<Arc<Issuer>>, clock: Arc<dyn Clock>, make: fn(Verified) -> T) -> Self {
        Self { issuers, cache: Cache::new(), clock, make }
    }

    /// The issuers.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// Checks a token.
    pub fn verify(&self, token: &[u8]) -> Answer<T> {
        let now = self.clock.now();
        if let Some(passed) = self.cache.find(token) {
            if self.passes_still(&passed, now) {
                return Answer::Verified(passed.verified);
            }
            // What is wrong with it now is found by looking at it anew.
            self.cache.forget(token);
        }
        match self.check(token, now) {
            Ok(verified) => Answer::Verified(verified),
            Err((Rejection::UnknownKey, Some(issuer))) => match issuer.ring().want() {
                Some(waiting) => Answer::Wait(waiting),
                None => Answer::Rejected(Rejection::UnknownKey),
            },
            Err((rejection, _)) => Answer::Rejected(rejection),
        }
    }

    /// Whether a token that has passed, here or elsewhere, would pass but for its times: its issuer, and everything that the issuer asks for.
    ///
    /// # Errors
    /// It would not, and why.
    pub fn trusts(&self, iss: &str, claims: &Map<String, Value>, signed: &Signed<&str>) -> Result<(), Rejection> {
        self.issuer(iss).ok_or(Rejection::Issuer)?.1.trusts(claims, signed)
    }

    fn issuer(&self, iss: &str) -> Option<(usize, &Arc<Issuer>)> {
        self.issuers.iter().enumerate().find(|(_, issuer)| *issuer.settings().issuer == *iss)
    }

    /// It was checked whole; of that only time and key can have changed.
    fn passes_still(&self, passed: &Passed<T>, now: u64) -> bool {
        let Some(issuer) = self.issuers.get(passed.issuer) else { return false };
        passed.times.check(now, issuer.leeway()).is_ok() && issuer.ring().has(&passed.key)
    }

    fn check(&self, token: &[u8], now: u64) -> Result<Arc<T>, (Rejection, Option<&Issuer>)> {
        let read = jws::read(token).map_err(|rejection| (rejection, None))?;
        let named = match read.claims.get("iss") {
            Some(Value::String(named)) => named,
            Some(_) => return Err((Rejection::Claim("iss".to_owned()), None)),
            None => return Err((Rejection::Issuer, None)),
        };
        let (at, issuer) = self.issuer(named).ok_or((Rejection::Issuer, None))?;
        let (key, times) = issuer.check(&read, now).map_err(|rejection| (rejection, Some(&**issuer)))?;
        let verified = Arc::new((self.make)(Verified {
            issuer: Arc::clone(&issuer.settings().issuer),
            claims: read.claims,
            ends: times.ends(issuer.leeway()),
            signed: Signed { algorithm: read.algorithm, kid: read.kid, typ: read.typ, key: key.fingerprint },
        }));
        self.cache.put(token, Passed { verified: Arc::clone(&verified), times, key, issuer: at });
        Ok(verified)
    }
}

/// Says who it is of and nothing else: what a token says is for policies, not for logs.
impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("issuer", &self.issuer).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Says the algorithm and nothing else: the rest is what the token says, or what knows its key.
impl<S> std::fmt::Debug for Signed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
