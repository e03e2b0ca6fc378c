//! The running proxy, as the admin port shows it.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ending::Ending;
use super::history::History;
use super::{audit, issuers, reload, schemas, trial};
use crate::admin::{
    AgentView, ClusterView, ConfigChange, ConfigStatus, ConnectionCounts, CoreState, IncompatibleView, InstanceView,
    Readiness, RouteView, SchemaView, StateCounts, Trying, View,
};
use crate::call::Shared;
use crate::config::snapshot::{Access, Route, Snapshot, Target};
use crate::observe::Rfc3339;
use crate::observe::metrics::{AuditFile, ConnectionState, KeyAge};
use crate::registry::{self, State};
use crate::upstream::{Cluster, Group, Lister};

/// The running proxy.
pub(super) struct Running {
    shared: Arc<Shared>,
    ending: Arc<Ending>,
    history: Arc<History>,
    /// None once the proxy is gone.
    running: Weak<Mutex<reload::Running>>,
}

impl Running {
    pub(super) fn new(
        shared: Arc<Shared>,
        ending: Arc<Ending>,
        (history, running): (Arc<History>, Weak<Mutex<reload::Running>>),
    ) -> Self {
        Self { shared, ending, history, running }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.in_force.load().snapshot)
    }

    /// The user's clusters by name, so that answers are stable.
    fn in_order(&self) -> Vec<Arc<Cluster>> {
        let in_force = self.shared.in_force.load();
        let mut clusters: Vec<_> = in_force.clusters.values().filter(|cluster| !cluster.is_within()).cloned().collect();
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        clusters
    }

    fn instances_of(&self, cluster: &Cluster) -> Vec<InstanceView> {
        let known = cluster.schemas.load();
        match &cluster.group {
            Group::Listed { set, health, .. } => {
                let (listed, now) = (set.load_full(), Instant::now());
                let one = |instance: &Arc<registry::Instance>| {
                    let probe = health.as_ref().and_then(|health| health.last_probe(instance.id, now));
                    InstanceView {
                        cluster: cluster.name.to_string(),
                        agent: None,
                        address: instance.authority.to_string(),
                        state: instance.state().as_str(),
                        weight: instance.weight,
                        in_flight: u64::from(instance.in_flight()),
                        since: ago(instance.created.elapsed().as_secs_f64()),
                        last_error: failure(probe.as_ref()),
                        last_probe: probe.map(|probe| ago(probe.ago_seconds)),
                        registered_by: None,
                        registered_from: None,
                        connected: None,
                        waits_for_sdk: None,
                        lease_left_ms: None,
                        schema_incompatible: known.excluded_of(instance.id),
                    }
                };
                listed.instances.iter().map(one).collect()
            }
            Group::Registered(registry) => {
                let agents = registry.view(Instant::now());
                let one = |instance: registry::InstanceView| {
                    let incompatible = known.excluded_of(instance.id);
                    registered(instance, incompatible)
                };
                agents.into_iter().flat_map(|agent| agent.instances).map(one).collect()
            }
        }
    }
}

