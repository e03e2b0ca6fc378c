//! Keeps the keys of issuers fresh that publish them: a task each on the control runtime, so that none waits for another.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::config::snapshot::Snapshot;
use crate::observe::metrics::KeyAge;
use crate::upstream::Fetcher;

/// Begins to fetch. Nothing waits for it: calls are told that there are no keys yet.
pub(super) fn keep(snapshot: &Snapshot, background: &mut JoinSet<()>) {
    for signatory in &snapshot.issuers {
        let Some(published) = &signatory.published else { continue };
        let fetcher = Fetcher::new(published.location.clone(), published.tls.clone());
        let (ring, refresh) = (Arc::clone(signatory.issuer.ring()), published.refresh);
        background.spawn(async move { ring.keep(&fetcher, refresh).await });
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
    let age = |signatory: &crate::config::snapshot::Signatory| KeyAge {
        issuer: Arc::clone(&signatory.name),
        seconds: signatory.issuer.ring().age().as_secs_f64(),
    };
    fetched.map(age).collect()
}
