//! Where each cluster's schemas come from, by its configuration; and what of them the admin port shows.

use std::sync::{Arc, LazyLock};

use crate::admin::{ChangeView, DriftView, IncompatibleView, InstanceSchemaView, SchemaView};
use crate::config::Config;
use crate::config::policies::ClusterPolicies;
use crate::config::snapshot::Snapshot;
use crate::observe::Rfc3339;
use crate::schema::{self, Change, Definition, Definitions};
use crate::upstream::Cluster;
use crate::upstream::schemas::{Demands, Drift, InstanceReport, Mode, Published, Refused, Settings, Source};

/// The services whose contract comes with Portunus.
const BUNDLED: &str = "bindu.grpc.";
/// What is wrong with a schema is told of so much.
const PROBLEMS: usize = 20;

/// A cluster's.
pub(super) fn settings(config: &Config, snapshot: &Snapshot, name: &str) -> Settings {
    let Some(cluster) = config.clusters.get(name) else { return Settings::default() };
    let pinned = snapshot.schemas.get(name).cloned();
    let bundled = pinned.is_none() && serves_bindu(config, name);
    Settings {
        pinned,
        refresh: cluster.schema.refresh().map(|refresh| refresh.0),
        bundled: if bundled { bundled_bindu() } else { None },
    }
}

/// Whether agents of Bindu are in it: they register there, or a route that leads there is for them.
fn serves_bindu(config: &Config, name: &str) -> bool {
    let leads_there = |route: &crate::config::Route| {
        route.cluster.as_deref() == Some(name) || route.split.iter().flatten().any(|share| share.cluster == name)
    };
    let is_for_them = |route: &crate::config::Route| {
        let service = route.matches.service.as_ref();
        service.is_some_and(|service| service.to_string().starts_with(BUNDLED))
    };
    config.clusters.get(name).is_some_and(|cluster| cluster.registry.is_some())
        || config
            .listeners
            .values()
            .flat_map(|listener| &listener.routes)
            .any(|route| leads_there(route) && is_for_them(route))
}

/// The contract as it comes with Portunus: one value for all that need it, read when the first does.
pub(super) fn bundled_bindu() -> Option<Arc<Definitions>> {
    static BINDU: LazyLock<Option<Arc<Definitions>>> = LazyLock::new(|| {
        let schema = schema::from_octets(portunus_proto::descriptors::BINDU);
        // A test holds that it loads.
        schema.ok().map(|schema| Arc::new(Definitions::of(Arc::new(schema))))
    });
    BINDU.clone()
}

/// The policies of a configuration, as a cluster's schemas ask for them.
struct OfConfiguration(Arc<ClusterPolicies>);

impl Demands for OfConfiguration {
    fn concern(&self, service: &str, method: &str) -> bool {
        self.0.concern(service, method)
    }

    fn judge(
        &self,
        service: &str,
        method: &str,
        definition: &Definition,
        accepted: Option<&Definition>,
    ) -> Result<(), String> {
        self.0.judge(service, method, definition, accepted)
    }
}

/// Makes what reads messages of a cluster's calls ready for all definitions that are known, before calls meet it.
pub(super) async fn make_ready(cluster: &Cluster, snapshot: &Snapshot) {
    let Some(policies) = snapshot.policies.get(&cluster.name).cloned() else { return };
    let known = cluster.schemas.known();
    // Compiles, for as many methods as there are.
    let made = tokio::task::spawn_blocking(move || {
        for (service, method, definition) in known.iter().flat_map(|definitions| definitions.all()) {
            if policies.concern(service, method) {
                // What does not fit is told of by whoever judges definitions.
                drop(policies.judge(service, method, definition, None));
            }
        }
    });
    drop(made.await);
}

/// Whether every instance that can be asked what it serves has been.
pub(super) fn are_asked(cluster: &Cluster) -> bool {
    let known = cluster.schemas.load();
    let is_asked = |id: u64| known.reports().iter().any(|report| report.instance == id && report.asked);
    cluster.group.instances().iter().all(|instance| !instance.is_usable() || is_asked(instance.id))
}

