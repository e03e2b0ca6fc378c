//! `clusters.NAME`: who answers calls, and how they are chosen.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schemas::ClusterSchema;
use super::tls::ClusterTls;
use super::{Expression, seconds};
use crate::config::names::{AgentPattern, CallbackPattern, FullMethod, HostName, Methods};
use crate::config::net::{Cidr, HostPort, Ports};
use crate::route::AuthorityPattern;
use filter_api::units::{Period, Size};

/// A group of instances that can answer the same calls. Exactly one of `endpoints`, `dns` and `registry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Addresses that are known now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub endpoints: Option<Vec<Endpoint>>,
    /// Addresses that a name server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// SDK instances that register themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
    /// How an instance is chosen for a call.
    #[serde(default)]
    pub balance: Balance,
    /// The key by which `ring_hash` and `maglev` choose: calls with the same key go to the same instance. One expression, or one for each
    /// pattern of methods (the most specific counts) and `default`. A call without a key, or whose expression fails, goes to any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_by: Option<HashBy>,
    /// Whether and how instances are asked if they are well ([balancing.md](balancing.md#health-checks)). In a registry cluster that is
    /// always so; in others only with this key, of which `{}` is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// TLS to its instances. Without it they are reached in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClusterTls>,
    /// Where the definitions of its messages come from.
    #[serde(default)]
    pub schema: ClusterSchema,
    #[serde(default)]
    pub limits: ClusterLimits,
}

/// What calls are hashed by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HashBy {
    /// The same for all methods.
    All(Expression),
    /// By method.
    ByMethod(
        #[schemars(extend("propertyNames" = { "type": "string", "format": "portunus-methods" }), extend("minProperties" = 1))]
         BTreeMap<Methods, Expression>,
    ),
}

/// Where a cluster's instances come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Members<'a> {
    Endpoints(&'a [Endpoint]),
    Dns(&'a Dns),
    Registry(&'a Registry),
}

/// `host:port`, or a map to give it a weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// Just the address: weight 1.
    Address(HostPort),
    /// The address and its weight.
    Weighted(WeightedEndpoint),
}

/// An endpoint with a weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedEndpoint {
    /// `ip:port` or `host:port`; a host is resolved again when it is dialled.
    pub address: HostPort,
    /// Calls relative to the other endpoints.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

/// A name whose addresses are the instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name; every address of it (A and AAAA) is an instance.
    pub name: HostName,
    /// The port of every instance.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// How often the name is asked for again.
    #[serde(default = "thirty_seconds")]
    pub refresh: Period,
}

/// Instances that RegisterAgent put here (DESIGN.md §3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The Bindu core to register each agent with, once. Without it, only this proxy knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<HostPort>,
    /// What the core is told to call back; needed with `core`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
    /// An instance not heard of for this long is checked, and lost if it fails.
    #[serde(default = "ninety_seconds")]
    pub lease: Period,
    /// A lost instance is remembered for this long.
    #[serde(default = "one_day")]
    pub forget: Period,
    /// Addresses that an SDK may name as its own. Default: only the one it calls from; loopback for a loopback peer only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub allow: Option<Vec<Cidr>>,
    /// Names that an SDK may give instead of an address: `*.pods.internal`. What a name resolves to must be allowed too.
    #[serde(default)]
    pub allow_names: Vec<AuthorityPattern>,
    /// More keys of `config_json` that reach the core. Some change it for all agents: `auth`, `vault`, `storage`, …
    #[serde(default)]
    pub config_allow: BTreeSet<String>,
    /// Who a registrant is: an expression that gives a text, such as `metadata["x-team"]` where somebody before the proxy sets it. Only the
    /// owner of an agent's first registration may change it. Default: the caller's address; loopback is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Expression>,
    /// Who may register what: an expression, such as `registration.author.endsWith("@example.com")`. What fails is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admit: Option<Expression>,
    /// How much is held at once.
    #[serde(default)]
    pub limits: RegistryLimits,
    /// More hosts whose first label names an agent: `*.agents.example.com`.
    #[serde(default)]
    pub authorities: Vec<AgentPattern>,
    /// The agent (id, DID or name) for calls that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub default_agent: Option<String>,
}

