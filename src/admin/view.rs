//! What the endpoints show, as types: they are the API of docs/admin.md, and a field once named stays. The running proxy
//! implements [`View`]; these types know nothing of how it works.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;

use crate::config::snapshot::Access;
use crate::observe::Rfc3339;
use crate::observe::metrics::{AuditFile, KeyAge};

/// A configuration that is being tried out, which takes a while.
pub type Trying = Pin<Box<dyn Future<Output = ConfigTrial> + Send>>;

/// The running proxy, as the admin endpoints see it. Each method is asked once a request, on the control runtime, and
/// answers from memory: it must not wait for anything.
pub trait View: Send + Sync + 'static {
    /// Who may ask: what is in force now. Asked at each connection, and again at its request.
    fn access(&self) -> Arc<Access>;
    /// Whether the proxy is fit to be sent traffic.
    fn ready(&self) -> Readiness;
    /// Every audit file that is in use.
    fn audit_files(&self) -> Vec<AuditFile> {
        Vec::new()
    }
    /// Every instance of every cluster.
    fn instances(&self) -> Vec<InstanceView>;
    /// Every agent of every registry cluster.
    fn agents(&self) -> Vec<AgentView>;
    /// Takes an agent from its owner, with its instances: the clusters in which it was.
    fn release(&self, id: &str) -> Vec<String>;
    /// Every cluster. `/metrics` takes `portunus_instances` from here, so that it stays cheap with many instances.
    fn clusters(&self) -> Vec<ClusterView>;
    /// Every cluster's schemas.
    fn schemas(&self) -> Vec<SchemaView>;
    /// Takes what most instances have as accepted, wherever some get no calls: those methods, by the cluster.
    fn accept_schemas(&self) -> Vec<(String, Vec<IncompatibleView>)>;
    /// Every route, in the order in which they are tried.
    fn routes(&self) -> Vec<RouteView>;
    /// How old the keys of issuers are, of those whose keys are fetched.
    fn key_ages(&self) -> Vec<KeyAge> {
        Vec::new()
    }
    /// Begins to end, as at a SIGTERM; false if that has begun before.
    fn drain(&self) -> bool;
    /// The running configuration with every default, secrets as `***`.
    fn config(&self) -> serde_json::Value;
    /// Which configuration is in force since when, and why a newer one is not.
    fn config_status(&self) -> ConfigStatus;
    /// What the last reload changed.
    fn config_change(&self) -> ConfigChange;
    /// Whether a text could take the place of the configuration in force, and what that would change. Nothing changes by it.
    fn try_config(&self, text: String) -> Trying;
}

/// Instances by state: `new`, `healthy`, `unhealthy`, `lost`. A state without instances is listed with 0, so that a
/// graph of it falls to 0 instead of ending.
pub type StateCounts = BTreeMap<&'static str, u64>;

/// `/ready`. Ready if nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What keeps the proxy from taking traffic, a sentence each: a listener that is not bound, no configuration in
    /// force, a drain.
    pub missing: Vec<String>,
    /// What does not work as it should and leaves the proxy ready, a sentence each: a core that cannot be reached, a
    /// cluster without instances.
    pub degraded: Vec<String>,
}

/// `/config/check`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigTrial {
    /// It could take the place of the one in force.
    pub ok: bool,
    /// Why it could not.
    pub errors: Vec<ConfigProblem>,
    /// What works, and would be better otherwise.
    pub warnings: Vec<String>,
    /// What it would change, in words.
    pub changes: Vec<String>,
}

/// An element of `/instances`.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceView {
    /// The cluster it belongs to.
    pub cluster: String,
    /// The id of its agent; null outside registry clusters.
    pub agent: Option<String>,
    /// Where it is dialled: `ip:port` or `name:port`. Also its `instance` label.
    pub address: String,
    /// `new`, `healthy`, `unhealthy` or `lost`.
    pub state: &'static str,
    /// Its share of the calls, relative to the others of its cluster or agent.
    pub weight: u32,
    /// Calls that are open on it.
    pub in_flight: u64,
    /// When it was added.
    pub since: Rfc3339,
    /// When it was last probed; null if never.
    pub last_probe: Option<Rfc3339>,
    /// Why the last probe or dial failed; null if it passed.
    pub last_error: Option<String>,
    /// The identity that registered it; null outside registry clusters.
    pub registered_by: Option<String>,
    /// The address from which it was registered last; null outside registry clusters.
    pub registered_from: Option<String>,
    /// Whether the connection over which it was heard last is open; null outside registry clusters.
    pub connected: Option<bool>,
    /// Whether only a heartbeat or a registration brings it back, since somebody else may answer at its address; null outside
    /// registry clusters.
    pub waits_for_sdk: Option<bool>,
    /// Milliseconds until its lease runs out, 0 if it has; null outside registry clusters.
    pub lease_left_ms: Option<u64>,
    /// Methods, as `service/method`, of which it gets no calls, since policies cannot work with its definition of them.
    pub schema_incompatible: Vec<String>,
}

/// How far an agent's registration with its core has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreState {
    /// The core has it.
    Ok,
    /// It is being forwarded, or tried again.
    Pending,
    /// The core said no.
    Refused,
    /// The core knew it before, and calls the address that somebody else told it, until it restarts.
    #[serde(rename = "foreign callback")]
    Foreign,
    /// The cluster has no core.
    None,
}

