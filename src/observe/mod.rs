//! Only what the registry needs until the real one is merged: the same names and signatures, nothing counted.

use std::sync::Arc;

/// Counters of one cluster.
#[derive(Debug, Default)]
pub struct ClusterMetrics {}

impl ClusterMetrics {
    /// The handle of one instance.
    pub fn instance(self: &Arc<Self>, _label: &str) -> Arc<InstanceMetrics> {
        Arc::new(InstanceMetrics {})
    }

    /// RegisterAgent was answered.
    pub fn registered(&self, _result: &'static str) {}

    /// Heartbeat was answered.
    pub fn heartbeat(&self, _result: &'static str) {}

    /// UnregisterAgent was answered.
    pub fn unregistered(&self, _result: &'static str) {}

    /// A forward to the core ended.
    pub fn forwarded(&self, _result: &'static str) {}
}

/// Counters of one instance.
#[derive(Debug)]
pub struct InstanceMetrics {}
