//! Clusters from their configuration, and what keeps them current on the control runtime.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{StartError, health, schemas, system};
use crate::balance::Policy;
use crate::config::snapshot::Snapshot;
use crate::config::{self, Balance, Config, Members};
use crate::observe::{ClusterMetrics, Metrics};
use crate::registry::{
    self, Callback, EndpointSet, Forbidden, HealthSettings, HostPattern, Instance, Listed, Registry, Settings, Target,
};
use crate::store::{File, Store};
use crate::upstream::schemas::Schemas;
use crate::upstream::{self, Cluster, ClusterLimits, Clusters, Group, Lister, Methods, Security, Tcp};

/// Addresses that are ours: no instance may be there, or calls would come back to us.
pub(super) fn reserved(
    listeners: &HashMap<Arc<str>, Vec<SocketAddr>>,
    admin: impl Iterator<Item = SocketAddr>,
) -> Vec<Forbidden> {
    let ours = listeners.iter().flat_map(|(name, addresses)| {
        addresses.iter().map(move |address| forbidden(*address, format!("listener `{name}`")))
    });
    ours.chain(admin.map(|address| forbidden(address, "the admin server".to_owned()))).collect()
}

fn forbidden(address: SocketAddr, what: String) -> Forbidden {
    Forbidden { ip: address.ip(), ports: address.port()..=address.port(), what }
}

/// Builds every cluster; what must be done again and again goes into `background`.
pub(super) fn build(
    (config, snapshot): (&Config, &Snapshot),
    metrics: &Arc<Metrics>,
    reserved: &[Forbidden],
    state: Option<&File>,
    background: &mut JoinSet<()>,
) -> Result<Clusters, StartError> {
    let clusters = config.clusters.iter().map(|(name, cluster)| {
        let schemas = schemas::settings(config, snapshot, name);
        let name: Arc<str> = name.as_str().into();
        let counters = metrics.cluster(&name);
        let policy = policy(cluster.balance);
        let check = snapshot.checks.get(&*name);
        let listed_health = check
            .filter(|_| cluster.registry.is_none())
            .map(|_| Listed::new(health_settings(cluster), Arc::clone(&counters)));
        let group = match cluster.members() {
            Some(Members::Endpoints(endpoints)) => {
                let set = listed(&name, endpoints, (&counters, listed_health.as_ref()));
                policy.balance().prepare(&set);
                Group::checked(Lister::File, set, listed_health)
            }
            Some(Members::Registry(registry)) => {
                let registry =
                    Registry::new(Arc::clone(&name), settings(registry, cluster, reserved), Arc::clone(&counters));
                if let Some(state) = state {
                    registry.restore(state.read(&name).map_err(StartError::System)?, Instant::now());
                }
                let core = upstream::core::CoreClient::new(Arc::clone(&registry), Arc::new(Tcp));
                background.spawn(core.run());
                Group::Registered(registry)
            }
            Some(Members::Dns(_)) | None => Group::checked(Lister::Dns, EndpointSet::default(), listed_health),
        };
        let security = Security::new(snapshot.tls.get(&*name).cloned().flatten());
        let built = assembled((&name, cluster), schemas, security, group, counters);
        super::schemas::demand(&built, snapshot);
        if let Some(check) = check {
            probe(&built, health::check(check, &built.schemas), background);
        }
        if built.schemas.asks() {
            background.spawn(upstream::schemas::keep(Arc::clone(&built), Arc::new(Tcp)));
        }
        if let Some(Members::Dns(dns)) = cluster.members() {
            let (host, port, refresh) = (dns.name.to_string(), dns.port, dns.refresh.0);
            background.spawn(upstream::keep_resolving(Arc::new(Tcp), Arc::clone(&built), (host, port), refresh));
        }
        Ok((name, built))
    });
    clusters.collect()
}

/// A cluster with these instances.
pub(super) fn assembled(
    (name, cluster): (&Arc<str>, &config::Cluster),
    schemas: upstream::schemas::Settings,
    security: Arc<Security>,
    group: Group,
    metrics: Arc<ClusterMetrics>,
) -> Arc<Cluster> {
    let schemas = Schemas::new(schemas, Arc::clone(&metrics));
    Arc::new(Cluster {
        name: Arc::clone(name),
        policy: policy(cluster.balance),
        limits: ClusterLimits {
            connections: cluster.limits.connections as usize,
            requests: cluster.limits.requests,
            pending: cluster.limits.pending,
        },
        methods: Arc::clone(&schemas) as Arc<dyn Methods>,
        schemas,
        metrics,
        security,
        group,
    })
}

