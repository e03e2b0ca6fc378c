//! Those who may sign tokens, built: key sets and secrets are read, and what checks tokens for filters is made of them.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filter_api::{Claims, Code, Detail, Issuers, Keep, Reason, Refusal, Signed, Verification, Verifier};
use portunus_tls::Client;
use tokens::{Algorithm, Answer, KeySet, Location, Rejection, Ring, Settings, System, least_secret};

use super::file::{Issuer, Jwks};
use super::{Path, Problem, Source, suggest};
use crate::path;

/// The longest file of keys or secrets, in octets.
const MOST_OCTETS: u64 = 1 << 20;
/// How soon a call may come back that found no keys.
const SOON: Duration = Duration::from_secs(1);

/// Somebody who may sign tokens.
#[derive(Clone, Debug)]
pub struct Signatory {
    /// The name in the file.
    pub name: Arc<str>,
    /// What tokens must be, and the keys.
    pub issuer: Arc<tokens::Issuer>,
    /// Where the keys are to be fetched from, if they are.
    pub published: Option<Published>,
}

/// Where keys are published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The URL.
    pub location: Location,
    /// What a connection to its server needs; none where there is no TLS.
    pub tls: Option<Arc<Client>>,
    /// From one fetch to the next.
    pub refresh: Duration,
}

/// All of a file, by name. One that could not be built is none: that it could not is said elsewhere.
#[derive(Debug, Default)]
pub(super) struct Signatories {
    all: BTreeMap<String, Option<Signatory>>,
    /// Where those are kept who check tokens, with their memory of what has passed.
    keep: Keep,
}

impl Signatories {
    /// Builds them. Where keys are fetched from where they were before, they stay, and so does whoever fetches them; an issuer of which
    /// nothing has changed is the same.
    pub(super) fn build(
        issuers: &BTreeMap<String, Issuer>,
        (source, before): (&Source, &[Signatory]),
        keep: &Keep,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let built = issuers.iter().map(|(name, issuer)| {
            let place = path!["issuers", name];
            let before = before.iter().find(|before| *before.name == **name);
            let built = signatory((name, issuer), (source, before), &place);
            (name.clone(), built.map_err(|(at, message)| problems.push(source.error_at(&at, message))).ok())
        });
        Self { all: built.collect(), keep: keep.clone() }
    }

    pub(super) fn into_all(self) -> Vec<Signatory> {
        self.all.into_values().flatten().collect()
    }
}

/// What is wrong, and where.
type Wrong = (Path, String);

fn signatory(
    (name, issuer): (&str, &Issuer),
    (source, before): (&Source, Option<&Signatory>),
    place: &Path,
) -> Result<Signatory, Wrong> {
    let mut published = None;
    let (ring, algorithms) = match (&issuer.jwks, &issuer.secret_file) {
        (_, Some(file)) => {
            let at = place.with("secret_file");
            let secret = read(file, source).map_err(|why| (at.clone(), why))?;
            let secret = trimmed(&secret);
            let algorithms = fitting(secret, issuer).map_err(|why| (at, why))?;
            (Arc::new(Ring::fixed(name, KeySet::of_secret(secret))), algorithms)
        }
        (Some(jwks), None) => {
            let place = place.with("jwks");
            published = self::published(jwks, source, &place)?;
            let ring = match (fixed(jwks, source, &place)?, &published) {
                (Some(keys), _) => Arc::new(Ring::fixed(name, keys)),
                (None, Some(published)) => published.ring(name, before),
                (None, None) => Arc::new(Ring::fetched(name)),
            };
            (ring, issuer.algorithms())
        }
        // The rules have refused it.
        (None, None) => return Err((place.clone(), "has no keys".to_owned())),
    };
    let settings = Settings {
        issuer: issuer.issuer.as_str().into(),
        audiences: issuer.audiences.clone(),
        algorithms,
        leeway: issuer.leeway.0,
        types: issuer.types.clone(),
        require: issuer.require.clone(),
    };
    let same = before.filter(|before| {
        let (former, now) = (before.issuer.ring(), &ring);
        let fixed = before.published.is_none() && published.is_none();
        let alike = || former.keys().zip(now.keys()).is_some_and(|(one, other)| one.is_like(&other));
        *before.issuer.settings() == settings && (Arc::ptr_eq(former, now) || fixed && alike())
    });
    let issuer = same.map_or_else(|| Arc::new(tokens::Issuer::new(settings, ring)), |same| Arc::clone(&same.issuer));
    Ok(Signatory { name: name.into(), issuer, published })
}

