//! The instance that comes next on a ring after the call's key (consistent hashing, as Envoy's and gRPC's `ring_hash`).
//!
//! Each instance has many points on the ring, at places that its address alone decides. Whoever leaves, or cannot take a call, leaves
//! his keys to those that come next, and no other key moves; whoever comes back gets the same keys again.

use std::sync::atomic::AtomicUsize;

use super::{Balance, keyed, random};
use crate::registry::{EndpointSet, Instance};

/// Points for a weight of one. The more, the more even: with 256, an instance has 6 % more or less than its share (1/√256).
/// The number is the same whoever else is there, or each that comes would move the points, and keys, of others.
const POINTS: u64 = 256;

/// The most points of a ring, but for one an instance: 2 MiB. Where the weights come to more than 1,024, all have half as many points, or
/// a quarter, and so on: in halves, so that it is rarely another number than before.
const MOST: u64 = 1 << 18;

#[derive(Debug)]
pub(super) struct RingHash;

impl Balance for RingHash {
    fn pick(
        &self,
        set: &EndpointSet,
        cursor: &AtomicUsize,
        key: Option<u64>,
        usable: &dyn Fn(&Instance) -> bool,
    ) -> Option<usize> {
        let Some(key) = key else { return random::Random.pick(set, cursor, None, usable) };
        let ring = ring_of(set);
        let (before, after) = ring.split_at(ring.partition_point(|point| place(*point) < place(key)));
        let order = after.iter().chain(before).map(|point| (*point as u32) as usize);
        keyed::first(set, key, order, usable)
    }

    fn prepare(&self, set: &EndpointSet) {
        ring_of(set);
    }
}

fn ring_of(set: &EndpointSet) -> &[u64] {
    set.tables.ring.get_or_init(|| made(set))
}

/// Where on the ring.
fn place(number: u64) -> u64 {
    number >> 32
}

fn made(set: &EndpointSet) -> Box<[u64]> {
    let placed = keyed::by_address(set);
    let wanted = POINTS * placed.iter().map(|one| one.weight).sum::<u64>();
    let halvings = (0..u64::BITS).find(|by| wanted >> by <= MOST).unwrap_or_default();
    let mut ring: Vec<u64> = Vec::new();
    for (rank, one) in (0u64..).zip(&placed) {
        let points = ((POINTS * one.weight) >> halvings).max(1) as u32;
        ring.extend((0..points).map(|nth| place(one.number(nth)) << 32 | rank));
    }
    // By rank where two have one place: that is the same for every proxy, and the index in this set is not.
    ring.sort_unstable();
    let index = |rank: u64| placed.get(rank as usize).map_or(0, |one| u64::from(one.index));
    ring.into_iter().map(|point| place(point) << 32 | index(point & u64::from(u32::MAX))).collect()
}
