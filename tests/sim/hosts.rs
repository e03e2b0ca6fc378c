//! The others: instances with their SDK, the core, and a caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portunus_agents::core::{agent_id, did};
use portunus_proto::bindu::agent_handler_client::AgentHandlerClient;
use portunus_proto::bindu::agent_handler_server::{AgentHandler, AgentHandlerServer};
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::bindu_service_server::{BinduService, BinduServiceServer};
use portunus_proto::bindu::{
    GetCapabilitiesRequest, GetCapabilitiesResponse, HandleRequest, HandleResponse, HealthCheckRequest,
    HealthCheckResponse, HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse,
    UnregisterAgentRequest, UnregisterAgentResponse,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::network::{Power, channel, incoming, listen, off};
use crate::proxy::{CALL_PORT, GENERATION, SDK_PORT};
use crate::world::World;

pub(crate) const PORT: u16 = 5000;
const AUTHOR: &str = "a@b.test";
/// Of the real SDKs.
const BEAT: Duration = Duration::from_secs(30);
const LATE: Duration = Duration::from_secs(8);

/// By which version an instance's request came.
const SEEN: &str = "x-seen";

/// Answers with the agent's name.
struct Named {
    agent: &'static str,
    calls: AtomicU32,
}

#[tonic::async_trait]
impl AgentHandler for Named {
    /// Also by which version the request came; now and then it takes its time, so that other versions come meanwhile.
    async fn handle_messages(&self, request: Request<HandleRequest>) -> Result<Response<HandleResponse>, Status> {
        let version = request.metadata().get(GENERATION).cloned();
        if self.calls.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
            sleep(Duration::from_millis(300)).await;
        }
        let mut response =
            Response::new(HandleResponse { content: self.agent.to_owned(), ..HandleResponse::default() });
        if let Some(version) = version {
            response.metadata_mut().insert(SEEN, version);
        }
        Ok(response)
    }

    type HandleMessagesStreamStream = futures_util::stream::Empty<Result<HandleResponse, Status>>;

    async fn handle_messages_stream(
        &self,
        _: Request<HandleRequest>,
    ) -> Result<Response<Self::HandleMessagesStreamStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { healthy: true, message: String::new() }))
    }
}

/// An instance of an agent, killed and started again as the stage says, until its host is stopped.
pub(crate) async fn instance(world: Arc<World>, host: String, mut power: Power) -> turmoil::Result {
    let address = format!("{}:{PORT}", turmoil::lookup(&*host));
    loop {
        let Some(agent) = *power.wait_for(Option::is_some).await? else { continue };
        let service = AgentHandlerServer::new(Named { agent, calls: AtomicU32::new(0) });
        let server = Server::builder().add_service(service);
        let served = server.serve_with_incoming(incoming(listen(PORT).await?, power.clone()));
        world.began(&address, agent);
        let mut sdk = JoinSet::new();
        let (world, address) = (Arc::clone(&world), address.clone());
        // Who finds another's port free takes a while to say so.
        let late = if host.starts_with(agent) { Duration::ZERO } else { LATE };
        sdk.spawn(async move {
            sleep(late).await;
            keep_registered(world, address, agent).await;
        });
        tokio::select! {
            ended = served => ended?,
            () = off(power.clone()) => {}
        }
    }
}

/// Registers once and sends heartbeats whose answers it does not look at, as the TypeScript SDK does.
async fn keep_registered(world: Arc<World>, address: String, agent: &'static str) {
    let mut client = BinduServiceClient::new(channel(&format!("proxy:{SDK_PORT}")));
    let request = RegisterAgentRequest {
        config_json: format!(
            r#"{{"author": "{AUTHOR}", "name": "{agent}", "deployment": {{"url": "http://localhost:1", "expose": true}}}}"#
        ),
        skills: Vec::new(),
        grpc_callback_address: address,
    };
    let registered = loop {
        match client.register_agent(request.clone()).await {
            Ok(answer) if answer.get_ref().success => break answer.into_inner(),
            _ => sleep(Duration::from_millis(500)).await,
        }
    };
    let mut beats = interval(BEAT);
    loop {
        beats.tick().await;
        if world.sdks_are_silent() {
            continue;
        }
        // No deadline, and the next does not wait for the last.
        let (mut client, world, agent_id) = (client.clone(), Arc::clone(&world), registered.agent_id.clone());
        tokio::spawn(async move {
            let answer = client.heartbeat(HeartbeatRequest { agent_id, timestamp: 0 }).await;
            if answer.is_ok_and(|answer| !answer.get_ref().acknowledged) {
                world.beat_refused();
            }
        });
    }
}

