//! A cluster as calls see it: who is in it, how one is picked, and how much each may take.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use filter_api::{MethodKind, Types};
use rustc_hash::FxHashMap;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::balance::{self, Policy, Seeker};
use crate::observe::ClusterMetrics;
use crate::registry::{Agent, Door, EndpointSet, Instance, Listed, Registry, State};
use crate::schema::Definitions;

use super::schemas::{self, Schemas};
use super::security::Security;
use super::{ConnectError, Place};

/// Clusters by name. A call looks its cluster up here: names are what snapshots and the running state share.
pub type Clusters = FxHashMap<Arc<str>, Arc<Cluster>>;

/// Bounds of each instance.
#[derive(Clone, Copy, Debug)]
pub struct ClusterLimits {
    /// Connections of a worker.
    pub connections: usize,
    /// Open calls, over all workers.
    pub requests: u32,
    /// Calls that wait for a connection or a stream, over all workers.
    pub pending: u32,
}

/// A group of instances that can answer the same calls.
#[derive(Debug)]
pub struct Cluster {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How an instance is picked.
    pub policy: Policy,
    /// How much each instance takes.
    pub limits: ClusterLimits,
    /// Its counters.
    pub metrics: Arc<ClusterMetrics>,
    /// How its instances are connected to.
    pub security: Arc<Security>,
    /// Who is in it.
    pub group: Group,
    /// What its instances serve.
    pub schemas: Arc<Schemas>,
    /// The same as calls ask for it.
    pub methods: Arc<dyn Methods>,
}

/// What schemas say of a cluster's methods: the one way in which they reach calls. Definitions are told by their numbers: what reads
/// messages has been made ready for them, and is looked up by these.
pub trait Methods: Debug + Send + Sync {
    /// How many messages a method takes and gives, where that is known. A call of it that has another number of request messages is
    /// refused.
    fn kind(&self, service: &str, method: &str) -> Option<MethodKind>;

    /// The definition of a method that most instances have; among those of an agent where there is one.
    fn majority(&self, agent: Option<&Agent>, service: &str, method: &str) -> Option<u64>;

    /// The definitions that are in force for a method, whichever instance gets the call; [`InForce`](crate::schema::InForce).
    fn in_force(&self, agent: Option<&Agent>, service: &str, method: &str) -> Option<Arc<Types>>;

    /// Whether it is known what an instance means by the messages of a method; and, where definitions are given by which these are judged,
    /// whether its own is one of them.
    fn is_read_as(&self, instance: u64, service: &str, method: &str, judged: Option<&Types>) -> bool;

    /// The one that the instance with this number has, in the same form.
    fn of_instance(&self, instance: u64, service: &str, method: &str) -> Option<Arc<Types>>;
}

/// Where a cluster's instances come from. A copy is the same group: clusters of several configurations share it.
#[derive(Clone, Debug)]
pub enum Group {
    /// The file or a name server lists them.
    Listed {
        /// Which of the two.
        by: Lister,
        /// Those of now.
        set: Arc<ArcSwap<EndpointSet>>,
        /// The balancer's place in the schedule.
        cursor: Arc<AtomicUsize>,
        /// How they are, where that is asked; all are well otherwise.
        health: Option<Arc<Listed>>,
    },
    /// They register.
    Registered(Arc<Registry>),
}

/// Who lists a cluster's instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lister {
    /// `endpoints` of the configuration.
    File,
    /// The name server, for a name in the configuration.
    Dns,
    /// Nobody: its only instance is a server of this process. It is none of the user's clusters.
    Within,
}

impl Group {
    /// A listed group.
    pub fn listed(by: Lister, set: EndpointSet) -> Self {
        Self::checked(by, set, None)
    }

    /// A listed group whose instances are checked, if there is somebody who keeps their health. Those of the set must be
    /// [`fresh`](Self::fresh).
    pub fn checked(by: Lister, set: EndpointSet, health: Option<Arc<Listed>>) -> Self {
        if let Some(health) = &health {
            health.list(&set.instances, Instant::now());
        }
        Self::Listed { by, set: Arc::new(ArcSwap::from_pointee(set)), cursor: Arc::default(), health }
    }

    /// Everybody who is in it now, whatever their state.
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        match self {
            Self::Listed { set, .. } => set.load().instances.clone(),
            Self::Registered(registry) => registry.instances().into_iter().map(|(_, instance)| instance).collect(),
        }
    }

    /// The state of an instance of which nothing is known yet.
    pub fn fresh(health: Option<&Arc<Listed>>) -> State {
        if health.is_some() { State::New } else { State::Healthy }
    }
}

