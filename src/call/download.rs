//! The direction from the instance to the caller, where messages of the answer are held because somebody reads them.

use super::budget::Budget;
use super::gather::Gather;
use super::ledger::Ledger;
use super::upload::{PIECE, ROOM};
use crate::wire::Encoding;

/// The answer of one call.
#[derive(Debug)]
pub(super) struct Download {
    /// How its messages are compressed.
    pub(super) encoding: Encoding,
    /// What came and has not gone on: a message that is not whole.
    held: Vec<u8>,
    gather: Gather,
    ledger: Ledger,
    /// Octets of the listener's budget that it has: its owner sees to it that they are given back.
    budgeted: usize,
}

impl Download {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, held: Vec::new(), gather: Gather::default(), ledger: Ledger::default(), budgeted: 0 }
    }

    /// More octets; false if the budget has no room for them.
    pub(super) fn push(&mut self, octets: &[u8], budget: &Budget) -> bool {
        self.held.extend_from_slice(octets);
        self.settle(budget)
    }

    /// What is held, and how far it has been looked at.
    pub(super) fn gathered(&mut self) -> (&[u8], &mut Gather, &mut Ledger) {
        (&self.held, &mut self.gather, &mut self.ledger)
    }

    /// The messages that have passed.
    pub(super) fn passed(&self) -> &[u8] {
        self.held.get(..self.gather.passed()).unwrap_or_default()
    }

    /// Whether all that came has passed.
    pub(super) fn is_between_messages(&self) -> bool {
        self.gather.passed() == self.held.len()
    }

    /// What has passed was given to the caller's stream, as so many octets. False if the budget has no room for what waits there.
    pub(super) fn sent(&mut self, out: usize, gone: usize, budget: &Budget) -> bool {
        let passed = self.gather.passed();
        self.ledger.gave(out, passed);
        self.ledger.given_went(gone);
        self.held.drain(..passed);
        self.gather.dropped(passed);
        // A stream may be open for long after a large message.
        self.held.shrink_to(ROOM.max(self.held.len()));
        self.settle(budget)
    }

    /// Octets that waited have gone on.
    pub(super) fn went(&mut self, octets: usize, budget: &Budget) -> usize {
        self.ledger.given_went(octets);
        // It is less than before.
        self.settle(budget);
        self.credit()
    }

    /// Octets for which the instance gets its credit back now.
    pub(super) fn credit(&mut self) -> usize {
        self.ledger.credit(self.held.len() - self.gather.passed())
    }

    /// The call is over.
    pub(super) fn let_go(&mut self, budget: &Budget) {
        budget.give_back(std::mem::take(&mut self.budgeted));
    }

    /// Octets that it has from the allocator.
    pub(super) fn allocated(&self) -> usize {
        self.held.capacity()
    }

    fn settle(&mut self, budget: &Budget) -> bool {
        let octets = self.held.len() + self.ledger.out();
        let wanted = if octets == 0 { 0 } else { octets + PIECE };
        let fits = budget.take(wanted.saturating_sub(self.budgeted));
        if fits {
            budget.give_back(self.budgeted.saturating_sub(wanted));
            self.budgeted = wanted;
        }
        fits
    }
}
