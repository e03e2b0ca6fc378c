//! What is counted a cluster and an instance. The upstream side holds a handle of each; the registrar counts on the
//! cluster's. An instance's series live as long as its handle, and the same goes for a cluster's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use filter_api::Code;

use super::cells::{CodeCounts, Counter, Histogram, Words};
use super::live::Live;

/// What an upstream connection is doing: the `state` label of `portunus_upstream_connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The dial or its handshake is under way.
    Connecting,
    /// Takes calls.
    Ready,
    /// Takes no new calls (GOAWAY, or its instance was removed) and finishes those it has.
    Draining,
}

impl ConnectionState {
    pub(super) const ALL: [Self; 3] = [Self::Connecting, Self::Ready, Self::Draining];

    /// The label value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The counters of one cluster. The holder keeps the handle for as long as the cluster is in force: dropping the last
/// one takes its series away.
#[derive(Debug, Default)]
pub struct ClusterMetrics {
    pub(super) name: Arc<str>,
    pub(super) seconds: Histogram,
    pub(super) retries: Words,
    pub(super) keyless: Counter,
    pub(super) limited: Words,
    pub(super) heads_cut: Counter,
    pub(super) registrations: Words,
    pub(super) heartbeats: Words,
    pub(super) unregistrations: Words,
    pub(super) forwards: Words,
    pub(super) checks: Words,
    pub(super) writes: Words,
    pub(super) schema_fetches: Words,
    pub(super) schema_digests: Live<DigestMetrics>,
    pub(super) schema_incompatible: AtomicUsize,
    pub(super) instances: Live<InstanceMetrics>,
    connections: [AtomicUsize; ConnectionState::ALL.len()],
}

impl ClusterMetrics {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, ..Self::default() }
    }

    /// The handle of the instance with this label (its address), new or shared with whoever holds it.
    pub fn instance(self: &Arc<Self>, label: &str) -> Arc<InstanceMetrics> {
        self.instances.find_or_make(label, |name| InstanceMetrics {
            name,
            cluster: Arc::clone(self),
            codes: CodeCounts::default(),
        })
    }

    /// A try was repeated. `why`: `connect_failed`, `refused_stream`, `goaway`, or the lower-case status for which a
    /// route asked.
    pub fn retried(&self, why: &'static str) {
        self.retries.inc(why);
    }

    /// A call had no key, and its cluster chooses instances by one.
    pub fn keyless(&self) {
        self.keyless.inc();
    }

    /// How many calls had no key.
    pub fn keyless_total(&self) -> u64 {
        self.keyless.value()
    }

    /// A connection to an instance was ended over a limit of HTTP/2.
    pub fn limited(&self, limit: &'static str) {
        self.limited.inc(limit);
    }

    /// So many heads or trailers of answers lost fields, because they were too large.
    pub fn heads_cut(&self, count: u32) {
        self.heads_cut.add(count.into());
    }

    /// RegisterAgent was answered: `added`, `renewed`, `taken_over` or `refused`.
    pub fn registered(&self, result: &'static str) {
        self.registrations.inc(result);
    }

    /// Heartbeat was answered: `acknowledged`, `unknown` or `refused`.
    pub fn heartbeat(&self, result: &'static str) {
        self.heartbeats.inc(result);
    }

    /// UnregisterAgent was answered: `removed`, `unknown` or `refused`.
    pub fn unregistered(&self, result: &'static str) {
        self.unregistrations.inc(result);
    }

    /// A RegisterAgent that was forwarded to the core ended: `ok`, `refused`, `unreachable` or `timeout`.
    pub fn forwarded(&self, result: &'static str) {
        self.forwards.inc(result);
    }

    /// An instance's health was checked: `passed`, `unhealthy` (it says so), `silent` or `refused`.
    pub fn checked(&self, result: &'static str) {
        self.checks.inc(result);
    }

    /// What changed in the registry was written to disk: `ok`; or it was not: `failed`.
    pub fn written(&self, result: &'static str) {
        self.writes.inc(result);
    }

    /// An instance was asked for its schema: `new`, `unchanged`, `unoffered` (it has no reflection), `unreachable`, `over_bound` or
    /// `failed`.
    pub fn schema_fetched(&self, result: &'static str) {
        self.schema_fetches.inc(result);
    }

    /// So many pairs of an instance and a method that it gets no calls of.
    pub fn schema_incompatible(&self, count: usize) {
        self.schema_incompatible.store(count, Ordering::Relaxed);
    }

    /// A schema with this digest is in use for as long as the answer is held.
    pub fn schema_digest(&self, digest: &str) -> Arc<DigestMetrics> {
        self.schema_digests.find_or_make(digest, |digest| DigestMetrics { digest })
    }

    /// Counts one more upstream connection, `Connecting` at first, for as long as the answer lives.
    pub fn connection(self: &Arc<Self>) -> UpstreamConnection {
        let connection = UpstreamConnection { cluster: Arc::clone(self), state: ConnectionState::Connecting };
        self.cell(connection.state).fetch_add(1, Ordering::Relaxed);
        connection
    }

    /// Connections in this state now.
    pub fn connections(&self, state: ConnectionState) -> usize {
        self.cell(state).load(Ordering::Relaxed)
    }

    /// How often a try was repeated for this reason.
    pub fn retried_total(&self, why: &str) -> u64 {
        self.retries.value(why)
    }

    fn cell(&self, state: ConnectionState) -> &AtomicUsize {
        let [connecting, ready, draining] = &self.connections;
        match state {
            ConnectionState::Connecting => connecting,
            ConnectionState::Ready => ready,
            ConnectionState::Draining => draining,
        }
    }
}

/// A schema that instances of a cluster have.
#[derive(Debug)]
pub struct DigestMetrics {
    pub(super) digest: Arc<str>,
}

/// The counters of one instance.
#[derive(Debug)]
pub struct InstanceMetrics {
    pub(super) name: Arc<str>,
    pub(super) codes: CodeCounts,
    // Keeps the cluster's series as long as an instance of it has any.
    cluster: Arc<ClusterMetrics>,
}

impl InstanceMetrics {
    /// One try ended on this instance with this code, this long after it was sent. Each try counts, so that this total
    /// exceeds the calls by the retries.
    pub fn handled(&self, code: Code, took: Duration) {
        self.codes.inc(code);
        self.cluster.seconds.observe(took);
    }

    /// How many tries ended with this code.
    pub fn handled_total(&self, code: Code) -> u64 {
        self.codes.value(code)
    }
}

/// One connection to an instance, counted in the state it is in.
#[derive(Debug)]
#[must_use = "the connection counts as closed when this is dropped"]
pub struct UpstreamConnection {
    cluster: Arc<ClusterMetrics>,
    state: ConnectionState,
}

impl UpstreamConnection {
    /// The connection is in this state from now on.
    pub fn turn(&mut self, state: ConnectionState) {
        self.cluster.cell(self.state).fetch_sub(1, Ordering::Relaxed);
        self.cluster.cell(state).fetch_add(1, Ordering::Relaxed);
        self.state = state;
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.cluster.cell(self.state).fetch_sub(1, Ordering::Relaxed);
    }
}
