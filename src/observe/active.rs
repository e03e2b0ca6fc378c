//! How many calls are open. The data path holds one [`OpenCall`] a call; the drain and `/metrics` read the count.
//! Knows nothing about the calls themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of open calls, shared by all workers. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct OpenCalls(Arc<AtomicUsize>);

impl OpenCalls {
    /// Counts one more call for as long as the answer lives.
    pub fn enter(&self) -> OpenCall {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenCall(Arc::clone(&self.0))
    }

    /// Calls that are open now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One open call. Dropping it, on whatever path the call ends, counts it out.
#[derive(Debug)]
#[must_use = "the call counts as ended when this is dropped"]
pub struct OpenCall(Arc<AtomicUsize>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_call_is_counted_out() {
        let calls = OpenCalls::default();
        let first = calls.enter();
        let second = calls.clone().enter();
        assert_eq!(calls.count(), 2);
        drop(first);
        assert_eq!(calls.count(), 1);
        drop(second);
        assert_eq!(calls.count(), 0);
    }
}
