//! Side calls over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::uri::PathAndQuery;
use portunus_proto::bindu::HealthCheckResponse;
use portunus_proto::bindu::bindu_service_server::{BinduService, BinduServiceServer};
use portunus_proto::bindu::{
    HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse, UnregisterAgentRequest,
    UnregisterAgentResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use super::{Failure, SideClient, UnaryClient};
use crate::observe::ClusterMetrics;
use crate::registry::instance::{Instance, State, Target};
use crate::upstream::Tcp;

/// Serves Heartbeat; the rest fails in its own way.
#[derive(Clone, Default)]
struct Service {
    calls: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl BinduService for Service {
    async fn register_agent(
        &self,
        _: Request<RegisterAgentRequest>,
    ) -> Result<Response<RegisterAgentResponse>, Status> {
        Err(Status::unavailable("busy"))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let server_timestamp = request.into_inner().timestamp + 1;
        Ok(Response::new(HeartbeatResponse { acknowledged: true, server_timestamp }))
    }

    async fn unregister_agent(
        &self,
        _: Request<UnregisterAgentRequest>,
    ) -> Result<Response<UnregisterAgentResponse>, Status> {
        Err(Status::internal("threw"))
    }
}

fn serve(service: &Service, address: &str) -> (SocketAddr, JoinHandle<()>) {
    let incoming = TcpIncoming::bind(address.parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = BinduServiceServer::new(service.clone());
    let task = tokio::spawn(async move {
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    (address, task)
}

fn instance(target: Target) -> Arc<Instance> {
    let metrics = Arc::new(ClusterMetrics::default()).instance("i");
    Instance::new("agents".into(), target, 1, State::New, metrics, Instant::now())
}

fn path(method: &str) -> PathAndQuery {
    format!("/bindu.grpc.BinduService/{method}").parse().unwrap()
}

async fn beat(client: &SideClient, instance: &Arc<Instance>) -> Result<i64, Failure> {
    let message = HeartbeatRequest { agent_id: "x".into(), timestamp: 41 }.encode_to_vec();
    let answer = client.unary(instance, path("Heartbeat"), message.into()).await?;
    Ok(HeartbeatResponse::decode(answer).unwrap().server_timestamp)
}

#[tokio::test]
async fn an_answer_and_the_ways_to_have_none() {
    let service = Service::default();
    let (address, _server) = serve(&service, "127.0.0.1:0");
    let (client, there) = (SideClient::new(Arc::new(Tcp)), instance(Target::Socket(address)));
    assert_eq!(beat(&client, &there).await, Ok(42));
    assert_eq!(beat(&client, &there).await, Ok(42));
    let fails = |method: &str| client.unary(&there, path(method), Bytes::new());
    assert_eq!(fails("UnregisterAgent").await, Err(Failure::Status(Code::Internal, "threw".into())));
    assert_eq!(fails("RegisterAgent").await, Err(Failure::Status(Code::Unavailable, "busy".into())));
    assert!(matches!(fails("NoSuchMethod").await, Err(Failure::Status(Code::Unimplemented, _))));
    // An empty message is a message.
    assert!(HealthCheckResponse::decode(Bytes::new()).is_ok_and(|answer| !answer.healthy));
}

#[tokio::test]
async fn nobody_there_is_refused_and_somebody_else_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = SideClient::new(Arc::new(Tcp));
    let other = instance(Target::Socket(address));
    let hangs_up = async {
        loop {
            drop(listener.accept().await.unwrap());
        }
    };
    let answer = tokio::select! { answer = beat(&client, &other) => answer, () = hangs_up => unreachable!() };
    assert!(matches!(answer, Err(Failure::Unreachable(_))), "{answer:?}");
    drop(listener);
    for target in [Target::Socket(address), Target::Loopback(address.port())] {
        let answer = beat(&client, &instance(target)).await;
        assert!(matches!(answer, Err(Failure::Refused(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn localhost_is_whichever_family_answers() {
    let Ok(probe) = TcpListener::bind("[::1]:0").await else { return };
    drop(probe);
    let (address, _server) = serve(&Service::default(), "[::1]:0");
    let answer = beat(&SideClient::new(Arc::new(Tcp)), &instance(Target::Loopback(address.port()))).await;
    assert_eq!(answer, Ok(42));
}

#[tokio::test]
async fn an_instance_that_comes_back_is_reached_again() {
    let service = Service::default();
    let (address, server) = serve(&service, "127.0.0.1:0");
    let (client, there) = (SideClient::new(Arc::new(Tcp)), instance(Target::Socket(address)));
    assert_eq!(beat(&client, &there).await, Ok(42));
    server.abort();
    let _ = server.await;
    let (_, _server) = serve(&service, &address.to_string());
    // The first try may still find the old connection breaking.
    let mut answers = vec![];
    for _ in 0..3 {
        answers.push(beat(&client, &there).await);
    }
    assert_eq!(answers.last(), Some(&Ok(42)), "{answers:?}");
}

#[tokio::test]
async fn channels_of_removed_instances_are_let_go() {
    let (address, _server) = serve(&Service::default(), "127.0.0.1:0");
    let client = SideClient::new(Arc::new(Tcp));
    for _ in 0..5 {
        let gone = instance(Target::Socket(address));
        assert_eq!(beat(&client, &gone).await, Ok(42));
        gone.retire();
    }
    let left = instance(Target::Socket(address));
    assert_eq!(beat(&client, &left).await, Ok(42));
    assert_eq!(client.channels.lock().len(), 1);
}
