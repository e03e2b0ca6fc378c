//! Open Astra's AgentService: sessions are kept and expire, the loop uses tools, sub-agents answer. Serves reflection and
//! grpc.health.v1. No authentication and no bound on SpawnRequest.depth, as in life.

mod agent_loop;
mod sessions;

use std::io;

use parking_lot::Mutex;
use portunus_proto::descriptors;
use portunus_proto::openastra::agent_service_server::{AgentService, AgentServiceServer};
use portunus_proto::openastra::{
    AgentRequest, AgentResponse, Empty, HealthResponse, SpawnRequest, SpawnResponse, StreamEvent,
};
use tonic::{Request, Response, Status};

use crate::backend;
use crate::clock::{Clock, timestamp};
use crate::front::Services;
use crate::handle::Handle;
use crate::options::Options;
use crate::seed::Seed;
use crate::server::{self, Running};
use crate::stream::{Knobs, Messages};

use agent_loop::{AGENTS, Run};
use sessions::Sessions;

/// A running Open Astra.
#[derive(Debug)]
pub struct Server {
    running: Running,
    handle: Handle,
}

backend::running!(Server);

impl Server {
    /// Listens and serves in the background.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let handle = Handle::new(&options.behaviour, options.seed);
        let service = Service {
            clock: options.clock,
            seed: Seed::new(options.seed),
            sessions: Mutex::new(Sessions::default()),
            handle: handle.clone(),
        };
        let service = AgentServiceServer::new(service)
            .max_decoding_message_size(options.max_message)
            .max_encoding_message_size(options.max_message);
        let services = backend::with_reflection(Services::new().add(service), descriptors::OPENASTRA)?;
        let services = backend::with_health(services, &["openastra.AgentService"]).await;
        let running = server::start(options.listen, services.behind(&handle)).await?;
        Ok(Self { running, handle })
    }
}

struct Service {
    clock: Clock,
    seed: Seed,
    sessions: Mutex<Sessions>,
    handle: Handle,
}

impl Service {
    fn run(&self, request: &AgentRequest) -> Result<Run, Status> {
        if request.uid.is_empty() || request.message.is_empty() {
            return Err(Status::invalid_argument("uid and message must not be empty"));
        }
        let now = self.clock.tick();
        let agent = match request.agent_id.as_str() {
            "" => AGENTS.first().copied().unwrap_or_default(),
            named => named,
        };
        let mut sessions = self.sessions.lock();
        let session = sessions.resolve(&request.session_id, &request.uid, now, &self.seed)?;
        Ok(Run::of(agent, &request.message, session, now))
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    type RunAgentLoopStreamStream = Messages<StreamEvent>;

    async fn run_agent_loop(&self, request: Request<AgentRequest>) -> Result<Response<AgentResponse>, Status> {
        self.run(request.get_ref())?.response().map(Response::new)
    }

    async fn run_agent_loop_stream(
        &self,
        request: Request<AgentRequest>,
    ) -> Result<Response<Messages<StreamEvent>>, Status> {
        let knobs = Knobs::of(request.metadata());
        let run = self.run(request.get_ref())?;
        Ok(Response::new(knobs.send(run.events().into_iter())))
    }

    async fn spawn_agent(&self, request: Request<SpawnRequest>) -> Result<Response<SpawnResponse>, Status> {
        let request = request.into_inner();
        if request.uid.is_empty() || request.task.is_empty() {
            return Err(Status::invalid_argument("uid and task must not be empty"));
        }
        if request.depth < 0 {
            return Err(Status::invalid_argument("depth must not be negative"));
        }
        let now = self.clock.tick();
        let mut sessions = self.sessions.lock();
        let session = sessions.resolve("", &request.uid, now, &self.seed)?;
        let run = Run::of(&request.target_agent_id, &request.task, session, now);
        let result = run.response();
        let success = result.is_ok();
        let content = result.map_or_else(|status| status.message().to_owned(), |response| response.content);
        // A spawn costs more the deeper it is; the figure is repeatable, not measured.
        let duration_ms = 5 + i32::try_from(self.seed.pick(&request.task, 40)).unwrap_or(0);
        Ok(Response::new(SpawnResponse {
            task_id: self.seed.id("task"),
            target_agent_id: request.target_agent_id,
            content,
            success,
            duration_ms: duration_ms.saturating_add(request.depth.saturating_mul(3)),
            session_id: run.session_id().to_owned(),
        }))
    }

    async fn health_check(&self, _: Request<Empty>) -> Result<Response<HealthResponse>, Status> {
        let status = if self.handle.is_healthy() { "ok" } else { "unhealthy" };
        // The time is read, not moved: a probe must not change what others are told.
        let timestamp = timestamp(self.clock.now()).to_string();
        Ok(Response::new(HealthResponse { status: status.into(), timestamp }))
    }
}
