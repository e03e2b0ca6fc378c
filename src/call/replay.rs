//! The part of a request that has gone upstream, kept until it is clear that no other try will need it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The most that one call keeps. A try that was refused was refused at once: what has gone by then is little.
const MOST: usize = 256 * 1024;

/// What a piece costs beside its bytes: a caller can send one byte a frame.
const PIECE: usize = 64;

/// What all calls of a listener may keep together (`limits.buffered`).
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    /// Bytes that are kept now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// What one call keeps. Bytes are shared with what was sent, not copied.
#[derive(Debug)]
pub(super) struct Replay {
    pieces: Vec<Bytes>,
    bytes: usize,
    whole: bool,
    budget: Arc<Budget>,
}

impl Replay {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { pieces: Vec::new(), bytes: 0, whole: true, budget }
    }

    /// Keeps a piece that is about to be sent; past the bounds the call goes on and cannot be tried again.
    pub(super) fn keep(&mut self, piece: &Bytes) {
        if !self.whole {
            return;
        }
        let cost = piece.len() + PIECE;
        if self.bytes + cost > MOST || !self.budget.take(cost) {
            self.forget();
            return;
        }
        self.bytes += cost;
        self.pieces.push(piece.clone());
    }

    /// No other try will come: what was kept is let go.
    pub(super) fn forget(&mut self) {
        self.whole = false;
        self.pieces = Vec::new();
        self.budget.used.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }

    /// Everything that was sent, for another try, which keeps it anew; `None` if not all of it was kept.
    pub(super) fn take(&mut self) -> Option<Vec<Bytes>> {
        if !self.whole {
            return None;
        }
        self.budget.used.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        Some(std::mem::take(&mut self.pieces))
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Budget, MOST, PIECE, Replay};

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = Budget::new(2 * PIECE + 10);
        let mut one = Replay::new(budget.clone());
        let mut two = Replay::new(budget.clone());
        one.keep(&Bytes::from_static(b"123456"));
        two.keep(&Bytes::from_static(b"12345"));
        assert_eq!(budget.used(), PIECE + 6);
        assert_eq!(two.take(), None);
        assert_eq!(one.take(), Some(vec![Bytes::from_static(b"123456")]));
        assert_eq!(budget.used(), 0);
        one.keep(&Bytes::from_static(b"123456"));
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_call_keeps_only_so_much() {
        let budget = Budget::new(usize::MAX);
        let mut replay = Replay::new(budget.clone());
        replay.keep(&Bytes::from(vec![0; MOST - PIECE]));
        replay.keep(&Bytes::from_static(b"1"));
        assert_eq!((replay.take(), budget.used()), (None, 0));
    }
}
