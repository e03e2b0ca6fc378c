//! One look at one instance: what does it serve? Everything that takes long is done where nobody waits for it, and what has not changed
//! since the last look is not linked again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::places::{Places, Rank};
use crate::observe::ClusterMetrics;
use crate::registry::Instance;
use crate::schema::{Bounds, Collection, Definitions, Fingerprint, SchemaError, link};
use crate::upstream::network::Network;
use crate::upstream::reflection::collect_from;
use crate::upstream::security::Security;

/// Schemas that are linked at once: it keeps a core busy, and the other cores are for calls.
static LINKING: Semaphore = Semaphore::const_new(1);

/// What a look found.
pub(super) enum Found {
    /// The same as the last time.
    Same,
    /// Another schema.
    New(Fingerprint, Arc<Definitions>),
    /// Nothing that can be used, and what it was made of, if it came that far.
    Failed(Option<Fingerprint>, SchemaError),
}

/// A look that has ended.
pub(super) struct Looked {
    /// When it began to ask, and how long it waited for the answers.
    pub(super) began: Instant,
    pub(super) took: Duration,
    pub(super) found: Found,
}

/// How a look is made, and what earlier ones found.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) network: Arc<dyn Network>,
    security: Arc<Security>,
    /// Those that clusters share.
    places: Arc<Places>,
    /// What files came to: a thousand instances of one version are linked once.
    linked: Mutex<HashMap<Fingerprint, Weak<Definitions>>>,
    /// By digest, since the same schema can come in different files.
    digests: Mutex<HashMap<String, Weak<Definitions>>>,
}

impl Looks {
    pub(super) fn new(network: Arc<dyn Network>, security: Arc<Security>, places: Arc<Places>) -> Self {
        Self { network, security, places, linked: Mutex::default(), digests: Mutex::default() }
    }

    /// Asks an instance; `known` is what it said the last time. Told by `awaited` that somebody waits, it waits for a place no longer
    /// than others whom somebody waits for.
    pub(super) async fn look(
        self: Arc<Self>,
        instance: Arc<Instance>,
        known: Option<Fingerprint>,
        (rank, awaited): (Rank, Arc<Notify>),
        metrics: Arc<ClusterMetrics>,
    ) -> Looked {
        let place = tokio::select! {
            place = self.places.wait_for(rank) => place,
            () = awaited.notified() => self.places.wait_for(Rank { awaited: true, ..rank }).await,
        };
        let began = Instant::now();
        let collected = collect_from((&self.network, &self.security), &instance, Bounds::REMOTE).await;
        let took = began.elapsed();
        let found = self.made_of(collected, known).await;
        drop(place);
        metrics.schema_fetched(match &found {
            Found::Same => "unchanged",
            Found::New(..) => "new",
            Found::Failed(_, SchemaError::Unoffered(_)) => "unoffered",
            Found::Failed(_, SchemaError::Unreachable(_)) => "unreachable",
            Found::Failed(_, SchemaError::Bound { .. }) => "over_bound",
            Found::Failed(..) => "failed",
        });
        Looked { began, took, found }
    }

    async fn made_of(&self, collected: Result<Collection, SchemaError>, known: Option<Fingerprint>) -> Found {
        let collection = match collected {
            Ok(collection) => collection,
            Err(error) => return Found::Failed(None, error),
        };
        let print = collection.fingerprint();
        if known == Some(print) {
            return Found::Same;
        }
        // It is never closed.
        let linking = LINKING.acquire().await;
        let linked = |looks: &Self| looks.linked.lock().get(&print).and_then(Weak::upgrade);
        if let Some(definitions) = linked(self) {
            return Found::New(print, definitions);
        }
        let schema = match link(collection).await {
            Ok(schema) => schema,
            Err(error) => return Found::Failed(Some(print), error),
        };
        let same = self.digests.lock().get(schema.digest()).and_then(Weak::upgrade);
        let definitions = match same {
            Some(definitions) => definitions,
            None => {
                let made = tokio::task::spawn_blocking(|| Arc::new(Definitions::of(Arc::new(schema)))).await;
                match made {
                    Ok(definitions) => definitions,
                    Err(_) => {
                        let error = SchemaError::Malformed("the descriptors cannot be told apart".into());
                        return Found::Failed(Some(print), error);
                    }
                }
            }
        };
        // Before the next one links: it may be the same.
        self.remember(print, &definitions);
        drop(linking);
        Found::New(print, definitions)
    }

    fn remember(&self, print: Fingerprint, definitions: &Arc<Definitions>) {
        let mut linked = self.linked.lock();
        linked.retain(|_, known| known.strong_count() > 0);
        linked.insert(print, Arc::downgrade(definitions));
        let mut digests = self.digests.lock();
        digests.retain(|_, known| known.strong_count() > 0);
        digests.insert(definitions.schema().digest().to_owned(), Arc::downgrade(definitions));
    }
}
