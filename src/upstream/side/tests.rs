//! Side calls over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
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

async fn beat(client: &SideClient, instance: &Arc<Instance>) -> Result<i64, Failure> {
    let message = HeartbeatRequest { agent_id: "x".into(), timestamp: 41 }.encode_to_vec();
    let answer = client.unary(instance, &"/bindu.grpc.BinduService/Heartbeat".into(), message.into()).await?;
    Ok(HeartbeatResponse::decode(answer).unwrap().server_timestamp)
}

#[tokio::test]
async fn an_answer_and_the_ways_to_have_none() {
    let service = Service::default();
    let (address, _server) = serve(&service, "127.0.0.1:0");
    let (client, there) = (SideClient::new(Arc::new(Tcp), Arc::default()), instance(Target::Socket(address)));
    assert_eq!(beat(&client, &there).await, Ok(42));
    assert_eq!(beat(&client, &there).await, Ok(42));
    let fails = |path: &'static str| client.unary(&there, &path.into(), Bytes::new());
    assert_eq!(
        fails("/bindu.grpc.BinduService/UnregisterAgent").await,
        Err(Failure::Status(Code::Internal, "threw".into()))
    );
    assert_eq!(
        fails("/bindu.grpc.BinduService/RegisterAgent").await,
        Err(Failure::Status(Code::Unavailable, "busy".into()))
    );
    assert!(matches!(
        fails("/bindu.grpc.BinduService/NoSuchMethod").await,
        Err(Failure::Status(Code::Unimplemented, _))
    ));
    // An empty message is a message.
    assert!(HealthCheckResponse::decode(Bytes::new()).is_ok_and(|answer| !answer.healthy));
}

#[tokio::test]
async fn nobody_there_is_refused_and_somebody_else_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
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
    let answer =
        beat(&SideClient::new(Arc::new(Tcp), Arc::default()), &instance(Target::Loopback(address.port()))).await;
    assert_eq!(answer, Ok(42));
}

#[tokio::test]
async fn an_instance_that_comes_back_is_reached_again() {
    let service = Service::default();
    let (address, server) = serve(&service, "127.0.0.1:0");
    let (client, there) = (SideClient::new(Arc::new(Tcp), Arc::default()), instance(Target::Socket(address)));
    assert_eq!(beat(&client, &there).await, Ok(42));
    server.abort();
    let _ = server.await;
    let (_, _server) = serve(&service, &address.to_string());
    assert_eq!(beat(&client, &there).await, Ok(42), "on a new connection, as the old one has broken");
}

#[tokio::test]
async fn connections_of_removed_instances_are_let_go() {
    let (address, _server) = serve(&Service::default(), "127.0.0.1:0");
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
    for _ in 0..5 {
        let gone = instance(Target::Socket(address));
        assert_eq!(beat(&client, &gone).await, Ok(42));
        gone.retire();
    }
    let left = instance(Target::Socket(address));
    assert_eq!(beat(&client, &left).await, Ok(42));
    assert_eq!(client.resting.lines.lock().len(), 6, "they went between two calls");
    client.tidy();
    assert_eq!(client.resting.lines.lock().len(), 1);
    left.retire();
    assert_eq!(beat(&client, &left).await, Ok(42));
    assert_eq!(client.resting.lines.lock().len(), 0, "and this one within a call");
}

