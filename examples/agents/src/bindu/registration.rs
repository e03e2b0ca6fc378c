//! The SDK's side of BinduService: register once, heartbeat over that same connection, leave. Like the TypeScript SDK it
//! does not act on acknowledged=false, only counts it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{HeartbeatRequest, RegisterAgentRequest, UnregisterAgentRequest};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::clock::Clock;

use super::Options;

/// How long leaving may take: a registrar that is gone must not keep the agent alive.
const LEAVING: Duration = Duration::from_secs(2);

/// What the registrar answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The agent's id, one for all its instances.
    pub agent_id: String,
    /// The agent's DID.
    pub did: String,
    /// Its A2A address.
    pub agent_url: String,
}

/// Heartbeats so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeats {
    /// Answered with acknowledged=true.
    pub acknowledged: u64,
    /// Answered with acknowledged=false: the registrar does not know the agent.
    pub refused: u64,
    /// Not answered.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// A registration and the heartbeats that keep it. Dropped, both end and the connection closes.
#[derive(Debug)]
pub(super) struct Link {
    client: BinduServiceClient<Channel>,
    registration: Registration,
    counters: Arc<Counters>,
    beating: JoinHandle<()>,
    unregister: bool,
}

impl Link {
    pub(super) async fn register(registrar: &str, options: &Options, port: u16) -> io::Result<Self> {
        let mut client = BinduServiceClient::new(connect(registrar, options.patience).await?);
        let request = RegisterAgentRequest {
            config_json: options.config_json(),
            skills: options.skills.clone(),
            grpc_callback_address: options.callback.clone().unwrap_or_else(|| format!("localhost:{port}")),
        };
        let answer = client.register_agent(request).await.map_err(io::Error::other)?.into_inner();
        if !answer.success {
            return Err(io::Error::other(format!("{registrar} refused the registration: {}", answer.error)));
        }
        let registration = Registration { agent_id: answer.agent_id, did: answer.did, agent_url: answer.agent_url };
        let counters = Arc::new(Counters::default());
        let beating = tokio::spawn(beat(
            client.clone(),
            registration.agent_id.clone(),
            options.heartbeat,
            options.clock.clone(),
            Arc::clone(&counters),
        ));
        Ok(Self { client, registration, counters, beating, unregister: options.unregister })
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    pub(super) fn heartbeats(&self) -> Heartbeats {
        Heartbeats {
            acknowledged: self.counters.acknowledged.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
        }
    }

    /// Says UnregisterAgent, if the agent is one that does, and closes the connection.
    pub(super) async fn leave(self) {
        self.beating.abort();
        if self.unregister {
            let request = UnregisterAgentRequest { agent_id: self.registration.agent_id.clone() };
            // Whatever comes back, the agent leaves.
            let mut client = self.client.clone();
            let _ = tokio::time::timeout(LEAVING, client.unregister_agent(request)).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

async fn connect(registrar: &str, patience: Duration) -> io::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{registrar}"))
        .map_err(|e| io::Error::other(format!("registrar `{registrar}`: {e}; write host:port")))?
        .tcp_nodelay(true);
    let deadline = Instant::now() + patience;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(e) if Instant::now() >= deadline => {
                return Err(io::Error::other(format!("registrar {registrar} cannot be reached: {e}; is it running?")));
            }
            // Started together with its registrar, an agent may be the faster one.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn beat(
    mut client: BinduServiceClient<Channel>,
    agent_id: String,
    pause: Duration,
    clock: Clock,
    counters: Arc<Counters>,
) {
    loop {
        tokio::time::sleep(pause).await;
        let request = HeartbeatRequest { agent_id: agent_id.clone(), timestamp: clock.now() };
        let counter = match client.heartbeat(request).await {
            Ok(answer) if answer.get_ref().acknowledged => &counters.acknowledged,
            Ok(_) => &counters.refused,
            Err(_) => &counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
