//! The order in which a cluster's instances are looked at: those first whom somebody waits for, but never these alone.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::places::Rank;

/// Instances, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Queue {
    awaited: Side,
    others: Side,
    /// The last one that was taken is one whom somebody waited for.
    awaited_last: bool,
}

/// Those who answer, and those who are slow.
#[derive(Debug, Default)]
struct Side {
    quick: BTreeSet<(Instant, u64)>,
    slow: BTreeSet<(Instant, u64)>,
}

/// One that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) id: u64,
    pub(super) rank: Rank,
}

impl Queue {
    pub(super) fn add(&mut self, due: Due) {
        self.side(due.rank).insert((due.at, due.id));
    }

    pub(super) fn remove(&mut self, due: Due) {
        self.side(due.rank).remove(&(due.at, due.id));
    }

    /// Takes one that is due and has a place.
    pub(super) fn take(&mut self, due: Due) {
        self.remove(due);
        self.awaited_last = due.rank.awaited;
    }

    /// The one whose turn it is, among those that have a place. In turn, where there is one on each side: whoever has calls wait for
    /// himself all the time must not keep the others from being asked at all.
    pub(super) fn next(&self, now: Instant, has_place: impl Fn(Rank) -> bool) -> Option<Due> {
        let [awaited, others] = self.first(has_place).map(|due| due.filter(|due| due.at <= now));
        if self.awaited_last { others.or(awaited) } else { awaited.or(others) }
    }

    /// When the next one is due that has a place.
    pub(super) fn next_at(&self, has_place: impl Fn(Rank) -> bool) -> Option<Instant> {
        self.first(has_place).into_iter().flatten().map(|due| due.at).min()
    }

    /// The first of each side that has a place.
    fn first(&self, has_place: impl Fn(Rank) -> bool) -> [Option<Due>; 2] {
        [(true, &self.awaited), (false, &self.others)].map(|(awaited, side)| {
            let of = [(false, &side.quick), (true, &side.slow)].map(|(slow, instances)| {
                let rank = Rank { awaited, slow };
                let first = instances.first().filter(|_| has_place(rank));
                first.map(|(at, id)| Due { at: *at, id: *id, rank })
            });
            of.into_iter().flatten().min_by_key(|due| (due.at, due.id))
        })
    }

    fn side(&mut self, rank: Rank) -> &mut BTreeSet<(Instant, u64)> {
        let side = if rank.awaited { &mut self.awaited } else { &mut self.others };
        if rank.slow { &mut side.slow } else { &mut side.quick }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn those_whom_somebody_waits_for_come_first_but_not_alone() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let later = |seconds| now + Duration::from_secs(seconds);
        let due = |at, id, awaited, slow| Due { at, id, rank: Rank { awaited, slow } };
        let all = [
            due(now, 1, false, false),
            due(later(1), 2, false, true),
            due(later(2), 3, false, false),
            due(later(3), 4, true, true),
            due(later(4), 5, true, false),
            due(later(9), 6, true, false),
        ];
        all.into_iter().for_each(|due| queue.add(due));
        assert_eq!(queue.next_at(|_| true), Some(now));
        assert_eq!(queue.next_at(|rank| rank.slow), Some(later(1)));
        let mut order = Vec::new();
        while let Some(next) = queue.next(later(5), |_| true) {
            queue.take(next);
            order.push(next.id);
        }
        assert_eq!(order, [4, 1, 5, 2, 3], "the last is not due");
        assert_eq!(queue.next(later(9), |rank| rank.slow), None, "no place");
        queue.remove(all[5]);
        assert_eq!(queue.next_at(|_| true), None);
    }
}
