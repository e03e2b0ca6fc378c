//! What is counted a listener: open connections and refusals. The edge and the data path hold a handle a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use filter_api::Reason;

use super::cells::Words;

/// The counters of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    pub(super) name: Arc<str>,
    pub(super) refused: Words,
    pub(super) limited: Words,
    connections: AtomicUsize,
}

impl ListenerMetrics {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, refused: Words::default(), limited: Words::default(), connections: AtomicUsize::new(0) }
    }

    /// Portunus itself refused a call here.
    pub fn refused(&self, reason: Reason) {
        self.refused.inc(reason.as_str());
    }

    /// A caller's connection was ended over a limit of HTTP/2.
    pub fn limited(&self, limit: &'static str) {
        self.limited.inc(limit);
    }

    /// How often a call was refused here for this reason.
    pub fn refused_total(&self, reason: Reason) -> u64 {
        self.refused.value(reason.as_str())
    }

    /// Counts one more open connection for as long as the answer lives.
    pub fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// One open connection of a listener.
#[derive(Debug)]
#[must_use = "the connection counts as closed when this is dropped"]
pub struct OpenConnection(Arc<ListenerMetrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
