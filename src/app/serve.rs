//! The servers of listeners that serve something themselves: each is a cluster within, and a task on the control runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::ending::Ending;
use super::{StartError, schemas, standing};
use crate::call::Shared;
use crate::config::snapshot::Snapshot;
use crate::observe::Metrics;
use crate::observe::metrics::CallKind;
use crate::schema::{Catalog, Method};
use crate::serve::{self, Sources};
use crate::upstream::{Cluster, Clusters};

/// The servers that run, by listener.
#[derive(Default)]
pub(super) struct Serving(BTreeMap<Arc<str>, Server>);

struct Server {
    cluster: Arc<Cluster>,
    task: AbortOnDropHandle<()>,
}

/// A server for a listener: one that runs, or one that is to.
enum Place {
    Runs,
    Waits(Arc<Cluster>, mpsc::Receiver<DuplexStream>),
}

/// Those of a configuration.
pub(super) struct Prepared(BTreeMap<Arc<str>, Place>);

impl Serving {
    /// Adds the clusters that listeners need for what they serve themselves: those that are there, and new ones.
    pub(super) fn prepare(
        &self,
        snapshot: &Snapshot,
        clusters: &mut Clusters,
        metrics: &Metrics,
    ) -> Result<Prepared, StartError> {
        let mut prepared = BTreeMap::new();
        let serving = snapshot.listeners.values().filter_map(|listener| Some((listener, listener.within.as_ref()?)));
        let mut definitions = None;
        for (listener, name) in serving {
            if let Some(Server { cluster, .. }) = self.0.get(&listener.name) {
                clusters.insert(Arc::clone(name), Arc::clone(cluster));
                prepared.insert(Arc::clone(&listener.name), Place::Runs);
                continue;
            }
            let known = definitions.take().or_else(serve::definitions).ok_or_else(unreadable)?;
            for (service, method, definition) in known.all() {
                metrics.know(service, method, kind(definition.method));
            }
            let (cluster, arrivals) = Cluster::within(name, Arc::clone(&known));
            clusters.insert(Arc::clone(name), Arc::clone(&cluster));
            prepared.insert(Arc::clone(&listener.name), Place::Waits(cluster, arrivals));
            definitions = Some(known);
        }
        Ok(Prepared(prepared))
    }

    /// Runs them, and ends those that nothing leads to any more.
    pub(super) fn run(&mut self, Prepared(prepared): Prepared, shared: &Arc<Shared>, ending: &Ending) {
        let Some(registrar) = schemas::bundled_bindu() else { return };
        let mut before = std::mem::take(&mut self.0);
        for (listener, place) in prepared {
            let server = match place {
                Place::Runs => before.remove(&listener),
                Place::Waits(cluster, arrivals) => {
                    let sources = Sources {
                        in_force: Arc::clone(&shared.in_force),
                        registrar: Arc::clone(registrar.schema()),
                        callers: Arc::new(Callers(Arc::clone(shared))),
                        leaving: ending.leaving.subscribe(),
                        closing: ending.closing.subscribe(),
                    };
                    let task = tokio::spawn(serve::run(Arc::clone(&listener), sources, arrivals));
                    Some(Server { cluster, task: AbortOnDropHandle::new(task) })
                }
            };
            self.0.extend(server.map(|server| (listener, server)));
        }
        for Server { cluster, task } in before.into_values() {
            // Those who ask it now may hear the end.
            standing::later(move || drop(task));
            standing::say_farewell(cluster);
        }
    }
}

/// Those whose calls are under way.
struct Callers(Arc<Shared>);

impl serve::Callers for Callers {
    fn may_call<'c>(&'c self, visitor: &'c str, catalog: &'c Catalog) -> BoxFuture<'c, BTreeSet<String>> {
        Box::pin(async move {
            match self.0.visitors.find(visitor) {
                Some(visitor) => visitor.may_call(&self.0, catalog.methods()).await,
                None => BTreeSet::new(),
            }
        })
    }
}

fn kind(method: Method) -> CallKind {
    match (method.client_streaming, method.server_streaming) {
        (false, false) => CallKind::Unary,
        (true, false) => CallKind::ClientStream,
        (false, true) => CallKind::ServerStream,
        (true, true) => CallKind::BidiStream,
    }
}

/// A test holds that this is not so.
fn unreadable() -> StartError {
    StartError::System("the descriptors that come with Portunus cannot be read".to_owned())
}
