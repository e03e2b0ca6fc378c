//! What is in force: a configuration, and the clusters that it leads to. One value behind one pointer, so that whoever looks sees both of
//! one version, and a reload is one store.

use std::sync::Arc;

use crate::config::snapshot::Snapshot;
use crate::upstream::Clusters;

/// A configuration with its clusters. What outlives it (instances, registries, schemas) is the same value in the clusters of the next.
#[derive(Debug)]
pub struct InForce {
    /// What the file says.
    pub snapshot: Arc<Snapshot>,
    /// Those that the file names, and those within.
    pub clusters: Clusters,
}
