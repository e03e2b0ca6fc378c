//! Each instance in turn, as often as its weight says. One cursor for all workers, so that the turns are exact.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Balance;
use crate::registry::{EndpointSet, Instance};

#[derive(Debug)]
pub(super) struct RoundRobin;

impl Balance for RoundRobin {
    fn pick(
        &self,
        set: &EndpointSet,
        cursor: &AtomicUsize,
        _: Option<u64>,
        usable: &dyn Fn(&Instance) -> bool,
    ) -> Option<usize> {
        let turns = set.schedule.len();
        // At most one round: each instance stands in the schedule at least once.
        (0..turns).find_map(|_| {
            let turn = cursor.fetch_add(1, Ordering::Relaxed) % turns;
            let at = *set.schedule.get(turn)? as usize;
            set.instances.get(at).filter(|instance| usable(instance)).map(|_| at)
        })
    }
}
