//! Instances whose registration would not be taken any more when another snapshot is in force: judged beside the calls, so that those that
//! are withdrawn get none within a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::call::Shared;

/// How often, and from one time to the next, those are judged again for whose tokens the snapshot has no keys yet.
const TIMES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Judges all instances whenever another snapshot comes into force.
pub(super) fn watch(shared: &Arc<Shared>, background: &mut JoinSet<()>) {
    let (shared, mut replaced) = (Arc::clone(shared), shared.replaced.subscribe());
    background.spawn(async move {
        while replaced.changed().await.is_ok() {
            for time in 0..=TIMES {
                let (shared, last) = (Arc::clone(&shared), time == TIMES);
                let undecided = spawn_blocking(move || judge(&shared, last)).await;
                if !undecided.unwrap_or(false) || replaced.has_changed().unwrap_or(false) {
                    break;
                }
                sleep(PAUSE).await;
            }
        }
    });
}

/// Whether some could not be judged yet.
fn judge(shared: &Shared, last: bool) -> bool {
    let in_force = shared.in_force.load_full();
    let registries = in_force.clusters.values().filter_map(|cluster| cluster.registry());
    registries.filter(|registry| registry.judge(last, Instant::now())).count() > 0
}
