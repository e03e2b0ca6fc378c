//! What an instance is told of a token: one claim as one piece of metadata (DESIGN.md §4, "Identity metadata").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use filter_api::{Claims, Code, Reason, Refusal, is_target_value};
use serde_json::Value;

/// A claim, and the name under which an instance is told it.
#[derive(Debug)]
pub(crate) struct Told {
    claim: String,
    name: String,
}

impl Told {
    pub(crate) fn new(claim: String, name: String) -> Self {
        Self { claim, name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value; none where the token does not have the claim.
    ///
    /// # Errors
    /// The claim cannot be metadata: an instance must not take one that is missing for one that was left out.
    pub(crate) fn value<'c>(&self, claims: &'c Claims) -> Result<Option<Cow<'c, str>>, Box<Refusal>> {
        let Some(value) = claims.at(&self.claim) else { return Ok(None) };
        let value = match self.name.ends_with("-bin") {
            true => binary(value).map(Cow::Owned),
            false => text(value).filter(|text| is_target_value(text)),
        };
        value.map(Some).ok_or_else(|| {
            let message = format!(
                "the token's claim `{}` cannot be metadata: it must be a text, number or truth value of 1 to 1024 printable ASCII \
                 characters without blanks around it",
                self.claim
            );
            Box::new(Refusal::new(Code::PermissionDenied, Reason::ClaimUnfit, message))
        })
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(if *truth { "true" } else { "false" }.into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Everything but null: texts as they are, lists and maps as JSON.
fn binary(value: &Value) -> Option<String> {
    let octets = match value {
        Value::Null => return None,
        Value::Array(_) | Value::Object(_) => value.to_string().into(),
        other => text(other)?,
    };
    Some(STANDARD_NO_PAD.encode(&*octets))
}
