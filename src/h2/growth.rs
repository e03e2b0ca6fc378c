//! What the connections of a worker hold beyond what each may by itself, added up: a thousand peers that do not move must not hold a
//! thousand times what one that moves may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets by which the windows of all streams may be larger than they began.
const MOST: usize = 8 << 20;
/// What is left of it is never given to one stream beyond this part: those that came first and rest now must not leave nothing.
const SHARE: usize = 4;
/// Octets of heads in pieces, of callers, beyond the first frame of each.
const PIECES: usize = 12 << 20;
/// Octets that wait in outputs that their sockets do not take, from which on each connection gets less room.
const CROWD: usize = 2 << 20;
/// What waits in an output before streams hold their DATA back. A turn of a busy connection fits; a peer that reads nothing holds no
/// more than this and what heads and acknowledgements add.
const FULL: usize = 288 * 1024;
/// The same in a crowd.
const FULL_IN_A_CROWD: usize = 8 * 1024;

/// What a worker's connections hold beyond what each may by itself. Streams begin with small windows and get larger ones while they
/// move and there is room.
#[derive(Clone, Debug, Default)]
pub struct Growth(Arc<Sums>);

#[derive(Debug, Default)]
struct Sums {
    grown: AtomicUsize,
    pieces: AtomicUsize,
    output: AtomicUsize,
}

impl Growth {
    pub(super) fn take(&self, octets: u32) -> bool {
        let fits = |used: usize| (octets as usize <= MOST.saturating_sub(used) / SHARE).then(|| used + octets as usize);
        self.0.grown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// A piece of a caller's head.
    pub(super) fn take_piece(&self, octets: u32) -> bool {
        let fits = |used: usize| used.checked_add(octets as usize).filter(|sum| *sum <= PIECES);
        self.0.pieces.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn give_back_pieces(&self, octets: u32) {
        self.0.pieces.fetch_sub(octets as usize, Ordering::Relaxed);
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
        self.0.grown.load(Ordering::Relaxed) + self.0.pieces.load(Ordering::Relaxed)
    }

    /// Octets that wait for sockets now.
    pub fn waiting(&self) -> usize {
        self.0.output.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{CROWD, FULL, FULL_IN_A_CROWD, Growth, MOST, PIECES, SHARE};

    #[test]
    fn sums_have_their_bounds() {
        let growth = Growth::default();
        let quarter = (MOST / SHARE) as u32;
        assert!(!growth.take(quarter + 1) && growth.take(quarter) && !growth.take(quarter), "a part of what is left");
        while growth.take(16 << 10) {}
        assert!(growth.used() <= MOST && growth.take(1 << 10), "never all of it");
        growth.give_back(u32::try_from(growth.used()).unwrap());
        assert!(growth.take_piece(PIECES as u32) && !growth.take_piece(1) && growth.take(1));
        growth.give_back_pieces(PIECES as u32);
        growth.give_back(1);
        assert_eq!(growth.used(), 0);
        growth.output_moved(0, CROWD);
        assert_eq!(growth.output(), FULL);
        growth.output_moved(0, 1);
        assert_eq!(growth.output(), FULL_IN_A_CROWD);
        growth.output_moved(CROWD, 0);
        assert_eq!((growth.output(), growth.waiting()), (FULL, 1));
    }
}