/// Keeps what is registered, from now on.
pub(super) fn keep(file: File, clusters: &Clusters) -> Result<Store, StartError> {
    let registries = clusters.values().filter_map(|cluster| cluster.registry().cloned()).collect();
    Store::begin(file, registries).map_err(system)
}

fn listed(
    cluster: &Arc<str>,
    endpoints: &[config::Endpoint],
    (metrics, health): (&Arc<ClusterMetrics>, Option<&Arc<Listed>>),
) -> EndpointSet {
    let instances = endpoints.iter().filter_map(|endpoint| {
        // The file's rules have seen to the form.
        let target = Target::parse(&endpoint.address().to_string())?;
        let counters = metrics.instance(&target.to_string());
        let state = Group::fresh(health);
        Some(Instance::new(Arc::clone(cluster), target, endpoint.weight(), state, counters, Instant::now()))
    });
    EndpointSet::new(instances.collect())
}

fn policy(balance: Balance) -> Policy {
    match balance {
        Balance::RoundRobin => Policy::RoundRobin,
        Balance::LeastRequest => Policy::LeastRequest,
        Balance::Random => Policy::Random,
        Balance::RingHash => Policy::RingHash,
        Balance::Maglev => Policy::Maglev,
    }
}

/// Asks the instances of a cluster whether they are well, from now on.
fn probe(cluster: &Cluster, check: upstream::probe::Check, background: &mut JoinSet<()>) {
    let client = Arc::new(upstream::side::SideClient::new(Arc::new(Tcp), Arc::clone(&cluster.security)));
    match &cluster.group {
        Group::Registered(registry) => {
            background.spawn(upstream::probe::run(Arc::clone(registry), client, check));
        }
        Group::Listed { health: Some(health), .. } => {
            background.spawn(upstream::probe::run(Arc::clone(health), client, check));
        }
        Group::Listed { health: None, .. } => {}
    }
}

fn health_settings(cluster: &config::Cluster) -> HealthSettings {
    let health = cluster.health.clone().unwrap_or_default();
    HealthSettings {
        interval: health.interval.0,
        timeout: health.timeout.0,
        unhealthy_after: health.unhealthy_after,
        healthy_after: health.healthy_after,
    }
}

fn settings(file: &config::Registry, cluster: &config::Cluster, reserved: &[Forbidden]) -> Settings {
    let core = file.core.as_ref().and_then(|core| Target::parse(&core.to_string()));
    let mut forbidden = reserved.to_vec();
    if let Some(addresses) = core.as_ref().and_then(Target::known_addresses) {
        forbidden.extend(addresses.into_iter().map(|address| self::forbidden(address, "the core".to_owned())));
    }
    Settings {
        core,
        callback: file.callback.as_ref().and_then(callback),
        lease: file.lease.0,
        forget: file.forget.0,
        allow: file.allow.as_ref().map(|allow| allow.iter().map(|cidr| cidr.0).collect()),
        allow_names: file
            .allow_names
            .iter()
            .map(|pattern| pattern.to_string().trim_start_matches('*').to_owned())
            .collect(),
        config_allow: file.config_allow.clone(),
        limits: registry::Limits {
            agents: file.limits.agents as usize,
            instances_per_agent: file.limits.instances_per_agent as usize,
            instances_per_peer: file.limits.instances_per_peer as usize,
            config_bytes: usize::try_from(file.limits.config.0).unwrap_or(usize::MAX),
        },
        authorities: file
            .authorities
            .iter()
            .filter_map(|text| HostPattern::parse(&text.to_string(), "*").ok())
            .collect(),
        default_agent: file.default_agent.clone(),
        health: health_settings(cluster),
        forbidden,
    }
}

fn callback(file: &config::Callback) -> Option<Callback> {
    match file {
        config::Callback::Pattern(pattern) => Callback::pattern(&pattern.to_string()).ok(),
        config::Callback::Ports(ports) => {
            Some(Callback::Ports { host: ports.host.to_string(), ports: ports.ports.0.clone() })
        }
    }
}
