//! The servers of listeners that serve something themselves: each is a cluster within, and a task on the control runtime.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{StartError, schemas};
use crate::call::Shared;
use crate::config::snapshot::Snapshot;
use crate::observe::Metrics;
use crate::observe::metrics::CallKind;
use crate::schema::{Catalog, Method};
use crate::serve::{self, Sources};
use crate::upstream::{Cluster, Clusters};

/// Servers that do not run yet: the listener's name, and where its connections arrive.
pub(super) type Waiting = Vec<(Arc<str>, mpsc::Receiver<DuplexStream>)>;

/// Adds the clusters that listeners need for what they serve themselves.
pub(super) fn add(snapshot: &Snapshot, clusters: &mut Clusters, metrics: &Metrics) -> Result<Waiting, StartError> {
    let mut waiting = Waiting::new();
    let serving = snapshot.listeners.values().filter_map(|listener| Some((listener, listener.within.as_ref()?)));
    let mut definitions = None;
    for (listener, name) in serving {
        let known = definitions.take().or_else(serve::definitions).ok_or_else(unreadable)?;
        for (service, method, definition) in known.all() {
            metrics.know(service, method, kind(definition.method));
        }
        let (cluster, arrivals) = Cluster::within(name, Arc::clone(&known));
        clusters.insert(Arc::clone(name), cluster);
        waiting.push((Arc::clone(&listener.name), arrivals));
        definitions = Some(known);
    }
    Ok(waiting)
}

/// Runs them.
pub(super) fn run(
    waiting: Waiting,
    shared: &Arc<Shared>,
    closing: &watch::Receiver<bool>,
    background: &mut JoinSet<()>,
) -> Result<(), StartError> {
    if waiting.is_empty() {
        return Ok(());
    }
    let registrar = schemas::bundled_bindu().ok_or_else(unreadable)?;
    for (listener, arrivals) in waiting {
        let sources = Sources {
            snapshot: Arc::clone(&shared.snapshot),
            clusters: Arc::clone(&shared.clusters),
            registrar: Arc::clone(registrar.schema()),
            callers: Arc::new(Callers(Arc::clone(shared))),
            closing: closing.clone(),
        };
        background.spawn(serve::run(listener, sources, arrivals));
    }
    Ok(())
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
