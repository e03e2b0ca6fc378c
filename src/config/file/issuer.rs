//! `issuers.NAME`: who may sign tokens, what a token of theirs must be, and where their keys are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::config::net::KeysUrl;
use filter_api::units::Period;
use tokens::Algorithm;

/// Who may sign tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens, letter for letter, without blanks.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// The `aud` of a token must hold one of these: whom tokens are for that are meant for the services here.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
    /// How its tokens may be signed. Default: RS, PS and ES with 256, 384 and 512, and EdDSA; with `secret_file` HS256, HS384 and HS512,
    /// as far as the secret is long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub algorithms: Option<Vec<Algorithm>>,
    /// By how much clocks may differ, at most `10m`.
    #[serde(default = "half_a_minute")]
    pub leeway: Period,
    /// What the header `typ` of a token may be, if it has one, in any case and with `application/` or without.
    #[serde(default = "access_tokens")]
    pub types: Vec<String>,
    /// Claims that a token must have. `exp` must always be there.
    #[serde(default = "expiry")]
    pub require: Vec<String>,
    /// Where its keys are. This, or `secret_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Jwks>,
    /// A file whose octets (but for one line end behind them) are the secret by which its tokens are signed: at least 32 for HS256, 48 for
    /// HS384, 64 for HS512. Whoever reads it can sign tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

/// Where a JWK set is: one of `file`, `inline` and `url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    /// In a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Here, as JSON in a text: `'{"keys": […]}'`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// Behind a URL: `https`, or `http` on this machine. Fetched in the background; the last keys stay while the issuer is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<KeysUrl>,
    /// A PEM file with the authorities that may vouch for the URL's server. Default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// From one fetch to the next, if nothing else asks for one: `10s` to `24h`. Default: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Period>,
}

impl Issuer {
    /// How its tokens may be signed.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let by_default = || {
            let all: &[Algorithm] = if self.secret_file.is_some() { &Algorithm::SECRET } else { &Algorithm::PUBLIC };
            all.to_vec()
        };
        self.algorithms.clone().unwrap_or_else(by_default)
    }
}

impl Jwks {
    /// From one fetch to the next.
    pub fn refresh(&self) -> Period {
        self.refresh.unwrap_or(seconds(300))
    }
}

fn half_a_minute() -> Period {
    seconds(30)
}

fn access_tokens() -> Vec<String> {
    ["JWT", "at+jwt"].map(str::to_owned).to_vec()
}

fn expiry() -> Vec<String> {
    vec!["exp".to_owned()]
}
