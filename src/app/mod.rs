//! Assembles what a configuration asks for, and runs it: sockets, workers, clusters, the admin server.
//!
//! The control runtime (the caller's) accepts connections and does what must not delay calls: health checks, names, the
//! core, the admin port. Workers carry calls, one thread and one runtime each.

mod audit;
mod clusters;
mod desks;
mod health;
mod issuers;
pub mod online;
mod schemas;
mod serve;
mod state;
mod view;
mod withdrawals;
mod workers;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::{self, AdminState};
use crate::call::{Budget, HopId, Shared};
use crate::config::snapshot::{self, Listener, Snapshot, Target};
use crate::config::{AccessLog as LogConfig, Config, Errors, Loaded};
use crate::observe::metrics::{CallKind, ListenerMetrics};
use crate::observe::{AccessLog, Metrics, access};
use crate::store::Store;
use crate::{edge, filters};
use desks::Desks;
use workers::Workers;

/// How often a drain looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);

/// Why a start failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be built.
    #[error("{0}")]
    Config(#[from] Errors),
    /// An address cannot be bound.
    #[error("{what} cannot listen on {address}: {error}")]
    Bind {
        /// The listener, or the admin server.
        what: String,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Something of the system's.
    #[error("{0}")]
    System(String),
}

/// A proxy that runs. Dropping it ends it at once; [`drain`](Self::drain) ends it well.
pub struct Proxy {
    /// What its calls share.
    pub shared: Arc<Shared>,
    addresses: HashMap<Arc<str>, Vec<SocketAddr>>,
    admin: SocketAddr,
    public: Option<SocketAddr>,
    closing: watch::Sender<bool>,
    workers: Workers,
    /// Accept loops: they end when closing begins.
    accepting: JoinSet<()>,
    /// Everything else on the control runtime: ends with the proxy.
    _background: JoinSet<()>,
    listeners: Vec<Arc<ListenerMetrics>>,
    /// Keeps what is registered.
    store: Option<Store>,
}

/// Builds a configuration without running it: what `check` does.
///
/// # Errors
/// Everything that is wrong with it.
pub fn build(loaded: &Loaded) -> Result<Snapshot, Errors> {
    snapshot::build(loaded, filters::ALL, 1)
}

/// Starts a proxy on the current runtime, which becomes its control runtime.
///
/// # Errors
/// What cannot be built or bound. Nothing is left running then.
pub async fn start(loaded: Loaded) -> Result<Proxy, StartError> {
    let snapshot = build(&loaded)?;
    for warning in snapshot.warnings() {
        tracing::warn!("{warning}");
    }
    let config = &loaded.config;
    let metrics = Metrics::new();
    know_methods(&metrics, &snapshot, config);
    metrics.set_generation(snapshot.generation);
    let access_log = config.access_log.as_ref().map(|log| open_log(log, &loaded, &metrics)).transpose()?;
    let desks = Desks::bind(&config.admin)?;
    let state = state::open(&loaded, (&desks, &snapshot.access), &metrics).await?;
    let sockets = bind_listeners(&snapshot)?;
    let addresses = bound(&sockets)?;
    audit::open(&snapshot)?;

    let mut background = JoinSet::new();
    let reserved = clusters::reserved(&addresses, desks.addresses());
    let mut clusters = clusters::build((config, &snapshot), &metrics, &reserved, state.as_ref(), &mut background)?;
    let serving = serve::add(&snapshot, &mut clusters, &metrics)?;
    issuers::keep(&snapshot, &mut background);
    let store = state.map(|file| clusters::keep(file, &clusters)).transpose()?;
    let shared = Arc::new(Shared {
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        replaced: watch::Sender::default(),
        clusters: Arc::new(ArcSwap::from_pointee(clusters)),
        metrics: Arc::clone(&metrics),
        hop: HopId::new(),
        visitors: Arc::default(),
        access_log,
    });
    let (closing, closed) = watch::channel(false);
    serve::run(serving, &shared, &closed, &mut background)?;
    withdrawals::watch(&shared, &mut background);
    let workers = Workers::start(usize::from(config.workers), &shared, &closed)?;
    let (accepting, listeners) = accept(sockets, &metrics, &workers, &closed)?;

    let state = AdminState { view: Arc::new(view::Running::new(Arc::clone(&shared), closed.clone())), metrics };
    let (admin, public) = (desks.address, desks.public_address);
    for (socket, surface) in desks.into_sockets()? {
        background.spawn(admin::serve(socket, state.clone(), surface, std::future::pending()));
    }
    Ok(Proxy {
        shared,
        addresses,
        admin,
        public,
        closing,
        workers,
        accepting,
        _background: background,
        listeners,
        store,
    })
}

impl Proxy {
    /// Where a listener listens: the port that was asked for, or the one that the system chose for port 0.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener)?.first().copied()
    }

    /// Where the admin server listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where it answers anybody, if it does.
    pub fn public(&self) -> Option<SocketAddr> {
        self.public
    }

    /// Every listener with its addresses.
    pub fn listeners(&self) -> impl Iterator<Item = (&str, &[SocketAddr])> {
        self.addresses.iter().map(|(name, addresses)| (&**name, addresses.as_slice()))
    }

    /// Looks whether audit files have been moved aside, and goes on in new ones. Answers what went wrong.
    pub async fn reopen_audit(&self) -> Vec<String> {
        let shared = Arc::clone(&self.shared);
        let reopened = tokio::task::spawn_blocking(move || audit::reopen(&shared.snapshot.load())).await;
        reopened.unwrap_or_else(|error| vec![error.to_string()])
    }

    /// Ends well: takes no new connections, says goodbye on those there are (GOAWAY), waits for open calls at most
    /// `patience`, then ends what is left. True if nothing was left.
    pub async fn drain(mut self, patience: Duration) -> bool {
        self.closing.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        let deadline = Instant::now().checked_add(patience);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let open = || self.listeners.iter().map(|listener| listener.open_connections()).sum::<usize>();
        while open() > 0 && !is_over() {
            tokio::time::sleep(LOOK).await;
        }
        let clean = self.shared.metrics.open_calls() == 0;
        self.workers.stop().await;
        let store = self.store.take();
        let shared = Arc::clone(&self.shared);
        // Waits for the writer's thread, so not on the runtime's own.
        let flushed = tokio::task::spawn_blocking(move || {
            // Writes what is left, and lets a standby have the state.
            drop(store);
            let audited = audit::close(&shared.snapshot.load());
            audited & shared.access_log.as_ref().is_none_or(|log| log.flush(Duration::from_secs(2)))
        });
        clean && flushed.await.unwrap_or(false)
    }
}

