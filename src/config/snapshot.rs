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

pub use super::build::{build, build_after};
pub use super::expressions::{Keys, Registrants};
pub use super::health::{Expected, HealthCheck, Wellness};
pub use super::issuers::{Published, Signatory};
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
    pub view: serde_json::Value,
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
    /// Its routes, and behind them what it serves itself.
    pub router: Router<Route>,
    /// The cluster that stands for what it serves itself, if it does: no configuration can name it.
    pub within: Option<Arc<str>>,
    pub(super) from: Option<Vec<IpNet>>,
}

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

impl Snapshot {
    /// What works, and would be better otherwise.
    pub fn warnings(&self) -> Vec<String> {
        let live = self
            .policies
            .iter()
            .filter(|(cluster, policies)| policies.govern_calls() && !self.schemas.contains_key(*cluster));
        let live = live.map(|(cluster, _)| cluster);
        let of_tls = self.listeners.iter().filter_map(|(name, listener)| Some((name, listener.tls.as_deref()?)));
        let of_tls = of_tls.flat_map(|(name, tls)| {
            let trust = tls.trust().map(|trust| trust.warnings()).unwrap_or_default();
            let trust = trust.iter().map(move |warning| format!("listeners.{name}.tls.client_auth: {warning}"));
            let expired = tls.certificates().iter().filter(|certificate| certificate.has_expired());
            trust.chain(expired.map(move |certificate| still_shown(&format!("listeners.{name}.tls"), certificate)))
        });
        let to_instances = self.tls.iter().filter_map(|(name, tls)| Some((name, tls.as_deref()?)));
        let to_instances = to_instances.flat_map(|(name, tls)| {
            let expired = tls.certificate().filter(|certificate| certificate.has_expired());
            let expired = expired.map(|certificate| still_shown(&format!("clusters.{name}.tls"), certificate));
            tls.warnings().iter().map(move |warning| format!("clusters.{name}.tls: {warning}")).chain(expired)
        });
        let published =
            self.issuers.iter().filter_map(|issuer| Some((&issuer.name, issuer.published.as_ref()?.tls.as_ref()?)));
        let of_issuers = published.flat_map(|(name, tls)| {
            tls.warnings().iter().map(move |warning| format!("issuers.{name}.jwks: {warning}"))
        });
        let mut warnings: Vec<_> = live
            .map(|cluster| {
                format!(
                    "clusters.{cluster}: policies read messages of its calls, and what those are is what its instances say: pin it with \
                     `schema: {{files: […], mode: verify}}` (`portunus descriptors pull` makes the file)"
                )
            })
            .chain(of_tls)
            .chain(to_instances)
            .chain(of_issuers)
            .collect();
        warnings.sort();
        warnings
    }
}

fn still_shown(at: &str, certificate: &portunus_tls::Certificate) -> String {
    let subject = &certificate.identity().subject;
    format!("{at}: the certificate of \"{subject}\" has expired and is still shown: renew it now")
}

impl Listener {
    /// Whether connections from this address are taken.
    pub fn admits(&self, ip: IpAddr) -> bool {
        self.from.as_ref().is_none_or(|from| from.iter().any(|net| net.contains(&ip)))
    }
}
