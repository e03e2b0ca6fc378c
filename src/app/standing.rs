//! The clusters that stand, each with what keeps it current on the control runtime. A configuration that is to replace another one
//! prepares its own around what they share (instances, registries, schemas), and then takes their place: whatever can fail, or takes
//! its time, comes before that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{StartError, clusters, health, schemas};
use crate::config::snapshot::Snapshot;
use crate::config::{self, Config, Members};
use crate::observe::Metrics;
use crate::registry::{EndpointSet, Forbidden, HealthSettings, Instance, Listed, Registry, Saved, Settings};
use crate::store::Store;
use crate::upstream::probe::{self, Check};
use crate::upstream::schemas::Schemas;
use crate::upstream::side::SideClient;
use crate::upstream::{self, Cluster, Clusters, Group, Lister, Security, Tcp};

/// How long a reload waits for what a new cluster has to find out first: addresses of a name, schemas that a policy reads by.
const FOUND_OUT: Duration = Duration::from_secs(2);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(5);
/// How long what nothing leads to any more goes on at most, for calls that were decided before.
const FAREWELL: Duration = Duration::from_secs(10);
/// Between two looks whether any has it yet.
const LEAVING: Duration = Duration::from_millis(200);

type Task = AbortOnDropHandle<()>;

/// A cluster, what it was made of, and what keeps it current.
struct Standing {
    config: config::Cluster,
    cluster: Arc<Cluster>,
    tasks: Tasks,
}

#[derive(Default)]
struct Tasks {
    core: Option<Task>,
    names: Option<Task>,
    schemas: Option<Task>,
    prober: Option<Prober>,
}

/// Asks instances whether they are well; how, a reload may change.
struct Prober {
    check: Arc<ArcSwap<Check>>,
    _task: Task,
}

/// All clusters of the file.
#[derive(Default)]
pub(super) struct Standings {
    all: BTreeMap<Arc<str>, Standing>,
    /// Registries whose clusters are gone, and until when they are remembered.
    former: BTreeMap<Arc<str>, (Standing, Instant)>,
}

/// What clusters are prepared for.
pub(super) struct World<'a> {
    pub(super) config: &'a Config,
    pub(super) snapshot: &'a Snapshot,
    pub(super) metrics: &'a Arc<Metrics>,
    /// No instance may be there.
    pub(super) reserved: &'a [Forbidden],
    /// What is kept of the registry of a cluster.
    pub(super) kept: &'a (dyn Fn(&str) -> Result<Vec<Saved>, String> + Sync),
}

/// The clusters of a configuration, prepared.
pub(super) struct Prepared(BTreeMap<Arc<str>, Next>);

/// One of them: what it will be, with the tasks that are new; and what of that is done when its time comes.
struct Next {
    standing: Standing,
    shares: bool,
    set: Option<EndpointSet>,
    registry: Option<Settings>,
    health: Option<HealthSettings>,
    check: Option<Check>,
}

impl Standings {
    /// Prepares the clusters of a configuration. Nothing of those that stand is changed.
    pub(super) fn prepare(&self, world: &World<'_>) -> Result<Prepared, StartError> {
        let clusters = world.config.clusters.iter().map(|(name, config)| {
            let name: Arc<str> = name.as_str().into();
            let former = || self.former.get(&name).map(|(standing, _)| standing);
            let before = self.all.get(&name).or_else(former);
            let next = world.next((&name, config), before.filter(|before| is_continued(&before.config, config)))?;
            Ok((name, next))
        });
        clusters.collect::<Result<_, _>>().map(Prepared)
    }

