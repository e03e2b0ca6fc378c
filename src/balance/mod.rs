//! Which instance of a set a call goes to. Knows loads, weights and the hash of the call's key; dials nobody.

mod keyed;
mod least_request;
mod maglev;
mod random;
mod ring_hash;
mod round_robin;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

pub use self::keyed::hash_of;
use crate::registry::{EndpointSet, Instance, State};

/// A policy: picks one of the candidates. It is told which are usable and never looks further.
pub trait Balance: Send + Sync + std::fmt::Debug {
    /// The index in `set.instances` of the one to use; `None` only if no instance is usable. `key` is for policies that go by one.
    fn pick(
        &self,
        set: &EndpointSet,
        cursor: &AtomicUsize,
        key: Option<u64>,
        usable: &dyn Fn(&Instance) -> bool,
    ) -> Option<usize>;

    /// Works out what it will need of a set, which the first pick would do otherwise.
    fn prepare(&self, _: &EndpointSet) {}
}

/// A call that looks for an instance.
#[derive(Clone, Copy)]
pub struct Seeker<'a> {
    /// The hash of its key, by [`hash_of`]. One without a key goes to any instance.
    pub key: Option<u64>,
    /// The instances that failed it so far.
    pub tried: &'a [u64],
    /// Instances that must not get it, sorted.
    pub excluded: &'a [u64],
    /// What else is asked of them.
    pub fit: Fit<'a>,
    /// The time, by the clock that [`Instance::is_avoided`] is asked by.
    pub now_ms: u64,
}

/// What a call asks of instances, beyond that they are there.
#[derive(Clone, Copy)]
pub enum Fit<'a> {
    /// Nothing.
    All,
    /// It goes to such ones where there are any.
    Rather(&'a dyn Fn(&Instance) -> bool),
    /// It goes to no others.
    Only(&'a dyn Fn(&Instance) -> bool),
}

/// The policies by the names that a configuration gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each in turn.
    RoundRobin,
    /// The less loaded of two drawn at random.
    LeastRequest,
    /// Any.
    Random,
    /// The same for the same key: the next on a ring.
    RingHash,
    /// The same for the same key: the one in a table.
    Maglev,
}

impl Policy {
    /// Its name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Random => "random",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
        }
    }

    /// The policy itself.
    pub fn balance(self) -> &'static dyn Balance {
        match self {
            Self::RoundRobin => &round_robin::RoundRobin,
            Self::LeastRequest => &least_request::LeastRequest,
            Self::Random => &random::Random,
            Self::RingHash => &ring_hash::RingHash,
            Self::Maglev => &maglev::Maglev,
        }
    }

    /// Whether it goes by a call's key.
    pub fn goes_by_key(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// Picks an instance for a call: the best kind of candidates there is, by the policy.
///
/// Healthy ones first, among them those whose last connect did not just fail and that `tried` does not name (the tries
/// of this call so far); each preference is given up, in the reverse order, where nobody else is left. New instances
/// stand in where nobody is healthy. Unhealthy, lost, removed and excluded ones never get a call.
pub fn pick(policy: Policy, set: &EndpointSet, cursor: &AtomicUsize, seeker: Seeker<'_>) -> Option<Arc<Instance>> {
    if let Fit::Rather(fits) = seeker.fit
        && let Some(found) = pick(policy, set, cursor, Seeker { fit: Fit::Only(fits), ..seeker })
    {
        return Some(found);
    }
    let Seeker { key, tried, excluded, fit, now_ms } = seeker;
    let may = |instance: &Instance| {
        let fits = if let Fit::Only(fits) = fit { fits(instance) } else { true };
        fits && (excluded.is_empty() || excluded.binary_search(&instance.id).is_err())
    };
    let in_state = |instance: &Instance, state| instance.state() == state && !instance.is_gone() && may(instance);
    let fresh = |instance: &Instance| !tried.contains(&instance.id);
    let balance = policy.balance();
    for state in [State::Healthy, State::New] {
        let best = |instance: &Instance| in_state(instance, state) && fresh(instance) && !instance.is_avoided(now_ms);
        let untried = |instance: &Instance| in_state(instance, state) && fresh(instance);
        let any = |instance: &Instance| in_state(instance, state);
        let tiers: [&dyn Fn(&Instance) -> bool; 3] = [&best, &untried, &any];
        for usable in tiers {
            if let Some(at) = balance.pick(set, cursor, key, usable) {
                return set.instances.get(at).cloned();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
