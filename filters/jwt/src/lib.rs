//! The `jwt` filter: a call passes with a token that one of the named issuers has signed, and instances are told what it says.
//!
//! ```yaml
//! filters:
//!   - jwt: {issuers: [operators], metadata: {sub: x-user-id, realm_access.roles: x-roles-bin}}
//! ```
//!
//! Finds the token and writes metadata (`told`); whether it is good is the proxy's matter (`filter_api::Verifier`).

mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use fields::Fields;
use filter_api::{
    Admitted, BuildCx, BuildError, Claims, Code, Factory, Filter, Phase, Reason, Refusal, RequestView, Start, Token,
    Verification, Verifier, are_one_name, check_target,
};
use schemars::JsonSchema;
use serde::Deserialize;
use smallvec::SmallVec;

use told::Told;

/// Where a token is, if nothing else is said.
const AUTHORIZATION: &str = "authorization";
const SCHEME: &[u8] = b"bearer";

/// Makes `jwt` filters.
#[derive(Debug)]
pub struct Jwt;

/// What a person writes under `jwt`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose tokens are taken: names under `issuers`. No two of them with the same `issuer`.
    #[schemars(length(min = 1))]
    pub issuers: Vec<String>,
    /// What instances are told: claim (a path with dots) to the name of metadata. Such a name is taken off what any caller of any
    /// listener sends. A claim that is not there leaves the name out; one that is no text, number or truth value of 1 to 1,024 printable
    /// characters refuses the call, unless the name ends in `-bin`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The metadata that has the token: `authorization` with `Bearer ` in front, another one with it or without.
    #[serde(default = "authorization")]
    pub from: String,
    /// Instances get the token too. Otherwise it ends here.
    #[serde(default)]
    pub forward: bool,
    /// Calls without a token pass too, and nobody is known then. A token that is not good never passes.
    #[serde(default)]
    pub optional: bool,
    /// A call that is still open when its token expires (`exp`, and the issuer's `leeway`) ends then, with UNAUTHENTICATED `token_expired`.
    #[serde(default)]
    pub enforce_expiry: bool,
}

fn authorization() -> String {
    AUTHORIZATION.to_owned()
}

impl Factory for Jwt {
    const NAME: &'static str = "jwt";
    const PHASE: Phase = Phase::Authenticate;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { issuers, metadata, from, forward, optional, enforce_expiry } = config;
        if issuers.is_empty() {
            return Err(BuildError::at(&["issuers"], "name one of the file's `issuers` at least: nobody could pass"));
        }
        check_source(&from).map_err(|message| BuildError::at(&["from"], message))?;
        let verifier = cx.verifier(&["issuers"], &issuers)?;
        let mut told: Vec<Told> = Vec::new();
        for (claim, name) in metadata {
            let path = ["metadata", claim.as_str()];
            cx.sets_identity(&path, &name)?;
            if are_one_name(&name, &from) {
                let message = format!(
                    "`{name}` has the token itself, and would be taken off before it is read: choose another name"
                );
                return Err(BuildError::at(&path, message));
            }
            if let Some(other) = told.iter().find(|other| are_one_name(other.name(), &name)) {
                let message = format!("`{name}` and `{}` are one name to many servers: choose another", other.name());
                return Err(BuildError::at(&path, message));
            }
            told.push(Told::new(claim, name));
        }
        Ok(Box::new(Authenticated { verifier, told, from: from.into(), forward, optional, enforce_expiry }))
    }
}

/// Where a token can be.
fn check_source(name: &str) -> Result<(), String> {
    if name == AUTHORIZATION {
        return Ok(());
    }
    check_target(name)?;
    if name.ends_with("-bin") || name.starts_with("x-forwarded-") {
        return Err(format!(
            "`{name}` cannot have a token: it is binary, or taken off every call. Choose another name"
        ));
    }
    Ok(())
}

/// The filter.
#[derive(Debug)]
struct Authenticated {
    verifier: Arc<dyn Verifier>,
    told: Vec<Told>,
    from: Arc<str>,
    forward: bool,
    optional: bool,
    enforce_expiry: bool,
}