    /// Has the clusters of a configuration take the place of these: instances that are listed, settings, checks. The configuration comes
    /// into force right after.
    pub(super) fn replace(&mut self, Prepared(prepared): Prepared, snapshot: &Snapshot, store: Option<&Store>) {
        let mut before = std::mem::take(&mut self.all);
        let former = std::mem::take(&mut self.former);
        for (name, (standing, until)) in former {
            match (prepared.contains_key(&name), until > Instant::now()) {
                (true, _) => drop(before.insert(name, standing)),
                (false, true) => drop(self.former.insert(name, (standing, until))),
                (false, false) => leave(&standing, store),
            }
        }
        for (name, next) in prepared {
            let standing = before.remove(&name);
            let standing = next.take_place(standing, store);
            schemas::demand(&standing.cluster, snapshot);
            self.all.insert(name, standing);
        }
        for (name, gone) in before {
            match gone.cluster.registry() {
                Some(registry) => {
                    let until = Instant::now() + registry.settings().forget;
                    self.former.insert(name, (gone, until));
                }
                None => say_farewell(gone.cluster),
            }
        }
    }

    /// Their registries.
    pub(super) fn registries(&self) -> Vec<Arc<Registry>> {
        self.all.values().filter_map(|standing| standing.cluster.registry().cloned()).collect()
    }
}

impl Prepared {
    /// As calls look them up.
    pub(super) fn clusters(&self) -> Clusters {
        self.0.iter().map(|(name, next)| (Arc::clone(name), Arc::clone(&next.standing.cluster))).collect()
    }

    /// Makes policies ready for every definition that is known, so that no call meets one that is not; and waits a while for what
    /// clusters have yet to find out that no calls have come to so far.
    pub(super) async fn settle(&self, snapshot: &Snapshot) {
        let (until, mut versions) = (Instant::now() + FOUND_OUT, Vec::new());
        for next in self.0.values() {
            let cluster = &next.standing.cluster;
            versions.push(cluster.schemas.version());
            schemas::make_ready(cluster, snapshot).await;
            if !cluster.schemas.is_relied_on() {
                schemas::demand(cluster, snapshot);
            }
        }
        for (next, version) in self.0.values().zip(versions) {
            while !next.has_found_out() && Instant::now() < until {
                sleep(LOOK).await;
            }
            let cluster = &next.standing.cluster;
            if cluster.schemas.version() != version {
                schemas::make_ready(cluster, snapshot).await;
            }
        }
    }
}

impl World<'_> {
    fn next(
        &self,
        (name, config): (&Arc<str>, &config::Cluster),
        before: Option<&Standing>,
    ) -> Result<Next, StartError> {
        let counters = self.metrics.cluster(name);
        let check = self.snapshot.checks.get(name);
        let group = match before {
            Some(before) => before.cluster.group.clone(),
            None => self.group((name, config), check.is_some())?,
        };
        let settings = schemas::settings(self.config, self.snapshot, name);
        let known = before.map(|before| &before.cluster.schemas).filter(|known| known.come_from(&settings));
        let schemas = known.cloned().unwrap_or_else(|| Schemas::new(settings, Arc::clone(&counters)));
        let is_as =
            |before: &&Standing| before.config.balance == config.balance && before.config.limits == config.limits;
        let cluster = match before.filter(is_as).filter(|_| known.is_some()) {
            Some(before) => Arc::clone(&before.cluster),
            None => {
                let security = before
                    .map(|before| Arc::clone(&before.cluster.security))
                    .unwrap_or_else(|| Security::new(self.snapshot.tls.get(name).cloned().flatten()));
                clusters::assembled((name, config), schemas, security, group, counters)
            }
        };
        let set = before.and_then(|before| changed_set(&before.config, config, &cluster));
        match (&set, &cluster.group) {
            (Some(set), _) => cluster.policy.balance().prepare(set),
            (None, Group::Listed { set, .. }) => cluster.policy.balance().prepare(&set.load()),
            (None, Group::Registered(_)) => {}
        }
        let check = check.map(|check| health::check(check, &cluster.schemas));
        let registry = config.registry.as_ref().filter(|_| before.is_some());
        let is_probed = matches!(&cluster.group, Group::Listed { health: Some(_), .. });
        let mut next = Next {
            shares: before.is_some(),
            set,
            registry: registry.map(|registry| clusters::settings(registry, config, self.reserved)),
            health: is_probed.then(|| clusters::health_settings(config)),
            check: None,
            standing: Standing { config: config.clone(), cluster, tasks: Tasks::default() },
        };
        next.begin(check, (before, known.is_some()));
        Ok(next)
    }

    /// The instances of a cluster that is new.
    fn group(&self, (name, config): (&Arc<str>, &config::Cluster), is_checked: bool) -> Result<Group, StartError> {
        let counters = self.metrics.cluster(name);
        let listed_health = (is_checked && config.registry.is_none())
            .then(|| Listed::new(clusters::health_settings(config), Arc::clone(&counters)));
        Ok(match config.members() {
            Some(Members::Endpoints(endpoints)) => {
                let set = clusters::listed(name, endpoints, (&counters, listed_health.as_ref()), &[]);
                Group::checked(Lister::File, set, listed_health)
            }
            Some(Members::Registry(registry)) => {
                let settings = clusters::settings(registry, config, self.reserved);
                let registry = Registry::new(Arc::clone(name), settings, counters);
                let kept = (self.kept)(name).map_err(StartError::System)?;
                if !kept.is_empty() {
                    registry.restore(kept, Instant::now());
                }
                Group::Registered(registry)
            }
            Some(Members::Dns(_)) | None => Group::checked(Lister::Dns, EndpointSet::default(), listed_health),
        })
    }
}

