//! What runs: everything that a file says, built and immutable. Made whole before anything changes; a call loads it once.
//!
//! It names clusters and never holds one: instances and connections change by the second and outlive it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filter_api::Keep;
use ipnet::IpNet;
use rand::Rng as _;
use rustc_hash::FxHashMap;

pub use super::access::{Access, Token};
pub use super::build::{build, build_after};
pub use super::expressions::{Keys, Registrants};
pub use super::health::{Expected, HealthCheck, Wellness};
pub use super::issuers::{Published, Signatory};
use super::net::Cidr;
use super::policies::Policies;
use crate::expr::Expression;
use crate::filters::Chain;
use crate::route::Router;
use crate::schema::Definitions;

/// A configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts from 1 at every start.
    pub generation: u64,
    /// When it came into force.
    pub applied_at: SystemTime,
    /// Who may ask the admin server.
    pub access: Arc<Access>,
    /// By name.
    pub listeners: FxHashMap<Arc<str>, Arc<Listener>>,
    /// Names of metadata that filters set as identity, which no caller may send in any form; here without `-bin`, and with `-` for `_`.
    pub identity: Vec<String>,
    /// Who may sign tokens.
    pub issuers: Vec<Signatory>,
    /// Whether a call gets a line in the access log; without it every call.
    pub log_when: Option<Arc<Expression>>,
    /// The schemas that files pin, by the cluster.
    pub schemas: FxHashMap<Arc<str>, Arc<Definitions>>,
    /// What connections to instances need for TLS, by the cluster; none where they are in the clear. It has every cluster of the file.
    pub tls: FxHashMap<Arc<str>, Option<Arc<portunus_tls::Client>>>,
    /// How instances are asked whether they are well, by the cluster whose are.
    pub checks: FxHashMap<Arc<str>, HealthCheck>,
    /// What reads messages, by the cluster whose they are.
    pub policies: Policies,
    /// What filters keep, for the next configuration to find.
    pub keep: Keep,
    /// What `/config` shows.
    pub view: Arc<serde_json::Value>,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens: one address, or one a port of a range.
    pub addresses: Vec<SocketAddr>,
    /// Whether it has a port an agent, so that the port names one.
    pub port_names_agent: bool,
    /// What its connections need for TLS; none where they are in the clear.
    pub tls: Option<Arc<portunus_tls::Server>>,
    /// Whether instances are told of the caller's certificate.
    pub client_cert_header: bool,
    /// Its bounds.
    pub limits: Limits,
    /// Its own filters that run before a route is chosen.
    pub early: Chain,
    /// Those of them that run for who asks how the listener is (`{health: {public: true}}`): all but those that ask who it is. None where
    /// they all do.
    pub for_anybody: Option<Chain>,
    /// Its routes, and behind them what it serves itself.
    pub router: Router<Route>,
    /// The cluster that stands for what it serves itself, if it does: no configuration can name it.
    pub within: Option<Arc<str>>,
    /// Whose connections it takes; none: everybody's.
    pub from: Option<Sources>,
    /// The balancers that say of each connection where it comes from, in a PROXY header.
    pub proxy_protocol: Option<Sources>,
    /// The proxies that say of each call where it comes from, in `x-forwarded-for`.
    pub forwarded: Option<Sources>,
}

impl Listener {
    /// Whether instances register here.
    pub fn registers(&self) -> bool {
        self.router.iter().any(|(_, route)| matches!(route.target, Target::Register { .. }))
    }
}

/// Addresses, as ranges of them.
#[derive(Clone, Debug)]
pub struct Sources(Vec<IpNet>);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Of those, from one address.
    pub connections_per_peer: Option<usize>,
    /// Open calls of a connection.
    pub streams: u32,
    /// Bytes of a request message.
    pub message: u64,
    /// Bytes of a response message.
    pub response_message: u64,
    /// Bytes of a head, as HTTP/2 counts them.
    pub headers: u32,
    /// Bytes that its calls may hold, and keep for another try.
    pub buffered: usize,
    /// From accept to the first frame.
    pub handshake: Duration,
    /// A connection without a call.
    pub idle: Duration,
    /// The age at which a connection says goodbye.
    pub connection_age: Option<Duration>,
}

/// Where a route leads, and what a call meets on it.
#[derive(Debug)]
pub struct Route {
    /// Its place in the file, from 0.
    pub index: usize,
    /// What must hold too for a call to take it.
    pub when: Option<Arc<Expression>>,
    /// Where its calls go.
    pub target: Target,
    /// Names the agent that its calls are for.
    pub agent: Option<Arc<Expression>>,
    /// By what calls to its clusters are hashed: of those that are.
    pub keys: Vec<(Arc<str>, Arc<Keys>)>,
    /// Its filters that run before the agent is chosen.
    pub early: Chain,
    /// The listener's and its own that run once the agent is known.
    pub late: Chain,
    /// Of those and of its own before them, the ones that say who may call: for whoever wants to know before there is a call.
    pub judges: Chain,
    /// The listener's and its own that run at each try.
    pub each_try: Chain,
    /// All tries together.
    pub timeout: Option<Duration>,
    /// Whether its calls wait for their first message before they are decided.
    pub first_message: FirstMessage,
    /// Whether calls of streaming methods do too (`first_message: hold`).
    pub holds_first: bool,
    /// The filters by name, in the order in which they run.
    pub filter_names: Vec<String>,
}

/// For what a decision needs the first message of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstMessage {
    /// For nothing.
    #[default]
    Unneeded,
    /// To tell whether the route is the call's.
    ToMatch,
    /// To choose the agent, or the instance.
    ToChoose,
}

/// Where the calls of a route go. Clusters are named.
#[derive(Debug)]
pub enum Target {
    /// To a cluster.
    Cluster(Arc<str>),
    /// To one of several, by weight.
    Split(Split),
    /// To the registrar of a cluster.
    Register {
        /// The cluster.
        into: Arc<str>,
        /// Whether anybody who reaches the route may register.
        open: bool,
        /// Who a registrant is, and who may register.
        who: Arc<Registrants>,
    },
}

/// Clusters that share calls by weight.
#[derive(Debug)]
pub struct Split {
    /// Name and weight.
    pub shares: Vec<(Arc<str>, u32)>,
    pub(super) total: u64,
}

impl Split {
    /// Draws a cluster for a call.
    pub fn draw(&self) -> &Arc<str> {
        let mut ticket = rand::rng().random_range(0..self.total.max(1));
        let hit = self.shares.iter().find(|(_, weight)| {
            let weight = u64::from(*weight);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        });
        // The rules of the file see to it that some weight is not 0.
        &hit.unwrap_or(&self.shares[0]).0
    }
}

impl Target {
    /// Clusters whose instances get calls.
    pub(super) fn clusters(&self) -> Vec<Arc<str>> {
        match self {
            Self::Cluster(name) => vec![Arc::clone(name)],
            Self::Split(split) => split.shares.iter().map(|(name, _)| Arc::clone(name)).collect(),
            Self::Register { .. } => Vec::new(),
        }
    }
}

impl Sources {
    pub(super) fn of(ranges: &[Cidr]) -> Self {
        Self(ranges.iter().map(|range| range.0).collect())
    }

    /// Whether this address is one of them. An IPv4 address that came as IPv6 is IPv4: ranges are written for that.
    pub fn hold(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// Whether they are all that there are.
    pub(super) fn hold_everybody(&self) -> bool {
        self.0.iter().any(|net| net.prefix_len() == 0)
    }
}
