//! Signed tokens: what checks them for filters, and what is known of a caller whose token has passed. How they are checked, and by which
//! keys, is the proxy's matter.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::Refusal;

/// What a token that has passed says.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who signed it (`iss`).
    pub issuer: Arc<str>,
    /// Everything that it says.
    pub all: Map<String, Value>,
    /// The second since 1970 from which on it is not good any more.
    pub ends: u64,
    /// How it was signed.
    pub signed: Signed,
}

/// How a token was signed: enough to tell later whether it would still pass, and nothing by which another could be made.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Signed {
    /// `alg` of its header.
    pub algorithm: String,
    /// `kid`, if it named a key.
    pub kid: Option<String>,
    /// `typ`, if it said what it is.
    pub typ: Option<String>,
    /// By which the key is known again: a digest.
    pub key: [u8; 32],
}

/// Says the algorithm and nothing else: the rest is what a token says, or what knows its key.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// A token by which a call was let in, after it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The metadata that had it.
    pub from: Arc<str>,
    /// What it says.
    pub claims: Arc<Claims>,
}

impl Claims {
    /// Whom it is about (`sub`).
    pub fn subject(&self) -> Option<&str> {
        self.all.get("sub").and_then(Value::as_str)
    }

    /// A claim by its name, or by a path with dots from map to map. A claim whose own name has dots comes first: issuers call theirs
    /// `https://example.com/tenant`.
    pub fn at(&self, path: &str) -> Option<&Value> {
        self.all.get(path).or_else(|| {
            let mut steps = path.split('.');
            let first = self.all.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.as_object()?.get(step))
        })
    }
}

/// Says who signed it and nothing else: what a token says is for policies, not for logs.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("issuer", &self.issuer).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Checks tokens.
pub trait Verifier: Send + Sync + fmt::Debug {
    /// Checks one.
    fn verify(&self, token: &[u8]) -> Verification;

    /// Whether one that has passed elsewhere, which need not have been long ago, would pass here by its issuer, its key, and what it says,
    /// but for the times in it.
    ///
    /// # Errors
    /// It would not: what the caller is told.
    fn trusts(&self, claims: &Claims) -> Result<(), Box<Refusal>>;
}

/// What becomes of a token.
pub enum Verification {
    /// It has passed.
    Passed(Arc<Claims>),
    /// It has not: what the caller is told.
    Refused(Box<Refusal>),
    /// It may pass after this, which does not take long: then it is to be asked again.
    Later(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Who may sign tokens, as the configuration has them.
pub trait Issuers {
    /// What checks tokens of these, by their names in the configuration.
    ///
    /// # Errors
    /// Which of them is wrong, by its place in the list, and what is wrong with it.
    fn verifier(&self, names: &[String]) -> Result<Arc<dyn Verifier>, (usize, String)>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Claims, Signed};

    #[test]
    fn claims_are_found_by_name_and_by_path() {
        let all = json!({
            "sub": "ann", "a": {"b": {"c": 1}, "b.c": 2}, "https://example.com/tenant": "acme", "x.y": 3, "x": {"y": 4}, "list": [{"z": 5}]
        });
        let all = all.as_object().unwrap().clone();
        let claims = Claims { issuer: "i".into(), all, ends: 0, signed: Signed::default() };
        for (path, wanted) in [
            ("sub", Some(json!("ann"))),
            ("a.b.c", Some(json!(1))),
            ("https://example.com/tenant", Some(json!("acme"))),
            ("x.y", Some(json!(3))),
            ("a.b.d", None),
            ("sub.x", None),
            ("list.0", None),
            ("", None),
            ("a.", None),
        ] {
            assert_eq!(claims.at(path), wanted.as_ref(), "{path}");
        }
        assert_eq!(claims.subject(), Some("ann"));
        assert!(!format!("{claims:?}").contains("ann"));
    }
}
