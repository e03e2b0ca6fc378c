//! Shannon's five services on one port: tasks run and tell their events, sessions are stored and expire, budgets count.
//! Serves reflection and grpc.health.v1.

mod agent;
mod budget;
mod llm;
mod models;
mod orchestrator;
mod plan;
mod session;
mod sessions;
mod streaming;
mod task;
mod tasks;
mod tools;
mod values;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use portunus_proto::descriptors;
use portunus_proto::shannon::agent::agent_service_server::AgentServiceServer;
use portunus_proto::shannon::llm::llm_service_server::LlmServiceServer;
use portunus_proto::shannon::orchestrator::orchestrator_service_server::OrchestratorServiceServer;
use portunus_proto::shannon::orchestrator::streaming_service_server::StreamingServiceServer;
use portunus_proto::shannon::session::session_service_server::SessionServiceServer;
use tokio::sync::watch;

use crate::backend;
use crate::clock::Clock;
use crate::front::Services;
use crate::handle::Handle;
use crate::options::Options;
use crate::seed::Seed;
use crate::server::{self, Running};

use budget::Budgets;
use sessions::Sessions;
use tasks::Tasks;
use tools::Tools;

/// A tonic server with its message limits.
macro_rules! limited {
    ($server:ident, $service:expr, $max:expr) => {
        $server::new($service).max_decoding_message_size($max).max_encoding_message_size($max)
    };
}

const NAMES: [&str; 5] = [
    "shannon.orchestrator.OrchestratorService",
    "shannon.orchestrator.StreamingService",
    "shannon.agent.AgentService",
    "shannon.llm.LLMService",
    "shannon.session.SessionService",
];

/// What Shannon keeps, as its Redis and database do: several servers may share it, and it outlives each of them, so that
/// a stream can be resumed elsewhere. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    clock: Clock,
    seed: Seed,
    started: i64,
    tasks: Mutex<Tasks>,
    /// Bumped after every change of a task that its streams must see.
    changed: watch::Sender<u64>,
    sessions: Mutex<Sessions>,
    budgets: Mutex<Budgets>,
    tools: Mutex<Tools>,
    completions: Mutex<llm::Cache>,
}

impl Store {
    /// An empty one. Its ids follow from the seed, its times from the clock.
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self(Arc::new(Kept {
            started: clock.now(),
            clock,
            seed: Seed::new(seed),
            tasks: Mutex::default(),
            changed: watch::Sender::new(0),
            sessions: Mutex::default(),
            budgets: Mutex::default(),
            tools: Mutex::default(),
            completions: Mutex::default(),
        }))
    }
}

/// A running Shannon.
#[derive(Debug)]
pub struct Server {
    running: Running,
    handle: Handle,
}

backend::running!(Server);

impl Server {
    /// Listens and serves in the background, with a store of its own.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let store = Store::new(options.seed, options.clock.clone());
        Self::start_on(options, store).await
    }

    /// Like `start`, over a store that others may use too; the store's seed and clock count, not the options'.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_on(options: Options, store: Store) -> io::Result<Self> {
        let handle = Handle::new(&options.behaviour, options.seed);
        let max = options.max_message;
        let agent = agent::Service::new(store.clone(), handle.clone());
        let services = Services::new()
            .add(limited!(OrchestratorServiceServer, orchestrator::Service(store.clone()), max))
            .add(limited!(StreamingServiceServer, streaming::Service(store.clone()), max))
            .add(limited!(AgentServiceServer, agent, max))
            .add(limited!(LlmServiceServer, llm::Service(store.clone()), max))
            .add(limited!(SessionServiceServer, session::Service(store), max));
        let services = backend::with_reflection(services, descriptors::SHANNON)?;
        let services = backend::with_health(services, &NAMES).await;
        let running = server::start(options.listen, services.behind(&handle)).await?;
        Ok(Self { running, handle })
    }
}
