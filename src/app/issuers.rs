//! Keeps the keys of issuers fresh that publish them: a task each on the control runtime, so that none waits for another.

use std::sync::Arc;

use tokens::Ring;
use tokio_util::task::AbortOnDropHandle;

use super::standing::later;
use crate::config::snapshot::{Signatory, Snapshot};
use crate::observe::metrics::KeyAge;
use crate::upstream::Fetcher;

/// Those whose keys are fetched.
#[derive(Default)]
pub(super) struct Keepers(Vec<Keeper>);

struct Keeper {
    ring: Arc<Ring>,
    _task: AbortOnDropHandle<()>,
}

impl Keepers {
    /// Begins to fetch what nobody fetches yet, and ends what nobody needs any more. Nothing waits for it: calls are told that there are
    /// no keys yet.
    pub(super) fn keep(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.0);
        for signatory in &snapshot.issuers {
            let Some(published) = &signatory.published else { continue };
            let ring = signatory.issuer.ring();
            let known = before.iter().position(|keeper| Arc::ptr_eq(&keeper.ring, ring));
            let keeper = known.map(|known| before.swap_remove(known)).unwrap_or_else(|| {
                let fetcher = Fetcher::new(published.location.clone(), published.tls.clone());
                let (kept, refresh) = (Arc::clone(ring), published.refresh);
                let task = tokio::spawn(async move { kept.keep(&fetcher, refresh).await });
                Keeper { ring: Arc::clone(ring), _task: AbortOnDropHandle::new(task) }
            });
            self.0.push(keeper);
        }
        if !before.is_empty() {
            // Calls that were decided by them may wait for a fetch.
            later(move || drop(before));
        }
    }
}

/// What is not as it should be, for `/ready`.
pub(super) fn missing(snapshot: &Snapshot) -> impl Iterator<Item = String> + '_ {
    snapshot.issuers.iter().filter_map(|signatory| {
        let ring = signatory.issuer.ring();
        let name = &signatory.name;
        match (ring.keys(), ring.failure()) {
            (None, None) => Some(format!("issuer `{name}`: its keys are not there yet")),
            (None, Some(why)) => Some(format!("issuer `{name}`: its keys were never obtained: {why}")),
            (Some(_), Some(why)) => {
                Some(format!("issuer `{name}`: its keys cannot be fetched anew, the last ones stay: {why}"))
            }
            (Some(keys), None) if keys.is_empty() => Some(format!("issuer `{name}` publishes no key that can be used")),
            (Some(_), None) => None,
        }
    })
}

/// How old the keys are that are fetched.
pub(super) fn ages(snapshot: &Snapshot) -> Vec<KeyAge> {
    let fetched = snapshot.issuers.iter().filter(|signatory| signatory.published.is_some());
    let age = |signatory: &Signatory| KeyAge {
        issuer: Arc::clone(&signatory.name),
        seconds: signatory.issuer.ring().age().as_secs_f64(),
    };
    fetched.map(age).collect()
}
