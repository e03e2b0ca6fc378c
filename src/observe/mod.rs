//! What Portunus tells about itself: metrics, the access log, its own log.
//! Everybody reports here; this knows nobody, so that any part may use it.

pub mod access;
pub mod log;
pub mod metrics;

pub use access::{AccessLog, CallRecord};
pub use filter_api::Rfc3339;
pub use metrics::{CallKind, ClusterMetrics, InstanceMetrics, ListenerMetrics, MethodMetrics, Metrics};