impl Published {
    /// The keys that are fetched from here: those of before, where nothing about that has changed; or new ones, which begin with those of
    /// before where they are at least from the same place.
    fn ring(&self, name: &str, before: Option<&Signatory>) -> Arc<Ring> {
        let before = before.and_then(|before| Some((before.published.as_ref()?, before.issuer.ring())));
        let Some((published, ring)) = before.filter(|(published, _)| published.location == self.location) else {
            return Arc::new(Ring::fetched(name));
        };
        let trusts_as = Client::trust_alike(self.tls.as_deref(), published.tls.as_deref());
        if trusts_as && published.refresh == self.refresh {
            return Arc::clone(ring);
        }
        let fresh = Ring::fetched(name);
        if trusts_as {
            fresh.take_over(ring);
        }
        Arc::new(fresh)
    }
}

/// Keys that stand in the configuration, or beside it.
fn fixed(jwks: &Jwks, source: &Source, place: &Path) -> Result<Option<KeySet>, Wrong> {
    let (at, octets) = match (&jwks.file, &jwks.inline) {
        (Some(file), _) => {
            let at = place.with("file");
            let octets = read(file, source).map_err(|why| (at.clone(), why))?;
            (at, octets)
        }
        (None, Some(inline)) => (place.with("inline"), inline.as_bytes().to_vec()),
        (None, None) => return Ok(None),
    };
    let keys = KeySet::read(&octets).map_err(|why| (at.clone(), format!("cannot be used: {why}")))?;
    if keys.is_empty() {
        let why = match keys.skipped() {
            [] => "it is empty".to_owned(),
            skipped => skipped.join("; "),
        };
        return Err((at, format!("has no key that can be used: {why}")));
    }
    Ok(Some(keys))
}

fn published(jwks: &Jwks, source: &Source, place: &Path) -> Result<Option<Published>, Wrong> {
    let Some(url) = &jwks.url else { return Ok(None) };
    let ca = jwks
        .ca
        .as_ref()
        .map(|file| source.to_read(file).map_err(|why| (place.with("ca"), format!("`{}` {why}", file.display()))));
    let ca = ca.transpose()?;
    let tls = url.0.is_secure.then(|| Client::for_web(ca.as_deref(), SystemTime::now()));
    let tls = tls.transpose().map_err(|unusable| (place.with(unusable.key), unusable.message))?;
    Ok(Some(Published { location: url.0.clone(), tls: tls.map(Arc::new), refresh: jwks.refresh().0 }))
}

/// The algorithms for which a secret is long enough: all that are asked for, or those of the default that are.
fn fitting(secret: &[u8], issuer: &Issuer) -> Result<Vec<Algorithm>, String> {
    let mut algorithms = issuer.algorithms();
    let is_short = |algorithm: &Algorithm| secret.len() < least_secret(*algorithm);
    if issuer.algorithms.is_none() {
        algorithms.retain(|algorithm| !is_short(algorithm) || *algorithm == Algorithm::HS256);
    }
    match algorithms.iter().find(|algorithm| is_short(algorithm)) {
        Some(algorithm) => {
            let (has, least) = (secret.len(), least_secret(*algorithm));
            Err(format!(
                "has {has} octets, and {algorithm} needs {least} at least: make a new secret (`openssl rand -hex 64`)"
            ))
        }
        None => Ok(algorithms),
    }
}

/// Editors and `openssl rand` put a line end behind it, which nobody means.
fn trimmed(secret: &[u8]) -> &[u8] {
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    secret.strip_suffix(b"\r").unwrap_or(secret)
}

fn read(file: &FilePath, source: &Source) -> Result<Vec<u8>, String> {
    source.read(file, MOST_OCTETS).map_err(|why| format!("`{}` {why}", file.display()))
}

