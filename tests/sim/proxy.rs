//! The proxy as production builds it, on a host of the simulation. What it keeps outlives it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portunus::balance::Policy;
use portunus::call::{Budget, HopId, Shared, Worker};
use portunus::config::load_str;
use portunus::config::snapshot::{Snapshot, build_after};
use portunus::edge::{self, Arrival};
use portunus::filters;
use portunus::in_force::InForce;
use portunus::observe::Metrics;
use portunus::registry::{Callback, Registry, Saved, Settings, Target};
use portunus::upstream::core::CoreClient;
use portunus::upstream::schemas::{self, Schemas};
use portunus::upstream::side::SideClient;
use portunus::upstream::{Cluster, ClusterLimits, Clusters, Group, Methods, Network, probe};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::network::{Simulated, listen};
use crate::world::World;

pub(crate) const SDK_PORT: u16 = 3774;
pub(crate) const CALL_PORT: u16 = 8080;
/// Carries the version of the configuration that a call went by.
pub(crate) const GENERATION: &str = "x-gen";
/// Says on requests and on answers which version it is.
fn config(version: u64) -> String {
    format!(
        "
state: memory
clusters:
  agents: {{registry: {{}}}}
listeners:
  sdk:
    address: 127.0.0.1:1
    routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents, open_registration: true}}]
  calls:
    address: 127.0.0.1:2
    filters: [{{metadata: {{set: {{{GENERATION}: \"{version}\"}}}}}}]
    routes:
      - {{cluster: agents, filters: [{{metadata: {{response: {{set: {{{GENERATION}: \"{version}\"}}}}}}}}]}}
"
    )
}

/// What `state.dir` would hold.
pub(crate) type Disk = Arc<Mutex<BTreeMap<String, Saved>>>;

fn settings() -> Settings {
    Settings {
        core: Target::parse("core:3774"),
        callback: Some(Callback::pattern("{agent}.localhost:3790").unwrap()),
        allow: Some(vec!["192.168.0.0/16".parse().unwrap()]),
        ..Settings::default()
    }
}

fn build(version: u64, before: Option<&Snapshot>) -> Result<Snapshot, String> {
    let loaded =
        load_str(&config(version), Path::new("sim.yaml"), &|_| None, filters::ALL).map_err(|e| e.to_string())?;
    build_after(&loaded, filters::ALL, version, before).map_err(|errors| errors.to_string())
}

/// Runs until its host is stopped; what `wanted` says is the version that is in force.
pub(crate) async fn run(world: Arc<World>, disk: Disk, wanted: watch::Receiver<u64>) -> turmoil::Result {
    let snapshot = build(*wanted.borrow(), None)?;
    let metrics = Metrics::new();
    world.counts(&metrics);
    let counters = metrics.cluster("agents");
    let registry = Registry::new("agents", settings(), Arc::clone(&counters));
    registry.restore(disk.lock().values().cloned().collect(), Instant::now());
    let (changed, _told) = std::sync::mpsc::sync_channel(1);
    registry.keep(changed);
    tokio::spawn(keep(Arc::clone(&registry), disk));
    tokio::spawn(watch_over(Arc::clone(&registry), Arc::clone(&world)));

    let network: Arc<dyn Network> = Arc::new(Simulated);
    let client = Arc::new(SideClient::new(Arc::clone(&network), Arc::default()));
    tokio::spawn(probe::run(Arc::clone(&registry), client, Arc::new(ArcSwap::from_pointee(probe::Check::of_agents()))));
    tokio::spawn(CoreClient::new(Arc::clone(&registry), Arc::clone(&network)).run());
    let schemas = Schemas::new(schemas::Settings::default(), Arc::clone(&counters));
    let cluster = Arc::new(Cluster {
        name: "agents".into(),
        policy: Policy::RoundRobin,
        limits: ClusterLimits { connections: 8, requests: 1_024, pending: 256 },
        methods: Arc::clone(&schemas) as Arc<dyn Methods>,
        schemas,
        metrics: counters,
        security: Arc::default(),
        group: Group::Registered(registry),
    });
    let clusters: Clusters = [("agents".into(), cluster)].into_iter().collect();
    let listeners = snapshot.listeners.clone();
    let shared = Arc::new(Shared {
        in_force: Arc::new(ArcSwap::from_pointee(InForce { snapshot: Arc::new(snapshot), clusters })),
        replaced: watch::Sender::default(),
        metrics: Arc::clone(&metrics),
        hop: HopId::new(),
        visitors: Arc::default(),
        access_log: None,
    });
    tokio::spawn(reload(Arc::clone(&shared), wanted));
    let worker = Worker::new(shared, network);
    tokio::spawn(Arc::clone(&worker).keep());
    let closing = Arc::new(Mutex::new(watch::Sender::new(false)));
    tokio::spawn(drain(world, Arc::clone(&closing)));
    let accept = async |name: &str, port: u16| {
        let (socket, listener) = (listen(port).await?, &listeners[name]);
        let (metrics, buffered) = (metrics.listener(name), Budget::new(listener.limits.buffered));
        loop {
            let (stream, peer) = socket.accept().await?;
            let arrival = Arrival {
                peer,
                nameless: false,
                local: stream.local_addr()?,
                listener: Arc::clone(listener),
                open: metrics.connection(),
                metrics: Arc::clone(&metrics),
                buffered: Arc::clone(&buffered),
            };
            tokio::spawn(edge::serve(Arc::clone(&worker), stream, arrival, closing.lock().subscribe()));
        }
        #[allow(unreachable_code, reason = "names the type of the loop above")]
        Ok::<(), std::io::Error>(())
    };
    tokio::try_join!(accept("sdk", SDK_PORT), accept("calls", CALL_PORT))?;
    Ok(())
}

/// Puts each version in force that is wanted, around the clusters that there are.
async fn reload(shared: Arc<Shared>, mut wanted: watch::Receiver<u64>) {
    while wanted.changed().await.is_ok() {
        let before = shared.in_force.load_full();
        let snapshot = build(*wanted.borrow_and_update(), Some(&before.snapshot)).unwrap();
        shared.put_in_force(InForce { snapshot: Arc::new(snapshot), clusters: before.clusters.clone() });
    }
}

/// Tells the connections that there are to go, whenever the world wants it. Who comes then is another process' in production.
async fn drain(world: Arc<World>, closing: Arc<Mutex<watch::Sender<bool>>>) {
    let mut drains = world.drains.subscribe();
    while drains.changed().await.is_ok() {
        std::mem::replace(&mut *closing.lock(), watch::Sender::new(false)).send_replace(true);
    }
}

/// Writes what changed, as the store's thread does.
async fn keep(registry: Arc<Registry>, disk: Disk) {
    loop {
        if let Some(changes) = registry.take_changes() {
            for (id, saved) in &changes.agents {
                let mut disk = disk.lock();
                match saved {
                    Some(saved) => drop(disk.insert(id.to_string(), saved.clone())),
                    None => drop(disk.remove(&**id)),
                }
            }
            registry.changes_kept(changes, Ok(()));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Tells the world what the registry thinks of each instance.
async fn watch_over(registry: Arc<Registry>, world: Arc<World>) {
    loop {
        for agent in registry.view(Instant::now()) {
            for instance in agent.instances {
                world.judged(&instance.address, instance.state);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}
