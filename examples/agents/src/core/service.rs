//! BinduService of the stand-in core, and what it remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use portunus_proto::bindu::bindu_service_server::BinduService;
use portunus_proto::bindu::{
    HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse, UnregisterAgentRequest,
    UnregisterAgentResponse,
};
use portunus_proto::refusals;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::seed;

use super::Registered;

/// The id that Bindu gives an agent without an `id` of its own: the first half of sha256("author:name"), as a UUID.
pub fn agent_id(author: &str, name: &str) -> String {
    seed::uuid(&Sha256::digest(format!("{author}:{name}")))
}

/// The DID that Bindu forms: lower case, spaces and dots as `_`, `@` as `_at_`.
pub fn did(author: &str, name: &str, agent_id: &str) -> String {
    let part = |text: &str| text.to_lowercase().replace([' ', '.'], "_").replace('@', "_at_");
    format!("did:bindu:{}:{}:{agent_id}", part(author), part(name))
}

/// What the core knows, and a log for whoever watches it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    records: BTreeMap<String, (String, RegisterAgentRequest)>,
    /// The address of each agent's HTTP server thread: outlives UnregisterAgent, not a restart.
    callbacks: BTreeMap<String, String>,
    pub(super) received: Vec<(String, RegisterAgentRequest)>,
}

impl Memory {
    pub(super) fn agents(&self) -> BTreeMap<String, Registered> {
        self.records
            .iter()
            .map(|(id, (did, request))| {
                let callback = self.callbacks.get(id).unwrap_or(&request.grpc_callback_address).clone();
                let registered =
                    Registered { agent_id: id.clone(), did: did.clone(), callback, request: request.clone() };
                (id.clone(), registered)
            })
            .collect()
    }

    pub(super) fn forget(&mut self) {
        self.records.clear();
        self.callbacks.clear();
    }

    fn register(&mut self, config: &Config, request: RegisterAgentRequest) -> RegisterAgentResponse {
        let id = config.id.clone().unwrap_or_else(|| agent_id(&config.author, &config.name));
        let did = did(&config.author, &config.name, &id);
        self.received.push((id.clone(), request.clone()));
        self.callbacks.entry(id.clone()).or_insert_with(|| request.grpc_callback_address.clone());
        // A second registration says success and changes nothing.
        let (did, _) = self.records.entry(id.clone()).or_insert((did, request));
        RegisterAgentResponse {
            success: true,
            agent_id: id,
            did: did.clone(),
            agent_url: config.url.clone(),
            error: String::new(),
        }
    }
}

/// What registration needs of `config_json`.
struct Config {
    author: String,
    name: String,
    url: String,
    id: Option<String>,
}

impl Config {
    /// Refuses what the core refuses, in its order.
    fn read(json: &str) -> Result<Self, String> {
        let config: Value = serde_json::from_str(json)
            .map_err(|error| refusals::not_json(json).unwrap_or_else(|| format!("Invalid config_json: {error}")))?;
        if let Some(kind) = other_than_object(&config) {
            return Err(refusals::not_an_object(kind));
        }
        let at = |path: &str| config.pointer(&format!("/{}", path.replace('.', "/")));
        let text = |path: &str| at(path).and_then(Value::as_str).map(str::to_owned);
        let empty = |path: &str| at(path).is_none_or(Value::is_null) || text(path).is_some_and(|t| t.trim().is_empty());
        let missing: Vec<_> = ["author", "name", "deployment.url"].into_iter().filter(|path| empty(path)).collect();
        if !missing.is_empty() {
            return Err(refusals::missing(&missing));
        }
        let url = text("deployment.url").ok_or_else(|| refusals::missing(&["deployment.url"]))?;
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', '?', '#'])) {
            return Err(refusals::not_a_url(&url));
        }
        let [author, name] = ["author", "name"].map(|key| text(key).ok_or_else(|| refusals::not_text(key)));
        let (author, name) = (author?, name?);
        at("deployment.expose").ok_or_else(refusals::no_expose)?;
        let id = config.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Self { author, name, url, id })
    }
}

/// The Python type of what is no object.
fn other_than_object(value: &Value) -> Option<&'static str> {
    match value {
        Value::Object(_) => None,
        Value::Null => Some("NoneType"),
        Value::Bool(_) => Some("bool"),
        Value::Number(number) => Some(if number.is_f64() { "float" } else { "int" }),
        Value::String(_) => Some("str"),
        Value::Array(_) => Some("list"),
    }
}

pub(super) struct Service {
    clock: Clock,
    memory: Arc<Mutex<Memory>>,
}

impl Service {
    pub(super) fn new(clock: Clock, memory: Arc<Mutex<Memory>>) -> Self {
        Self { clock, memory }
    }
}

#[tonic::async_trait]
impl BinduService for Service {
    async fn register_agent(
        &self,
        request: Request<RegisterAgentRequest>,
    ) -> Result<Response<RegisterAgentResponse>, Status> {
        let request = request.into_inner();
        let answer = match Config::read(&request.config_json) {
            Ok(config) => self.memory.lock().register(&config, request),
            Err(error) => RegisterAgentResponse { error, ..RegisterAgentResponse::default() },
        };
        Ok(Response::new(answer))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let acknowledged = self.memory.lock().records.contains_key(&request.get_ref().agent_id);
        Ok(Response::new(HeartbeatResponse { acknowledged, server_timestamp: self.clock.now() }))
    }

    async fn unregister_agent(
        &self,
        request: Request<UnregisterAgentRequest>,
    ) -> Result<Response<UnregisterAgentResponse>, Status> {
        let id = request.into_inner().agent_id;
        let known = self.memory.lock().records.remove(&id).is_some();
        let error = if known { String::new() } else { refusals::unknown_agent(&id) };
        Ok(Response::new(UnregisterAgentResponse { success: known, error }))
    }
}

#[cfg(test)]
mod tests {
    use super::{agent_id, did};

    #[test]
    fn ids_and_dids_are_formed_as_bindu_forms_them() {
        // printf 'dev@example.com:My Agent' | sha256sum
        let id = agent_id("dev@example.com", "My Agent");
        assert_eq!(id, ID);
        assert_eq!(did("Dev@example.com", "My Agent", &id), format!("did:bindu:dev_at_example_com:my_agent:{ID}"));
    }

    const ID: &str = "cdd41d1d-73de-107b-a1b6-5734616c8d3d";
}