/// An element of `/agents`.
#[derive(Clone, Debug, Serialize)]
pub struct AgentView {
    /// The id that callers and the registry use, computed as Bindu does.
    pub id: String,
    /// Its DID, as Bindu forms it.
    pub did: String,
    /// The name in its registration.
    pub name: String,
    /// The author in its registration.
    pub author: String,
    /// The identity that registered it first: only it may renew or remove.
    pub owner: String,
    /// The registry cluster that holds it.
    pub cluster: String,
    /// What the core was told to call, or would be; null without a core.
    pub callback: Option<String>,
    /// Why the core refuses it, has not answered, or calls somebody else; null otherwise.
    pub core_error: Option<String>,
    /// Other ids that name it: those that a core gave it.
    pub aliases: Vec<String>,
    /// Its instances by state.
    pub instances: StateCounts,
    /// How far its registration with the core has come.
    pub core: CoreState,
    /// When it was registered first.
    pub registered_at: Rfc3339,
}

/// Connections to the instances of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionCounts {
    /// Dials under way.
    pub connecting: usize,
    /// Open, taking calls.
    pub ready: usize,
    /// Open, taking no new calls.
    pub draining: usize,
}

/// An element of `/clusters`.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// Its name in the configuration.
    pub name: String,
    /// Where its instances come from: `endpoints`, `dns` or `registry`.
    pub kind: &'static str,
    /// The balancing policy.
    pub balance: String,
    /// Agents that it holds; null outside registry clusters.
    pub agents: Option<u64>,
    /// Its instances by state.
    pub instances: StateCounts,
    /// Calls that are open on its instances.
    pub in_flight: u64,
    /// Connections to its instances.
    pub connections: ConnectionCounts,
}

/// An element of `/routes`.
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// The listener whose calls it sees.
    pub listener: String,
    /// Its place in the listener's list in the file, from 0.
    pub index: usize,
    /// What it matches, in words, such as `service bindu.grpc.AgentHandler`; `any call` without a match.
    #[serde(rename = "match")]
    pub matches: String,
    /// Where its calls go, such as `cluster agents`, `register_into agents` or `split a 90, b 10`.
    pub target: String,
    /// The filters that its calls pass, in order, the listener's included.
    pub filters: Vec<String>,
}

/// An element of `/schema`.
#[derive(Clone, Debug, Serialize)]
pub struct SchemaView {
    /// The cluster.
    pub cluster: String,
    /// `live`, `verify` or `pinned`.
    pub mode: &'static str,
    /// Whether instances are asked.
    pub reflection: bool,
    /// Of the files, where they decide.
    pub digest: Option<String>,
    /// In the files.
    pub services: Vec<String>,
    /// What had to be left out of the files, or could not be found.
    pub problems: Vec<String>,
    /// What each instance has; empty where none is asked.
    pub instances: Vec<InstanceSchemaView>,
    /// What differs between the schema that decides, or that most instances have, and each other one.
    pub drifts: Vec<DriftView>,
    /// Methods of which some instances get no calls.
    pub incompatible: Vec<IncompatibleView>,
}

/// An instance's schema.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceSchemaView {
    /// Where it is dialled.
    pub address: String,
    /// Its agent's id; null outside registry clusters.
    pub agent: Option<String>,
    /// What it has; null while it is not known.
    pub digest: Option<String>,
    /// `reflection`, or `bundled`.
    pub source: Option<&'static str>,
    /// When it was last asked with success.
    pub known_since: Option<Rfc3339>,
    /// Full names of the services.
    pub services: Vec<String>,
    /// What had to be left out or could not be found.
    pub problems: Vec<String>,
    /// Why it could not be asked, the last time.
    pub error: Option<String>,
}

/// What differs between two schemas.
#[derive(Clone, Debug, Serialize)]
pub struct DriftView {
    /// Digest of the one that decides, or that most have.
    pub from: String,
    /// Digest of the other.
    pub to: String,
    /// Whether any change breaks on the wire.
    pub breaking: bool,
    /// From the one to the other, by name.
    pub changes: Vec<ChangeView>,
    /// How many more there are.
    pub left_off: u64,
}

/// One change.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    /// `service`, `method`, `field` or `value`.
    pub kind: &'static str,
    /// Its full name.
    pub name: String,
    /// `added`, `removed`, `renamed`, `renumbered`, `retyped`, `cardinality`, `presence` or `oneof`.
    pub what: &'static str,
    /// From what to what.
    pub detail: String,
    /// Whether it breaks on the wire.
    pub breaking: bool,
}

/// A method of which instances get no calls.
#[derive(Clone, Debug, Serialize)]
pub struct IncompatibleView {
    /// The agent's id; null outside registry clusters.
    pub agent: Option<String>,
    /// `service/method`.
    pub method: String,
    /// Of the schema that those instances have.
    pub digest: String,
    /// Why.
    pub why: String,
    /// How many they are.
    pub instances: u64,
}

/// `/config/status`.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigStatus {
    /// The number of the configuration in force, from 1; 0 before the first.
    pub generation: u64,
    /// When it came into force; null before the first.
    pub applied_at: Option<Rfc3339>,
    /// Why a newer one was not taken; null if the newest is in force.
    pub last_error: Option<String>,
    /// Since when none was taken.
    pub failing_since: Option<Rfc3339>,
    /// What is wrong with the newest, each with its place.
    pub errors: Vec<ConfigProblem>,
}

/// Something that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    pub file: String,
    /// From 1; 0 where it is no matter of a line.
    pub line: u64,
    pub column: u64,
    /// The key, such as `listeners.edge.routes[0]`.
    pub path: String,
    pub message: String,
}

/// `/config/diff`: what the last reload changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigChange {
    /// The number of the configuration before; null before the first reload.
    pub from: Option<u64>,
    /// That of the one in force.
    pub to: u64,
    /// When it came into force.
    pub at: Option<Rfc3339>,
    /// A sentence each.
    pub changes: Vec<String>,
}