/// Whether instances carry over from a cluster to the one that is to have its name: they come from the same place, and are checked as
/// they were or are not.
fn is_continued(before: &config::Cluster, now: &config::Cluster) -> bool {
    let name = |cluster: &config::Cluster| cluster.dns.as_ref().map(|dns| (dns.name.to_string(), dns.port));
    let kind = |cluster: &config::Cluster| (cluster.endpoints.is_some(), cluster.registry.is_some());
    let is_checked = |cluster: &config::Cluster| cluster.registry.is_some() || cluster.health.is_some();
    kind(before) == kind(now) && name(before) == name(now) && is_checked(before) == is_checked(now)
}

/// The endpoints of a file, if others are listed now.
fn changed_set(before: &config::Cluster, now: &config::Cluster, cluster: &Cluster) -> Option<EndpointSet> {
    let endpoints = now.endpoints.as_ref().filter(|now| before.endpoints.as_ref() != Some(*now))?;
    let Group::Listed { set, health, .. } = &cluster.group else { return None };
    let before = set.load_full();
    Some(clusters::listed(&cluster.name, endpoints, (&cluster.metrics, health.as_ref()), &before.instances))
}

impl Next {
    /// Begins what is new of the things that keep the cluster current. What goes on is taken over later.
    fn begin(&mut self, check: Option<Check>, (before, knows): (Option<&Standing>, bool)) {
        let Standing { config, cluster, tasks } = &mut self.standing;
        if let (None, Group::Registered(registry)) = (before, &cluster.group) {
            let core = upstream::core::CoreClient::new(Arc::clone(registry), Arc::new(Tcp));
            tasks.core = Some(task(core.run()));
        }
        let is_same =
            before.is_some_and(|before| Arc::ptr_eq(&before.cluster, cluster) && before.config.dns == config.dns);
        if let (false, Some(Members::Dns(dns))) = (is_same, config.members()) {
            let (host, port, refresh) = (dns.name.to_string(), dns.port, dns.refresh.0);
            let resolving = upstream::keep_resolving(Arc::new(Tcp), Arc::clone(cluster), (host, port), refresh);
            tasks.names = Some(task(resolving));
        }
        if cluster.schemas.asks() && !knows {
            tasks.schemas = Some(task(upstream::schemas::keep(Arc::clone(cluster), Arc::new(Tcp))));
        }
        let is_probed = before.is_some_and(|before| before.tasks.prober.is_some());
        match check {
            Some(check) if !is_probed => tasks.prober = prober(cluster, check),
            check => self.check = check,
        }
    }

    /// Whether it knows what its first calls need.
    fn has_found_out(&self) -> bool {
        let cluster = &self.standing.cluster;
        let named = match &cluster.group {
            Group::Listed { by: Lister::Dns, set, .. } => !set.load().is_empty(),
            _ => true,
        };
        // Instances that are not listed yet are not waited for: those of a registry come when they like.
        let is_known = || cluster.schemas.is_sure() && schemas::are_asked(cluster);
        named && (!cluster.schemas.is_relied_on() || !cluster.schemas.asks() || is_known())
    }

