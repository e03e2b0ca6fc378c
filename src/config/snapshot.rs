//! What runs: everything that a file says, built and immutable. Made whole before anything changes; a call loads it once.
//!
//! It names clusters and never holds one: instances and connections change by the second and outlive it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filter_api::{BuildCx, Filter, Known, Phase};
use ipnet::IpNet;
use rand::Rng as _;
use rustc_hash::FxHashMap;

use super::expressions::Compiler;
pub use super::expressions::{Keys, Registrants};
use super::policies::{Gathering, Policies, Policy};
use super::{Errors, FilterUse, Loaded, Path, Problem, Source, Target as FileTarget};
use crate::expr::{Expression, Place as ExprPlace, Wanted};
use crate::filters::{Chain, EACH_TRY, EARLY, LATE};
use crate::path;
use crate::route::{HeaderMatch, HeaderTest, RouteMatch, Router};
use crate::schema::{self, Definitions};

/// A configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts from 1 at every start.
    pub generation: u64,
    /// When it came into force.
    pub applied_at: SystemTime,
    /// By name.
    pub listeners: FxHashMap<Arc<str>, Arc<Listener>>,
    /// Names of metadata that filters set as identity, which no caller may send.
    pub identity: Vec<String>,
    /// Whether a call gets a line in the access log; without it every call.
    pub log_when: Option<Arc<Expression>>,
    /// The schemas that files pin, by the cluster.
    pub schemas: FxHashMap<Arc<str>, Arc<Definitions>>,
    /// What reads messages, by the cluster whose they are.
    pub policies: Policies,
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
    /// Its bounds.
    pub limits: Limits,
    /// Its own filters that run before a route is chosen.
    pub early: Chain,
    /// Its routes.
    pub router: Router<Route>,
    from: Option<Vec<IpNet>>,
}

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
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
    total: u64,
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
    fn clusters(&self) -> Vec<Arc<str>> {
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
        let live = self.policies.keys().filter(|cluster| !self.schemas.contains_key(*cluster));
        let mut warnings: Vec<_> = live
            .map(|cluster| {
                format!(
                    "clusters.{cluster}: policies read messages of its calls, and what those are is what its instances say: pin it with \
                     `schema: {{files: […], mode: verify}}` (`portunus descriptors pull` makes the file)"
                )
            })
            .collect();
        warnings.sort();
        warnings
    }
}

impl Listener {
    /// Whether connections from this address are taken.
    pub fn admits(&self, ip: IpAddr) -> bool {
        self.from.as_ref().is_none_or(|from| from.iter().any(|net| net.contains(&ip)))
    }
}

/// Builds what runs. Every error that there is, not the first.
///
/// # Errors
/// What a filter cannot make of its configuration.
pub fn build(loaded: &Loaded, known: &[Known], generation: u64) -> Result<Snapshot, Errors> {
    let compiler = Compiler::new(&loaded.source, loaded.config.expr.max_cost);
    let mut builder = Builder {
        source: &loaded.source,
        known,
        compiler,
        policies: Gathering::default(),
        clusters: FxHashMap::default(),
        problems: Vec::new(),
    };
    builder.clusters = loaded.config.clusters.iter().map(|(name, cluster)| builder.cluster(name, cluster)).collect();
    let log_when = loaded.config.access_log.as_ref().and_then(|log| log.when.as_ref());
    let log_when = log_when.and_then(|when| {
        builder.compiler.compile(&path!["access_log", "when"], when, ExprPlace::AccessLog, Wanted::Truth)
    });
    let listeners = loaded.config.listeners.iter();
    let listeners =
        listeners.map(|(name, listener)| (Arc::from(name.as_str()), builder.listener(name, listener))).collect();
    let schemas = builder.schemas(&loaded.config);
    let policies = std::mem::take(&mut builder.policies).finish();
    for (cluster, definitions) in &schemas {
        let of_cluster = policies.get(cluster).map(|policies| policies.check(definitions, &loaded.source));
        builder.problems.extend(of_cluster.into_iter().flatten());
    }
    builder.problems.extend(builder.compiler.problems);
    if !builder.problems.is_empty() {
        return Err(loaded.source.errors(builder.problems));
    }
    Ok(Snapshot {
        generation,
        applied_at: SystemTime::now(),
        listeners,
        identity: Vec::new(),
        log_when,
        schemas,
        policies,
        view: super::view(loaded),
    })
}

struct Builder<'a> {
    source: &'a Source,
    known: &'a [Known],
    compiler: Compiler<'a>,
    policies: Gathering,
    /// What there is to know of a cluster before any of its instances is.
    clusters: FxHashMap<Arc<str>, ClusterPolicy>,
    problems: Vec<Problem>,
}

/// What a file says of a cluster that routes to it need.
#[derive(Clone, Default)]
struct ClusterPolicy {
    keys: Option<Arc<Keys>>,
    registrants: Arc<Registrants>,
}

/// A filter with its phase.
type Placed = (Phase, Arc<dyn Filter>);

