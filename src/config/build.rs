//! Makes what runs out of what a file says: filters are built, expressions compiled, schemas of files linked. Every error that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use filter_api::{BuildCx, Filter, Keep, Known, Phase};
use portunus_tls::Client;
use rustc_hash::FxHashMap;

use super::access::Access;
use super::expressions::{Compiler, Keys, Registrants};
use super::health;
use super::issuers::Signatories;
use super::policies::{Calls, Gathering, Policy, slips};
use super::readers::Hiding;
use super::secure;
use super::snapshot::{FirstMessage, HealthCheck, Limits, Listener, Route, Snapshot, Sources, Split, Target};
use super::{Errors, FilterUse, Loaded, Path, Problem, Served, Source, Target as FileTarget};
use crate::expr::{Expression, Place as ExprPlace, Wanted};
use crate::filters::{BEFORE_ANYBODY, Chain, EACH_TRY, EARLY, JUDGING, LATE};
use crate::path;
use crate::route::{HeaderMatch, HeaderTest, Own, RouteMatch, Router};
use crate::schema::{self, Definitions};

/// Services that a listener can serve itself, each with the packages by which a route names it too.
const REFLECTION: [(&str, &str); 2] = [
    ("grpc.reflection.v1.ServerReflection", "grpc.reflection."),
    ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection."),
];
const HEALTH: [(&str, &str); 1] = [("grpc.health.v1.Health", "grpc.health.")];

/// Builds what runs. Every error that there is, not the first.
///
/// # Errors
/// What a filter cannot make of its configuration.
pub fn build(loaded: &Loaded, known: &[Known], generation: u64) -> Result<Snapshot, Errors> {
    build_after(loaded, known, generation, None)
}

/// As [`build`], for what is to replace `before`: filters find what those before kept, a certificate that serves already goes on after it
/// has expired, and where nothing of trust has changed it is the same value.
///
/// # Errors
/// What a filter cannot make of its configuration.
pub fn build_after(
    loaded: &Loaded,
    known: &[Known],
    generation: u64,
    before: Option<&Snapshot>,
) -> Result<Snapshot, Errors> {
    let keep = before.map(|before| Keep::after(&before.keep)).unwrap_or_default();
    let compiler = Compiler::new(&loaded.source, loaded.config.expr.max_cost);
    let mut builder = Builder {
        source: &loaded.source,
        known,
        before,
        compiler,
        policies: Gathering::default(),
        folder: loaded.source.resolve(FilePath::new("")),
        keep,
        clusters: FxHashMap::default(),
        issuers: Signatories::default(),
        identity: BTreeSet::new(),
        problems: Vec::new(),
    };
    let issuers = before.map(|before| &*before.issuers).unwrap_or_default();
    builder.issuers =
        Signatories::build(&loaded.config.issuers, (&loaded.source, issuers), &builder.keep, &mut builder.problems);
    builder.clusters = loaded.config.clusters.iter().map(|(name, cluster)| builder.cluster(name, cluster)).collect();
    let access_before = before.map(|before| &*before.access);
    let access = Access::build(&loaded.config.admin, &loaded.source, access_before, &mut builder.problems);
    let log_when = loaded.config.access_log.as_ref().and_then(|log| log.when.as_ref());
    let log_when = log_when.and_then(|when| {
        builder.compiler.compile(&path!["access_log", "when"], when, ExprPlace::AccessLog, Wanted::Truth)
    });
    let listeners = loaded.config.listeners.iter();
    let listeners =
        listeners.map(|(name, listener)| (Arc::from(name.as_str()), builder.listener(name, listener))).collect();
    let checks: FxHashMap<_, _> = loaded.config.clusters.iter().filter_map(|one| builder.check(one)).collect();
    let schemas = builder.schemas(&loaded.config);
    let tls = builder.tls(&loaded.config);
    let policies = std::mem::take(&mut builder.policies).finish();
    for (cluster, definitions) in &schemas {
        let of_cluster = policies.get(cluster).map(|policies| policies.check(definitions, &loaded.source));
        builder.problems.extend(of_cluster.into_iter().flatten());
        if let Some(why) = checks.get(cluster).and_then(|check| check.unfit(definitions)) {
            let place = health::place(cluster).with("method");
            builder.problems.push(loaded.source.error_at(&place, why));
        }
    }
    builder.problems.extend(slips(&policies, |cluster| schemas.contains_key(cluster), &loaded.source));
    builder.problems.extend(builder.compiler.problems);
    if !builder.problems.is_empty() {
        return Err(loaded.source.errors(builder.problems));
    }
    Ok(Snapshot {
        generation,
        applied_at: SystemTime::now(),
        access: Arc::new(access),
        listeners,
        identity: builder.identity.into_iter().collect(),
        issuers: builder.issuers.into_all(),
        log_when,
        schemas,
        tls,
        checks,
        policies,
        keep: builder.keep,
        view: Arc::new(super::view(loaded)),
    })
}

