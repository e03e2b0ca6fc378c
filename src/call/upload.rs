//! The direction from the caller to the instance: what came, what has gone on, and what is kept until it is clear that no other try
//! will need it. Octets pass through here only while there is no stream to give them to, and as a copy while they may be needed again.

use crate::wire::Scanner;

use super::budget::Budget;

/// The most that one call keeps for another try. A try that was refused was refused at once: what has gone by then is little.
const MOST: usize = 64 * 1024;

/// Room that stays with a call for the next one.
pub(super) const ROOM: usize = 16 * 1024;

/// What a call that keeps anything costs beside its octets.
const PIECE: usize = 64;

/// The upload of one call.
#[derive(Debug)]
pub(super) struct Upload {
    /// Everything that came, from the first octet on, while `whole`; before a try has begun, in any case.
    kept: Vec<u8>,
    /// At the end of what is kept: octets in which nobody has looked for messages yet.
    unread: usize,
    whole: bool,
    /// Octets of the listener's budget that it has: its owner sees to it that they are given back.
    budgeted: usize,
    /// Octets that this try has sent on.
    went: u64,
    /// Octets for which the caller has its credit back.
    credited: u64,
    pub(super) scanner: Scanner,
    /// The caller has sent all.
    pub(super) ended: bool,
}

impl Upload {
    /// `room` is a buffer to use.
    pub(super) fn new(room: Vec<u8>, ended: bool) -> Self {
        Self {
            kept: room,
            unread: 0,
            whole: true,
            budgeted: 0,
            went: 0,
            credited: 0,
            scanner: Scanner::default(),
            ended,
        }
    }

    /// Octets that wait until there is a stream to give them to. The caller's window bounds them: nothing of it is given back.
    pub(super) fn hold(&mut self, octets: &[u8], read: bool) {
        self.kept.extend_from_slice(octets);
        self.unread = if read { 0 } else { self.unread + octets.len() };
    }

    /// What nobody has looked into yet.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        let from = self.kept.len() - std::mem::take(&mut self.unread);
        self.kept.get(from..).map(<[u8]>::to_vec).unwrap_or_default()
    }

    /// What is to be sent first on the stream of a try.
    pub(super) fn held(&self) -> &[u8] {
        &self.kept
    }

    /// Whether there is nothing to send but the head.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.kept.is_empty()
    }

    /// What was held has been given to a stream: it is kept on only as far as the budget goes.
    pub(super) fn sent_held(&mut self, budget: &Budget) {
        if self.whole && !self.kept.is_empty() && !self.pay(0, budget) {
            self.forget(budget);
        }
    }

    /// Keeps octets that go on at once; past the bounds the call goes on and cannot be tried again.
    pub(super) fn keep(&mut self, octets: &[u8], budget: &Budget) {
        if !self.whole {
            return;
        }
        if self.pay(octets.len(), budget) {
            self.kept.extend_from_slice(octets);
        } else {
            self.forget(budget);
        }
    }

    /// Whether what is kept and so many octets more fit the bounds, which then have room for them.
    fn pay(&mut self, coming: usize, budget: &Budget) -> bool {
        let octets = self.kept.len() + coming;
        let more = (octets + PIECE).saturating_sub(self.budgeted);
        let fits = octets <= MOST && budget.take(more);
        if fits {
            self.budgeted += more;
        }
        fits
    }

    /// No other try will come.
    pub(super) fn forget(&mut self, budget: &Budget) {
        self.whole = false;
        self.kept.clear();
        // A call may stay open for long after it has forgotten: the room of a large one goes with its octets.
        self.kept.shrink_to(ROOM);
        budget.give_back(std::mem::take(&mut self.budgeted));
    }

    /// Has the budget bear octets that wait elsewhere for this call; false if it has no room for them.
    pub(super) fn charge(&mut self, octets: usize, budget: &Budget) -> bool {
        let fits = budget.take(octets);
        if fits {
            self.budgeted += octets;
        }
        fits
    }

    /// Begins anew for another try; false if not all was kept.
    pub(super) fn rewind(&mut self) -> bool {
        self.went = 0;
        self.whole
    }

    /// Octets of this try have gone on. Answers for how many the caller gets its credit back: for none twice.
    pub(super) fn went(&mut self, octets: usize) -> usize {
        self.went += octets as u64;
        let due = self.went.saturating_sub(self.credited);
        self.credited += due;
        usize::try_from(due).unwrap_or(usize::MAX)
    }

    /// Octets that it has from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.kept.capacity()
    }

    /// The buffer, for the next call.
    pub(super) fn take_room(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, MOST, PIECE, Upload};

    fn upload() -> Upload {
        Upload::new(Vec::new(), false)
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = Budget::new(2 * PIECE + 10);
        let (mut one, mut two) = (upload(), upload());
        one.keep(b"123456", &budget);
        two.keep(b"12345", &budget);
        assert_eq!(budget.used(), PIECE + 6);
        assert!(!two.rewind() && one.rewind());
        assert_eq!(one.held(), b"123456");
        one.forget(&budget);
        one.forget(&budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_call_keeps_only_so_much() {
        let budget = Budget::new(usize::MAX);
        let mut upload = upload();
        upload.keep(&vec![0; MOST], &budget);
        assert!(upload.rewind());
        upload.keep(b"1", &budget);
        assert_eq!((upload.rewind(), budget.used()), (false, 0));
    }

    #[test]
    fn credit_is_given_once_over_all_tries() {
        let mut upload = upload();
        upload.hold(b"0123456789", true);
        assert_eq!(upload.went(4), 4);
        assert!(upload.rewind());
        assert_eq!((upload.went(3), upload.went(3)), (0, 2));
    }

    #[test]
    fn what_nobody_has_read_is_read_once() {
        let mut upload = upload();
        upload.hold(b"ab", false);
        upload.hold(b"cd", false);
        assert_eq!(upload.take_unread(), b"abcd");
        assert_eq!(upload.take_unread(), b"");
        assert_eq!(upload.held(), b"abcd");
    }
}