/// How much of what SDKs register is held at once. What is over is refused; what is there is never evicted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryLimits {
    /// Agents, those that have left and are still remembered too.
    #[schemars(range(min = 1))]
    pub agents: u32,
    /// Instances of one agent.
    #[schemars(range(min = 1))]
    pub instances_per_agent: u32,
    /// Instances that one address has registered.
    #[schemars(range(min = 1))]
    pub instances_per_peer: u32,
    /// `config_json` and skills of one registration together.
    pub config: Size,
}

/// What the core is told to call: a pattern with `{agent}`, or a port for each agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Callback {
    /// `{agent}.localhost:3790`, where `{agent}` is the agent's id.
    Pattern(CallbackPattern),
    /// One port an agent, out of a range that a listener serves.
    Ports(CallbackPorts),
}

/// One port an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackPorts {
    /// Under which name or address the core reaches this proxy.
    pub host: HostName,
    /// The range; a listener's `address` must cover it.
    pub ports: Ports,
}

/// How an instance is chosen for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other, by weight.
    RoundRobin,
    /// The less busy of two picked by chance: a slow instance gets fewer calls.
    #[default]
    LeastRequest,
    /// By chance, by weight.
    Random,
    /// By the key of `hash_by`: the same key, the same instance, and when one leaves only its keys move.
    RingHash,
    /// As `ring_hash`, spread more evenly; when one leaves, a few keys of others move too.
    Maglev,
}

/// Active checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Between two checks of an instance.
    pub interval: Period,
    /// A check without an answer for this long has failed.
    pub timeout: Period,
    /// Failures in a row after which an instance gets no calls.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: u32,
    /// Successes in a row after which it gets calls again.
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: u32,
    /// A unary method that is called with an empty message. Default: `bindu.grpc.AgentHandler/HealthCheck` in a registry cluster, where
    /// `response.healthy` must hold; `grpc.health.v1.Health/Check` in others, where `response.status` must be `SERVING`. Of any other
    /// method the status OK is enough, unless `expect` says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<FullMethod>,
    /// What must hold for the answer: an expression over `response` and `status.code`, such as `response.state == "ready"`. One that fails,
    /// or whose message nobody has described yet, does not hold. Outside a registry cluster it needs `method`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expression>,
}

/// Bounds of each instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterLimits {
    /// Connections of one worker to one instance.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// Open calls to one instance, over all workers.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Calls that wait for a connection to one instance, over all workers.
    pub pending: u32,
}

impl Cluster {
    /// Where the instances come from; `None` only before the rules have passed.
    pub fn members(&self) -> Option<Members<'_>> {
        let endpoints = self.endpoints.as_deref().map(Members::Endpoints);
        endpoints.or(self.dns.as_ref().map(Members::Dns)).or(self.registry.as_ref().map(Members::Registry))
    }
}

impl Endpoint {
    pub fn address(&self) -> &HostPort {
        match self {
            Self::Address(address) | Self::Weighted(WeightedEndpoint { address, .. }) => address,
        }
    }

    pub fn weight(&self) -> u32 {
        match self {
            Self::Address(_) => 1,
            Self::Weighted(endpoint) => endpoint.weight,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: seconds(10),
            timeout: seconds(2),
            unhealthy_after: 2,
            healthy_after: 1,
            method: None,
            expect: None,
        }
    }
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self { agents: 1_000, instances_per_agent: 100, instances_per_peer: 2_000, config: Size(256 << 10) }
    }
}

impl Default for ClusterLimits {
    fn default() -> Self {
        // As Envoy's circuit breakers, but that waiting calls are fewer: a queue of 1,024 only hides an overload.
        Self { connections: 8, requests: 1024, pending: 256 }
    }
}

fn one() -> u32 {
    1
}

fn thirty_seconds() -> Period {
    seconds(30)
}

fn ninety_seconds() -> Period {
    // Three heartbeats of the Bindu SDK.
    seconds(90)
}

fn one_day() -> Period {
    seconds(24 * 60 * 60)
}
