//! Instances that may have been started anew, with another schema than they had: connections to them wait until they have said what they
//! serve, and those that do not say it are in doubt.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Instances of which it is in doubt what they mean by their messages.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Nearly never, so that calls look at this first.
    any: AtomicBool,
    /// And since when.
    of: Mutex<FxHashMap<u64, Instant>>,
}

/// Somebody waits to hear that what is known of an instance is what it serves now.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    pub(super) instance: u64,
    /// Only a look that begins later tells.
    pub(super) since: Instant,
    told: oneshot::Sender<()>,
}

impl Doubts {
    pub(super) fn are_none(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    pub(super) fn has(&self, instance: u64) -> bool {
        self.any.load(Ordering::Acquire) && self.of.lock().contains_key(&instance)
    }

    pub(super) fn add(&self, instance: u64) {
        let mut of = self.of.lock();
        of.insert(instance, Instant::now());
        self.any.store(true, Ordering::Release);
    }

    /// An instance has said what it serves, asked at this time: it is no longer in doubt, unless it has come to be since.
    pub(super) fn end(&self, instance: u64, asked: Instant) {
        if self.any.load(Ordering::Acquire) {
            let mut of = self.of.lock();
            if of.get(&instance).is_some_and(|since| *since <= asked) {
                of.remove(&instance);
                self.any.store(!of.is_empty(), Ordering::Release);
            }
        }
    }

    /// Keeps those of whom this is so.
    pub(super) fn retain(&self, mut is_so: impl FnMut(u64) -> bool) {
        if self.any.load(Ordering::Acquire) {
            let mut of = self.of.lock();
            of.retain(|instance, _| is_so(*instance));
            self.any.store(!of.is_empty(), Ordering::Release);
        }
    }
}

impl Unconfirmed {
    pub(super) fn new(instance: u64) -> (Self, oneshot::Receiver<()>) {
        let (told, confirmed) = oneshot::channel();
        (Self { instance, since: Instant::now(), told }, confirmed)
    }

    /// It is so. Dropped without, it is not known.
    pub(super) fn confirm(self) {
        // Whoever waited may have waited long enough.
        self.told.send(()).ok();
    }
}