impl Issuers for Signatories {
    fn verifier(&self, names: &[String]) -> Result<Arc<dyn Verifier>, (usize, String)> {
        let mut issuers: Vec<Arc<tokens::Issuer>> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let Some(known) = self.all.get(name) else {
                let known: Vec<&str> = self.all.keys().map(String::as_str).collect();
                let hint = if known.is_empty() {
                    ": the file has no `issuers`".to_owned()
                } else {
                    suggest::hint(name, &known)
                };
                return Err((at, format!("no issuer is named `{name}`{hint}")));
            };
            let Some(known) = known else { continue };
            let iss = &known.issuer.settings().issuer;
            if issuers.iter().any(|other| other.settings().issuer == *iss) {
                let message = format!(
                    "another issuer of this list has `issuer: {iss}` too, and only that tells tokens apart: keep one"
                );
                return Err((at, message));
            }
            issuers.push(Arc::clone(&known.issuer));
        }
        // By the issuers themselves, which live as long as it is kept: one that has changed is another, and nothing is remembered of it.
        let who: Vec<_> = issuers.iter().map(|issuer| format!("{:p}", Arc::as_ptr(issuer))).collect();
        let verifier = || Checked(tokens::Verifier::new(issuers, Arc::new(System), claims));
        Ok(self.keep.find_or_make(&format!("tokens of {}", who.join(" ")), verifier))
    }
}

#[derive(Debug)]
struct Checked(tokens::Verifier<Claims>);

impl Verifier for Checked {
    fn verify(&self, token: &[u8]) -> Verification {
        match self.0.verify(token) {
            Answer::Verified(claims) => Verification::Passed(claims),
            Answer::Rejected(rejection) => Verification::Refused(Box::new(refusal(&rejection))),
            Answer::Wait(waiting) => Verification::Later(Box::pin(waiting.over())),
        }
    }

    fn trusts(&self, claims: &Claims) -> Result<(), Box<Refusal>> {
        let Signed { algorithm, kid, typ, key } = &claims.signed;
        let trusted = match Algorithm::named(algorithm) {
            Some(algorithm) => {
                let (kid, typ) = (kid.as_deref(), typ.as_deref());
                let signed = tokens::Signed { algorithm, kid, typ, key: *key };
                self.0.trusts(&claims.issuer, &claims.all, &signed)
            }
            None => Err(Rejection::Algorithm),
        };
        trusted.map_err(|rejection| Box::new(refusal(&rejection)))
    }
}

fn claims(verified: tokens::Verified) -> Claims {
    let tokens::Verified { issuer, claims, ends, signed } = verified;
    let tokens::Signed { algorithm, kid, typ, key } = signed;
    Claims { issuer, all: claims, ends, signed: Signed { algorithm: algorithm.to_string(), kid, typ, key } }
}

/// DESIGN.md §4's table.
fn refusal(rejection: &Rejection) -> Refusal {
    let (code, reason) = match rejection {
        Rejection::TooLarge | Rejection::Malformed(_) | Rejection::Critical => {
            (Code::Unauthenticated, Reason::TokenMalformed)
        }
        Rejection::Algorithm => (Code::Unauthenticated, Reason::TokenAlgorithm),
        Rejection::Type => (Code::Unauthenticated, Reason::TokenType),
        Rejection::Issuer => (Code::Unauthenticated, Reason::TokenIssuer),
        Rejection::UnknownKey => (Code::Unauthenticated, Reason::TokenKey),
        Rejection::Signature => (Code::Unauthenticated, Reason::TokenSignature),
        Rejection::Expired => (Code::Unauthenticated, Reason::TokenExpired),
        Rejection::Early => (Code::Unauthenticated, Reason::TokenEarly),
        Rejection::Claim(_) => (Code::Unauthenticated, Reason::TokenClaim),
        Rejection::Audience => (Code::PermissionDenied, Reason::Audience),
        Rejection::KeysUnavailable => {
            let refusal = Refusal::new(Code::Unavailable, Reason::KeysUnavailable, rejection.to_string());
            return refusal.with(Detail::RetryAfter(SOON));
        }
    };
    Refusal::new(code, reason, rejection.to_string())
}

#[cfg(test)]
mod tests;
