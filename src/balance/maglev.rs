//! The instance that a table has for the call's key (Eisenbud et al., "Maglev", NSDI 2016, §3.4): more even than a ring, and one look
//! instead of a search; but when an instance leaves or comes, a few keys of others move too.
//!
//! Every instance has its own order of the table's slots, which its address alone decides. They take turns, as often as their
//! weights say, and each takes the next free slot in its order.

use std::sync::atomic::AtomicUsize;

use super::keyed::Placed;
use super::{Balance, keyed, random};
use crate::registry::{EndpointSet, Instance};

/// Slots of a table: a prime, so that each step size visits all. 64 KiB a set, and a hundred slots for each of the 160 instances
/// of a large cluster. The same for any number of instances: in a table of another size nearly every key would have another slot.
const SLOTS: usize = 16_381;

const FREE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Maglev;

impl Balance for Maglev {
    fn pick(
        &self,
        set: &EndpointSet,
        cursor: &AtomicUsize,
        key: Option<u64>,
        usable: &dyn Fn(&Instance) -> bool,
    ) -> Option<usize> {
        let Some(key) = key else { return random::Random.pick(set, cursor, None, usable) };
        let table = table_of(set);
        // The slots that follow belong to others as by chance, and as their weights say: so the keys of one that is away go to all.
        let (before, after) = table.split_at((key % SLOTS as u64) as usize);
        keyed::first(set, key, after.iter().chain(before).map(|index| *index as usize), usable)
    }

    fn prepare(&self, set: &EndpointSet) {
        table_of(set);
    }
}

fn table_of(set: &EndpointSet) -> &[u32] {
    set.tables.maglev.get_or_init(|| made(set))
}

/// One that takes turns.
struct Taker<'a> {
    placed: Placed<'a>,
    /// The slot that it wants next, and from there to the next but one.
    slot: usize,
    skip: usize,
    /// The weight up to which its turns so far have used up what it was given.
    used: u64,
}

impl Taker<'_> {
    fn new(placed: Placed<'_>) -> Taker<'_> {
        let slot = placed.number(0) % SLOTS as u64;
        let skip = placed.number(1) % (SLOTS as u64 - 1) + 1;
        Taker { placed, slot: slot as usize, skip: skip as usize, used: 0 }
    }

    /// Takes the next free slot in its order; there is one.
    fn take(&mut self, table: &mut [u32]) {
        for _ in 0..SLOTS {
            let here = self.slot;
            self.slot = (self.slot + self.skip) % SLOTS;
            if let Some(slot) = table.get_mut(here).filter(|slot| **slot == FREE) {
                *slot = self.placed.index;
                return;
            }
        }
    }
}

fn made(set: &EndpointSet) -> Box<[u32]> {
    let mut takers: Vec<Taker<'_>> = keyed::by_address(set).into_iter().map(Taker::new).collect();
    let heaviest = takers.iter().map(|taker| taker.placed.weight).max().unwrap_or_default();
    let mut table = vec![FREE; SLOTS];
    let mut free = if takers.is_empty() { 0 } else { SLOTS };
    // The heaviest has a turn in every round, a lighter one whenever it has come by as much weight; in the first round all have one.
    let mut round = 0;
    while free > 0 {
        round += 1;
        for taker in &mut takers {
            if free > 0 && round * taker.placed.weight >= taker.used {
                taker.used += heaviest;
                taker.take(&mut table);
                free -= 1;
            }
        }
    }
    table.into_boxed_slice()
}