/// Has a cluster's schemas judged by what reads messages of its calls, if something does.
pub(super) fn demand(cluster: &Cluster, snapshot: &Snapshot) {
    let Some(policies) = snapshot.policies.get(&cluster.name) else {
        if cluster.schemas.is_relied_on() {
            cluster.schemas.demand(None);
        }
        return;
    };
    cluster.schemas.demand(Some(Box::new(OfConfiguration(Arc::clone(policies)))));
    // What decides for all instances is not judged again: files were when the configuration was built, and what comes with Portunus is now.
    if let Some(pinned) = cluster.schemas.load().pinned() {
        for (service, method, definition) in pinned.definitions.all() {
            if let Err(why) = policies.judge(service, method, definition, None) {
                tracing::warn!(cluster = %cluster.name, service, method, why, "calls are refused: a policy does not fit the method");
            }
        }
    }
}

/// What is missing, in words; none where nothing is.
pub(super) fn missing(cluster: &Cluster) -> Option<String> {
    if !cluster.schemas.asks() || cluster.schemas.mode() != Mode::Live {
        return None;
    }
    let known = cluster.schemas.load();
    // Where nobody needs it, some of very many instances have no turn for long.
    let relied_on = cluster.schemas.is_relied_on();
    let is_failing = |report: &InstanceReport| report.asked && !report.unoffered;
    let lacks = |report: &&InstanceReport| report.kind.is_none() && (relied_on || is_failing(report));
    let lacking: Vec<_> = known.reports().iter().filter(lacks).collect();
    let first = lacking.first()?;
    let why = first.error.as_deref().unwrap_or("it has not been asked yet");
    Some(format!(
        "cluster `{}` lacks the schema of {} of {} instances; {}: {why}",
        cluster.name,
        lacking.len(),
        known.reports().len(),
        first.address
    ))
}

/// What `/schema` shows of a cluster.
pub(super) fn view(cluster: &Cluster) -> SchemaView {
    let schemas = &cluster.schemas;
    let known: &Published = &schemas.load();
    let pinned = known.pinned();
    SchemaView {
        cluster: cluster.name.to_string(),
        mode: schemas.mode().as_str(),
        reflection: schemas.asks(),
        digest: pinned.map(|kind| kind.digest().to_owned()),
        services: pinned.map(|kind| services(&kind.definitions)).unwrap_or_default(),
        problems: pinned.map(|kind| problems(&kind.definitions)).unwrap_or_default(),
        instances: known.reports().iter().map(instance).collect(),
        drifts: known.drifts().iter().map(|one| drift(one)).collect(),
        incompatible: known.refused().into_iter().map(incompatible).collect(),
    }
}

pub(super) fn incompatible(refused: Refused) -> IncompatibleView {
    IncompatibleView {
        agent: Some(refused.agent.to_string()).filter(|agent| !agent.is_empty()),
        method: refused.method,
        digest: refused.digest,
        why: refused.why,
        instances: refused.instances as u64,
    }
}

fn instance(report: &InstanceReport) -> InstanceSchemaView {
    let kind = report.kind.as_ref();
    InstanceSchemaView {
        address: report.address.to_string(),
        agent: Some(report.agent.to_string()).filter(|agent| !agent.is_empty()),
        digest: kind.map(|kind| kind.digest().to_owned()),
        source: kind.map(|kind| Source::as_str(kind.source)),
        known_since: report.known_since.filter(|_| kind.is_some()).map(Rfc3339),
        services: kind.map(|kind| services(&kind.definitions)).unwrap_or_default(),
        problems: kind.map(|kind| problems(&kind.definitions)).unwrap_or_default(),
        error: report.error.as_deref().map(str::to_owned),
    }
}

fn services(definitions: &Definitions) -> Vec<String> {
    definitions.schema().services().map(str::to_owned).collect()
}

fn problems(definitions: &Definitions) -> Vec<String> {
    definitions.schema().problems().iter().take(PROBLEMS).cloned().collect()
}

fn drift(drift: &Drift) -> DriftView {
    let change = |change: &Change| ChangeView {
        kind: change.kind,
        name: change.name.clone(),
        what: change.what.as_str(),
        detail: change.detail.clone(),
        breaking: change.breaking,
    };
    DriftView {
        from: drift.from.clone(),
        to: drift.to.clone(),
        breaking: drift.diff.changes.iter().any(|change| change.breaking),
        changes: drift.diff.changes.iter().map(change).collect(),
        left_off: drift.diff.left_off as u64,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_contract_that_comes_along_loads() {
        let bundled = super::bundled_bindu().unwrap();
        assert!(bundled.get("bindu.grpc.AgentHandler", "HandleMessages").is_some());
        assert!(bundled.schema().problems().is_empty());
    }
}
