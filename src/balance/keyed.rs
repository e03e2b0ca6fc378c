//! What the policies that go by a key share: hashes that all proxies agree on, and the way on from the instance that a key belongs to
//! where that one cannot, or must not, take the call.
//!
//! Nothing here depends on the order of instances, on their ids or on the process, only on addresses and weights: proxies that
//! know the same instances send a key to the same one, after a restart too.

use twox_hash::XxHash64;

use crate::registry::{EndpointSet, Instance};

/// Open calls that an instance may always have beyond its share, and a quarter of its share on top of them.
///
/// Calls that are spread by chance are not spread evenly, the fewer the less. Eight more than five quarters is what fewer than one
/// instance in two hundred passes by chance, whatever the average is (Poisson): keys hardly ever part from their instances for nothing,
/// while a key with very many calls does not bury one.
const ALWAYS: u32 = 8;

/// How far a call looks along a table: for each instance, and at least. Further away nearly all of the weight is unusable, and
/// looking at each instance once is cheaper.
const STEPS_EACH: usize = 8;
const STEPS: usize = 64;

/// The hash of a call's key. Keys that are equal octet for octet have the same one, in every process and version.
///
/// It is not seeded, or proxies would not agree, and so a caller who chooses keys can aim at one instance. The bound on open calls is
/// what limits the harm: what is over it goes on to others.
pub fn hash_of(key: &[u8]) -> u64 {
    seeded(key, 0)
}

pub(super) fn seeded(octets: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, octets)
}

/// An instance, as tables place it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) index: u32,
    pub(super) authority: &'a str,
    pub(super) weight: u64,
    /// How many before it have the same address. There should be none; if there is one, it must not take the other's places.
    copy: u32,
}

impl Placed<'_> {
    /// The `nth` of its own numbers.
    pub(super) fn number(&self, nth: u32) -> u64 {
        seeded(self.authority.as_bytes(), u64::from(self.copy) << 32 | u64::from(nth))
    }
}

/// The instances in the order of their addresses.
pub(super) fn by_address(set: &EndpointSet) -> Vec<Placed<'_>> {
    let all = (0..).zip(&set.instances);
    let mut placed: Vec<Placed<'_>> = all
        .map(|(index, instance)| {
            let weight = instance.weight.into();
            Placed { index, authority: &instance.authority, weight, copy: 0 }
        })
        .collect();
    placed.sort_by_key(|one| one.authority);
    let mut before: Option<Placed<'_>> = None;
    for one in &mut placed {
        one.copy = before.filter(|before| before.authority == one.authority).map_or(0, |before| before.copy + 1);
        before = Some(*one);
    }
    placed
}

/// The first of `order`, indexes of instances as the key prefers them, that may take a call.
///
/// Nearly always that is the very first, and no other instance is looked at. Where it is not usable, or has over [`ALWAYS`] open
/// calls, all instances are looked at once.
pub(super) fn first(
    set: &EndpointSet,
    key: u64,
    order: impl Iterator<Item = usize>,
    usable: &dyn Fn(&Instance) -> bool,
) -> Option<usize> {
    let mut load: Option<Load> = None;
    let steps = STEPS + STEPS_EACH * set.instances.len();
    for at in order.take(steps) {
        let Some(instance) = set.instances.get(at) else { continue };
        let is_usable = usable(instance);
        if is_usable && instance.in_flight() < ALWAYS {
            return Some(at);
        }
        let load = load.get_or_insert_with(|| Load::of(set, usable));
        if load.weight == 0 {
            return None;
        }
        if is_usable && load.leaves_room(instance) {
            return Some(at);
        }
    }
    let load = load.unwrap_or_else(|| Load::of(set, usable));
    let good = |at: &usize| set.instances.get(*at).is_some_and(|instance| usable(instance));
    let roomy = |at: &usize| set.instances.get(*at).is_some_and(|instance| load.leaves_room(instance));
    // The same one for a key here too, and another for another: the highest of numbers made of both (rendezvous hashing).
    let number = |at: &usize| set.instances.get(*at).map(|instance| seeded(instance.authority.as_bytes(), key));
    let all = || (0..set.instances.len()).filter(good);
    // Everybody is over a bound only if calls came in while they were counted.
    all().filter(roomy).max_by_key(number).or_else(|| all().max_by_key(number))
}

/// What the usable instances carry together.
#[derive(Clone, Copy, Debug)]
struct Load {
    open: u64,
    weight: u64,
}

impl Load {
    fn of(set: &EndpointSet, usable: &dyn Fn(&Instance) -> bool) -> Self {
        let all = set.instances.iter().filter(|instance| usable(instance));
        all.fold(Self { open: 0, weight: 0 }, |sum, instance| Self {
            open: sum.open + u64::from(instance.in_flight()),
            weight: sum.weight + u64::from(instance.weight),
        })
    }

    /// Whether it may have one call more: consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016), with
    /// five quarters of the share that its weight asks of all calls, this one included, and [`ALWAYS`] more.
    fn leaves_room(self, instance: &Instance) -> bool {
        let over = u128::from(instance.in_flight().saturating_sub(ALWAYS));
        4 * over * u128::from(self.weight) < 5 * u128::from(self.open + 1) * u128::from(instance.weight)
    }
}

#[cfg(test)]
mod tests;
