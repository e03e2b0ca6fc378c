//! Against a core in this process, over real sockets: one registration an agent, in order, however many ask.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portunus_proto::bindu::bindu_service_server::{BinduService, BinduServiceServer};
use portunus_proto::bindu::{
    HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse, UnregisterAgentRequest,
    UnregisterAgentResponse,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use super::CoreClient;
use crate::call::register::Registrar;
use crate::observe::ClusterMetrics;
use crate::registry::instance::Target;
use crate::registry::{Callback, Caller, CoreState, Identity, Registry, Settings};

/// What the core has seen, in order.
#[derive(Clone, Default)]
struct FakeCore {
    seen: Arc<Mutex<Vec<String>>>,
    agents: Arc<Mutex<HashSet<String>>>,
    refuses: bool,
    /// Answered to the first registrations, one each.
    throws: Arc<Mutex<Vec<Code>>>,
    delay: Duration,
}

#[tonic::async_trait]
impl BinduService for FakeCore {
    async fn register_agent(
        &self,
        request: Request<RegisterAgentRequest>,
    ) -> Result<Response<RegisterAgentResponse>, Status> {
        let request = request.into_inner();
        let config: Value = serde_json::from_str(&request.config_json).unwrap();
        let text = |key: &str| config[key].as_str().unwrap().to_owned();
        let identity = Identity::new(&text("author"), &text("name"), None).unwrap();
        self.seen.lock().push(format!("register {} {}", identity.name, request.grpc_callback_address));
        tokio::time::sleep(self.delay).await;
        if let Some(code) = self.throws.lock().pop() {
            return Err(Status::new(code, "thrown"));
        }
        if self.refuses {
            let error = "Registration failed: not today".to_owned();
            return Ok(Response::new(RegisterAgentResponse { success: false, error, ..Default::default() }));
        }
        self.agents.lock().insert(identity.id.to_string());
        Ok(Response::new(RegisterAgentResponse {
            success: true,
            agent_id: identity.id.to_string(),
            did: identity.did.to_string(),
            ..Default::default()
        }))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let acknowledged = self.agents.lock().contains(&request.into_inner().agent_id);
        Ok(Response::new(HeartbeatResponse { acknowledged, server_timestamp: 0 }))
    }

    async fn unregister_agent(
        &self,
        request: Request<UnregisterAgentRequest>,
    ) -> Result<Response<UnregisterAgentResponse>, Status> {
        let id = request.into_inner().agent_id;
        self.seen.lock().push("unregister".to_owned());
        tokio::time::sleep(self.delay).await;
        let success = self.agents.lock().remove(&id);
        Ok(Response::new(UnregisterAgentResponse { success, error: String::new() }))
    }
}

impl FakeCore {
    fn serve(&self, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let incoming = TcpIncoming::bind(address).unwrap();
        let address = incoming.local_addr().unwrap();
        let service = BinduServiceServer::new(self.clone());
        let task = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        (address, task)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }
}

struct Setup {
    registry: Arc<Registry>,
    registrar: Registrar,
    _client: JoinHandle<()>,
}

fn setup(core: SocketAddr) -> Setup {
    let settings = Settings {
        core: Some(Target::Socket(core)),
        callback: Some(Callback::pattern("{agent}.localhost:3790").unwrap()),
        ..Settings::default()
    };
    let registry = Registry::new("agents", settings, Arc::new(ClusterMetrics::default()));
    let client = tokio::spawn(CoreClient::new(Arc::clone(&registry), Arc::new(crate::upstream::Tcp)).run());
    Setup {
        registrar: Registrar::new(Arc::clone(&registry), Arc::new(crate::upstream::Tcp)),
        registry,
        _client: client,
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn caller() -> Caller {
    Caller::at("127.0.0.1:40000".parse().unwrap())
}

fn request(name: &str, port: u16) -> RegisterAgentRequest {
    let config = format!(
        r#"{{"author": "a", "name": "{name}", "deployment": {{"url": "http://localhost:3773", "expose": true}}}}"#
    );
    RegisterAgentRequest { config_json: config, skills: vec![], grpc_callback_address: format!("localhost:{port}") }
}

/// Looks until it is so; a minute is enough for any machine.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn id_of(name: &str) -> String {
    Identity::new("a", name, None).unwrap().id.to_string()
}

#[tokio::test]
async fn concurrent_registrations_of_one_agent_are_one_call() {
    let core = FakeCore { delay: Duration::from_millis(200), ..FakeCore::default() };
    let (address, _server) = core.serve(anywhere());
    let setup = setup(address);
    let asks = (0..12u16).map(|n| {
        let (registrar, name) = (setup.registrar.clone(), if n % 3 == 0 { "odd" } else { "even" });
        async move { registrar.register(request(name, 5000 + n), &caller()).await }
    });
    for answer in futures_util::future::join_all(asks).await {
        assert!(answer.success && answer.agent_url == "http://localhost:3773", "{answer:?}");
    }
    let mut seen = core.seen();
    seen.sort();
    let expected = ["even", "odd"].map(|name| format!("register {name} {}.localhost:3790", id_of(name)));
    assert_eq!(seen, expected);
    let view = setup.registry.view(Instant::now());
    assert_eq!(
        view.iter().map(|agent| (agent.core, agent.instances.len())).collect::<Vec<_>>(),
        [(CoreState::Ok, 8), (CoreState::Ok, 4)]
    );
    assert!(setup.registrar.register(request("odd", 5100), &caller()).await.success);
    assert_eq!(core.seen().len(), 2, "and later ones are none");
}

#[tokio::test]
async fn a_refusal_is_everybodys_answer() {
    let core = FakeCore { refuses: true, delay: Duration::from_millis(100), ..FakeCore::default() };
    let (address, _server) = core.serve(anywhere());
    let setup = setup(address);
    let asks = (0..4u16).map(|n| {
        let registrar = setup.registrar.clone();
        async move { registrar.register(request("n", 5000 + n), &caller()).await }
    });
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!((answer.success, answer.error.as_str()), (false, "Registration failed: not today"));
    }
    assert_eq!((core.seen().len(), setup.registry.view(Instant::now()).len()), (1, 0));
    assert!(!setup.registrar.register(request("n", 5000), &caller()).await.success);
    assert_eq!(core.seen().len(), 2, "a later one is asked for anew");
}

#[tokio::test]
async fn a_core_that_throws_has_refused_and_one_that_is_busy_is_asked_again() {
    for (code, success, asked) in [(Code::Unknown, false, 1), (Code::Unavailable, true, 2)] {
        let core = FakeCore { throws: Arc::new(Mutex::new(vec![code])), ..FakeCore::default() };
        let (address, _server) = core.serve(anywhere());
        let setup = setup(address);
        let answer = setup.registrar.register(request("n", 5000), &caller()).await;
        assert_eq!((answer.success, core.seen().len()), (success, asked), "{answer:?}");
        assert_eq!(answer.error.contains("thrown"), !success);
    }
}

#[tokio::test]
async fn a_core_that_comes_late_is_waited_for() {
    let core = FakeCore::default();
    // A port that was just free.
    let (address, server) = core.serve(anywhere());
    server.abort();
    let _ = server.await;
    let setup = setup(address);
    let sdk = caller();
    let registering = setup.registrar.register(request("n", 5001), &sdk);
    let starting = async {
        eventually("the first try fails", || {
            setup.registry.view(Instant::now()).first().is_some_and(|agent| agent.core_error.is_some())
        })
        .await;
        core.serve(address)
    };
    let (answer, _server) = tokio::join!(registering, starting);
    assert!(answer.success, "{answer:?}");
    assert_eq!(setup.registry.view(Instant::now())[0].core, CoreState::Ok);
    assert_eq!(core.agents.lock().len(), 1);
}

#[tokio::test]
async fn the_last_departure_reaches_the_core_and_never_overtakes_a_return() {
    let core = FakeCore { delay: Duration::from_millis(50), ..FakeCore::default() };
    let (address, _server) = core.serve(anywhere());
    let setup = setup(address);
    let (one, two) = (caller(), caller());
    assert!(setup.registrar.register(request("n", 5001), &one).await.success);
    assert!(setup.registrar.register(request("n", 5002), &two).await.success);
    let leave = UnregisterAgentRequest { agent_id: id_of("n") };
    assert!(setup.registrar.unregister(&leave, &one, Instant::now()).success);
    assert!(setup.registrar.unregister(&leave, &two, Instant::now()).success);
    eventually("the core is told", || core.agents.lock().is_empty()).await;
    assert_eq!(core.seen().iter().filter(|line| *line == "unregister").count(), 1);
    for _ in 0..5 {
        assert!(setup.registrar.register(request("n", 5001), &one).await.success);
        assert!(setup.registrar.unregister(&leave, &one, Instant::now()).success);
    }
    assert!(setup.registrar.register(request("n", 5001), &one).await.success);
    eventually("the core knows it again", || {
        setup.registry.view(Instant::now())[0].core == CoreState::Ok && setup.registry.core_wish(&id_of("n")).is_none()
    })
    .await;
    assert!(core.agents.lock().contains(&id_of("n")), "{:?}", core.seen());
}

#[tokio::test]
async fn a_core_that_restarts_is_told_every_agent_again() {
    let core = FakeCore::default();
    let (address, serving) = core.serve(anywhere());
    let setup = setup(address);
    for (name, port) in [("n", 5001), ("m", 5002)] {
        assert!(setup.registrar.register(request(name, port), &caller()).await.success);
    }
    serving.abort();
    assert!(serving.await.is_err());
    core.agents.lock().clear();
    core.seen.lock().clear();
    let (_, _serving) = core.serve(address);
    let since = Instant::now();
    eventually("both are told again", || core.agents.lock().len() == 2).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let both_ok = || setup.registry.view(Instant::now()).iter().all(|agent| agent.core == CoreState::Ok);
    eventually("both are known", both_ok).await;
    assert_eq!(core.seen().len(), 2, "once each: {:?}", core.seen());
}

#[tokio::test]
async fn an_agent_that_the_core_knows_from_somebody_else_is_said_to_be() {
    let core = FakeCore::default();
    core.agents.lock().insert(id_of("n"));
    let (address, _serving) = core.serve(anywhere());
    let setup = setup(address);
    assert!(setup.registrar.register(request("n", 5001), &caller()).await.success);
    assert_eq!(setup.registry.view(Instant::now())[0].core, CoreState::Foreign);
    core.agents.lock().clear();
    eventually("it is ours", || setup.registry.view(Instant::now())[0].core == CoreState::Ok).await;
}
