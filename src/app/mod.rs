//! Assembles what a configuration asks for, and runs it: sockets, workers, clusters, the admin server.
//!
//! The control runtime (the caller's) accepts connections and does what must not delay calls: health checks, names, the
//! core, the admin port. Workers carry calls, one thread and one runtime each.

mod audit;
mod clusters;
mod desks;
mod ending;
mod handover;
mod health;
mod history;
mod issuers;
mod listening;
pub mod online;
mod reload;
mod schemas;
mod serve;
mod standing;
mod state;
mod trial;
mod view;
mod withdrawals;
mod workers;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, AdminState};
use crate::call::{HopId, Shared};
use crate::config::snapshot::{self, Snapshot};
use crate::config::{AccessLog as LogConfig, Config, Errors, Loaded};
use crate::in_force::InForce;
use crate::observe::metrics::CallKind;
use crate::observe::{AccessLog, Metrics, access};
use crate::store::{File, Store};
use crate::{edge, filters};
use desks::Desks;
use ending::Ending;
pub use handover::{Inherited, Program};
use history::History;
use listening::{Listening, Sockets};
use reload::Running;
use serve::Serving;
use standing::{Standings, World};
use workers::Workers;

/// Why a start failed, or a reload.
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
    /// It stood by, and was told on its admin port to end.
    #[error("told to end before it had begun")]
    Told,
}

/// A proxy that runs. Dropping it ends it at once; [`drain`](Self::drain) ends it well.
pub struct Proxy {
    /// What its calls share.
    pub shared: Arc<Shared>,
    /// The sockets of its admin server, to be handed over.
    desks: Desks,
    ending: Arc<Ending>,
    workers: Workers,
    listening: Mutex<Listening>,
    /// What a reload replaces, beside what calls share. Held by one that is under way.
    running: Arc<tokio::sync::Mutex<Running>>,
    history: Arc<History>,
    /// The admin server: ends with the proxy.
    _background: JoinSet<()>,
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
    Box::pin(start_with(loaded, &Inherited::default())).await
}

/// The same with sockets that this process was given.
///
/// # Errors
/// As [`start`].
pub async fn start_with(loaded: Loaded, inherited: &Inherited) -> Result<Proxy, StartError> {
    let snapshot = build(&loaded)?;
    for warning in snapshot.warnings() {
        tracing::warn!("{warning}");
    }
    let config = &loaded.config;
    let metrics = Metrics::new();
    know_methods(&metrics, &snapshot, config);
    metrics.set_generation(snapshot.generation);
    let access_log = config.access_log.as_ref().map(|log| open_log(log, &loaded, &metrics)).transpose()?;
    let desks = Desks::bind(&config.admin, inherited)?;
    let ending = Arc::new(Ending::default());
    let (state, sockets) = take_place(&loaded, &snapshot, inherited, (&desks, &metrics, &ending)).await?;
    audit::open(&snapshot)?;

    let kept = |cluster: &str| state.as_ref().map_or_else(|| Ok(Vec::new()), |file| file.read(cluster));
    let reserved = clusters::reserved(&sockets, desks.addresses());
    let world = World { config, snapshot: &snapshot, metrics: &metrics, reserved: &reserved, kept: &kept };
    let mut standings = Standings::default();
    let prepared = standings.prepare(&world)?;
    let mut clusters = prepared.clusters();
    let serving = Serving::default().prepare(&snapshot, &mut clusters, &metrics)?;
    standings.replace(prepared, &snapshot, None);
    let store =
        state.map(|file| Store::begin(file, standings.registries()).map(Arc::new)).transpose().map_err(system)?;
    let snapshot = Arc::new(snapshot);
    let shared = Arc::new(Shared {
        in_force: Arc::new(ArcSwap::from_pointee(InForce { snapshot: Arc::clone(&snapshot), clusters })),
        replaced: watch::Sender::default(),
        metrics: Arc::clone(&metrics),
        hop: HopId::new(),
        visitors: Arc::default(),
        access_log,
    });
    let (workers, folder) = (Workers::start(usize::from(config.workers), &shared)?, state::folder(&loaded));
    let mut running = Running::new(loaded, standings, (store, folder));
    running.serving.run(serving, &shared, &ending);
    running.keepers.keep(&snapshot);
    let mut background = JoinSet::new();
    withdrawals::watch(&shared, &mut background);
    let mut listening = Listening::new(Arc::clone(&shared), workers.deals());
    listening.listen(&snapshot, sockets);

    let history = Arc::default();
    let running = Arc::new(tokio::sync::Mutex::new(running));
    let view =
        view::Running::new(Arc::clone(&shared), Arc::clone(&ending), (Arc::clone(&history), Arc::downgrade(&running)));
    let state = AdminState { view: Arc::new(view), metrics };
    for (socket, surface) in desks.try_clone()?.into_sockets()? {
        background.spawn(admin::serve(socket, state.clone(), surface, Arc::clone(&ending).handed_over()));
    }
    Ok(Proxy {
        shared,
        desks,
        ending,
        workers,
        listening: Mutex::new(listening),
        running,
        history,
        _background: background,
    })
}

