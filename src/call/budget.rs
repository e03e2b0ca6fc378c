//! What all calls of a listener may hold of messages, and keep for another try (`limits.buffered`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget of octets, shared by all workers.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    most: AtomicUsize,
}

impl Budget {
    /// A budget of so many octets.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most: AtomicUsize::new(most) })
    }

    /// Makes it larger or smaller. What is kept already stays kept.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// The most that there may be.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Octets that are kept now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, octets: usize) -> bool {
        if octets == 0 {
            return true;
        }
        let most = self.most();
        let fits = |used: usize| used.checked_add(octets).filter(|sum| *sum <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn give_back(&self, octets: usize) {
        // Most calls have nothing to give back by their end: no need to touch what others count on.
        if octets > 0 {
            self.used.fetch_sub(octets, Ordering::Relaxed);
        }
    }
}
