//! How often instances are asked, by a clock that does not wait.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::DuplexStream;

use super::*;
use crate::balance::Policy;
use crate::observe::Metrics;
use crate::registry::{EndpointSet, Target};
use crate::schema::{Definition, tests::compile::with};
use crate::upstream::schemas::{Demands, Settings};
use crate::upstream::{ClusterLimits, Io, Lister, Methods};

/// Counts connections. What is behind them has no reflection, or nobody is there.
#[derive(Debug)]
struct Counting {
    begun: Instant,
    opened: Mutex<Vec<Duration>>,
    answers: bool,
    /// Ports behind which somebody takes connections, and says nothing.
    silent: Mutex<BTreeSet<u16>>,
    hung: Mutex<Vec<DuplexStream>>,
}

impl Network for Counting {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        // This machine's other address is tried where this one refuses.
        if address.is_ipv4() {
            self.opened.lock().push(self.begun.elapsed());
        }
        if !self.answers {
            return async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed();
        }
        let (ours, theirs) = tokio::io::duplex(4096);
        if self.silent.lock().contains(&address.port()) {
            self.hung.lock().push(theirs);
        } else {
            tokio::spawn(refuse(theirs));
        }
        async { Ok(Box::new(ours) as Box<dyn Io>) }.boxed()
    }

    fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

/// A server that knows no method.
async fn refuse(socket: DuplexStream) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((_, mut reply))) = connection.accept().await {
        let mut head = http::Response::new(());
        head.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        head.headers_mut().insert("grpc-status", http::HeaderValue::from_static("12"));
        reply.send_response(head, true).ok();
    }
}

/// Some policy reads messages.
struct Any;

impl Demands for Any {
    fn concern(&self, _: &str, _: &str) -> bool {
        true
    }

    fn judge(&self, _: &str, _: &str, _: &Definition, _: Option<&Definition>) -> Result<(), String> {
        Ok(())
    }
}

/// The same, until judging panics.
struct Panicking(Arc<AtomicBool>);

impl Demands for Panicking {
    fn concern(&self, _: &str, _: &str) -> bool {
        assert!(!self.0.load(Ordering::SeqCst), "as a test wants it");
        true
    }

    fn judge(&self, _: &str, _: &str, _: &Definition, _: Option<&Definition>) -> Result<(), String> {
        Ok(())
    }
}

struct World {
    cluster: Arc<Cluster>,
    network: Arc<Counting>,
}

impl World {
    /// A cluster of so many instances.
    fn new(instances: u16, answers: bool, bundled: bool) -> Self {
        let metrics = Metrics::new().cluster("c");
        let one = |port| {
            let (target, counters) = (Target::Loopback(port), metrics.instance("i"));
            Instance::new("c".into(), target, 1, State::Healthy, counters, Instant::now())
        };
        let group = Group::listed(Lister::File, EndpointSet::new((1..=instances).map(one).collect()));
        let stand_in = || Arc::new(Definitions::of(Arc::new(with("message R {}"))));
        let settings =
            Settings { pinned: None, refresh: Some(Duration::from_secs(60)), bundled: bundled.then(stand_in) };
        let schemas = Schemas::new(settings, Arc::clone(&metrics));
        let cluster = Cluster {
            name: "c".into(),
            policy: Policy::RoundRobin,
            limits: ClusterLimits { connections: 1, requests: 1, pending: 1 },
            methods: Arc::clone(&schemas) as Arc<dyn Methods>,
            schemas,
            metrics,
            security: Arc::default(),
            group,
        };
        let network = Counting {
            begun: Instant::now(),
            opened: Mutex::default(),
            answers,
            silent: Mutex::default(),
            hung: Mutex::default(),
        };
        Self { cluster: Arc::new(cluster), network: Arc::new(network) }
    }

    fn start(&self) -> tokio::task::JoinHandle<()> {
        self.start_among(&Arc::new(Places::of_all()))
    }

    /// Beside others that have these places too.
    fn start_among(&self, places: &Arc<Places>) -> tokio::task::JoinHandle<()> {
        let network = Arc::clone(&self.network) as Arc<dyn Network>;
        tokio::spawn(keep_among(Arc::clone(places), Arc::clone(&self.cluster), network))
    }

    /// The number of the instance with this port.
    fn id(&self, port: u16) -> u64 {
        let Group::Listed { set, .. } = &self.cluster.group else { return 0 };
        let set = set.load();
        set.instances.iter().find(|instance| instance.target == Target::Loopback(port)).unwrap().id
    }

    /// Somebody is connected to the instance with this port anew: whether it says in time what it serves.
    async fn is_confirmed(&self, port: u16) -> bool {
        self.cluster.schemas.confirm(self.id(port)).await;
        !self.cluster.schemas.is_doubtful(self.id(port))
    }

    fn is_known(&self, port: u16) -> bool {
        self.cluster.schemas.load().reported(self.id(port)).is_some()
    }

    /// Connections that were made.
    fn opened(&self) -> usize {
        self.network.opened.lock().len()
    }

    /// The most in any second after a burst.
    fn busiest(&self) -> usize {
        let opened = self.network.opened.lock();
        let later = opened.iter().skip(100);
        let within =
            |from: &Duration| opened.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(*at)).count();
        later.map(within).max().unwrap_or_default()
    }
}

fn seconds(many: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_secs(many))
}