/// A core: it forgets everything with its host.
struct Core {
    world: Arc<World>,
    agents: Mutex<BTreeMap<String, String>>,
}

#[tonic::async_trait]
impl BinduService for Core {
    async fn register_agent(
        &self,
        request: Request<RegisterAgentRequest>,
    ) -> Result<Response<RegisterAgentResponse>, Status> {
        let config: serde_json::Value = serde_json::from_str(&request.get_ref().config_json).unwrap();
        let name = config["name"].as_str().unwrap();
        // As long as the real one takes to start an agent's server.
        sleep(Duration::from_secs(1)).await;
        let id = agent_id(AUTHOR, name);
        self.agents.lock().insert(id.clone(), name.to_owned());
        self.world.registered_with_core();
        Ok(Response::new(RegisterAgentResponse {
            success: true,
            did: did(AUTHOR, name, &id),
            agent_id: id,
            ..RegisterAgentResponse::default()
        }))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let acknowledged = self.agents.lock().contains_key(&request.get_ref().agent_id);
        Ok(Response::new(HeartbeatResponse { acknowledged, server_timestamp: 1 }))
    }

    async fn unregister_agent(
        &self,
        request: Request<UnregisterAgentRequest>,
    ) -> Result<Response<UnregisterAgentResponse>, Status> {
        let name = self.agents.lock().remove(&request.get_ref().agent_id);
        if let Some(name) = &name {
            self.world.unregistered(name);
        }
        Ok(Response::new(UnregisterAgentResponse { success: name.is_some(), error: String::new() }))
    }
}

/// The core, until its host is stopped.
pub(crate) async fn core(world: Arc<World>) -> turmoil::Result {
    let (_power, always) = watch::channel(Some("core"));
    let service = BinduServiceServer::new(Core { world, agents: Mutex::default() });
    Server::builder().add_service(service).serve_with_incoming(incoming(listen(3774).await?, always)).await?;
    Ok(())
}

/// Calls every agent four times a second, until it is hushed.
pub(crate) async fn caller(world: Arc<World>, agents: Vec<String>) -> turmoil::Result {
    let client = AgentHandlerClient::new(channel(&format!("proxy:{CALL_PORT}")));
    let mut ticks = interval(Duration::from_millis(250));
    loop {
        ticks.tick().await;
        if world.caller_is_hushed() {
            continue;
        }
        for agent in &agents {
            let (mut client, world, agent) = (client.clone(), Arc::clone(&world), agent.clone());
            tokio::spawn(async move {
                let mut request = Request::new(HandleRequest::default());
                request.metadata_mut().insert("x-portunus-agent", agent.parse().unwrap());
                let patience = world.patience();
                request.set_timeout(patience);
                let began = Instant::now();
                let answer = match timeout(patience + Duration::from_secs(1), client.handle_messages(request)).await {
                    Ok(Ok(answer)) => {
                        let version = |name: &str| answer.metadata().get(name).cloned();
                        world.versions(version(SEEN), version(GENERATION));
                        Ok(answer.into_inner().content)
                    }
                    Ok(Err(status)) => Err(format!("{:?} {}", status.code(), status.message())),
                    Err(_) => Err("no answer".to_owned()),
                };
                world.called(&agent, answer.map_err(|why| format!("{why} after {:?}", began.elapsed())));
            });
        }
    }
}
