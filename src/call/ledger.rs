//! How much of one direction has gone on, and for how much its source has its credit back: for no octet twice, whatever tries there
//! are, and for what is held only where nothing else of the call is held up behind it.

/// The octets of one direction. All but `out` are octets as their source sent them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    /// Have passed: whole messages that may go on.
    passed: u64,
    /// Have gone on, in this try.
    went: u64,
    /// Are credited.
    credited: u64,
    /// Octets that were given to a stream and have not gone on; with other bodies they are more or fewer than came.
    out: usize,
    /// The octets of the source that stand for them.
    due: usize,
}

impl Ledger {
    /// Octets have gone on as they came. Answers how many are to be credited.
    pub(super) fn went(&mut self, octets: usize) -> usize {
        self.went += octets as u64;
        self.credit_up_to(self.went)
    }

    /// A held message has passed.
    pub(super) fn passed(&mut self, octets: usize) {
        self.passed += octets as u64;
    }

    /// What has passed was given to a stream as so many octets.
    pub(super) fn gave(&mut self, out: usize, due: usize) {
        self.out += out;
        self.due += due;
    }

    /// Octets that were given have gone on.
    pub(super) fn given_went(&mut self, octets: usize) {
        let octets = octets.min(self.out);
        let went = match self.out - octets {
            0 => self.due,
            // Of what became larger or smaller as large a part, rounded down: the rest comes with the last octet.
            _ => usize::try_from(self.due as u128 * octets as u128 / self.out as u128).unwrap_or_default(),
        };
        self.out -= octets;
        self.due -= went;
        self.went += went as u64;
    }

    /// Octets that wait with a stream.
    pub(super) fn out(&self) -> usize {
        self.out
    }

    /// How many octets are to be credited where `held` are part of a message that is not whole. They are only where nothing before
    /// them waits: a message may be larger than its source's window, and what is held stays within one message.
    pub(super) fn credit(&mut self, held: usize) -> usize {
        let ahead = if self.went == self.passed { held as u64 } else { 0 };
        self.credit_up_to(self.went + ahead)
    }

    /// Another try: all goes again.
    pub(super) fn rewind(&mut self) {
        self.went = 0;
        self.out = 0;
        self.due = 0;
    }

    fn credit_up_to(&mut self, octets: u64) -> usize {
        let due = octets.saturating_sub(self.credited);
        self.credited += due;
        usize::try_from(due).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn credit_is_given_once_over_all_tries() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.went(4), 4);
        ledger.rewind();
        assert_eq!((ledger.went(3), ledger.went(3)), (0, 2));
    }

    #[test]
    fn what_is_held_is_credited_while_nothing_waits_before_it() {
        let mut ledger = Ledger::default();
        assert_eq!((ledger.credit(60), ledger.credit(100)), (60, 40));
        ledger.passed(100);
        ledger.gave(100, 100);
        assert_eq!(ledger.credit(30), 0, "the first message waits");
        ledger.given_went(99);
        assert_eq!(ledger.credit(30), 0);
        ledger.given_went(1);
        assert_eq!((ledger.credit(30), ledger.credit(30), ledger.out()), (30, 0, 0));
    }

    #[test]
    fn other_bodies_are_credited_as_what_came() {
        for (came, out) in [(10, 1_000), (1_000, 10), (7, 7), (5, 6)] {
            let mut ledger = Ledger::default();
            ledger.passed(came);
            ledger.gave(out, came);
            let mut credited = 0;
            for gone in 1..=out {
                ledger.given_went(1);
                credited += ledger.credit(0);
                assert!(credited * out <= came * gone, "no credit before its part has gone: {credited} at {gone}");
            }
            assert_eq!((credited, ledger.out()), (came, 0));
        }
    }

    #[test]
    fn a_try_that_is_repeated_credits_what_the_last_did_not() {
        let mut ledger = Ledger::default();
        ledger.passed(100);
        ledger.gave(100, 100);
        ledger.given_went(40);
        assert_eq!(ledger.credit(0), 40);
        ledger.rewind();
        ledger.gave(200, 100);
        ledger.given_went(100);
        assert_eq!(ledger.credit(0), 10, "half of it has gone now");
        ledger.given_went(100);
        assert_eq!(ledger.credit(7), 57);
    }
}