impl View for Running {
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.snapshot().access)
    }

    fn ready(&self) -> Readiness {
        let missing = if self.ending.is_leaving() { vec!["the proxy is draining".to_owned()] } else { Vec::new() };
        let mut degraded: Vec<String> = issuers::missing(&self.snapshot()).collect();
        for AuditFile { file, .. } in self.audit_files().into_iter().filter(|audit| audit.failing) {
            degraded.push(format!("the audit file `{file}` cannot be written"));
        }
        for cluster in self.in_order() {
            if let Some(why) = cluster.registry().and_then(|registry| registry.keeping_fails()) {
                degraded.push(format!("cluster `{}`: new registrations cannot be kept: {why}", cluster.name));
            }
            degraded.extend(schemas::missing(&cluster));
            let instances = self.instances_of(&cluster);
            if !instances.iter().any(|instance| matches!(instance.state, "healthy" | "new")) {
                degraded.push(format!("cluster `{}` has no instance that can take calls", cluster.name));
            }
            if let Group::Registered(registry) = &cluster.group {
                degraded.extend(registry.view(Instant::now()).into_iter().filter_map(|agent| match agent.core {
                    registry::CoreState::Pending => {
                        Some(format!("agent `{}` is not registered with the core yet", agent.name))
                    }
                    registry::CoreState::Foreign => {
                        Some(format!("agent `{}`: the core calls somebody else until it restarts", agent.name))
                    }
                    registry::CoreState::None | registry::CoreState::Ok | registry::CoreState::Refused => None,
                }));
            }
        }
        Readiness { missing, degraded }
    }

    fn audit_files(&self) -> Vec<AuditFile> {
        audit::readings(&self.snapshot())
    }

    fn instances(&self) -> Vec<InstanceView> {
        self.in_order().iter().flat_map(|cluster| self.instances_of(cluster)).collect()
    }

    fn agents(&self) -> Vec<AgentView> {
        let clusters = self.in_order();
        let registries = clusters.iter().filter_map(|cluster| cluster.registry());
        registries.flat_map(|registry| registry.view(Instant::now())).map(agent).collect()
    }

    fn release(&self, id: &str) -> Vec<String> {
        let clusters = self.in_order();
        let released = clusters
            .iter()
            .filter(|cluster| cluster.registry().is_some_and(|registry| registry.release(id, Instant::now())));
        released.map(|cluster| cluster.name.to_string()).collect()
    }

    fn clusters(&self) -> Vec<ClusterView> {
        let clusters = self.in_order();
        let one = |cluster: &Arc<Cluster>| {
            let instances = self.instances_of(cluster);
            let count = |state| cluster.metrics.connections(state);
            ClusterView {
                name: cluster.name.to_string(),
                kind: match &cluster.group {
                    Group::Listed { by: Lister::File, .. } => "endpoints",
                    Group::Listed { by: Lister::Dns, .. } => "dns",
                    Group::Listed { by: Lister::Within, .. } => "within",
                    Group::Registered(_) => "registry",
                },
                balance: cluster.policy.as_str().to_owned(),
                agents: cluster.registry().map(|registry| registry.view(Instant::now()).len() as u64),
                instances: counted(instances.iter().map(|instance| instance.state)),
                in_flight: instances.iter().map(|instance| instance.in_flight).sum(),
                connections: ConnectionCounts {
                    connecting: count(ConnectionState::Connecting),
                    ready: count(ConnectionState::Ready),
                    draining: count(ConnectionState::Draining),
                },
            }
        };
        clusters.iter().map(one).collect()
    }

    fn schemas(&self) -> Vec<SchemaView> {
        self.in_order().iter().map(|cluster| schemas::view(cluster)).collect()
    }

    fn accept_schemas(&self) -> Vec<(String, Vec<IncompatibleView>)> {
        let clusters = self.in_order();
        let accepted = clusters.iter().map(|cluster| {
            let methods = cluster.schemas.accept().into_iter().map(schemas::incompatible).collect::<Vec<_>>();
            (cluster.name.to_string(), methods)
        });
        accepted.filter(|(_, methods)| !methods.is_empty()).collect()
    }

    fn routes(&self) -> Vec<RouteView> {
        let snapshot = self.snapshot();
        let mut listeners: Vec<_> = snapshot.listeners.values().collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        let routes = listeners.into_iter().flat_map(|listener| {
            listener.router.iter().map(|(matches, route)| RouteView {
                listener: listener.name.to_string(),
                index: route.index,
                matches: matches.to_string(),
                target: described(route),
                filters: route.filter_names.clone(),
            })
        });
        routes.collect()
    }

    fn key_ages(&self) -> Vec<KeyAge> {
        issuers::ages(&self.snapshot())
    }

    fn drain(&self) -> bool {
        self.ending.ask()
    }

    fn config(&self) -> serde_json::Value {
        serde_json::Value::clone(&self.snapshot().view)
    }

    fn config_status(&self) -> ConfigStatus {
        let snapshot = self.snapshot();
        let applied_at = Some(Rfc3339(snapshot.applied_at));
        let failure = self.history.failure();
        ConfigStatus {
            generation: snapshot.generation,
            applied_at,
            failing_since: failure.as_ref().map(|failure| Rfc3339(failure.since)),
            errors: failure.as_ref().map(|failure| failure.problems.clone()).unwrap_or_default(),
            last_error: failure.map(|failure| failure.why),
        }
    }

    fn try_config(&self, text: String) -> Trying {
        Box::pin(trial::try_out(Weak::clone(&self.running), Arc::clone(&self.shared), text))
    }

    fn config_change(&self) -> ConfigChange {
        let snapshot = self.snapshot();
        self.history.change().unwrap_or_else(|| ConfigChange {
            from: None,
            to: snapshot.generation,
            at: Some(Rfc3339(snapshot.applied_at)),
            changes: Vec::new(),
        })
    }
}

