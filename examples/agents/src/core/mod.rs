//! A stand-in for the Bindu core, with the rules that the real one was seen to follow (SYSTEMS.md section 1): one id for
//! all instances of an agent, the first callback wins until a restart, a restart forgets everything, refusals are gRPC
//! OK. No reflection and no grpc.health.v1, as in life. The demo and the registrar's tests use it.

mod dial;
mod service;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portunus_proto::bindu::bindu_service_server::BinduServiceServer;
use portunus_proto::bindu::{HandleResponse, RegisterAgentRequest};
use tonic::Status;

use crate::clock::Clock;
use crate::front::Services;
use crate::handle::{Behaviour, Handle};
use crate::server::{self, Running};

use dial::Callbacks;
use service::{Memory, Service};
pub use service::{agent_id, did};

/// How the core is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where BinduService listens (the real one: 3774); port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides which calls fail under `behaviour.fail_share`.
    pub seed: u64,
    /// `server_timestamp` comes from it.
    pub clock: Clock,
    /// Deadline of HandleMessages (`GRPC__HANDLER_TIMEOUT` of the real one).
    pub handler_timeout: Duration,
    /// Longest message taken and sent, in bytes.
    pub max_message: usize,
    /// How it misbehaves at first; `Core::handle` changes it later.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 0,
            clock: Clock::real(),
            handler_timeout: Duration::from_secs(30),
            max_message: 4 * 1024 * 1024,
            behaviour: Behaviour::default(),
        }
    }
}

/// An agent that the core knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// sha256("author:name") as a UUID, or the configuration's `id`.
    pub agent_id: String,
    /// `did:bindu:AUTHOR:NAME:ID`.
    pub did: String,
    /// Where its messages go: the first callback told since the core started.
    pub callback: String,
    /// The registration that made the record.
    pub request: RegisterAgentRequest,
}

/// A running core.
#[derive(Debug)]
pub struct Core {
    running: Running,
    handle: Handle,
    options: Options,
    memory: Arc<Mutex<Memory>>,
    callbacks: Callbacks,
}

impl Core {
    /// Listens and serves in the background.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let handle = Handle::new(&options.behaviour, options.seed);
        let memory = Arc::new(Mutex::new(Memory::default()));
        let running = serve(&options, options.listen, &handle, &memory).await?;
        let callbacks = Callbacks::new(options.handler_timeout, options.max_message);
        Ok(Self { running, handle, options, memory, callbacks })
    }

    /// Where BinduService listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Knobs and counters.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The agents known now, by id.
    pub fn agents(&self) -> BTreeMap<String, Registered> {
        self.memory.lock().agents()
    }

    /// Every RegisterAgent received that was not refused, verbatim, with its agent id; restarts do not clear this.
    pub fn received(&self) -> Vec<(String, RegisterAgentRequest)> {
        self.memory.lock().received.clone()
    }

    /// How many RegisterAgent calls named this agent, over restarts too.
    pub fn registrations_of(&self, agent_id: &str) -> usize {
        self.memory.lock().received.iter().filter(|(id, _)| id == agent_id).count()
    }

    /// Sends a user's message to an agent as the core does: HandleMessages to the callback in force, with a deadline, no
    /// task or context id, over one lazily made channel an agent, one call at a time.
    ///
    /// # Errors
    /// NOT_FOUND for an agent the core does not know; else what the call ended with. Never retried.
    pub async fn send_message(&self, agent_id: &str, text: &str) -> Result<HandleResponse, Status> {
        let callback = self.memory.lock().agents().remove(agent_id).map(|agent| agent.callback);
        let Some(callback) = callback else {
            return Err(Status::not_found(format!("agent {agent_id} is not registered with this core")));
        };
        self.callbacks.send(agent_id, &callback, text).await
    }

    /// Forgets agents and callbacks, as a restart does, but keeps connections open: a restart that only acknowledged=false
    /// betrays.
    pub fn forget(&self) {
        self.memory.lock().forget();
        self.callbacks.clear();
    }

    /// Restarts on the same port: every connection drops and everything is forgotten.
    ///
    /// # Errors
    /// The port was taken in between.
    pub async fn restart(self) -> io::Result<Self> {
        let Self { running, handle, options, memory, callbacks } = self;
        let address = running.address();
        running.killed().await;
        memory.lock().forget();
        callbacks.clear();
        let running = serve(&options, address, &handle, &memory).await?;
        Ok(Self { running, handle, options, memory, callbacks })
    }

    /// Stops listening, waits a few seconds for open calls.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }

    /// Drops the listener and every connection; returns once the port is free.
    pub async fn kill(self) {
        self.running.killed().await;
    }
}

async fn serve(
    options: &Options,
    listen: SocketAddr,
    handle: &Handle,
    memory: &Arc<Mutex<Memory>>,
) -> io::Result<Running> {
    let service = BinduServiceServer::new(Service::new(options.clock.clone(), Arc::clone(memory)))
        .max_decoding_message_size(options.max_message)
        .max_encoding_message_size(options.max_message);
    server::start(listen, Services::new().add(service).behind(handle)).await
}
