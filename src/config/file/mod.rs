//! The configuration as a person writes it: one type a map of DESIGN.md §2, every default filled in. The doc comments
//! become the JSON Schema and docs/configuration. Read by `load`; what runs is made from it by `snapshot`.

mod cluster;
mod issuer;
mod listener;
mod route;
mod schemas;
mod serve;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

pub use cluster::{
    Balance, Callback, CallbackPorts, Cluster, ClusterLimits, Dns, Endpoint, HashBy, Health, Members, Registry,
    RegistryLimits, WeightedEndpoint,
};
pub use issuer::{Issuer, Jwks};
pub use listener::{FilterUse, Forwarded, Listener, ListenerLimits, ProxyProtocol};
pub use route::{HeaderMatch, HeaderPattern, HoldFirst, Match, Present, Route, Share as SplitShare, Target};
pub use schemas::{ClusterSchema, Reflection, ReflectionSettings, SchemaMode};
pub use serve::{Serve, ServeSettings, Served, ServedHealth, ServedReflection};
pub(super) use tls::ClusterTls;
pub use tls::{CertificateFiles, ClientAuth, ClientAuthMode, ClientCertHeader, ListenerTls};

use super::names::{HostName, LogFile};
use super::net::SocketAddress;
use crate::expr;
use filter_api::units::{Percent, Period};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Portunus configuration")]
pub struct Config {
    /// Files that hold more of the configuration, relative to this one's folder: a path, or a pattern in its last part such as
    /// `conf.d/*.yaml`. Listeners, clusters and issuers of all files are put together, and no name may be there twice; everything else may
    /// stand in one of them. Relative paths in them are relative to the folder of the file that includes them, which alone may do so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub include: Vec<String>,
    /// Threads that carry traffic. Default: one a core.
    #[serde(default = "one_a_core")]
    #[schemars(range(min = 1, max = 256), transform = without_default)]
    pub workers: u16,
    /// The server for people and monitoring.
    #[serde(default)]
    pub admin: Admin,
    /// Where the registry lives. A `register_into` route needs it: `{dir: ./data}`, or `memory` spelled out (registrations are then
    /// gone after a restart, until the SDK instances register again).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// One JSON line a call. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// How the proxy ends when it is told to.
    #[serde(default)]
    pub drain: Drain,
    /// Bounds on expressions.
    #[serde(default)]
    pub expr: Expr,
    /// Who may sign tokens, by a name of your choice.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "type": "string", "format": "portunus-name" }))]
    pub issuers: BTreeMap<String, Issuer>,
    /// Where calls go, by a name of your choice.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "type": "string", "format": "portunus-name" }))]
    pub clusters: BTreeMap<String, Cluster>,
    /// Where calls come from, by a name of your choice.
    #[schemars(extend("propertyNames" = { "type": "string", "format": "portunus-name" }), extend("minProperties" = 1))]
    pub listeners: BTreeMap<String, Listener>,
}

/// The admin server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens. Off loopback it needs `tls: {client_auth: {mode: required, ca: …}}` or `token_file`.
    pub address: SocketAddress,
    /// TLS, as listeners have it, but with HTTP/1.1 inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// A file with a token of 32 characters or more, which every request must bring as `authorization: Bearer TOKEN`. Nobody but its owner
    /// and group may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A second address, which answers `/live`, `/ready` and `/metrics` to anybody, in the clear: for kubelet and Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<SocketAddress>,
    /// Names besides IP literals and `localhost` under which a browser may ask.
    pub hosts: Vec<HostName>,
}

/// Where the registry lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum State {
    /// In this process only: gone after a restart.
    Memory(Memory),
    /// In a folder.
    Kept(KeptState),
}

/// `memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// In this process only: gone after a restart.
    Memory,
}

/// A folder in which registrations outlive the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptState {
    /// The folder, relative to the configuration's; made if it is not there. One process at a time uses it, another one waits as standby.
    pub dir: PathBuf,
    /// A damaged state is moved aside, and the start goes on with none. Otherwise the start fails.
    #[serde(default)]
    pub recover: bool,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// `stderr`, `stdout`, or a file, relative to the configuration's folder.
    pub file: LogFile,
    /// The share of calls that get a line.
    #[serde(default = "every_call")]
    pub sample: Percent,
    /// Only calls for which this expression holds get a line, such as `status.code != 0`. One for which it fails gets one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
}

/// How the proxy ends when it is told to (SIGTERM, `POST /drain`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long it goes on as before, but that `/ready` answers 503 and `serve: [health]` NOT_SERVING: as long as a balancer takes to send
    /// no more.
    pub delay: Period,
    /// How long calls that are open may then go on. What is left ends with UNAVAILABLE.
    pub timeout: Period,
}

/// Bounds on expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expr {
    /// Steps that an expression may take. At load they are guessed, with lists of 100 elements and texts of 1,000 octets, and one that is
    /// over is refused; at run time they are counted, and one that is over fails. A million steps take a few milliseconds.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub max_cost: u64,
}

/// A CEL expression (docs/expressions.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Expression(#[schemars(length(min = 1, max = 8192))] pub String);

impl Default for Expr {
    fn default() -> Self {
        Self { max_cost: expr::MAX_COST }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: seconds(0), timeout: seconds(30) }
    }
}

impl Default for Admin {
    fn default() -> Self {
        // 9901 is Envoy's, which is what people try first.
        let address = SocketAddress(([127, 0, 0, 1], 9901).into());
        Self { address, tls: None, token_file: None, public: None, hosts: Vec::new() }
    }
}

impl Config {
    /// Fills in what only makes sense once the whole file is known, so that `check --defaults` shows it.
    pub(super) fn complete(&mut self) {
        // What they hold is in here by now, and whatever is made of this has it from here.
        self.include.clear();
        for cluster in self.clusters.values_mut() {
            if cluster.registry.is_some() {
                cluster.health.get_or_insert_default();
            }
            cluster.schema.complete();
        }
    }
}

fn every_call() -> Percent {
    Percent(100.0)
}

fn seconds(seconds: u64) -> Period {
    Period(Duration::from_secs(seconds))
}

fn one_a_core() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(256).clamp(1, 256)
}

/// The published schema must not depend on the machine that printed it.
fn without_default(schema: &mut Schema) {
    schema.remove("default");
}