struct Builder<'a> {
    source: &'a Source,
    known: &'a [Known],
    before: Option<&'a Snapshot>,
    compiler: Compiler<'a>,
    policies: Gathering,
    /// What relative paths are relative to.
    folder: PathBuf,
    keep: Keep,
    /// What there is to know of a cluster before any of its instances is.
    clusters: FxHashMap<Arc<str>, ClusterPolicy>,
    issuers: Signatories,
    /// Names under which filters tell instances who calls.
    identity: BTreeSet<String>,
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

/// Which calls meet the filters of a place, and what is hidden of them.
struct Around {
    calls: Calls,
    hiding: Arc<Hiding>,
}

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

    fn check(&mut self, (name, cluster): (&String, &super::Cluster)) -> Option<(Arc<str>, HealthCheck)> {
        let check = health::check((name, cluster), &mut self.compiler, &mut self.policies)?;
        Some((name.as_str().into(), check))
    }

    /// What connections to instances need, where they are by TLS.
    fn tls(&mut self, config: &super::Config) -> FxHashMap<Arc<str>, Option<Arc<Client>>> {
        let mut all = FxHashMap::default();
        for (name, cluster) in &config.clusters {
            let before = self.before.and_then(|before| before.tls.get(name.as_str())?.as_deref());
            match secure::client(self.source, &path!["clusters", name, "tls"], cluster, before) {
                Ok(client) => drop(all.insert(Arc::from(name.as_str()), client.map(Arc::new))),
                Err(problem) => self.problems.push(problem),
            }
        }
        all
    }

    /// Reads and links what files pin.
    fn schemas(&mut self, config: &super::Config) -> FxHashMap<Arc<str>, Arc<Definitions>> {
        let mut schemas = FxHashMap::default();
        for (name, cluster) in config.clusters.iter().filter(|(_, cluster)| !cluster.schema.files.is_empty()) {
            let files = &cluster.schema.files;
            let source = self.source;
            let in_files = path!["clusters", name, "schema", "files"];
            let admitted = files.iter().enumerate().map(|(at, file)| {
                source.to_read(file).map_err(|why| (in_files.with(at), format!("`{}` {why}", file.display())))
            });
            let paths = match admitted.collect::<Result<Vec<_>, _>>() {
                Ok(paths) => paths,
                Err((place, why)) => {
                    self.problems.push(source.error_at(&place, why));
                    continue;
                }
            };
            let mut imports = Vec::new();
            let root = source.resolve(FilePath::new(""));
            let schema = schema::from_files(&paths, &root, &mut |import| imports.push(import.to_owned()));
            let refused = imports.iter().find_map(|import| Some((import, source.reads().note(import).err()?)));
            if let Some((import, why)) = refused {
                self.problems.push(source.error_at(&in_files, format!("the import `{}` {why}", import.display())));
                continue;
            }
            match schema {
                Ok(schema) => {
                    schemas.insert(Arc::from(name.as_str()), Arc::new(Definitions::of(Arc::new(schema))));
                }
                Err((at, error)) => {
                    let (place, what) = match at.and_then(|at| Some((at, files.get(at)?))) {
                        Some((at, file)) => (in_files.with(at), format!("`{}` cannot be used", file.display())),
                        None => (in_files, "the files cannot be used together".to_owned()),
                    };
                    self.problems.push(self.source.error_at(&place, format!("{what}: {error}")));
                }
            }
        }
        schemas
    }

    fn listener(&mut self, name: &str, listener: &super::Listener) -> Arc<Listener> {
        let place = path!["listeners", name];
        let around = Around { calls: Calls::default(), hiding: Arc::default() };
        let filters = self.filters(&place.with("filters"), &listener.filters, &around);
        let routes = listener.routes.iter().enumerate().map(|(index, route)| {
            let place = place.with("routes").with(index);
            let around = Around { calls: Calls::of(&route.matches), hiding: Arc::clone(&around.hiding) };
            (rule(&route.matches), self.route(&place, (index, route), (listener, &filters), &around))
        });
        let routes: Vec<_> = routes.collect();
        let within: Option<Arc<str>> = (!listener.serve.is_empty()).then(|| format!("serve:{name}").into());
        let own = self.own(listener, within.as_ref(), &filters.placed);
        let limits = &listener.limits;
        let before = self.before.and_then(|before| before.listeners.get(name)?.tls.as_deref());
        let tls = listener.tls.as_ref().and_then(|tls| {
            let made = secure::server(self.source, &place.with("tls"), (tls, secure::HTTP2), before);
            made.map_err(|problem| self.problems.push(problem)).ok()
        });
        Arc::new(Listener {
            name: name.into(),
            addresses: listener.address.addresses().collect(),
            port_names_agent: listener.address.single().is_none(),
            tls: tls.map(Arc::new),
            client_cert_header: listener.tls.as_ref().is_some_and(|tls| tls.client_cert_header.is_some()),
            limits: Limits {
                connections: limits.connections as usize,
                connections_per_peer: limits.connections_per_peer.map(|most| most as usize),
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
            for_anybody: public_health(listener).then(|| Chain::of(&filters.placed, BEFORE_ANYBODY)),
            router: Router::with(routes, own),
            within,
            from: listener.from.as_deref().map(Sources::of),
            proxy_protocol: listener.proxy_protocol.as_ref().map(|balancers| Sources::of(&balancers.from)),
            forwarded: listener.forwarded.as_ref().map(|forwarded| Sources::of(&forwarded.trusted)),
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
                when: None,
                target: Target::Cluster(Arc::clone(within)),
                agent: None,
                keys: Vec::new(),
                first_message: FirstMessage::Unneeded,
                holds_first: false,
                early: Chain::of(&[], EARLY),
                late: Chain::of(filters, LATE),
                judges: judges(filters, &[]),
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
        (listener, before): (&super::Listener, &Filters),
        around: &Around,
    ) -> Route {
        let own = self.filters(&place.with("filters"), &route.filters, around);
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
            self.policies.add(&clusters, &around.calls, &place, &policy);
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
            judges: judges(&before.placed, &own.placed),
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

    fn filters(&mut self, place: &Path, uses: &[FilterUse], around: &Around) -> Filters {
        let mut filters = Filters::default();
        for (index, entry) in uses.iter().enumerate() {
            let place = place.with(index).with(entry.name.as_str());
            let Some(known) = self.known.iter().find(|known| known.name == entry.name) else { continue };
            let text = place.to_string();
            let readers = self.compiler.for_filters(known.phase, around.calls.clone(), Arc::clone(&around.hiding));
            let cx = BuildCx::new(&text, &readers).with_issuers(&self.issuers);
            let read = |file: &FilePath| self.source.reads().note(file);
            let mut cx = cx.within(&self.folder).telling(&read).keeping(&self.keep);
            let built = (known.build)(entry.config.clone(), &mut cx);
            self.identity.extend(cx.into_identity());
            match built {
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

/// What says who may call: of the listener's filters those that look at the call, since it has been found out before who that is.
fn judges(listener: &[Placed], own: &[Placed]) -> Chain {
    let authorize = listener.iter().filter(|(phase, _)| *phase == Phase::Authorize);
    Chain::of(authorize.chain(own), JUDGING)
}

fn public_health(listener: &super::Listener) -> bool {
    listener.serve.iter().any(|entry| entry.what() == Served::Health && entry.is_public())
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