    /// Takes over from the cluster of this name, if there is one, and puts in force what is different.
    fn take_place(mut self, before: Option<Standing>, store: Option<&Store>) -> Standing {
        let cluster = Arc::clone(&self.standing.cluster);
        match before {
            Some(before) if self.shares => self.standing.tasks.take_over(before.tasks),
            Some(before) => {
                leave(&before, store);
                say_farewell(before.cluster);
            }
            None => {}
        }
        if let (false, Some(registry), Some(store)) = (self.shares, cluster.registry(), store) {
            store.add(Arc::clone(registry));
        }
        if let (Some(prober), Some(check)) = (&self.standing.tasks.prober, self.check) {
            prober.check.store(Arc::new(check));
        }
        match &cluster.group {
            Group::Registered(registry) => {
                if let Some(settings) = self.registry {
                    registry.apply(settings);
                }
            }
            Group::Listed { set, health, .. } => {
                if let (Some(health), Some(settings)) = (health, self.health) {
                    health.apply(settings);
                }
                if let Some(next) = self.set {
                    list(&cluster, (set, health.as_ref()), next);
                }
            }
        }
        self.standing
    }
}

impl Tasks {
    /// What has not begun anew goes on.
    fn take_over(&mut self, before: Self) {
        self.core = self.core.take().or(before.core);
        self.names = self.names.take().or(before.names);
        self.schemas = self.schemas.take().or(before.schemas);
        self.prober = self.prober.take().or(before.prober);
    }
}

/// Has a cluster list other instances. Those that leave finish the calls that they have.
fn list(cluster: &Cluster, (set, health): (&ArcSwap<EndpointSet>, Option<&Arc<Listed>>), next: EndpointSet) {
    let stays = |instance: &Arc<Instance>| next.instances.iter().any(|other| Arc::ptr_eq(other, instance));
    let before = set.load_full();
    let leaving: Vec<_> = before.instances.iter().filter(|instance| !stays(instance)).collect();
    if let Some(health) = health {
        health.list(&next.instances, Instant::now());
    }
    set.store(Arc::new(next));
    leaving.into_iter().for_each(|instance| instance.retire());
    cluster.schemas.altered();
}

fn leave(standing: &Standing, store: Option<&Store>) {
    if let (Some(registry), Some(store)) = (standing.cluster.registry(), store) {
        store.leave(registry);
    }
}

/// Nothing leads to a cluster any more: connections to its instances close, as soon as no call has it that was decided before, and a while
/// later in any case.
pub(super) fn say_farewell(cluster: Arc<Cluster>) {
    tokio::spawn(async move {
        let until = Instant::now() + FAREWELL;
        // Who could still come to it has it, or the configuration that led here and has it.
        while Arc::strong_count(&cluster) > 1 && Instant::now() < until {
            sleep(LEAVING).await;
        }
        cluster.group.instances().iter().for_each(|instance| instance.retire());
    });
}

/// Lets go of something that calls which were decided before may still need, once they have had their time.
pub(super) fn later(let_go: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(FAREWELL).await;
        let_go();
    });
}

/// Asks the instances of a cluster whether they are well, from now on.
fn prober(cluster: &Cluster, check: Check) -> Option<Prober> {
    let client = Arc::new(SideClient::new(Arc::new(Tcp), Arc::clone(&cluster.security)));
    let check = Arc::new(ArcSwap::from_pointee(check));
    let probing = match &cluster.group {
        Group::Registered(registry) => task(probe::run(Arc::clone(registry), client, Arc::clone(&check))),
        Group::Listed { health: Some(health), .. } => task(probe::run(Arc::clone(health), client, Arc::clone(&check))),
        Group::Listed { health: None, .. } => return None,
    };
    Some(Prober { check, _task: probing })
}

fn task(what: impl Future<Output = ()> + Send + 'static) -> Task {
    AbortOnDropHandle::new(tokio::spawn(what))
}
