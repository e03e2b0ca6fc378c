//! What all calls of a listener may hold of messages, and keep for another try (`limits.buffered`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget of octets, shared by all workers.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    /// A budget of so many octets.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    /// The most that there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Octets that are kept now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, octets: usize) -> bool {
        if octets == 0 {
            return true;
        }
        let fits = |used: usize| used.checked_add(octets).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn give_back(&self, octets: usize) {
        // Most calls have nothing to give back by their end: no need to touch what others count on.
        if octets > 0 {
            self.used.fetch_sub(octets, Ordering::Relaxed);
        }
    }
}