/// Metadata by which a server of this process knows whose call it has. No caller can send it: its name is one of ours.
pub const VISITOR: &str = "x-portunus-visitor";
/// What stands there where nobody knows whose call it is.
pub const STRANGER: &str = "stranger";

/// A server of this process is asked by each worker over one connection. What stays open there it bounds itself, each kind below this, so
/// that none takes the places of the others; what does not goes there whole.
const WITHIN: ClusterLimits = ClusterLimits { connections: 1, requests: 1024, pending: 256 };

impl Cluster {
    /// A cluster of one server of this process, and where that finds its connections. `schema` is what it serves. Its series are not
    /// told with those of clusters: its calls are counted like all others by listener and method.
    pub fn within(name: &str, schema: Arc<Definitions>) -> (Arc<Self>, mpsc::Receiver<DuplexStream>) {
        let (door, arrivals) = Door::new();
        let (name, metrics): (Arc<str>, _) = (name.into(), Arc::new(ClusterMetrics::default()));
        let instance = Instance::within(Arc::clone(&name), door, metrics.instance(&name), Instant::now());
        let settings = schemas::Settings { pinned: Some(schema), ..schemas::Settings::default() };
        let schemas = Schemas::new(settings, Arc::clone(&metrics));
        let cluster = Arc::new(Self {
            name,
            policy: Policy::RoundRobin,
            limits: WITHIN,
            methods: Arc::clone(&schemas) as Arc<dyn Methods>,
            schemas,
            metrics,
            security: Arc::default(),
            group: Group::listed(Lister::Within, EndpointSet::new(vec![instance])),
        });
        (cluster, arrivals)
    }

    /// Whether it is a server of this process, and none of the user's clusters.
    pub fn is_within(&self) -> bool {
        matches!(self.group, Group::Listed { by: Lister::Within, .. })
    }

    /// Whether some instance may get calls.
    pub fn has_usable(&self) -> bool {
        match &self.group {
            Group::Listed { set, .. } => set.load().instances.iter().any(|instance| instance.is_usable()),
            Group::Registered(registry) => registry.has_usable(),
        }
    }

    /// Its registry, if its instances register.
    pub fn registry(&self) -> Option<&Arc<Registry>> {
        match &self.group {
            Group::Registered(registry) => Some(registry),
            Group::Listed { .. } => None,
        }
    }

    /// Picks an instance: of `agent` in a registry cluster, of all otherwise. The seeker's time is by [`super::clock_ms`]. Never one that
    /// gets no calls of this method.
    pub fn pick(
        &self,
        agent: Option<&Agent>,
        (service, method): (&str, &str),
        seeker: Seeker<'_>,
    ) -> Option<Arc<Instance>> {
        self.schemas.excludes(service, method, |excluded| {
            let seeker = Seeker { excluded, ..seeker };
            match (&self.group, agent) {
                (Group::Listed { set, cursor, .. }, _) => balance::pick(self.policy, &set.load(), cursor, seeker),
                (Group::Registered(_), Some(agent)) => {
                    balance::pick(self.policy, &agent.endpoints.load(), &agent.cursor, seeker)
                }
                (Group::Registered(_), None) => None,
            }
        })
    }

    /// Whether an instance gets no calls of a method.
    pub fn excludes(&self, (service, method): (&str, &str), instance: u64) -> bool {
        self.schemas.excludes(service, method, |excluded| excluded.binary_search(&instance).is_ok())
    }

    /// Where one of its instances is.
    pub fn place(&self, instance: &Instance) -> Place {
        Place::of(instance, &self.security)
    }

    /// Learns that no connection to an instance could be made.
    pub fn connect_failed(&self, instance: &Instance, error: &ConnectError) {
        if let ConnectError::Insecure(why) = error {
            self.security.tell(&self.name, &instance.authority, why);
        }
        tracing::debug!(cluster = %self.name, instance = %instance.authority, %error, "connect failed");
        // Nobody listens there: that is the instance's. No descriptor left, or no answer in time, may be ours or the
        // network's, and is for its health check to judge.
        match (&self.group, error) {
            (Group::Registered(registry), ConnectError::Refused) => registry.refused(instance, Instant::now()),
            (Group::Listed { health: Some(health), .. }, ConnectError::Refused) => {
                health.refused(instance.id, Instant::now());
            }
            _ => {}
        }
    }
}