impl Filter for Authenticated {
    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        let token = match self.token(&view.head.fields) {
            Ok(Some(token)) => token,
            Ok(None) if self.optional => return Start::Pass,
            Ok(None) => return refuse(Reason::TokenMissing, self.how_to_send()),
            Err(wrong) => return refuse(Reason::TokenMalformed, wrong),
        };
        match self.verifier.verify(token) {
            Verification::Passed(claims) => self.admit(view, claims).unwrap_or_else(Start::Refuse),
            Verification::Refused(refusal) => Start::Refuse(refusal),
            Verification::Later(later) => Start::Wait(Box::pin(async move {
                later.await;
                Start::Again
            })),
        }
    }

    /// A token that has passed is not shown again, and may have expired meanwhile: that is another matter (`enforce_expiry`).
    fn still(&self, view: &mut RequestView<'_>, admitted: &Admitted<'_>) -> Result<(), Box<Refusal>> {
        let passed = admitted.tokens.iter().find(|token| token.from == self.from);
        if let Some(Token { claims, .. }) = passed.filter(|_| view.head.fields.contains(&self.from)) {
            self.verifier.trusts(claims)?;
            return self.admit(view, Arc::clone(claims)).map(drop);
        }
        match self.request_head(view) {
            Start::Refuse(refusal) => Err(refusal),
            Start::Wait(_) => {
                let message = "the keys of the token's issuer are not there yet: call again a little later";
                Err(Box::new(Refusal::new(Code::Unavailable, Reason::KeysUnavailable, message)))
            }
            Start::Pass | Start::Follow(_) | Start::Again => Ok(()),
        }
    }
}

impl Authenticated {
    /// The token of a call, none if there is none.
    fn token<'f>(&self, fields: &'f Fields) -> Result<Option<&'f [u8]>, String> {
        let mut values = fields.iter().filter(|(name, _)| **name == *self.from).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            // Which of them counts would be for each reader to say.
            return Err(format!("`{}` is there more than once: send one token", self.from));
        }
        match behind_scheme(value) {
            Some(token) => Ok(Some(token)),
            None if *self.from == *AUTHORIZATION => Err(self.how_to_send()),
            None => Ok(Some(value)),
        }
    }

    fn how_to_send(&self) -> String {
        match &*self.from {
            AUTHORIZATION => "this call needs a token: send `authorization: Bearer TOKEN`".to_owned(),
            from => format!("this call needs a token: send it as `{from}`"),
        }
    }

    fn admit(&self, view: &mut RequestView<'_>, claims: Arc<Claims>) -> Result<Start, Box<Refusal>> {
        // All of them before anything is changed.
        let values: SmallVec<[_; 4]> =
            self.told.iter().map(|told| Ok((told, told.value(&claims)?))).collect::<Result<_, Box<_>>>()?;
        let metadata = view.metadata();
        if !self.forward {
            metadata.remove(&self.from);
        }
        for (told, value) in values {
            match value {
                Some(value) => metadata.set(told.name(), value.as_bytes()),
                // Another filter's, for another token: this one does not say it.
                None => drop(metadata.remove(told.name())),
            }
        }
        if self.enforce_expiry {
            view.bounds.limit_expiry(claims.ends);
        }
        *view.verified = Some(Token { from: Arc::clone(&self.from), claims });
        Ok(Start::Pass)
    }
}

/// What stands behind `Bearer` in any case and a blank, if that is how a value begins (RFC 6750 §2.1).
fn behind_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let token = rest.strip_prefix(b" ").filter(|_| scheme.eq_ignore_ascii_case(SCHEME))?;
    let blanks = token.iter().take_while(|octet| **octet == b' ').count();
    token.get(blanks..)
}

fn refuse(reason: Reason, message: String) -> Start {
    Start::Refuse(Box::new(Refusal::new(Code::Unauthenticated, reason, message)))
}

#[cfg(test)]
mod tests;
