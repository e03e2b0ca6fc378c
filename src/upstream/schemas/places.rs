//! How many looks there are at once, and for whom: those that take long, however many they are, leave places for the others, and all of
//! them together some for those that calls wait for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a look is like beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    /// Calls wait for what the instance says.
    pub(super) awaited: bool,
    /// The last look at it took long: most likely it does not answer.
    pub(super) slow: bool,
}

/// So many at once.
#[derive(Clone, Copy, Debug)]
struct Most {
    awaited: usize,
    awaited_slow: usize,
    others: usize,
    slow: usize,
}

/// Of a cluster: one whose instances are all silent leaves half of what all clusters have together.
const OF_CLUSTER: Most = Most { awaited: 2, awaited_slow: 1, others: 4, slow: 2 };
/// Of all clusters: what strangers have us hold is bounded by it.
const OF_ALL: Most = Most { awaited: 2, awaited_slow: 2, others: 8, slow: 4 };

/// Places for looks.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    others: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    awaited_slow: Arc<Semaphore>,
}

/// A look has its place. It has it until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _taken: Vec<OwnedSemaphorePermit>,
}

impl Places {
    fn new(most: Most) -> Self {
        let places = |many| Arc::new(Semaphore::new(many));
        Self {
            // Those whom somebody waits for may have every place that is free; the others can never have all.
            all: places(most.awaited + most.awaited_slow + most.others),
            others: places(most.others),
            slow: places(most.slow),
            awaited_slow: places(most.awaited_slow),
        }
    }

    pub(super) fn of_cluster() -> Self {
        Self::new(OF_CLUSTER)
    }

    pub(super) fn of_all() -> Self {
        Self::new(OF_ALL)
    }

    /// What a look of a rank takes a place of: the narrowest first, so that nobody keeps what others could use while he waits.
    fn of(&self, rank: Rank) -> impl Iterator<Item = &Arc<Semaphore>> {
        let Rank { awaited, slow } = rank;
        let of = [
            (!awaited && slow).then_some(&self.slow),
            (!awaited).then_some(&self.others),
            (awaited && slow).then_some(&self.awaited_slow),
            Some(&self.all),
        ];
        of.into_iter().flatten()
    }

    pub(super) fn has_one(&self, rank: Rank) -> bool {
        self.of(rank).all(|places| places.available_permits() > 0)
    }

    /// A place, if there is one.
    pub(super) fn take(&self, rank: Rank) -> Option<Place> {
        let taken: Option<_> = self.of(rank).map(|places| Arc::clone(places).try_acquire_owned().ok()).collect();
        Some(Place { _taken: taken? })
    }

    /// Waits for a place.
    pub(super) async fn wait_for(&self, rank: Rank) -> Place {
        let mut taken = Vec::new();
        for places in self.of(rank) {
            // They are never closed.
            taken.extend(Arc::clone(places).acquire_owned().await);
        }
        Place { _taken: taken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANKS: [Rank; 4] = [
        Rank { awaited: false, slow: true },
        Rank { awaited: false, slow: false },
        Rank { awaited: true, slow: true },
        Rank { awaited: true, slow: false },
    ];

    #[test]
    fn nobody_has_the_places_of_those_who_matter_more() {
        for most in [OF_CLUSTER, OF_ALL] {
            let places = Places::new(most);
            // Each takes all that it can have, and the next ones have theirs.
            let taken: Vec<Vec<Place>> =
                RANKS.iter().map(|rank| std::iter::from_fn(|| places.take(*rank)).collect()).collect();
            let many: Vec<usize> = taken.iter().map(Vec::len).collect();
            assert_eq!(many, [most.slow, most.others - most.slow, most.awaited_slow, most.awaited]);
            assert!(many.iter().all(|many| *many > 0) && RANKS.iter().all(|rank| !places.has_one(*rank)));
            drop(taken);
            assert!(RANKS.iter().all(|rank| places.has_one(*rank)), "they are free again");
        }
    }

    /// One cluster does not have all places.
    const _: () = assert!(OF_CLUSTER.slow < OF_ALL.slow && OF_CLUSTER.others < OF_ALL.others);
    const _: () = assert!(OF_CLUSTER.awaited_slow < OF_ALL.awaited_slow);
}
