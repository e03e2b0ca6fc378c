//! Clusters from their configuration: what each part of the file means to the registry, the balancer and the data path.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::listening::Sockets;
use crate::balance::Policy;
use crate::config::{self, Balance};
use crate::observe::ClusterMetrics;
use crate::registry::{
    self, Callback, EndpointSet, Forbidden, HealthSettings, HostPattern, Instance, Listed, Settings, Target,
};
use crate::upstream::schemas::Schemas;
use crate::upstream::{Cluster, ClusterLimits, Group, Methods, Security};

/// Addresses that are ours: no instance may be there, or calls would come back to us.
pub(super) fn reserved(sockets: &Sockets, admin: impl Iterator<Item = SocketAddr>) -> Vec<Forbidden> {
    let ours = sockets.addresses().map(|(name, address)| forbidden(address, format!("listener `{name}`")));
    ours.chain(admin.map(|address| forbidden(address, "the admin server".to_owned()))).collect()
}

fn forbidden(address: SocketAddr, what: String) -> Forbidden {
    Forbidden { ip: address.ip(), ports: address.port()..=address.port(), what }
}

/// A cluster with these instances.
pub(super) fn assembled(
    (name, cluster): (&Arc<str>, &config::Cluster),
    schemas: Arc<Schemas>,
    security: Arc<Security>,
    group: Group,
    metrics: Arc<ClusterMetrics>,
) -> Arc<Cluster> {
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

/// The endpoints of a file as a set: those that are in `before` are the same ones.
pub(super) fn listed(
    cluster: &Arc<str>,
    endpoints: &[config::Endpoint],
    (metrics, health): (&Arc<ClusterMetrics>, Option<&Arc<Listed>>),
    before: &[Arc<Instance>],
) -> EndpointSet {
    let mut before: Vec<&Arc<Instance>> = before.iter().collect();
    let instances = endpoints.iter().filter_map(|endpoint| {
        // The file's rules have seen to the form.
        let target = Target::parse(&endpoint.address().to_string())?;
        let same = |known: &&Arc<Instance>| known.target == target && known.weight == endpoint.weight();
        if let Some(at) = before.iter().position(same) {
            return Some(Arc::clone(before.swap_remove(at)));
        }
        let counters = metrics.instance(&target.to_string());
        let state = Group::fresh(health);
        Some(Instance::new(Arc::clone(cluster), target, endpoint.weight(), state, counters, Instant::now()))
    });
    EndpointSet::new(instances.collect())
}

pub(super) fn policy(balance: Balance) -> Policy {
    match balance {
        Balance::RoundRobin => Policy::RoundRobin,
        Balance::LeastRequest => Policy::LeastRequest,
        Balance::Random => Policy::Random,
        Balance::RingHash => Policy::RingHash,
        Balance::Maglev => Policy::Maglev,
    }
}

pub(super) fn health_settings(cluster: &config::Cluster) -> HealthSettings {
    let health = cluster.health.clone().unwrap_or_default();
    HealthSettings {
        interval: health.interval.0,
        timeout: health.timeout.0,
        unhealthy_after: health.unhealthy_after,
        healthy_after: health.healthy_after,
    }
}

/// What a registry is told.
pub(super) fn settings(file: &config::Registry, cluster: &config::Cluster, reserved: &[Forbidden]) -> Settings {
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