impl Proxy {
    /// Where a listener listens: the port that was asked for, or the one that the system chose for port 0.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners().get(listener)?.first().copied()
    }

    /// Where the admin server listens.
    pub fn admin(&self) -> SocketAddr {
        self.desks.address
    }

    /// Where it answers anybody, if it does.
    pub fn public(&self) -> Option<SocketAddr> {
        self.desks.public_address
    }

    /// Every listener with its addresses.
    pub fn listeners(&self) -> BTreeMap<Arc<str>, Vec<SocketAddr>> {
        self.listening.lock().addresses()
    }

    /// The number of the configuration in force, from 1.
    pub fn generation(&self) -> u64 {
        self.shared.in_force.load().snapshot.generation
    }

    /// Looks whether audit files have been moved aside, and goes on in new ones. Answers what went wrong.
    pub async fn reopen_audit(&self) -> Vec<String> {
        let shared = Arc::clone(&self.shared);
        let reopened = tokio::task::spawn_blocking(move || audit::reopen(&shared.in_force.load().snapshot)).await;
        reopened.unwrap_or_else(|error| vec![error.to_string()])
    }
}

/// Takes the place in which the proxy is to be: its sockets, and the state. Where another process hands its place over, everything else is
/// ready before that lets go of the state; where another has the state, this one stands by and listens nowhere.
async fn take_place(
    loaded: &Loaded,
    snapshot: &Snapshot,
    inherited: &Inherited,
    (desks, metrics, ending): (&Desks, &Arc<Metrics>, &Arc<Ending>),
) -> Result<(Option<File>, Sockets), StartError> {
    let places = (desks, &snapshot.access);
    let before = if inherited.is_heir() { Some(listening::bind(snapshot, inherited)?) } else { None };
    inherited.await_turn().await?;
    let state = state::open(loaded, places, (metrics, ending)).await?;
    let sockets = before.map_or_else(|| listening::bind(snapshot, inherited), Ok)?;
    inherited.close_rest();
    Ok((state, sockets))
}

fn bind(what: &str, address: SocketAddr, inherited: &Inherited) -> Result<std::net::TcpListener, StartError> {
    let bound = match inherited.take(what, address) {
        Some(socket) => edge::adopt(&socket).map(|()| socket),
        None => edge::bind(address),
    };
    bound.map_err(|error| StartError::Bind { what: what.to_owned(), address, error })
}

/// Gives series of their own to the methods that routes name, and to those of the contract that Portunus carries.
fn know_methods(metrics: &Metrics, snapshot: &Snapshot, config: &Config) {
    let routes = config.listeners.values().flat_map(|listener| &listener.routes);
    let named: Vec<_> = routes
        .filter_map(|route| Some((route.matches.service.as_ref()?.to_string(), route.matches.method.as_ref())))
        .filter(|(service, _)| !service.ends_with(".*"))
        .collect();
    let named =
        named.iter().map(|(service, method)| (&**service, method.map(|method| (&*method.0, CallKind::Unknown))));
    let registers = snapshot.listeners.values().any(|listener| listener.registers());
    let bundled = BINDU.into_iter().filter(|_| registers);
    metrics.know_all(named.chain(bundled.map(|(service, method, kind)| (service, Some((method, kind))))));
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
