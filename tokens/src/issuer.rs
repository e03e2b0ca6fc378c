//! Who may sign tokens, and what a token of theirs must be.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::claims::{self, Times};
use crate::jws::Token;
use crate::key::Key;
use crate::{Algorithm, Rejection, Ring, Signed};

/// What media types of tokens begin with, where they are written out.
const APPLICATION: &str = "application/";

/// What a token of an issuer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its `iss`, letter for letter.
    pub issuer: Arc<str>,
    /// Its `aud` holds one of these.
    pub audiences: Vec<String>,
    /// It is signed with one of these.
    pub algorithms: Vec<Algorithm>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// Its `typ`, if it has one, is one of these.
    pub types: Vec<String>,
    /// Claims that it must have beside `exp`.
    pub require: Vec<String>,
}

/// Who may sign tokens.
#[derive(Debug)]
pub struct Issuer {
    settings: Settings,
    ring: Arc<Ring>,
}

impl Issuer {
    /// With these keys.
    pub fn new(settings: Settings, ring: Arc<Ring>) -> Self {
        Self { settings, ring }
    }

    /// What a token must be.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its keys.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Seconds by which clocks may differ.
    pub(crate) fn leeway(&self) -> u64 {
        self.settings.leeway.as_secs()
    }

    /// Checks everything but `iss`: first what says by which key, then the signature, and only then what the token says.
    pub(crate) fn check(&self, token: &Token<'_>, now: u64) -> Result<(Arc<Key>, Times), Rejection> {
        self.check_kind(token.algorithm, token.typ.as_deref())?;
        let keys = self.ring.keys().ok_or(Rejection::KeysUnavailable)?;
        let key = keys.signer((token.kid.as_deref(), token.algorithm), token.signed, &token.signature)?;
        let times = Times::of(&token.claims)?;
        times.check(now, self.leeway())?;
        claims::check(&token.claims, &self.settings)?;
        Ok((Arc::clone(key), times))
    }

    /// The same for a token that has passed once, but for its times: its signature is known to be that of its key.
    pub(crate) fn trusts(&self, claims: &Map<String, Value>, signed: &Signed<&str>) -> Result<(), Rejection> {
        self.check_kind(signed.algorithm, signed.typ)?;
        let keys = self.ring.keys().ok_or(Rejection::KeysUnavailable)?;
        if !keys.has_signer((signed.kid, signed.algorithm), &signed.key) {
            return Err(Rejection::UnknownKey);
        }
        claims::check(claims, &self.settings)
    }

    fn check_kind(&self, algorithm: Algorithm, typ: Option<&str>) -> Result<(), Rejection> {
        if !self.settings.algorithms.contains(&algorithm) {
            return Err(Rejection::Algorithm);
        }
        if typ.is_some_and(|typ| !self.takes_type(typ)) {
            return Err(Rejection::Type);
        }
        Ok(())
    }

    /// Media types are the same in any case, and `application/` may be left out (RFC 7515 §4.1.9).
    fn takes_type(&self, typ: &str) -> bool {
        let typ = bare(typ);
        self.settings.types.iter().any(|own| bare(own).eq_ignore_ascii_case(typ))
    }
}

/// A media type without what may be left out.
fn bare(typ: &str) -> &str {
    match typ.split_at_checked(APPLICATION.len()) {
        Some((kind, rest)) if kind.eq_ignore_ascii_case(APPLICATION) => rest,
        _ => typ,
    }
}
