//! `listeners.NAME.routes`: which calls, and where they go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Expression, FilterUse};
use crate::config::names::{HeaderName, MethodName};
use crate::route::{AuthorityPattern, HeaderRegex, ServicePattern};
use filter_api::units::Period;

/// A route. Exactly one of `cluster`, `split` and `register_into`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Which calls; without it, every call that no other route takes.
    #[serde(default, rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    /// The cluster that gets the calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Clusters that share the calls by weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub split: Option<Vec<Share>>,
    /// Serves `bindu.grpc.BinduService` itself: who registers becomes an instance of this registry cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register_into: Option<String>,
    /// Off loopback, `true` says that you know that anybody who reaches this route can register.
    #[serde(default)]
    pub open_registration: bool,
    /// Names the agent (id, DID or name) that calls to a registry cluster are for: an expression, such as `metadata["x-tenant"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Expression>,
    /// `hold`: calls of client-streaming and bidirectional methods wait for their first message too, where `agent` or the cluster's `hash_by`
    /// reads it. A client that waits for the answer's head before it sends waits for ever then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_message: Option<HoldFirst>,
    /// Run after the listener's; within a phase in this order.
    #[serde(default)]
    pub filters: Vec<FilterUse>,
    /// For the whole call, all tries together. Default: none, as agents take long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// `hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldFirst {
    /// Calls wait for their first message.
    Hold,
}

/// Where a route's calls go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    Cluster(&'a str),
    Split(&'a [Share]),
    RegisterInto(&'a str),
}

/// A cluster's share of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SplitShare")]
pub struct Share {
    /// The cluster.
    pub cluster: String,
    /// Calls relative to the other shares; 0 sends none.
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
}

/// What a call must have; all that are given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The host that the caller asked for: exact, or `*.suffix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityPattern>,
    /// The service: exact, or `pkg.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServicePattern>,
    /// The method, without its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodName>,
    /// Headers (metadata) by name. A header that a call has several times fits if one of its values does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "type": "string", "format": "portunus-header-name" }))]
    pub headers: BTreeMap<HeaderName, HeaderMatch>,
    /// An expression that must hold. Where it fails the call is refused, and no other route gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
}

/// The exact text, or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderMatch {
    /// Exactly this text.
    Exact(String),
    /// One of `prefix`, `regex`, `present`.
    Pattern(HeaderPattern),
}

/// A pattern for a header's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderPattern {
    /// The value starts with this.
    Prefix(#[schemars(length(min = 1))] String),
    /// The whole value fits this.
    Regex(HeaderRegex),
    /// The header is there, whatever its value.
    Present(Present),
}

/// Only `true`: there is no match on absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "bool", into = "bool")]
#[schemars(extend("const" = true))]
pub struct Present;

impl Route {
    /// Where the calls go; `None` only before the rules have passed.
    pub fn target(&self) -> Option<Target<'_>> {
        let cluster = self.cluster.as_deref().map(Target::Cluster);
        let split = self.split.as_deref().map(Target::Split);
        cluster.or(split).or(self.register_into.as_deref().map(Target::RegisterInto))
    }
}

impl Match {
    /// Fits every call.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl TryFrom<bool> for Present {
    type Error = &'static str;

    fn try_from(present: bool) -> Result<Self, Self::Error> {
        if present { Ok(Self) } else { Err("must be `true`: there is no match on absence") }
    }
}

impl From<Present> for bool {
    fn from(_: Present) -> Self {
        true
    }
}
