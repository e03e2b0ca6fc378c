//! Whose health is to be asked for when: the earliest first, nobody twice at once.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

/// The next probe of each instance.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    slots: HashMap<u64, Slot>,
    due: BTreeSet<(Instant, u64)>,
}

/// Where an instance's next probe stands.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Due(Instant),
    /// Under way; `again`: what it finds is stale already, ask once more at once.
    Running {
        again: bool,
    },
}

impl Schedule {
    /// Has an instance probed at `at`, or once more if it is being probed. One that is not known is from now on.
    pub(super) fn at(&mut self, instance: u64, at: Instant) {
        match self.slots.entry(instance).or_insert(Slot::Due(at)) {
            Slot::Running { again } => *again = true,
            Slot::Due(before) => {
                self.due.remove(&(*before, instance));
                *before = at;
                self.due.insert((at, instance));
            }
        }
    }

    /// Puts the next probe of an instance that was being probed at `at`.
    pub(super) fn done(&mut self, instance: u64, at: Instant) {
        if let Some(slot) = self.slots.get_mut(&instance) {
            if let Slot::Due(before) = slot {
                self.due.remove(&(*before, instance));
            }
            *slot = Slot::Due(at);
            self.due.insert((at, instance));
        }
    }

    /// Forgets an instance.
    pub(super) fn remove(&mut self, instance: u64) {
        if let Some(Slot::Due(at)) = self.slots.remove(&instance) {
            self.due.remove(&(at, instance));
        }
    }

    /// The next instance whose probe is due; it counts as being probed from now on.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let (at, instance) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, instance));
        self.slots.insert(instance, Slot::Running { again: false });
        Some(instance)
    }

    /// Whether something happened that the probe which is under way may have been too early to see.
    pub(super) fn is_stale(&self, instance: u64) -> bool {
        matches!(self.slots.get(&instance), Some(Slot::Running { again: true }))
    }

    /// When the next probe is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
