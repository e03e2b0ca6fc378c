//! Rules for `clusters`.

use std::collections::HashMap;

use super::Rules;
use crate::config::Path;
use crate::config::file::{Balance, Callback, Cluster, ClusterSchema, Reflection, Registry, SchemaMode};
use crate::path;

impl Rules<'_> {
    pub(super) fn cluster(&mut self, name: &str, cluster: &Cluster) {
        let at = path!["clusters", name];
        let kinds = ["endpoints", "dns", "registry"];
        let has: Vec<&str> = kinds.into_iter().filter(|kind| self.source.has(&at.with(*kind))).collect();
        match has.as_slice() {
            [_] => {}
            [] => self.report(&at, "has no instances: give one of `endpoints`, `dns` and `registry`".to_owned()),
            [first, second, ..] => {
                self.report(
                    &at,
                    format!("has both `{first}` and `{second}`: keep one of `endpoints`, `dns`, `registry`"),
                );
            }
        }
        if let Some(health) = &cluster.health {
            let at = at.with("health");
            self.positive(health.interval, &at.with("interval"));
            self.positive(health.timeout, &at.with("timeout"));
            if health.expect.is_some() && health.method.is_none() && cluster.registry.is_none() {
                let message = "needs `method`: say which method's answer it is about, for example \
                               `method: grpc.health.v1.Health/Check`";
                self.report(&at.with("expect"), message.to_owned());
            }
        }
        if let Some(dns) = &cluster.dns {
            self.positive(dns.refresh, &at.with("dns").with("refresh"));
        }
        if let Some(tls) = &cluster.tls {
            self.cluster_tls(tls, &at.with("tls"));
        }
        self.key(&at, cluster.balance);
        self.endpoints(name, cluster);
        self.schema(name, &cluster.schema);
        if let Some(registry) = &cluster.registry {
            self.registry(name, registry);
        }
    }

    /// A policy that goes by a key needs to be told which, and no other takes one.
    fn key(&mut self, at: &Path, balance: Balance) {
        let has_key = self.source.has(&at.with("hash_by"));
        let name = match balance {
            Balance::RingHash => "ring_hash",
            Balance::Maglev => "maglev",
            Balance::RoundRobin | Balance::LeastRequest | Balance::Random => {
                if has_key {
                    let message = "only `balance: ring_hash` and `balance: maglev` go by a key: choose one of them, or leave `hash_by` out";
                    self.report(&at.with("hash_by"), message.to_owned());
                }
                return;
            }
        };
        if !has_key {
            let message = format!(
                "`balance: {name}` needs `hash_by`: say by what calls are told apart, for example \
                 `hash_by: 'metadata[\"x-session-id\"]'`"
            );
            self.report(&at.with("balance"), message);
        }
    }

    /// An address twice would get twice the calls, which a weight says more clearly.
    fn endpoints(&mut self, name: &str, cluster: &Cluster) {
        let mut seen = HashMap::new();
        for (index, endpoint) in cluster.endpoints.iter().flatten().enumerate() {
            let first = *seen.entry(endpoint.address()).or_insert(index);
            if first != index {
                let at = path!["clusters", name, "endpoints", index];
                let line = self.source.line(&path!["clusters", name, "endpoints", first], &at);
                let address = endpoint.address();
                let message = format!(
                    "`{address}` is here twice, first in {line}: keep one, with a `weight` if it should get more calls"
                );
                self.report(&at, message);
            }
        }
    }

    fn schema(&mut self, name: &str, schema: &ClusterSchema) {
        let at = path!["clusters", name, "schema"];
        if let Some(refresh) = schema.refresh() {
            self.positive(refresh, &at.with("reflection").with("refresh"));
        }
        let off = schema.reflection == Some(Reflection::Switch(false));
        let message = match (schema.mode, schema.files.is_empty()) {
            (Some(SchemaMode::Verify | SchemaMode::Pinned), true) => {
                "has a `mode` that needs `files`: name them (`portunus descriptors pull` writes one), or leave `mode` out"
            }
            (Some(SchemaMode::Live), false) => {
                "has `files`, which `mode: live` does not use: leave them out, or let them decide with `verify` or `pinned`"
            }
            (Some(SchemaMode::Verify), false) if off => {
                "compares what instances say with `files`, and `reflection: false` asks none: write `mode: pinned`"
            }
            (Some(SchemaMode::Pinned), false) if schema.refresh().is_some() => {
                "asks no instance with `mode: pinned`: leave `reflection` out, or write `mode: verify`"
            }
            _ => return,
        };
        self.report(&at, message.to_owned());
    }

    fn registry(&mut self, name: &str, registry: &Registry) {
        let at = path!["clusters", name, "registry"];
        self.positive(registry.lease, &at.with("lease"));
        self.positive(registry.forget, &at.with("forget"));
        self.size(registry.limits.config, &(1 << 10..=16 << 20), &at.with("limits").with("config"));
        if registry.core.is_some() && registry.callback.is_none() {
            let message = "missing key `callback`: say under which address the core reaches this proxy, for example \
                           \"{agent}.localhost:3790\"";
            self.report(&at, message.to_owned());
        }
        let Some(Callback::Ports(callback)) = &registry.callback else { return };
        let (first, last) = (callback.ports.0.start(), callback.ports.0.end());
        let serves = |ports: &std::ops::RangeInclusive<u16>| ports.contains(first) && ports.contains(last);
        // A listener that could not be read may be the one that serves them.
        let all_read = self.config.listeners.len() == self.source.keys(&path!["listeners"]).count();
        if all_read && !self.config.listeners.values().any(|listener| serves(&listener.address.ports)) {
            let message = format!(
                "no listener serves the ports {}: give one an `address` such as `127.0.0.1:{}`",
                callback.ports, callback.ports
            );
            self.report(&at.with("callback").with("ports"), message);
        }
    }
}
