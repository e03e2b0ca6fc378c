//! Connections to instances: opened beside the turns, and moved to their end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::link::{Attached, Link, Side, close};
use super::turn::Turn;
use super::worker::{Hub, Worker};
use crate::h2::{Config, Role};
use crate::observe::metrics::{ConnectionState, UpstreamConnection};
use crate::registry::Instance;
use crate::upstream::{ConnectError, Io, Opening, Place, connect};

impl Turn<'_> {
    /// Opens another connection to an instance; calls wait for it in its lane, which counts it.
    pub(super) fn dial(&mut self, instance: &Arc<Instance>, opening: Opening, counted: UpstreamConnection) {
        tokio::spawn(carry(Arc::clone(self.worker), Arc::clone(instance), opening, counted));
    }

    /// A connection is open, and the instance has said how much it takes.
    fn opened(&mut self, attached: &Attached, instance: &Instance) -> bool {
        let Some(lane) = self.hub.pool.get(instance.id).filter(|_| !instance.is_gone()) else { return false };
        lane.opened(attached.key);
        if let Some(Link { side: Side::Instance(_, counted), .. }) = self.hub.links.get_mut(attached.key.0) {
            counted.turn(ConnectionState::Ready);
        }
        self.serve_waiting(instance.id);
        true
    }

    fn not_opened(&mut self, instance: &Instance, error: ConnectError) {
        let Hub { pool, links, .. } = &mut *self.hub;
        let Some(lane) = pool.get(instance.id) else { return };
        let waiting = lane.failed(self.millis, |link| links.get(link.0).is_some_and(|link| link.engine.is_open()));
        for call in waiting {
            self.unreachable(call, error);
        }
    }
}

/// Opens a connection and moves it to its end.
async fn carry(worker: Arc<Worker>, instance: Arc<Instance>, opening: Opening, counted: UpstreamConnection) {
    let greet = |io| greet(&worker, &instance, counted, io);
    let (attached, mut io) = match connect(&*worker.network, &Place::from(&*instance), greet).await {
        Ok(open) => open,
        Err(error) => return worker.turn(|turn| turn.not_opened(&instance, error)),
    };
    let cluster = worker.shared.clusters.load().get(&instance.cluster).cloned();
    if let (Opening::Again, Some(cluster)) = (opening, cluster) {
        // Calls that wait for the connection are read as it means them, or not at all.
        cluster.schemas.confirm(instance.id).await;
    }
    if worker.turn(|turn| turn.opened(&attached, &instance)) {
        poll_fn(|cx| attached.poll(cx, &mut io)).await;
        drop(attached);
        close(io).await;
    }
}

/// Says our SETTINGS and waits for the peer's.
async fn greet(
    worker: &Arc<Worker>,
    instance: &Instance,
    counted: UpstreamConnection,
    mut io: Box<dyn Io>,
) -> Option<(Attached, Box<dyn Io>)> {
    let attached = Attached::new(worker, Role::Client, Config::client(), Side::Instance(instance.id, counted));
    let over = poll_fn(|cx| match attached.poll(cx, &mut io) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if attached.is_open() => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    });
    if over.await { None } else { Some((attached, io)) }
}