fn described(route: &Route) -> String {
    match &route.target {
        // Its name is ours: `serve:LISTENER`.
        Target::Cluster(name) if name.contains(':') => "serve".to_owned(),
        Target::Cluster(name) => format!("cluster {name}"),
        Target::Register { into, .. } => format!("register_into {into}"),
        Target::Split(split) => {
            let shares: Vec<_> = split.shares.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
            format!("split {}", shares.join(", "))
        }
    }
}

fn registered(instance: registry::InstanceView, schema_incompatible: Vec<String>) -> InstanceView {
    InstanceView {
        cluster: instance.cluster,
        agent: Some(instance.agent),
        address: instance.address,
        state: instance.state,
        weight: instance.weight,
        in_flight: u64::from(instance.in_flight),
        since: ago(instance.added_for_seconds),
        last_error: failure(instance.last_probe.as_ref()),
        last_probe: instance.last_probe.map(|probe| ago(probe.ago_seconds)),
        registered_by: Some(instance.registered_by),
        registered_from: Some(instance.registered_from.to_string()),
        connected: Some(instance.connected),
        waits_for_sdk: Some(instance.waits_for_sdk),
        lease_left_ms: Some(
            Duration::from_secs_f64(instance.lease_left_seconds.max(0.0)).as_millis().try_into().unwrap_or(u64::MAX),
        ),
        schema_incompatible,
    }
}

fn failure(probe: Option<&registry::ProbeView>) -> Option<String> {
    probe.filter(|probe| !probe.ok).and_then(|probe| probe.text.clone())
}

fn agent(agent: registry::AgentView) -> AgentView {
    AgentView {
        core: match agent.core {
            registry::CoreState::None => CoreState::None,
            registry::CoreState::Pending => CoreState::Pending,
            registry::CoreState::Ok => CoreState::Ok,
            registry::CoreState::Refused => CoreState::Refused,
            registry::CoreState::Foreign => CoreState::Foreign,
        },
        callback: agent.callback,
        core_error: agent.core_error,
        aliases: agent.core_id.into_iter().filter(|id| *id != agent.id).collect(),
        instances: counted(agent.instances.iter().map(|instance| instance.state)),
        registered_at: ago(agent.registered_for_seconds),
        id: agent.id,
        did: agent.did,
        name: agent.name,
        author: agent.author,
        owner: agent.owner,
        cluster: agent.cluster,
    }
}

fn counted<'a>(states: impl Iterator<Item = &'a str>) -> StateCounts {
    let all = [State::New, State::Healthy, State::Unhealthy, State::Lost];
    let mut counts: StateCounts = all.into_iter().map(|state| (state.as_str(), 0)).collect();
    for state in states {
        if let Some(count) = counts.get_mut(state) {
            *count += 1;
        }
    }
    counts
}

fn ago(seconds: f64) -> Rfc3339 {
    let past = SystemTime::now().checked_sub(Duration::from_secs_f64(seconds.max(0.0)));
    Rfc3339(past.unwrap_or(SystemTime::UNIX_EPOCH))
}
