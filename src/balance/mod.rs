//! Which instance of a set a call goes to. Knows loads and weights; dials nobody.

mod least_request;
mod random;
mod round_robin;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::registry::{EndpointSet, Instance, State};

/// A policy: picks one of the candidates. It is told which are usable and never looks further.
pub trait Balance: Send + Sync + std::fmt::Debug {
    /// The index in `set.instances` of the one to use; `None` only if no instance is usable.
    fn pick(&self, set: &EndpointSet, cursor: &AtomicUsize, usable: &dyn Fn(&Instance) -> bool) -> Option<usize>;
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
}

impl Policy {
    /// Its name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Random => "random",
        }
    }

    /// The policy itself.
    pub fn balance(self) -> &'static dyn Balance {
        match self {
            Self::RoundRobin => &round_robin::RoundRobin,
            Self::LeastRequest => &least_request::LeastRequest,
            Self::Random => &random::Random,
        }
    }
}

/// What is known of a call's tries.
#[derive(Clone, Copy, Debug)]
pub struct Tries<'a> {
    /// Instances that failed the call: others are preferred.
    pub tried: &'a [u64],
    /// Instances that must not get it, sorted.
    pub excluded: &'a [u64],
    /// Now, by the process's clock.
    pub now_ms: u64,
}

/// Picks an instance for a call: the best kind of candidates there is, by the policy.
///
/// Healthy ones first, among them those whose last connect did not just fail and that `tried` does not name (the tries
/// of this call so far); each preference is given up, in the reverse order, where nobody else is left. New instances
/// stand in where nobody is healthy. Unhealthy, lost, removed and excluded ones never get a call.
pub fn pick(policy: Policy, set: &EndpointSet, cursor: &AtomicUsize, call: Tries<'_>) -> Option<Arc<Instance>> {
    let Tries { tried, excluded, now_ms } = call;
    let may = |instance: &Instance| excluded.is_empty() || excluded.binary_search(&instance.id).is_err();
    let in_state = |instance: &Instance, state| instance.state() == state && !instance.is_gone() && may(instance);
    let fresh = |instance: &Instance| !tried.contains(&instance.id);
    let balance = policy.balance();
    for state in [State::Healthy, State::New] {
        let best = |instance: &Instance| in_state(instance, state) && fresh(instance) && !instance.is_avoided(now_ms);
        let untried = |instance: &Instance| in_state(instance, state) && fresh(instance);
        let any = |instance: &Instance| in_state(instance, state);
        let tiers: [&dyn Fn(&Instance) -> bool; 3] = [&best, &untried, &any];
        for usable in tiers {
            if let Some(at) = balance.pick(set, cursor, usable) {
                return set.instances.get(at).cloned();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
