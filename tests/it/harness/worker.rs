//! One worker behind a socket, with filters of the tests' and in the place of schemas what a test says; what it holds, and what of
//! `limits.buffered`, is seen from outside.

use std::any::Any;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use filter_api::{Known, MethodKind, Types};
use portunus::balance::Policy;
use portunus::call::{Budget, Holds, HopId, Shared, Worker};
use portunus::config::load_str;
use portunus::config::snapshot::{self, FirstMessage};
use portunus::edge::{self, Arrival};
use portunus::filters;
use portunus::in_force::InForce;
use portunus::observe::Metrics;
use portunus::registry::{Agent, EndpointSet, Instance, State, Target};
use portunus::upstream::schemas::{Schemas, Settings};
use portunus::upstream::{Cluster, ClusterLimits, Clusters, Group, Lister, Methods, Tcp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::filters::{Judge, Mask};
use super::{Caller, eventually};

/// A worker, and what a test wants of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held<'a> {
    /// Keys of the listener.
    pub(crate) listener: &'a str,
    /// Filters of the route.
    pub(crate) filters: &'a str,
    /// What is known of every method.
    pub(crate) kind: Option<MethodKind>,
    /// For what the route needs the first message.
    pub(crate) first: FirstMessage,
}

pub(crate) struct TestWorker {
    worker: Arc<Worker>,
    address: SocketAddr,
    buffered: Arc<Budget>,
    accepting: JoinHandle<()>,
    _closing: watch::Sender<bool>,
}

/// In the place of schemas: types are texts.
#[derive(Debug)]
struct Said(Option<MethodKind>);

impl Methods for Said {
    fn kind(&self, _: &str, _: &str) -> Option<MethodKind> {
        self.0
    }

    fn majority(&self, _: Option<&Agent>, _: &str, _: &str) -> Option<u64> {
        None
    }

    fn in_force(&self, _: Option<&Agent>, _: &str, method: &str) -> Option<Arc<Types>> {
        Some(text(format!("all of {method}")))
    }

    fn is_read_as(&self, _: u64, _: &str, _: &str, _: Option<&Types>) -> bool {
        true
    }

    fn of_instance(&self, _: u64, _: &str, method: &str) -> Option<Arc<Types>> {
        Some(text(format!("one of {method}")))
    }
}

fn text(text: String) -> Arc<Types> {
    Arc::new(text) as Arc<dyn Any + Send + Sync>
}

impl TestWorker {
    pub(crate) async fn before(instances: &[SocketAddr], held: Held<'_>) -> Self {
        let known = [filters::ALL, &[Known::of::<Judge>(), Known::of::<Mask>()]].concat();
        let yaml = format!(
            "clusters: {{c: {{endpoints: [\"127.0.0.1:1\"]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    {}\n    \
             routes:\n      - cluster: c\n        filters: [{}]\n",
            held.listener, held.filters
        );
        let loaded = load_str(&yaml, Path::new("held.yaml"), &|_| None, &known);
        let mut snapshot = loaded.and_then(|loaded| snapshot::build(&loaded, &known, 1)).unwrap();
        let listener = snapshot.listeners.get_mut("edge").unwrap();
        let targets = Arc::get_mut(listener).unwrap().router.targets_mut();
        targets.for_each(|route| route.first_message = held.first);
        let listener = Arc::clone(listener);
        let metrics = Metrics::new();
        let clusters = clusters(instances, held.kind, &metrics);
        let shared = Arc::new(Shared {
            in_force: Arc::new(ArcSwap::from_pointee(InForce { snapshot: Arc::new(snapshot), clusters })),
            replaced: watch::Sender::default(),
            metrics: Arc::clone(&metrics),
            hop: HopId::new(),
            visitors: Arc::default(),
            access_log: None,
        });
        let worker = Worker::new(shared, Arc::new(Tcp));
        tokio::spawn(Arc::clone(&worker).keep());
        let buffered = Budget::new(listener.limits.buffered);
        let (closing, closed) = watch::channel(false);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (of, budget) = (Arc::clone(&worker), Arc::clone(&buffered));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, peer)) = socket.accept().await {
                let metrics = metrics.listener("edge");
                let arrival = Arrival {
                    peer,
                    nameless: false,
                    local: address,
                    listener: Arc::clone(&listener),
                    open: metrics.connection(),
                    metrics,
                    buffered: Arc::clone(&budget),
                };
                stream.set_nodelay(true).unwrap();
                tokio::spawn(edge::serve(Arc::clone(&of), stream, arrival, closed.clone()));
            }
        });
        Self { worker, address, buffered, accepting, _closing: closing }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.address).await
    }

    /// Octets of `limits.buffered` that are used.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.used()
    }

    pub(crate) fn holds(&self) -> Holds {
        self.worker.holds()
    }

    /// Every call ends soon, and leaves nothing behind.
    pub(crate) async fn is_idle_soon(&self) {
        eventually!(self.holds().calls == 0, "{:?}", self.holds());
        assert_eq!((self.buffered(), self.holds().alarms, self.holds().waiting), (0, 0, 0));
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn clusters(instances: &[SocketAddr], kind: Option<MethodKind>, metrics: &Metrics) -> Clusters {
    let counters = metrics.cluster("c");
    let instances = instances.iter().map(|address| {
        let target = Target::Socket(*address);
        let counters = counters.instance(&target.to_string());
        Instance::new("c".into(), target, 1, State::Healthy, counters, Instant::now())
    });
    let set = EndpointSet::new(instances.collect());
    let cluster = Cluster {
        name: "c".into(),
        policy: Policy::RoundRobin,
        limits: ClusterLimits { connections: 2, requests: 1_024, pending: 256 },
        metrics: Arc::clone(&counters),
        security: Arc::default(),
        group: Group::listed(Lister::File, set),
        schemas: Schemas::new(Settings::default(), counters),
        methods: Arc::new(Said(kind)),
    };
    [("c".into(), Arc::new(cluster))].into_iter().collect()
}
