//! Where calls go: clusters, their instances, and each worker's connections to them.
//!
//! Connections belong to a worker, so that both ends of a call live on one thread; health, counts and cursors are shared
//! by all workers.

pub mod channel;
mod cluster;
mod connect;
pub mod core;
mod dns;
mod fetch;
mod line;
mod network;
mod pool;
pub mod probe;
pub mod reflection;
pub mod schemas;
mod security;
pub mod side;

pub use cluster::{Cluster, ClusterLimits, Clusters, Group, Lister, Methods, STRANGER, VISITOR};
pub use connect::{ConnectError, connect, knock};
pub use dns::keep_resolving;
pub use fetch::Fetcher;
pub use network::{Io, Network, Place, Tcp};
pub use pool::{Found, Lane, Opening, PATIENCE, Pool, Room};
pub use security::Security;

use std::sync::OnceLock;

use tokio::time::Instant;

/// A moment in milliseconds of the process's own clock, which never jumps: for marks that many threads read, and for HTTP/2.
pub fn clock_ms(now: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = now.saturating_duration_since(*START.get_or_init(|| now));
    // From 1 on, since 0 means "never" in such marks.
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
