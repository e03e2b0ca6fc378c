//! Connections to instances: opened beside the turns, and moved to their end.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Poll;

use super::link::{Attached, Side, close};
use super::turn::Turn;
use super::worker::{Hub, Worker};
use crate::h2::{Config, Role};
use crate::observe::metrics::{ConnectionState, UpstreamConnection};
use crate::registry::Instance;
use crate::upstream::{Cluster, ConnectError, Io, Opening, connect};

impl Turn<'_> {
    /// Opens another connection to an instance; calls wait for it in its lane, which counts it. The cluster is that of the call: the file
    /// may not have it any more.
    pub(super) fn dial(&mut self, instance: &Arc<Instance>, cluster: Arc<Cluster>, opening: Opening) {
        let counted = cluster.metrics.connection();
        tokio::spawn(carry(Arc::clone(self.worker), Arc::clone(instance), cluster, (opening, counted)));
    }

    /// A connection is open, and the instance has said how much it takes.
    fn opened(&mut self, attached: &Attached, instance: &Instance) -> bool {
        let Some(lane) = self.hub.pool.get(instance.id).filter(|_| !instance.is_gone()) else { return false };
        lane.opened(attached.key);
        if let Some(link) = self.hub.links.get_mut(attached.key.0)
            && let Side::Instance { counted, .. } = &mut link.side
        {
            counted.turn(ConnectionState::Ready);
        }
        self.serve_waiting(instance.id);
        true
    }

    /// Connections that were made when their cluster had other settings of TLS take no more calls, and close with their last.
    pub(super) fn retire_former(&mut self) {
        let Hub { links, pool, config, .. } = &mut *self.hub;
        let clusters = &config.look().0.clusters;
        for (_, link) in links {
            let Side::Instance { id, era, .. } = link.side else { continue };
            let cluster = pool.get(id).and_then(|lane| clusters.get(&lane.instance.cluster));
            if !link.retired && cluster.is_some_and(|cluster| cluster.security.era() != era) {
                link.retired = true;
                link.wake();
            }
        }
    }

    fn not_opened(&mut self, instance: &Instance, error: &ConnectError) {
        let Hub { pool, links, .. } = &mut *self.hub;
        let Some(lane) = pool.get(instance.id) else { return };
        let waiting = lane.failed(self.millis, |link| links.get(link.0).is_some_and(|link| link.engine.is_open()));
        for call in waiting {
            self.unreachable(call, error);
        }
    }
}

/// Opens a connection and moves it to its end.
async fn carry(
    worker: Arc<Worker>,
    instance: Arc<Instance>,
    cluster: Arc<Cluster>,
    (opening, counted): (Opening, UpstreamConnection),
) {
    let place = cluster.place(&instance);
    let config = Config { secure: place.is_secure(), ..Config::client() };
    let side = Side::Instance { id: instance.id, counted, era: place.era() };
    let greet = |io| greet(&worker, config, side, io);
    let (attached, mut io) = match connect(&*worker.network, &place, greet).await {
        Ok(open) => open,
        Err(error) => return worker.turn(|turn| turn.not_opened(&instance, &error)),
    };
    if matches!(opening, Opening::Alone) {
        // Calls that wait for the connection are read as it means them, or not at all. One that ends meanwhile never was open: they are
        // free to go elsewhere.
        let over = tokio::select! {
            biased;
            () = poll_fn(|cx| attached.poll(cx, &mut io)) => true,
            () = cluster.schemas.confirm(instance.id) => false,
        };
        if over {
            worker.turn(|turn| turn.not_opened(&instance, &ConnectError::Io(ErrorKind::ConnectionReset)));
            drop(attached);
            return close(io).await;
        }
    }
    // It is for calls to have: a connection would keep one that the file does not have any more.
    drop(cluster);
    if worker.turn(|turn| turn.opened(&attached, &instance)) {
        poll_fn(|cx| attached.poll(cx, &mut io)).await;
        drop(attached);
        close(io).await;
    }
}

/// Says our SETTINGS and waits for the peer's.
async fn greet(
    worker: &Arc<Worker>,
    config: Config,
    side: Side,
    mut io: Box<dyn Io>,
) -> Option<(Attached, Box<dyn Io>)> {
    let attached = Attached::new(worker, Role::Client, config, side);
    let over = poll_fn(|cx| match attached.poll(cx, &mut io) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if attached.is_open() => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    });
    if over.await { None } else { Some((attached, io)) }
}