/// An instance that speaks HTTP/2 by itself: what `answer` does with the numbered call of a numbered connection.
async fn odd<F>(answer: fn(u32, u32, SendResponse<Bytes>) -> F) -> (Arc<Instance>, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = instance(Target::Socket(listener.local_addr().unwrap()));
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    tokio::spawn(async move {
        for connection in 1.. {
            let (socket, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut wire = h2::server::handshake(socket).await.unwrap();
                let mut call = 0;
                while let Some(Ok((request, respond))) = wire.accept().await {
                    call += 1;
                    assert_eq!(request.headers().get("te").unwrap(), "trailers");
                    tokio::spawn(answer(connection, call, respond));
                    if connection == 1 && call == 2 {
                        wire.graceful_shutdown();
                    }
                }
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    (there, open)
}

/// Answers with these octets and this status.
fn respond(mut respond: SendResponse<Bytes>, http: u16, body: &[u8], status: Option<&str>) {
    let head = http::Response::builder().status(http).header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::copy_from_slice(body), status.is_none()).unwrap();
    if let Some(status) = status {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", "so%21".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    }
}

async fn check(client: &SideClient, there: &Arc<Instance>) -> Result<Bytes, Failure> {
    client.unary(there, &"/bindu.grpc.AgentHandler/HealthCheck".into(), Bytes::new()).await
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let (there, _) = odd(|_, call, to| async move {
        match call {
            1 => respond(to, 200, b"\0\0\0\0\x02\x08\x01", Some("0")),
            2 => respond(to, 200, b"\x01\0\0\0\x01x", Some("0")),
            _ => respond(to, 200, b"", Some("0")),
        }
    })
    .await;
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
    assert_eq!(check(&client, &there).await, Ok(Bytes::from_static(b"\x08\x01")));
    let failed = |answer: Result<Bytes, Failure>| answer.unwrap_err().to_string();
    assert_eq!(failed(check(&client, &there).await), "Internal: its answer is compressed, which was not asked for");

    let (there, _) = odd(|_, call, to| async move {
        match call {
            1 => respond(to, 200, b"", Some("0")),
            2 => respond(to, 200, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some("0")),
            _ => {}
        }
    })
    .await;
    assert_eq!(failed(check(&client, &there).await), "Internal: its answer has no message");
    assert_eq!(failed(check(&client, &there).await), "Internal: its answer is not one message");

    let (there, open) = odd(|_, call, mut to| async move {
        match call {
            1 => respond(to, 503, b"busy", None),
            2 => to.send_reset(h2::Reason::INTERNAL_ERROR),
            _ => respond(to, 200, &[0; 100_000], Some("0")),
        }
    })
    .await;
    let none = "Unavailable: HTTP status 503 and no gRPC status: is it a gRPC server?";
    assert_eq!(failed(check(&client, &there).await), none);
    assert_eq!(failed(check(&client, &there).await), "it reset the call (HTTP/2 error 2)");
    // The second connection, as the first said goodbye with its second call.
    for _ in 0..3 {
        check(&client, &there).await.unwrap_err();
    }
    assert_eq!(failed(check(&client, &there).await), "ResourceExhausted: its answer is longer than 65536 octets");
    assert!(open.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn a_goodbye_while_a_connection_rests_costs_no_call() {
    let (there, open) = odd(|_, _, to| async move { respond(to, 200, b"\0\0\0\0\0", Some("0")) }).await;
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
    for call in 0..20 {
        assert_eq!(check(&client, &there).await, Ok(Bytes::new()), "{call}");
        assert_eq!(client.resting.lines.lock().len(), 1);
    }
    assert!(open.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection() {
    let (there, open) = odd(|connection, _, to| async move {
        if connection == 1 {
            std::future::pending::<()>().await;
        }
        respond(to, 200, b"\0\0\0\0\0", Some("0"));
    })
    .await;
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
    let given_up = tokio::time::timeout(Duration::from_millis(200), check(&client, &there)).await;
    assert!(given_up.is_err() && client.resting.lines.lock().is_empty());
    assert_eq!(check(&client, &there).await, Ok(Bytes::new()));
    let closed = async {
        while open.load(Ordering::Relaxed) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
}

/// A server that lets no octet of a request come, answers all the same, and may reset the rest of the request, as HTTP/2 has it.
#[tokio::test]
async fn an_answer_before_the_request_went_is_that_calls_answer() {
    for resets in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = instance(Target::Socket(listener.local_addr().unwrap()));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut server = h2::server::Builder::new();
                let mut wire = server.initial_window_size(0).handshake::<_, Bytes>(socket).await.unwrap();
                let mut call = 0;
                while let Some(Ok((request, mut respond))) = wire.accept().await {
                    call += 1;
                    let head = http::Response::builder().header("content-type", "application/grpc");
                    let head = head.header("grpc-status", "5").header("grpc-message", format!("call {call}"));
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                    if resets {
                        // Dropped, it is reset with NO_ERROR.
                        drop((request, respond));
                    }
                }
            }
        });
        let client = SideClient::new(Arc::new(Tcp), Arc::default());
        for call in 1..=20 {
            let answer = tokio::time::timeout(Duration::from_secs(2), check(&client, &there)).await.unwrap();
            assert_eq!(answer, Err(Failure::Status(Code::NotFound, format!("call {call}"))), "resets: {resets}");
        }
    }
}

/// A server that ends politely waits until its connections are closed: it must not wait until it is asked again.
#[tokio::test]
async fn a_server_that_says_goodbye_is_let_go_at_once() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = Server::builder().add_service(BinduServiceServer::new(Service::default()));
    let server = tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move { drop(ended.await) }));
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
    let instance = instance(Target::Socket(address));
    let asked = async {
        for _ in 0..2 {
            assert_eq!(beat(&client, &instance).await, Ok(42));
        }
        end.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(2), server).await.expect("it is let go").unwrap().unwrap();
        assert!(client.resting.lines.lock().is_empty());
        assert!(matches!(beat(&client, &instance).await, Err(Failure::Refused(_))));
    };
    tokio::select! { () = asked => {}, () = client.attend() => unreachable!() }
}

/// One that talks all the time is not listened to for ever, and one that asks is answered.
#[tokio::test]
async fn what_comes_at_rest_is_answered_within_bounds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = instance(Target::Socket(listener.local_addr().unwrap()));
    let client = SideClient::new(Arc::new(Tcp), Arc::default());
    let answered = AtomicUsize::new(0);
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut wire = h2::server::handshake(socket).await.unwrap();
        let mut pings = wire.ping_pong().unwrap();
        let (_, answer) = wire.accept().await.unwrap().unwrap();
        respond(answer, 200, &crate::wire::framed(&HeartbeatResponse::default().encode_to_vec()), Some("0"));
        let driven = async { while let Some(Ok(_)) = wire.accept().await {} };
        let asks = async {
            while pings.ping(h2::Ping::opaque()).await.is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        // Closed, it drives nothing any more.
        tokio::select! { () = driven => {}, () = asks => {} }
    };
    let asked = async {
        assert_eq!(beat(&client, &there).await, Ok(0));
        std::future::pending::<()>().await;
    };
    tokio::select! { () = server => {}, () = asked => unreachable!(), () = client.attend() => unreachable!() }
    let answered = answered.load(Ordering::Relaxed);
    // 17 octets each, or what the engine takes of them.
    assert!((10..=64 * 1024 / 17).contains(&answered), "{answered}");
    assert!(client.resting.lines.lock().is_empty());
}
