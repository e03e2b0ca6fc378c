//! The direction from the caller to the instance: what came, what has gone on, and what is kept until it is clear that no other try
//! will need it. Octets pass through here only while there is no stream to give them to, as a copy while they may be needed again, and
//! while messages are held because somebody reads them.

use super::budget::Budget;
use super::gather::Gather;
use super::ledger::Ledger;
use crate::wire::Scanner;

/// The most that one call keeps for another try. A try that was refused was refused at once: what has gone by then is little.
const MOST: usize = 64 * 1024;

/// Room that stays with a call for the next one.
pub(super) const ROOM: usize = 16 * 1024;

/// What a call that keeps anything costs beside its octets.
pub(super) const PIECE: usize = 64;

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
    ledger: Ledger,
    pub(super) scanner: Scanner,
    /// The caller has sent all.
    pub(super) ended: bool,
    /// Messages are held until they are whole.
    held: Option<Box<Held>>,
}

/// What there is more to know where messages are held. What is kept then counts in the budget from its coming on: messages that were
/// sent, messages that have passed, and the one that is not whole.
#[derive(Debug, Default)]
struct Held {
    gather: Gather,
    /// What of it has been given to the stream of this try, and how many messages that were.
    sent: usize,
    sent_messages: u64,
    /// Octets beside it: a copy of the first message.
    beside: usize,
}