#[tokio::test(start_paused = true)]
async fn a_few_are_asked_at_once() {
    let world = World::new(90, true, true);
    let _keeper = world.start();
    seconds(1).await;
    assert_eq!(world.opened(), 90);
    assert!(
        world.cluster.schemas.load().reports().iter().all(|report| report.kind.is_some() && report.error.is_none())
    );
    // Who has no reflection is asked ten times less often than once a minute.
    seconds(500).await;
    assert_eq!(world.opened(), 90);
    seconds(200).await;
    assert_eq!(world.opened(), 180);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_costs_the_same_however_many_there_are() {
    for many in [1_500, 3_000] {
        let world = World::new(many, true, true);
        let _keeper = world.start();
        seconds(1).await;
        assert!((100..=121).contains(&world.opened()), "{many}: {}", world.opened());
        seconds(120).await;
        // About one a second: all are asked in the end.
        assert!((140..=400).contains(&world.opened()), "{many}: {}", world.opened());
        assert!(world.busiest() <= 21, "{many}: {}", world.busiest());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_does_not_answer_is_not_hammered() {
    let world = World::new(3_000, false, false);
    let _keeper = world.start();
    seconds(60).await;
    assert!((1_000..=1_321).contains(&world.opened()), "{}", world.opened());
    assert!(world.busiest() <= 21, "{}", world.busiest());
}

#[tokio::test(start_paused = true)]
async fn where_a_policy_needs_them_all_are_asked_soon_those_too_that_were_put_off() {
    let world = World::new(3_000, true, false);
    let _keeper = world.start();
    seconds(10).await;
    assert!(world.opened() < 350, "{}", world.opened());
    world.cluster.schemas.demand(Some(Box::new(Any)));
    seconds(31).await;
    assert!(world.cluster.schemas.load().reports().iter().all(|report| report.asked));
    // A burst and a second's.
    assert!(world.busiest() <= 201, "{}", world.busiest());
    assert!(world.opened() <= 3_100, "{}: each once", world.opened());
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_does_not_wait_behind_those_that_are_silent() {
    let world = World::new(26, true, true);
    world.network.silent.lock().extend(2..=26);
    world.cluster.schemas.demand(Some(Box::new(Any)));
    let _keeper = world.start();
    seconds(1).await;
    assert!(world.is_known(1));
    // New ones, those that have been silent once, and those that have been for long.
    for minute in 0..5 {
        for second in 0..7 {
            assert!(world.is_confirmed(1).await, "{minute}:{second}");
            seconds(1).await;
        }
        seconds(50).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_silent_holds_up_no_other() {
    let places = Arc::new(Places::of_all());
    let silent: Vec<World> = (0..3).map(|_| World::new(25, true, false)).collect();
    let known = World::new(1, true, true);
    known.cluster.schemas.demand(Some(Box::new(Any)));
    let _known = known.start_among(&places);
    seconds(1).await;
    let mut keepers = Vec::new();
    for world in &silent {
        world.network.silent.lock().extend(1..=25);
        keepers.push(world.start_among(&places));
    }
    // What is known of one cluster is confirmed whatever the others do.
    for second in 0..7 {
        assert!(known.is_confirmed(1).await, "{second}");
        seconds(1).await;
    }
    // Once it is known that they are silent, whoever is new is asked at once.
    seconds(120).await;
    for _ in 0..5 {
        let new = World::new(10, true, true);
        let _new = new.start_among(&places);
        seconds(1).await;
        assert!((1..=10).all(|port| new.is_known(port)));
        seconds(6).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_in_doubt_is_asked_again_until_it_answers() {
    let world = World::new(26, true, true);
    world.network.silent.lock().extend(2..=26);
    world.cluster.schemas.demand(Some(Box::new(Any)));
    let _keeper = world.start();
    seconds(1).await;
    world.network.silent.lock().insert(1);
    assert!(!world.is_confirmed(1).await);
    seconds(25).await;
    assert!(world.cluster.schemas.is_doubtful(world.id(1)));
    world.network.silent.lock().remove(&1);
    seconds(20).await;
    assert!(!world.cluster.schemas.is_doubtful(world.id(1)));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_judged_confirms_nothing() {
    let world = World::new(1, true, true);
    let panics: Arc<AtomicBool> = Arc::default();
    world.cluster.schemas.demand(Some(Box::new(Panicking(Arc::clone(&panics)))));
    let _keeper = world.start();
    seconds(20).await;
    assert!(world.is_confirmed(1).await);
    panics.store(true, Ordering::SeqCst);
    world.cluster.schemas.demand(Some(Box::new(Panicking(Arc::clone(&panics)))));
    let begun = world.opened();
    assert!(!world.is_confirmed(1).await);
    seconds(20).await;
    assert!(world.cluster.schemas.is_doubtful(world.id(1)));
    assert!(world.opened() < begun + 30, "{}: and nobody is hammered", world.opened() - begun);
    // It is tried again by itself.
    panics.store(false, Ordering::SeqCst);
    seconds(20).await;
    assert!(!world.cluster.schemas.is_doubtful(world.id(1)));
    assert!(world.is_confirmed(1).await);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_comes_later_does_not_go_by_what_an_instance_said_before_it_was_connected_to_anew() {
    let world = World::new(40, true, true);
    let _keeper = world.start();
    seconds(5).await;
    assert!(world.is_known(1) && world.is_known(2));
    world.network.silent.lock().insert(1);
    // It is connected to anew, which nobody waits for.
    let began = Instant::now();
    world.cluster.schemas.confirm(world.id(1)).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    seconds(15).await;
    world.cluster.schemas.demand(Some(Box::new(Any)));
    assert!(world.cluster.schemas.is_doubtful(world.id(1)) && !world.cluster.schemas.is_doubtful(world.id(2)));
    world.network.silent.lock().clear();
    seconds(12).await;
    assert!(!world.cluster.schemas.is_doubtful(world.id(1)), "it is asked at once");
}
