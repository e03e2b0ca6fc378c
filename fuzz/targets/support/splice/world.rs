//! A worker as production builds it, with pipes for sockets; and what must be so when everybody has left.

use std::future::{Future, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use filter_api::{MethodKind, Types};
use portunus::balance::Policy;
use portunus::call::{Budget, Holds, HopId, Shared, Worker};
use portunus::config::load_str;
use portunus::config::snapshot::{self, FirstMessage, Listener, Snapshot};
use portunus::edge::{self, Arrival};
use portunus::filters;
use portunus::in_force::InForce;
use portunus::observe::metrics::ConnectionState;
use portunus::observe::{ClusterMetrics, ListenerMetrics, Metrics};
use portunus::registry::{Agent, EndpointSet, Instance, State, Target};
use portunus::upstream::schemas::{Schemas, Settings};
use portunus::upstream::{Cluster, ClusterLimits, Clusters, Group, Io, Lister, Methods, Network};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::watch;

use super::peer::{Manners, Peer};
use super::reader::READERS;

/// Everything that is small in one and by default in the other; and one without the listener.
const NARROW: &str = "limits: {streams: 6, message: 20KiB, response_message: 20KiB, headers: 2KiB, buffered: 3KiB, \
    connection_age: 50s}, ";
const ROUTES: &str = "routes: [\
    {match: {service: a.A}, cluster: c}, {match: {service: a.T}, cluster: c, timeout: 3s}, \
    {match: {service: a.L}, cluster: c, filters: [{limits: {messages: 3, idle: 2s}}, {metadata: {set: {x-b: c}}}]}, \
    {match: {service: a.B}, cluster: c, filters: [{judge: {}}, {mask: {}}, {limits: {messages: 5}}]}, \
    {match: {service: a.K}, cluster: c, filters: [{judge: {}}, {mask: {waits: true}}]}, \
    {match: {service: a.F}, cluster: c, timeout: 3s}, \
    {match: {service: a.G}, cluster: c, filters: [{judge: {waits: true}}, {mask: {}}]}]";

/// How many instances there are, by their ports from 1 on.
const INSTANCES: u16 = 2;

type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// What becomes of a dial.
pub(crate) const REFUSED: u8 = 1;
pub(crate) const SILENT: u8 = 2;

/// A network whose other ends are the script's.
#[derive(Debug)]
struct Pipes {
    size: usize,
    polls: Arc<AtomicUsize>,
    /// By instance: 0 connects, [`REFUSED`], or [`SILENT`].
    modes: [AtomicU8; INSTANCES as usize],
    accepted: Mutex<Vec<DuplexStream>>,
}

impl Pipes {
    fn accepted(&self) -> MutexGuard<'_, Vec<DuplexStream>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for Pipes {
    fn open(&self, address: SocketAddr) -> Opening {
        match self.modes[usize::from(address.port() - 1) % self.modes.len()].load(Ordering::Relaxed) {
            REFUSED => Box::pin(ready(Err(io::ErrorKind::ConnectionRefused.into()))),
            SILENT => Box::pin(pending()),
            _ => {
                let (near, far) = duplex(self.size);
                self.accepted().push(far);
                Box::pin(ready(Ok(Box::new(Watched(near, Arc::clone(&self.polls))) as Box<dyn Io>)))
            }
        }
    }

    fn resolve(&self, _: &str, _: u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// The proxy's end, which counts how often it is read: a turn that causes turns for ever shows there.
struct Watched(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What runs, and what is known of it.
pub(crate) struct World {
    pub(crate) worker: Arc<Worker>,
    listener: Arc<Listener>,
    metrics: Arc<ListenerMetrics>,
    buffered: Arc<Budget>,
    cluster: Arc<Cluster>,
    counters: Arc<ClusterMetrics>,
    /// All that there ever were.
    instances: Vec<Arc<Instance>>,
    pipes: Arc<Pipes>,
    pub(crate) closing: watch::Sender<bool>,
}

/// The narrow configuration, the one by default, and one without the listener.
fn snapshots() -> &'static [Arc<Snapshot>; 3] {
    static BUILT: OnceLock<[Arc<Snapshot>; 3]> = OnceLock::new();
    BUILT.get_or_init(|| {
        [("l", NARROW), ("l", ""), ("other", "")].map(|(name, limits)| {
            let text = format!(
                "clusters: {{c: {{endpoints: [\"127.0.0.1:1\"]}}}}\n\
                 listeners: {{{name}: {{address: \"127.0.0.1:9\", {limits}{ROUTES}}}}}\n"
            );
            let known = [filters::ALL, &READERS].concat();
            let loaded = load_str(&text, Path::new("splice.yaml"), &|_| None, &known);
            let snapshot = loaded.and_then(|loaded| snapshot::build(&loaded, &known, 1));
            let mut snapshot = snapshot.unwrap_or_else(|errors| panic!("{errors}"));
            for listener in snapshot.listeners.values_mut().filter_map(Arc::get_mut) {
                for route in listener.router.targets_mut() {
                    // The order is the file's: all are as specific.
                    route.first_message = match route.index {
                        5 => FirstMessage::ToChoose,
                        6 => FirstMessage::ToMatch,
                        _ => FirstMessage::Unneeded,
                    };
                }
            }
            Arc::new(snapshot)
        })
    })
}

/// What is known of methods: those of `a.K` take one message and give one.
#[derive(Debug)]
struct OneOfK;

impl Methods for OneOfK {
    fn kind(&self, service: &str, _: &str) -> Option<MethodKind> {
        (service == "a.K").then_some(MethodKind::Unary)
    }

    fn majority(&self, _: Option<&Agent>, _: &str, _: &str) -> Option<u64> {
        None
    }

    fn in_force(&self, _: Option<&Agent>, _: &str, _: &str) -> Option<Arc<Types>> {
        None
    }

    fn is_read_as(&self, _: u64, _: &str, _: &str, _: Option<&Types>) -> bool {
        true
    }

    fn of_instance(&self, _: u64, _: &str, _: &str) -> Option<Arc<Types>> {
        None
    }
}

impl World {
    /// `narrow`: small limits. `size`: what a pipe takes.
    pub(crate) fn new(narrow: bool, size: usize) -> Self {
        let snapshot = &snapshots()[usize::from(!narrow)];
        let listener = Arc::clone(&snapshot.listeners["l"]);
        let metrics = Metrics::new();
        let counters = metrics.cluster("c");
        let limits = ClusterLimits {
            connections: if narrow { 2 } else { 8 },
            requests: if narrow { 6 } else { 1_024 },
            pending: if narrow { 3 } else { 256 },
        };
        let cluster = Arc::new(Cluster {
            security: Arc::default(),
            name: "c".into(),
            policy: if narrow { Policy::RoundRobin } else { Policy::LeastRequest },
            limits,
            metrics: Arc::clone(&counters),
            group: Group::listed(Lister::Dns, EndpointSet::default()),
            schemas: Schemas::new(Settings::default(), Arc::clone(&counters)),
            methods: Arc::new(OneOfK),
        });
        let clusters: Clusters = [("c".into(), Arc::clone(&cluster))].into_iter().collect();
        let shared = Arc::new(Shared {
            in_force: Arc::new(ArcSwap::from_pointee(InForce { snapshot: Arc::clone(snapshot), clusters })),
            replaced: watch::Sender::default(),
            metrics: Arc::clone(&metrics),
            hop: HopId::new(),
            visitors: Arc::default(),
            access_log: None,
        });
        let pipes =
            Arc::new(Pipes { size, polls: Arc::default(), modes: Default::default(), accepted: Mutex::default() });
        let worker = Worker::new(shared, Arc::clone(&pipes) as Arc<dyn Network>);
        tokio::spawn(Arc::clone(&worker).keep());
        let mut world = Self {
            worker,
            buffered: Budget::new(listener.limits.buffered),
            metrics: metrics.listener("l"),
            listener,
            cluster,
            counters,
            instances: Vec::new(),
            pipes,
            closing: watch::channel(false).0,
        };
        world.replace_instances();
        world
    }

    /// Other instances at the same addresses, as a name server would have it; those of before are retired.
    pub(crate) fn replace_instances(&mut self) {
        let Group::Listed { set, .. } = &self.cluster.group else { return };
        let fresh: Vec<_> = (1..=INSTANCES)
            .map(|port| {
                let target = Target::Socket(SocketAddr::from(([127, 0, 0, 1], port)));
                let counters = self.counters.instance(&target.to_string());
                Instance::new("c".into(), target, 1, State::Healthy, counters, tokio::time::Instant::now())
            })
            .collect();
        set.store(Arc::new(EndpointSet::new(fresh.clone())));
        self.instances.iter().for_each(|instance| instance.retire());
        self.instances.extend(fresh);
    }

    /// Another configuration: see [`snapshots`].
    pub(crate) fn reload(&self, which: u8) {
        let snapshots = snapshots();
        let in_force = &self.worker.shared.in_force;
        let snapshot = Arc::clone(&snapshots[usize::from(which) % snapshots.len()]);
        let clusters = in_force.load().clusters.clone();
        in_force.store(Arc::new(InForce { snapshot, clusters }));
    }

    /// From now on dials of an instance end so.
    pub(crate) fn set_mode(&self, instance: u8, mode: u8) {
        self.pipes.modes[usize::from(instance) % self.pipes.modes.len()].store(mode, Ordering::Relaxed);
    }

    /// Somebody connects to the listener.
    pub(crate) fn call(&self, manners: Manners) -> Peer {
        let (near, far) = duplex(self.pipes.size);
        let arrival = Arrival {
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            nameless: false,
            local: SocketAddr::from(([127, 0, 0, 1], 9)),
            listener: Arc::clone(&self.listener),
            metrics: Arc::clone(&self.metrics),
            buffered: Arc::clone(&self.buffered),
            open: self.metrics.connection(),
        };
        let near = Watched(near, Arc::clone(&self.pipes.polls));
        tokio::spawn(edge::serve(Arc::clone(&self.worker), near, arrival, self.closing.subscribe()));
        Peer::new(far, true, manners)
    }

    /// The instances' ends of connections that were opened meanwhile.
    pub(crate) fn accept(&self, manners: Manners) -> impl Iterator<Item = Peer> {
        std::mem::take(&mut *self.pipes.accepted()).into_iter().map(move |far| Peer::new(far, false, manners))
    }

    /// How often the proxy has read its sockets.
    pub(crate) fn polls(&self) -> usize {
        self.pipes.polls.load(Ordering::Relaxed)
    }

    /// Calls that ended well at an instance.
    pub(crate) fn served(&self) -> u64 {
        // Instances at one address share their counters.
        let now = self.instances.iter().rev().take(INSTANCES.into());
        now.map(|instance| instance.metrics.handled_total(filter_api::Code::Ok)).sum()
    }

    /// At any moment: what is counted is there. Answers what the worker holds.
    pub(crate) fn check(&self) -> Holds {
        let holds = self.worker.holds();
        assert_eq!(holds.calls, self.worker.shared.metrics.open_calls(), "calls, and what is counted of them");
        let in_flight: u32 = self.instances.iter().map(|instance| instance.in_flight()).sum();
        assert!(in_flight as usize <= holds.calls, "{in_flight} calls on instances, of {}", holds.calls);
        assert!(holds.waiting <= holds.calls && holds.alarms <= holds.calls, "{holds:?}");
        assert!(self.buffered.used() <= self.listener.limits.buffered, "too much is kept for another try");
        assert!(holds.calls > 0 || self.buffered.used() == 0, "octets are kept for no call");
        holds
    }

    /// Every peer has left, and time has passed: nothing is open, held or counted.
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.worker.holds(), Holds::default());
        assert_eq!(self.worker.shared.metrics.open_calls(), 0, "calls are open");
        assert_eq!(self.metrics.open_connections(), 0, "callers' connections are open");
        assert_eq!(self.buffered.used(), 0, "octets are kept for another try");
        for state in [ConnectionState::Connecting, ConnectionState::Ready, ConnectionState::Draining] {
            assert_eq!(self.counters.connections(state), 0, "connections to instances are {state:?}");
        }
        for instance in &self.instances {
            assert_eq!(instance.in_flight(), 0, "calls are on {}", instance.authority);
            // All places are free again.
            assert!(instance.try_wait(1).is_some(), "calls wait for {}", instance.authority);
        }
        // Ours, and the one of its clock: no task of a connection is left.
        assert_eq!(Arc::strong_count(&self.worker), 2, "tasks are left");
    }
}
