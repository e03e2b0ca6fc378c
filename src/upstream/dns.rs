//! Clusters whose instances a name server lists: asked again and again, on the control runtime.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use super::{Cluster, Group, Network};
use crate::registry::{EndpointSet, Instance, Target};

/// Keeps a cluster's instances equal to the addresses of `name`, until the future is dropped.
///
/// Instances whose address stays carry over, with their connections and counts. A look-up that fails changes nothing:
/// a name server that is down must not take the instances with it.
pub async fn keep_resolving(
    network: Arc<dyn Network>,
    cluster: Arc<Cluster>,
    (name, port): (String, u16),
    refresh: Duration,
) {
    loop {
        match network.resolve(&name, port).await {
            Ok(found) => publish(&cluster, found),
            Err(error) => {
                tracing::warn!(cluster = %cluster.name, name, %error, "the name could not be resolved; the instances stay as they are");
            }
        }
        // Jitter: many proxies that start together must not ask together for ever.
        let jitter = rand::rng().random_range(0.9..1.1);
        tokio::time::sleep(refresh.mul_f64(jitter)).await;
    }
}

fn publish(cluster: &Cluster, mut addresses: Vec<SocketAddr>) {
    let Group::Listed { set, health, .. } = &cluster.group else { return };
    // An answer without addresses is a name server's mistake more often than a cluster without instances.
    if addresses.is_empty() {
        tracing::warn!(cluster = %cluster.name, "the name has no address; the instances stay as they are");
        return;
    }
    addresses.sort_unstable();
    addresses.dedup();
    let before = set.load_full();
    let mut known: HashMap<&Target, &Arc<Instance>> = before.instances.iter().map(|old| (&old.target, old)).collect();
    let now: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            let target = Target::Socket(address);
            known.remove(&target).cloned().unwrap_or_else(|| {
                let metrics = cluster.metrics.instance(&target.to_string());
                let state = Group::fresh(health.as_ref());
                Instance::new(Arc::clone(&cluster.name), target, 1, state, metrics, Instant::now())
            })
        })
        .collect();
    for left in known.values() {
        left.retire();
    }
    if !known.is_empty() || now.len() != before.instances.len() {
        tracing::info!(cluster = %cluster.name, instances = now.len(), "the name's addresses changed");
        let now = EndpointSet::new(now);
        // Here, and not while a call waits for it.
        cluster.policy.balance().prepare(&now);
        if let Some(health) = health {
            health.list(&now.instances, Instant::now());
        }
        set.store(Arc::new(now));
        cluster.schemas.altered();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::publish;
    use crate::balance::Policy;
    use crate::observe::Metrics;
    use crate::registry::EndpointSet;
    use crate::upstream::schemas::{Schemas, Settings};
    use crate::upstream::{Cluster, ClusterLimits, Group, Lister, Methods};

    #[test]
    fn instances_whose_address_stays_carry_over() {
        let metrics = Metrics::new().cluster("c");
        let limits = ClusterLimits { connections: 1, requests: 1, pending: 1 };
        let group = Group::listed(Lister::Dns, EndpointSet::default());
        let schemas = Schemas::new(Settings::default(), Arc::clone(&metrics));
        let methods = Arc::clone(&schemas) as Arc<dyn Methods>;
        let cluster = Cluster {
            name: "c".into(),
            policy: Policy::RoundRobin,
            limits,
            metrics,
            security: Arc::default(),
            group,
            schemas,
            methods,
        };
        let now = || match &cluster.group {
            Group::Listed { set, .. } => set.load_full().instances.clone(),
            Group::Registered(_) => Vec::new(),
        };
        let address = |text: &str| text.parse().unwrap();
        publish(&cluster, vec![address("127.0.0.1:1"), address("127.0.0.2:1"), address("127.0.0.1:1")]);
        let first = now();
        assert_eq!(first.len(), 2);
        publish(&cluster, vec![address("127.0.0.3:1"), address("127.0.0.2:1")]);
        let second = now();
        assert!(Arc::ptr_eq(&first[1], &second[0]));
        assert!(first[0].is_gone() && !first[1].is_gone());
        publish(&cluster, vec![]);
        assert_eq!(now().len(), 2);
    }
}
