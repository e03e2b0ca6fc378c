//! What the connections of a worker hold beyond what each may by itself, added up: a thousand peers that do not move must not hold a
//! thousand times what one that moves may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets by which the windows of all streams may be larger than they began, and heads in pieces longer than one frame.
const MOST: usize = 12 << 20;
/// Octets that wait in outputs that their sockets do not take, from which on each connection gets less room.
const CROWD: usize = 4 << 20;
/// What waits in an output before streams hold their DATA back. A turn of a busy connection fits; a peer that reads nothing holds no
/// more than this and what heads and acknowledgements add.
const FULL: usize = 128 * 1024;
/// The same in a crowd.
const FULL_IN_A_CROWD: usize = 8 * 1024;

/// What a worker's connections hold beyond what each may by itself. Streams begin with small windows and get larger ones while they
/// move and there is room.
#[derive(Clone, Debug, Default)]
pub struct Growth(Arc<Sums>);

#[derive(Debug, Default)]
struct Sums {
    grown: AtomicUsize,
    output: AtomicUsize,
}

impl Growth {
    pub(super) fn take(&self, octets: u32) -> bool {
        let fits = |used: usize| used.checked_add(octets as usize).filter(|sum| *sum <= MOST);
        self.0.grown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn give_back(&self, octets: u32) {
        // Nearly every stream ends as it began: no need to touch what others count on.
        if octets > 0 {
            self.0.grown.fetch_sub(octets as usize, Ordering::Relaxed);
        }
    }

    /// What waits in an output was so much, and is so much now.
    pub(super) fn output_moved(&self, before: usize, now: usize) {
        if before != now {
            self.0.output.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// What may wait in an output.
    pub(super) fn output(&self) -> usize {
        if self.0.output.load(Ordering::Relaxed) > CROWD { FULL_IN_A_CROWD } else { FULL }
    }

    /// Octets that are taken now.
    pub fn used(&self) -> usize {
        self.0.grown.load(Ordering::Relaxed)
    }

    /// Octets that wait for sockets now.
    pub fn waiting(&self) -> usize {
        self.0.output.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{CROWD, FULL, FULL_IN_A_CROWD, Growth, MOST};

    #[test]
    fn sums_have_their_bounds() {
        let growth = Growth::default();
        assert!(growth.take(MOST as u32) && !growth.take(1));
        growth.give_back(1);
        assert!(growth.take(1));
        growth.output_moved(0, CROWD);
        assert_eq!(growth.output(), FULL);
        growth.output_moved(0, 1);
        assert_eq!(growth.output(), FULL_IN_A_CROWD);
        growth.output_moved(CROWD, 0);
        assert_eq!((growth.output(), growth.waiting()), (FULL, 1));
    }
}