impl Upload {
    /// `room` is a buffer to use.
    pub(super) fn new(room: Vec<u8>, ended: bool) -> Self {
        Self {
            kept: room,
            unread: 0,
            whole: true,
            budgeted: 0,
            ledger: Ledger::default(),
            scanner: Scanner::default(),
            ended,
            held: None,
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
    pub(super) fn to_send(&self) -> &[u8] {
        match &self.held {
            None => &self.kept,
            Some(held) => self.kept.get(held.sent..held.gather.passed()).unwrap_or_default(),
        }
    }

    /// Whether there is nothing to send but the head.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.kept.is_empty()
    }

    /// What was kept has been given to a stream: it is kept on only as far as the budget goes.
    pub(super) fn sent_kept(&mut self, budget: &Budget) {
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

    /// No other try will come: what was sent is dropped.
    pub(super) fn forget(&mut self, budget: &Budget) {
        self.whole = false;
        if self.held.is_none() {
            return self.let_go(budget);
        }
        self.drop_sent();
        // It is no more than before.
        self.pay_for_held(budget);
    }

    /// The call is over.
    pub(super) fn let_go(&mut self, budget: &Budget) {
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
        self.ledger.rewind();
        if let Some(held) = &mut self.held {
            (held.sent, held.sent_messages) = (0, 0);
        }
        self.whole
    }

    /// Octets of this try have gone on. Answers for how many the caller gets its credit back: for none twice.
    pub(super) fn went(&mut self, octets: usize, budget: &Budget) -> usize {
        if self.held.is_none() {
            return self.ledger.went(octets);
        }
        self.ledger.given_went(octets);
        // It is less than before.
        self.pay_for_held(budget);
        self.credit()
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

/// Where messages are held.
impl Upload {
    /// From now on messages are held: all of them, as nothing has been looked into.
    pub(super) fn begin_holding(&mut self) {
        self.held.get_or_insert_default();
        self.unread = 0;
    }

    /// Messages are not held after all; none has been looked into. They are all the same where more came than windows alone let come:
    /// that must count until it has gone.
    pub(super) fn end_holding(&mut self) {
        if self.kept.len() <= MOST {
            self.stop_holding();
        }
    }

    /// Whoever takes what came counts it from now on.
    pub(super) fn stop_holding(&mut self) {
        if self.held.take().is_some() {
            self.unread = self.kept.len();
        }
    }

    /// Whether messages are held.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// More octets; false if the budget has no room for them.
    pub(super) fn push(&mut self, octets: &[u8], budget: &Budget) -> bool {
        self.kept.extend_from_slice(octets);
        self.settle(budget)
    }

    /// What is held, and how far it has been looked at.
    pub(super) fn gathered(&mut self) -> Option<(&[u8], &mut Gather, &mut Ledger)> {
        let held = self.held.as_mut()?;
        Some((&self.kept, &mut held.gather, &mut self.ledger))
    }

    /// Whether all that came has passed.
    pub(super) fn is_between_messages(&self) -> bool {
        self.held.as_ref().map_or(self.scanner.is_between_messages(), |held| held.gather.passed() == self.kept.len())
    }

    /// Messages that have come, or are coming.
    pub(super) fn messages(&self) -> u64 {
        self.held.as_ref().map_or(self.scanner.messages(), |held| held.gather.messages())
    }

    /// Messages that were given to the stream of this try.
    pub(super) fn sent_messages(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.sent_messages)
    }

    /// So many octets of what [is to be sent](Self::to_send), whole messages, have been given to a stream as `out` octets.
    pub(super) fn sent_held(&mut self, messages: u64, out: usize, due: usize) {
        let Some(held) = &mut self.held else { return };
        self.ledger.gave(out, due);
        held.sent += due;
        held.sent_messages += messages;
    }

    /// Octets that are copied beside what is kept; false if the budget has no room for them.
    pub(super) fn copy_beside(&mut self, octets: usize, budget: &Budget) -> bool {
        if let Some(held) = &mut self.held {
            held.beside = octets;
        }
        self.settle(budget)
    }

    /// Has the budget bear what is held and what waits with the stream, no more and no less; what is kept for another try goes first
    /// where it does not fit. False if the rest does not either.
    pub(super) fn settle(&mut self, budget: &Budget) -> bool {
        if !self.whole || self.kept.len() > MOST {
            self.drop_sent();
        }
        self.pay_for_held(budget) || (self.drop_sent() && self.pay_for_held(budget))
    }

    fn pay_for_held(&mut self, budget: &Budget) -> bool {
        let Some(held) = &self.held else { return true };
        let octets = self.kept.len() + held.beside + self.ledger.out();
        let wanted = if octets == 0 { 0 } else { octets + PIECE };
        let fits = budget.take(wanted.saturating_sub(self.budgeted));
        if fits {
            budget.give_back(self.budgeted.saturating_sub(wanted));
            self.budgeted = wanted;
        }
        fits
    }

    /// Drops what was sent, if anything: no other try will come.
    fn drop_sent(&mut self) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.sent > 0) else { return false };
        self.whole = false;
        let sent = std::mem::take(&mut held.sent);
        held.gather.dropped(sent);
        self.kept.drain(..sent);
        // The room of a large message goes with its octets.
        self.kept.shrink_to(ROOM.max(self.kept.len()));
        true
    }

    /// Octets for which the caller gets its credit back now.
    pub(super) fn credit(&mut self) -> usize {
        let Some(held) = &self.held else { return 0 };
        self.ledger.credit(self.kept.len() - held.gather.passed())
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, MOST, PIECE, Upload};
    use crate::wire::framed;

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
        assert_eq!(one.to_send(), b"123456");
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
    fn what_nobody_has_read_is_read_once() {
        let mut upload = upload();
        upload.hold(b"ab", false);
        upload.hold(b"cd", false);
        assert_eq!(upload.take_unread(), b"abcd");
        assert_eq!(upload.take_unread(), b"");
        assert_eq!(upload.to_send(), b"abcd");
    }

    /// Looks at all that is whole, and passes it.
    fn pass_all(upload: &mut Upload) {
        let (kept, gather, ledger) = upload.gathered().unwrap();
        while let Some(next) = gather.next(kept).unwrap() {
            if let super::super::gather::Next::Whole(_, prefix) = next {
                gather.pass(prefix);
                ledger.passed(prefix.framed());
            }
        }
    }

    #[test]
    fn what_is_held_counts_until_it_has_gone() {
        let budget = Budget::new(1_000);
        let mut upload = upload();
        upload.begin_holding();
        let message = framed(&[7; 95]);
        assert!(upload.push(&message[..60], &budget));
        assert_eq!((budget.used(), upload.credit()), (60 + PIECE, 60));
        assert!(upload.push(&message[60..], &budget));
        pass_all(&mut upload);
        assert_eq!((upload.to_send(), upload.is_between_messages()), (&message[..], true));
        upload.sent_held(1, 300, 100);
        assert!(upload.settle(&budget));
        assert_eq!(budget.used(), 100 + 300 + PIECE, "kept for another try, and on its way");
        assert_eq!((upload.went(150, &budget), budget.used()), (0, 100 + 150 + PIECE));
        assert_eq!(upload.went(150, &budget), 40);
        upload.forget(&budget);
        assert_eq!((budget.used(), upload.to_send().len()), (0, 0));
    }

    #[test]
    fn what_is_kept_for_another_try_makes_room_for_what_must_be_held() {
        let budget = Budget::new(300);
        let mut upload = upload();
        upload.begin_holding();
        assert!(upload.push(&framed(&[7; 95]), &budget));
        pass_all(&mut upload);
        upload.sent_held(1, 100, 100);
        assert_eq!(upload.went(100, &budget), 100);
        assert!(upload.rewind(), "all is there");
        upload.sent_held(1, 100, 100);
        upload.went(100, &budget);
        assert!(upload.push(&framed(&[8; 145]), &budget), "150 and 100 do not fit");
        assert!(!upload.rewind());
        assert_eq!(budget.used(), 150 + PIECE);
        assert!(!upload.push(&[0; 200], &budget));
        upload.let_go(&budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_call_that_does_not_hold_after_all_is_as_any_other() {
        let budget = Budget::new(1_000);
        let mut upload = upload();
        upload.begin_holding();
        assert!(upload.push(b"abcd", &budget));
        assert_eq!(upload.credit(), 4);
        upload.end_holding();
        assert_eq!((upload.take_unread(), upload.to_send()), (b"abcd".to_vec(), &b"abcd"[..]));
        upload.sent_kept(&budget);
        assert_eq!((upload.went(3, &budget), upload.went(3, &budget)), (0, 2));
        upload.let_go(&budget);
        assert_eq!(budget.used(), 0);
        let (budget, mut upload) = (Budget::new(usize::MAX), Upload::new(Vec::new(), false));
        upload.begin_holding();
        assert!(upload.push(&framed(&vec![0; MOST]), &budget));
        upload.end_holding();
        assert!(upload.holds(), "more than a window was credited for it");
    }
}
