//! The less loaded of two instances drawn at random ("power of two choices"): close to the best, without looking at all.
//!
//! Load is the number of open calls over the weight (gRFC A48). Two draws instead of a scan also keep many proxies, and
//! many workers, from all running to the same instance at once.

use std::sync::atomic::AtomicUsize;

use rand::Rng as _;

use super::Balance;
use crate::registry::{EndpointSet, Instance};

#[derive(Debug)]
pub(super) struct LeastRequest;

impl Balance for LeastRequest {
    fn pick(
        &self,
        set: &EndpointSet,
        _: &AtomicUsize,
        _: Option<u64>,
        usable: &dyn Fn(&Instance) -> bool,
    ) -> Option<usize> {
        let mut rng = rand::rng();
        let count = set.instances.len();
        let good = |at: &usize| set.instances.get(*at).is_some_and(|instance| usable(instance));
        // Draws among all first: with most instances usable it finds two at once and looks at no list.
        let mut draw = || (0..4).map(|_| rng.random_range(0..count)).find(good);
        let drawn =
            if count > 2 { draw().and_then(|one| Some((one, draw().filter(|two| *two != one)?))) } else { None };
        let Some((one, two)) = drawn.or_else(|| two_of(count, &mut rng, good)) else {
            return (0..count).find(good);
        };
        let (first, second) = (set.instances.get(one)?, set.instances.get(two)?);
        Some(if is_lighter(second, first) { two } else { one })
    }
}

/// Two different usable ones, drawn fairly among the usable; `None` if there are not two.
fn two_of(count: usize, rng: &mut impl rand::Rng, good: impl Fn(&usize) -> bool) -> Option<(usize, usize)> {
    let usable = (0..count).filter(&good).count();
    if usable < 2 {
        return None;
    }
    let one = rng.random_range(0..usable);
    let two = (one + rng.random_range(1..usable)) % usable;
    let nth = |n| (0..count).filter(&good).nth(n);
    Some((nth(one)?, nth(two)?))
}

/// Whether `one` carries less for its weight than `other`, counting the call that is about to come.
fn is_lighter(one: &Instance, other: &Instance) -> bool {
    let load = |instance: &Instance| u64::from(instance.in_flight()) + 1;
    load(one) * u64::from(other.weight) < load(other) * u64::from(one.weight)
}
