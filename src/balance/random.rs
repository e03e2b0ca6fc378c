//! Any instance, as often as its weight says.

use std::sync::atomic::AtomicUsize;

use rand::Rng as _;

use super::Balance;
use crate::registry::{EndpointSet, Instance};

#[derive(Debug)]
pub(super) struct Random;

impl Balance for Random {
    fn pick(
        &self,
        set: &EndpointSet,
        _: &AtomicUsize,
        _: Option<u64>,
        usable: &dyn Fn(&Instance) -> bool,
    ) -> Option<usize> {
        let weight = |instance: &Instance| if usable(instance) { u64::from(instance.weight) } else { 0 };
        let total: u64 = set.instances.iter().map(|instance| weight(instance)).sum();
        if total == 0 {
            return None;
        }
        let mut ticket = rand::rng().random_range(0..total);
        set.instances.iter().position(|instance| {
            let share = weight(instance);
            // Health may have changed since the sum: then the last usable ones get a little more.
            let hit = ticket < share;
            ticket = ticket.saturating_sub(share);
            hit
        })
    }
}