type Sockets = Vec<(Arc<Listener>, Vec<std::net::TcpListener>)>;

fn bind(what: &str, address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    edge::bind(address).map_err(|error| StartError::Bind { what: what.to_owned(), address, error })
}

fn bind_listeners(snapshot: &Snapshot) -> Result<Sockets, StartError> {
    let bind_one = |listener: &Arc<Listener>| {
        let what = format!("listener `{}`", listener.name);
        let sockets: Result<_, _> = listener.addresses.iter().map(|address| bind(&what, *address)).collect();
        Ok((Arc::clone(listener), sockets?))
    };
    snapshot.listeners.values().map(bind_one).collect()
}

fn bound(sockets: &Sockets) -> Result<HashMap<Arc<str>, Vec<SocketAddr>>, StartError> {
    let one = |(listener, sockets): &(Arc<Listener>, Vec<std::net::TcpListener>)| {
        let addresses: Result<_, _> = sockets.iter().map(local).collect();
        Ok((Arc::clone(&listener.name), addresses?))
    };
    sockets.iter().map(one).collect()
}

fn accept(
    sockets: Sockets,
    metrics: &Metrics,
    workers: &Workers,
    closed: &watch::Receiver<bool>,
) -> Result<(JoinSet<()>, Vec<Arc<ListenerMetrics>>), StartError> {
    let mut accepting = JoinSet::new();
    let mut counters = Vec::new();
    for (listener, sockets) in sockets {
        let counter = metrics.listener(&listener.name);
        let budget = Budget::new(listener.limits.buffered);
        let peers = edge::Peers::new(listener.limits.connections_per_peer);
        for socket in sockets {
            let socket = TcpListener::from_std(socket).map_err(system)?;
            let counted = (Arc::clone(&counter), Arc::clone(&budget), Arc::clone(&peers));
            accepting.spawn(edge::run(socket, Arc::clone(&listener), counted, workers.deals(), closed.clone()));
        }
        counters.push(counter);
    }
    Ok((accepting, counters))
}

/// Gives series of their own to the methods that routes name, and to those of the contract that Portunus carries.
fn know_methods(metrics: &Metrics, snapshot: &Snapshot, config: &Config) {
    let routes = config.listeners.values().flat_map(|listener| &listener.routes);
    for route in routes {
        let Some(service) = route.matches.service.as_ref().map(ToString::to_string) else { continue };
        match &route.matches.method {
            _ if service.ends_with(".*") => {}
            Some(method) => metrics.know(&service, &method.0, CallKind::Unknown),
            None => metrics.know_service(&service),
        }
    }
    let mut targets =
        snapshot.listeners.values().flat_map(|listener| listener.router.iter()).map(|(_, route)| &route.target);
    if targets.any(|target| matches!(target, Target::Register { .. })) {
        for (service, method, kind) in BINDU {
            metrics.know(service, method, kind);
        }
    }
}

/// The contract that Portunus carries itself: neither the core nor the SDKs have reflection.
const BINDU: [(&str, &str, CallKind); 7] = [
    ("bindu.grpc.BinduService", "RegisterAgent", CallKind::Unary),
    ("bindu.grpc.BinduService", "Heartbeat", CallKind::Unary),
    ("bindu.grpc.BinduService", "UnregisterAgent", CallKind::Unary),
    ("bindu.grpc.AgentHandler", "HandleMessages", CallKind::Unary),
    ("bindu.grpc.AgentHandler", "HandleMessagesStream", CallKind::ServerStream),
    ("bindu.grpc.AgentHandler", "GetCapabilities", CallKind::Unary),
    ("bindu.grpc.AgentHandler", "HealthCheck", CallKind::Unary),
];

fn open_log(log: &LogConfig, loaded: &Loaded, metrics: &Metrics) -> Result<AccessLog, StartError> {
    use crate::config::names::LogFile;
    let target = match &log.file {
        LogFile::Stderr => access::Target::Stderr,
        LogFile::Stdout => access::Target::Stdout,
        LogFile::Path(path) => access::Target::File(loaded.source.resolve(path)),
    };
    let opened = AccessLog::open(&target, log.sample.0 / 100.0, metrics.access_dropped());
    opened.map_err(|error| StartError::System(format!("the access log cannot be opened: {error}")))
}

fn local(socket: &std::net::TcpListener) -> Result<SocketAddr, StartError> {
    socket.local_addr().map_err(system)
}

fn system(error: io::Error) -> StartError {
    StartError::System(error.to_string())
}