/// Filters of one place, and what of them reads messages, with where it stands.
#[derive(Default)]
struct Filters {
    placed: Vec<Placed>,
    policies: Vec<(Path, Arc<dyn Policy>)>,
}

impl Builder<'_> {
    fn cluster(&mut self, name: &str, cluster: &super::Cluster) -> (Arc<str>, ClusterPolicy) {
        let place = path!["clusters", name];
        let keys = cluster.hash_by.as_ref().map(|by| Arc::new(self.compiler.keys(&place.with("hash_by"), by)));
        let registrants = cluster.registry.as_ref().map(|registry| {
            let place = place.with("registry");
            let (owner, admit) = (registry.owner.as_ref(), registry.admit.as_ref());
            Arc::new(Registrants {
                owner: owner.and_then(|owner| {
                    self.compiler.compile(&place.with("owner"), owner, ExprPlace::Owner, Wanted::Text)
                }),
                admit: admit.and_then(|admit| {
                    self.compiler.compile(&place.with("admit"), admit, ExprPlace::Admit, Wanted::Truth)
                }),
            })
        });
        (name.into(), ClusterPolicy { keys, registrants: registrants.unwrap_or_default() })
    }

    /// Reads and links what files pin.
    fn schemas(&mut self, config: &super::Config) -> FxHashMap<Arc<str>, Arc<Definitions>> {
        let mut schemas = FxHashMap::default();
        for (name, cluster) in config.clusters.iter().filter(|(_, cluster)| !cluster.schema.files.is_empty()) {
            let files = &cluster.schema.files;
            let paths: Vec<_> = files.iter().map(|file| self.source.resolve(file)).collect();
            let root = self.source.resolve(FilePath::new(""));
            match schema::from_files(&paths, &root) {
                Ok(schema) => {
                    schemas.insert(Arc::from(name.as_str()), Arc::new(Definitions::of(Arc::new(schema))));
                }
                Err((at, error)) => {
                    let place = path!["clusters", name, "schema", "files"];
                    let (place, what) = match at.and_then(|at| Some((at, files.get(at)?))) {
                        Some((at, file)) => (place.with(at), format!("`{}` cannot be used", file.display())),
                        None => (place, "the files cannot be used together".to_owned()),
                    };
                    self.problems.push(self.source.error_at(&place, format!("{what}: {error}")));
                }
            }
        }
        schemas
    }

    fn listener(&mut self, name: &str, listener: &super::Listener) -> Arc<Listener> {
        let place = path!["listeners", name];
        let filters = self.filters(&place.with("filters"), &listener.filters);
        let routes = listener.routes.iter().enumerate().map(|(index, route)| {
            let place = place.with("routes").with(index);
            (rule(&route.matches), self.route(&place, (index, route), (listener, &filters)))
        });
        let routes: Vec<_> = routes.collect();
        let limits = &listener.limits;
        Arc::new(Listener {
            name: name.into(),
            addresses: listener.address.addresses().collect(),
            port_names_agent: listener.address.single().is_none(),
            limits: Limits {
                connections: limits.connections as usize,
                streams: limits.streams,
                message: limits.message.0,
                response_message: limits.response_message.map_or(u64::MAX, |size| size.0),
                headers: u32::try_from(limits.headers.0).unwrap_or(u32::MAX),
                buffered: usize::try_from(limits.buffered.0).unwrap_or(usize::MAX),
                handshake: limits.handshake.0,
                idle: limits.idle.0,
                connection_age: Some(limits.connection_age.0).filter(|age| !age.is_zero()),
            },
            early: Chain::of(&filters.placed, EARLY),
            router: Router::new(routes),
            from: listener.from.as_ref().map(|from| from.iter().map(|cidr| cidr.0).collect()),
        })
    }

    fn route(
        &mut self,
        place: &Path,
        (index, route): (usize, &super::Route),
        (listener, before): (&super::Listener, &Filters),
    ) -> Route {
        let own = self.filters(&place.with("filters"), &route.filters);
        let both = || before.placed.iter().chain(&own.placed);
        let target = match route.target() {
            Some(FileTarget::RegisterInto(into)) => {
                let who = self.clusters.get(into).map(|cluster| Arc::clone(&cluster.registrants));
                Target::Register { into: into.into(), open: route.open_registration, who: who.unwrap_or_default() }
            }
            Some(FileTarget::Split(shares)) => Target::Split(Split {
                shares: shares.iter().map(|share| (share.cluster.as_str().into(), share.weight)).collect(),
                total: shares.iter().map(|share| u64::from(share.weight)).sum(),
            }),
            Some(FileTarget::Cluster(name)) => Target::Cluster(name.into()),
            // The rules have refused a route that leads nowhere; a name that is missing answers UNAVAILABLE.
            None => Target::Cluster("".into()),
        };
        let place_of = |key: &str| place.with(key);
        let when = route.matches.when.as_ref().and_then(|when| {
            self.compiler.compile(&place_of("match").with("when"), when, ExprPlace::When, Wanted::Truth)
        });
        let agent = route
            .agent
            .as_ref()
            .and_then(|agent| self.compiler.compile(&place_of("agent"), agent, ExprPlace::Agent, Wanted::Text));
        let keys = self.keys_of(&target);
        let own_policies =
            when.iter().map(|when| (place_of("match").with("when"), Arc::clone(when) as Arc<dyn Policy>));
        let own_policies =
            own_policies.chain(agent.iter().map(|agent| (place_of("agent"), Arc::clone(agent) as Arc<dyn Policy>)));
        let of_keys = keys
            .iter()
            .map(|(cluster, keys)| (path!["clusters", &**cluster, "hash_by"], Arc::clone(keys) as Arc<dyn Policy>));
        let filters = before.policies.iter().chain(&own.policies).cloned();
        let clusters = target.clusters();
        for (place, policy) in own_policies.chain(of_keys).chain(filters) {
            self.policies.add(&clusters, &route.matches, &place, &policy);
        }
        let reads = |expression: &Option<Arc<Expression>>| {
            expression.as_ref().is_some_and(|expression| expression.reads_message())
        };
        let first_message = if reads(&when) {
            FirstMessage::ToMatch
        } else if reads(&agent) || keys.iter().flat_map(|(_, keys)| keys.iter()).any(Expression::reads_message) {
            FirstMessage::ToChoose
        } else {
            FirstMessage::Unneeded
        };
        Route {
            index,
            when,
            keys,
            target,
            agent,
            early: Chain::of(&own.placed, EARLY),
            late: Chain::of(both(), LATE),
            each_try: Chain::of(both(), EACH_TRY),
            timeout: route.timeout.map(|timeout| timeout.0),
            first_message,
            holds_first: route.first_message == Some(super::HoldFirst::Hold),
            filter_names: self.in_order(&listener.filters, &route.filters),
        }
    }

    /// By what calls to the clusters of a target are hashed.
    fn keys_of(&self, target: &Target) -> Vec<(Arc<str>, Arc<Keys>)> {
        let keys = |name: &Arc<str>| Some((Arc::clone(name), self.clusters.get(name)?.keys.clone()?));
        match target {
            Target::Cluster(name) => keys(name).into_iter().collect(),
            Target::Split(split) => split.shares.iter().filter_map(|(name, _)| keys(name)).collect(),
            Target::Register { .. } => Vec::new(),
        }
    }

    /// Names in the order in which they run.
    fn in_order(&self, listener: &[FilterUse], route: &[FilterUse]) -> Vec<String> {
        let phase = |name: &str| self.known.iter().find(|known| known.name == name).map(|known| known.phase);
        let mut names: Vec<_> = listener.iter().chain(route).map(|entry| entry.name.clone()).collect();
        names.sort_by_key(|name| phase(name));
        names
    }

    fn filters(&mut self, place: &Path, uses: &[FilterUse]) -> Filters {
        let mut filters = Filters::default();
        for (index, entry) in uses.iter().enumerate() {
            let place = place.with(index).with(entry.name.as_str());
            let Some(known) = self.known.iter().find(|known| known.name == entry.name) else { continue };
            let text = place.to_string();
            let readers = self.compiler.for_filters(known.phase);
            match (known.build)(entry.config.clone(), &mut BuildCx::new(&text, &readers)) {
                Ok(filter) => {
                    filters.placed.push((known.phase, Arc::from(filter)));
                    let policies = readers.policies.into_inner().into_iter();
                    filters.policies.extend(policies.map(|policy| (place.clone(), policy)));
                }
                Err(error) => {
                    let at = error.path.iter().fold(place, |place, key| place.with(key.as_str()));
                    self.problems.push(self.source.error_at(&at, error.message));
                }
            }
        }
        filters
    }
}

fn rule(matches: &super::Match) -> RouteMatch {
    RouteMatch {
        authority: matches.authority.clone(),
        service: matches.service.clone(),
        method: matches.method.as_ref().map(|method| method.0.as_str().into()),
        headers: headers(&matches.headers),
        when: matches.when.as_ref().map(|when| when.0.as_str().into()),
    }
}

fn headers(headers: &BTreeMap<super::names::HeaderName, super::HeaderMatch>) -> Vec<HeaderMatch> {
    use super::{HeaderMatch as File, HeaderPattern};
    let tests = headers.iter().map(|(name, value)| {
        let test = match value {
            File::Exact(text) => HeaderTest::Exact(text.as_str().into()),
            File::Pattern(HeaderPattern::Prefix(text)) => HeaderTest::Prefix(text.as_str().into()),
            File::Pattern(HeaderPattern::Regex(regex)) => HeaderTest::Regex(regex.clone()),
            File::Pattern(HeaderPattern::Present(_)) => HeaderTest::Present,
        };
        HeaderMatch { name: name.as_ref().into(), test }
    });
    tests.collect()
}
