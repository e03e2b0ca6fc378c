//! What Portunus tells about itself: metrics, the access log, its own log.
//! Everybody reports here; this knows nobody, so that any part may use it.

pub mod access;
pub mod log;
pub mod metrics;
pub mod time;

pub use access::{AccessLog, CallRecord};
pub use metrics::{CallKind, ClusterMetrics, InstanceMetrics, ListenerMetrics, MethodMetrics, Metrics};
pub use time::Rfc3339;
