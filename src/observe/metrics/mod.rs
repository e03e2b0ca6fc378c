//! Every number that Portunus tells: DESIGN.md section 6. Parts resolve a handle once (a method, a listener, a cluster,
//! an instance) and count on it with atomics; `/metrics` reads all of them in [`Metrics::expose`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

mod cells;
mod expose;
mod listeners;
mod live;
mod methods;
mod process;
#[cfg(test)]
mod tests;
mod upstream;

pub use cells::{CodeCounts, Counter, Histogram, Words};
pub use expose::{AuditFile, Format, InstanceCount, KeyAge, Seen};
pub use listeners::{ListenerMetrics, OpenConnection};
pub use methods::{CallKind, MethodMetrics, Named, OpenCall};
pub use process::allocated_bytes;
pub use upstream::{ClusterMetrics, ConnectionState, DigestMetrics, InstanceMetrics, UpstreamConnection};

use live::Live;
use methods::Methods;

/// The root of all counters. One a process; it outlives configurations, so that a reload resets nothing.
#[derive(Debug)]
pub struct Metrics {
    methods: Methods,
    listeners: Live<ListenerMetrics>,
    clusters: Live<ClusterMetrics>,
    generation: AtomicU64,
    reloads: [Counter; 2],
    access_dropped: Arc<Counter>,
    started: SystemTime,
}

impl Metrics {
    /// Nothing counted yet. Made first thing at a start: its age is reported as the process's.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            methods: Methods::default(),
            listeners: Live::default(),
            clusters: Live::default(),
            generation: AtomicU64::new(0),
            reloads: <[Counter; 2]>::default(),
            access_dropped: Arc::default(),
            started: SystemTime::now(),
        })
    }

    /// The handle on which a call of this method counts. Cheap enough for every call: an atomic load and two look-ups,
    /// no allocation. Names that nobody vouches for get a shared `_other` handle ([`MethodMetrics::is_other`]).
    pub fn method(&self, service: &str, method: &str) -> Arc<MethodMetrics> {
        self.methods.find(service, method)
    }

    /// The handle of the method that a path names, where it has one of its own: no need to take the path apart.
    pub fn method_at(&self, path: &[u8]) -> Option<Arc<MethodMetrics>> {
        self.methods.at(path)
    }

    /// Calls that are open now.
    pub fn open_calls(&self) -> usize {
        let open: u64 = self.methods.all().iter().map(|method| method.open()).sum();
        usize::try_from(open).unwrap_or(usize::MAX)
    }

    /// Gives a method series of its own, because a route, a bundled contract or a schema names it.
    pub fn know(&self, service: &str, method: &str, kind: CallKind) {
        self.methods.know(service, method, kind);
    }

    /// The same for many, all at once; for a service alone where a route names it without its methods.
    pub fn know_all<'n>(&self, named: impl IntoIterator<Item = Named<'n>>) {
        self.methods.know_all(named);
    }

    /// Gives a method series of its own, because a backend answered it with anything but UNIMPLEMENTED: a stranger
    /// cannot have made it up. Bounded to 2,000 methods. Calls that began before count to their end on `_other`.
    pub fn learn(&self, service: &str, method: &str) {
        self.methods.learn(service, method);
    }

    /// The handle of the listener with this name. Hold it: its series go with the last holder.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        self.listeners.find_or_make(name, ListenerMetrics::new)
    }

    /// The handle of the cluster with this name. Hold it: its series go with the last holder.
    pub fn cluster(&self, name: &str) -> Arc<ClusterMetrics> {
        self.clusters.find_or_make(name, ClusterMetrics::new)
    }

    /// A configuration with this number came into force.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// A configuration was to replace the one in force, and did, or could not.
    pub fn reloaded(&self, applied: bool) {
        self.reloads[usize::from(applied)].add(1);
    }

    /// Where the access log counts the lines that it had to drop.
    pub fn access_dropped(&self) -> Arc<Counter> {
        Arc::clone(&self.access_dropped)
    }
}
