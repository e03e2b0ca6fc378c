//! One look at one instance: what does it serve? Everything that takes long is done where nobody waits for it, and what has not changed
//! since the last look is not linked again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::observe::ClusterMetrics;
use crate::registry::Instance;
use crate::schema::{Bounds, Definitions, Fingerprint, SchemaError, link};
use crate::upstream::network::Network;
use crate::upstream::reflection::collect_from;
use crate::upstream::security::Security;

/// Instances of all clusters that are asked at once: what strangers have us hold is bounded by it.
static ASKING: Semaphore = Semaphore::const_new(8);
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

/// How a look is made, and what earlier ones found.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) network: Arc<dyn Network>,
    security: Arc<Security>,
    /// What files came to: a thousand instances of one version are linked once.
    linked: Mutex<HashMap<Fingerprint, Weak<Definitions>>>,
    /// By digest, since the same schema can come in different files.
    digests: Mutex<HashMap<String, Weak<Definitions>>>,
}

impl Looks {
    pub(super) fn new(network: Arc<dyn Network>, security: Arc<Security>) -> Self {
        Self { network, security, linked: Mutex::default(), digests: Mutex::default() }
    }

    /// Asks an instance; `known` is what it said the last time.
    pub(super) async fn look(
        self: Arc<Self>,
        instance: Arc<Instance>,
        known: Option<Fingerprint>,
        metrics: Arc<ClusterMetrics>,
    ) -> Found {
        let found = self.ask(&instance, known).await;
        metrics.schema_fetched(match &found {
            Found::Same => "unchanged",
            Found::New(..) => "new",
            Found::Failed(_, SchemaError::Unoffered(_)) => "unoffered",
            Found::Failed(_, SchemaError::Unreachable(_)) => "unreachable",
            Found::Failed(_, SchemaError::Bound { .. }) => "over_bound",
            Found::Failed(..) => "failed",
        });
        found
    }

    async fn ask(&self, instance: &Instance, known: Option<Fingerprint>) -> Found {
        // Neither semaphore is ever closed.
        let asking = ASKING.acquire().await;
        let collection = match collect_from((&self.network, &self.security), instance, Bounds::REMOTE).await {
            Ok(collection) => collection,
            Err(error) => return Found::Failed(None, error),
        };
        let print = collection.fingerprint();
        if known == Some(print) {
            return Found::Same;
        }
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
        drop((linking, asking));
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
