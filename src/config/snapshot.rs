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

use super::{Errors, FilterUse, Loaded, Path, Problem, Served, Source, Target as FileTarget};
use crate::filters::{Chain, EACH_TRY, EARLY, LATE};
use crate::path;
use crate::route::{HeaderMatch, HeaderTest, Own, RouteMatch, Router};
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
    /// The schemas that files pin, by the cluster.
    pub schemas: FxHashMap<Arc<str>, Arc<Definitions>>,
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
    /// Its routes, and behind them what it serves itself.
    pub router: Router<Route>,
    /// The cluster that stands for what it serves itself, if it does: no configuration can name it.
    pub within: Option<Arc<str>>,
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
    /// Bytes that its calls may keep for another try.
    pub buffered: usize,
    /// From accept to the first frame.
    pub handshake: Duration,
    /// A connection without a call.
    pub idle: Duration,
    /// The age at which a connection says goodbye.
    pub connection_age: Option<Duration>,
}

/// Services that a listener can serve itself, each with the packages by which a route names it too.
const REFLECTION: [(&str, &str); 2] = [
    ("grpc.reflection.v1.ServerReflection", "grpc.reflection."),
    ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection."),
];
const HEALTH: [(&str, &str); 1] = [("grpc.health.v1.Health", "grpc.health.")];

/// Where a route leads, and what a call meets on it.
#[derive(Debug)]
pub struct Route {
    /// Its place in the file, from 0.
    pub index: usize,
    /// Where its calls go.
    pub target: Target,
    /// Its filters that run before the agent is chosen.
    pub early: Chain,
    /// The listener's and its own that run once the agent is known.
    pub late: Chain,
    /// The listener's and its own that run at each try.
    pub each_try: Chain,
    /// All tries together.
    pub timeout: Option<Duration>,
    /// The filters by name, in the order in which they run.
    pub filter_names: Vec<String>,
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
    let mut builder = Builder { source: &loaded.source, known, problems: Vec::new() };
    let listeners = loaded.config.listeners.iter();
    let listeners =
        listeners.map(|(name, listener)| (Arc::from(name.as_str()), builder.listener(name, listener))).collect();
    let schemas = builder.schemas(&loaded.config);
    if !builder.problems.is_empty() {
        return Err(loaded.source.errors(builder.problems));
    }
    Ok(Snapshot {
        generation,
        applied_at: SystemTime::now(),
        listeners,
        identity: Vec::new(),
        schemas,
        view: super::view(loaded),
    })
}

struct Builder<'a> {
    source: &'a Source,
    known: &'a [Known],
    problems: Vec<Problem>,
}

/// A filter with its phase and name.
type Placed = (Phase, Arc<dyn Filter>);

impl Builder<'_> {
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
        let within: Option<Arc<str>> = (!listener.serve.is_empty()).then(|| format!("serve:{name}").into());
        let own = self.own(listener, within.as_ref(), &filters);
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
            early: Chain::of(&filters, EARLY),
            router: Router::with(routes, own),
            within,
            from: listener.from.as_ref().map(|from| from.iter().map(|cidr| cidr.0).collect()),
        })
    }

    /// What the listener serves itself: its filters run for that too.
    fn own(&self, listener: &super::Listener, within: Option<&Arc<str>>, filters: &[Placed]) -> Vec<Own<Route>> {
        let served = listener.serve.iter().flat_map(|entry| match entry.what() {
            Served::Reflection => REFLECTION.as_slice(),
            Served::Health => HEALTH.as_slice(),
        });
        let own = served.zip(within.into_iter().cycle()).enumerate();
        own.map(|(at, ((service, family), within))| Own {
            service,
            family,
            leads: Route {
                index: listener.routes.len() + at,
                target: Target::Cluster(Arc::clone(within)),
                early: Chain::of(&[], EARLY),
                late: Chain::of(filters, LATE),
                each_try: Chain::of(filters, EACH_TRY),
                timeout: None,
                filter_names: self.in_order(&listener.filters, &[]),
            },
        })
        .collect()
    }

    fn route(
        &mut self,
        place: &Path,
        (index, route): (usize, &super::Route),
        (listener, before): (&super::Listener, &[Placed]),
    ) -> Route {
        let own = self.filters(&place.with("filters"), &route.filters);
        let both = || before.iter().chain(&own);
        let target = match route.target() {
            Some(FileTarget::RegisterInto(into)) => {
                Target::Register { into: into.into(), open: route.open_registration }
            }
            Some(FileTarget::Split(shares)) => Target::Split(Split {
                shares: shares.iter().map(|share| (share.cluster.as_str().into(), share.weight)).collect(),
                total: shares.iter().map(|share| u64::from(share.weight)).sum(),
            }),
            Some(FileTarget::Cluster(name)) => Target::Cluster(name.into()),
            // The rules have refused a route that leads nowhere; a name that is missing answers UNAVAILABLE.
            None => Target::Cluster("".into()),
        };
        Route {
            index,
            target,
            early: Chain::of(&own, EARLY),
            late: Chain::of(both(), LATE),
            each_try: Chain::of(both(), EACH_TRY),
            timeout: route.timeout.map(|timeout| timeout.0),
            filter_names: self.in_order(&listener.filters, &route.filters),
        }
    }

    /// Names in the order in which they run.
    fn in_order(&self, listener: &[FilterUse], route: &[FilterUse]) -> Vec<String> {
        let phase = |name: &str| self.known.iter().find(|known| known.name == name).map(|known| known.phase);
        let mut names: Vec<_> = listener.iter().chain(route).map(|entry| entry.name.clone()).collect();
        names.sort_by_key(|name| phase(name));
        names
    }

    fn filters(&mut self, place: &Path, uses: &[FilterUse]) -> Vec<Placed> {
        let mut filters = Vec::with_capacity(uses.len());
        for (index, entry) in uses.iter().enumerate() {
            let place = place.with(index).with(entry.name.as_str());
            let Some(known) = self.known.iter().find(|known| known.name == entry.name) else { continue };
            let text = place.to_string();
            match (known.build)(entry.config.clone(), &mut BuildCx::new(&text)) {
                Ok(filter) => filters.push((known.phase, Arc::from(filter))),
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
