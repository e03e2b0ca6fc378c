//! A listening socket: bound, accepted from, its connections dealt to workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::conn::{Accepted, Arrival};
use super::entry;
use super::peers::Peers;
use crate::call::{Budget, Shared};
use crate::config::snapshot::Listener;
use crate::observe::metrics::ListenerMetrics;

/// Connections that the kernel holds while nobody accepts: a wave of reconnecting callers, after a restart.
const BACKLOG: i32 = 4_096;
/// When no descriptor is left, accepting again at once would spin.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// One worker's end: where its connections are put, and how many it has.
#[derive(Clone, Debug)]
pub struct Deal {
    /// Its connections.
    pub queue: mpsc::Sender<Accepted>,
    /// Those that are open.
    pub open: Arc<AtomicUsize>,
}

/// Binds a socket that accepts from now on.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for connections in TIME_WAIT; it does not let two processes listen.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // What is written is what is bound: `[::]` is IPv6 only, whatever the system's default is.
        socket.set_only_v6(true)?;
    }
    adopt(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Has a socket that somebody else has bound behave as our own.
pub fn adopt<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket = socket.into();
    // Accepted sockets inherit it (Linux): a caller whose host vanishes in the middle of a stream would hold it for ever.
    let silence =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);
    socket.set_tcp_keepalive(&silence)?;
    socket.set_nonblocking(true)
}

/// What of a listener outlives a configuration: its name, and what is counted of it. A copy is the same.
#[derive(Clone, Debug)]
pub struct Gate {
    name: Arc<str>,
    shared: Arc<Shared>,
    metrics: Arc<ListenerMetrics>,
    buffered: Arc<Budget>,
    peers: Arc<Peers>,
}

impl Gate {
    /// That of a listener which is new.
    pub fn new(shared: Arc<Shared>, listener: &Listener) -> Self {
        Self {
            name: Arc::clone(&listener.name),
            metrics: shared.metrics.listener(&listener.name),
            buffered: Budget::new(listener.limits.buffered),
            peers: Peers::new(listener.limits.connections_per_peer),
            shared,
        }
    }

    /// The listener has other bounds now. What is there already stays.
    pub fn resize(&self, listener: &Listener) {
        self.buffered.resize(listener.limits.buffered);
        self.peers.bound(listener.limits.connections_per_peer);
    }

    /// What is counted of the listener.
    pub fn metrics(&self) -> &Arc<ListenerMetrics> {
        &self.metrics
    }
}

/// Accepts until `closing` turns true, each connection by the configuration of its moment. Runs on the control runtime: a worker that is
/// busy must not delay the others' connections.
pub async fn run(socket: Arc<TcpListener>, gate: Gate, workers: Vec<Deal>, closing: watch::Receiver<bool>) {
    let Gate { name, shared, metrics, buffered, peers } = gate;
    let mut closed = closing.clone();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = closed.wait_for(|closing| *closing) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = %name, %error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let in_force = shared.in_force.load();
        // One that is gone takes nobody any more.
        let Some(listener) = in_force.snapshot.listeners.get(&name) else { continue };
        let Some(entry) = entry::knock(listener, &metrics, &peers, peer) else { continue };
        let (Ok(local), Ok(stream)) = (stream.local_addr(), stream.into_std()) else { continue };
        let open = metrics.connection();
        let (listener, metrics, buffered) = (Arc::clone(listener), Arc::clone(&metrics), Arc::clone(&buffered));
        let arrival = Arrival { peer, nameless: false, local, listener, metrics, buffered, open };
        let closing = closing.clone();
        deal(&workers, |counted| Accepted { stream, arrival, counted, closing, entry });
    }
}

/// Puts a connection to the worker with the fewest.
fn deal(workers: &[Deal], accepted: impl FnOnce(Counted) -> Accepted) {
    let Some(worker) = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else { return };
    let accepted = accepted(Counted::new(&worker.open));
    if worker.queue.try_send(accepted).is_err() {
        tracing::warn!("a worker has more new connections than it takes; one was closed");
    }
}

/// A connection in its worker's count.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
