//! Echo and the metadata knobs that every backend has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use futures_util::stream;
use portunus_agents::echo::{Options, Server};
use portunus_proto::echo::Chunk;
use portunus_proto::echo::echo_client::EchoClient;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt;

async fn start(options: Options) -> (Server, EchoClient<Channel>) {
    let server = Server::start(options).await.unwrap();
    let client = EchoClient::connect(format!("http://{}", server.address())).await.unwrap();
    (server, client)
}

fn chunk(payload: &str) -> Chunk {
    Chunk { payload: payload.to_owned().into(), ..Chunk::default() }
}

fn values(metadata: &MetadataMap, name: &str) -> Vec<String> {
    metadata.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_four_kinds_of_call() {
    let (_server, mut client) = start(Options { instance: "here".into(), ..Options::default() }).await;
    let answer = client.unary(chunk("one")).await.unwrap();
    assert_eq!(answer.metadata().get("x-instance").unwrap(), "here");
    assert_eq!(answer.into_inner(), chunk("one"));

    let sum = client.client_stream(stream::iter(["a", "bc", "def"].map(chunk))).await.unwrap().into_inner();
    assert_eq!((sum.count, sum.size, &sum.payload[..]), (3, 6, &b"def"[..]));

    let request = Chunk { count: 4, size: 10, ..Chunk::default() };
    let mut stream = client.server_stream(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        seen.push((chunk.index, chunk.payload.len()));
    }
    assert_eq!(seen, [(0, 10), (1, 10), (2, 10), (3, 10)]);

    let mut stream = client.bidi(stream::iter(["x", "y"].map(chunk))).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        seen.push((chunk.index, chunk.payload));
    }
    assert_eq!(seen, [(0, "x".into()), (1, "y".into())]);
}

#[tokio::test]
async fn metadata_comes_back_in_headers_and_trailers() {
    let (_server, mut client) = start(Options::default()).await;
    let mut request = Request::new(Chunk { count: 1, ..chunk("m") });
    request.metadata_mut().append("x-echo-a", "1".parse().unwrap());
    request.metadata_mut().append("x-echo-a", "2".parse().unwrap());
    request.metadata_mut().append_bin("x-echo-b-bin", MetadataValue::from_bytes(&[0, 255, 7]));
    let response = client.server_stream(request).await.unwrap();
    assert_eq!(values(response.metadata(), "x-echo-a"), ["1", "2"]);
    let mut stream = response.into_inner();
    while stream.message().await.unwrap().is_some() {}
    let trailers = stream.trailers().await.unwrap().unwrap();
    assert_eq!(values(&trailers, "x-echo-trailer-a"), ["1", "2"]);
    let bin = trailers.get_bin("x-echo-trailer-b-bin").unwrap().to_bytes().unwrap();
    assert_eq!(&bin[..], [0, 255, 7]);
}

#[tokio::test]
async fn it_fails_as_asked_with_details() {
    let (server, mut client) = start(Options::default()).await;
    let mut request = Request::new(chunk(""));
    request.metadata_mut().insert("x-fail", "8".parse().unwrap());
    request.metadata_mut().insert("x-fail-details", "2000".parse().unwrap());
    request.metadata_mut().insert("x-echo-t", "kept".parse().unwrap());
    let status = client.unary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with('✗'), "{}", status.message());
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "sample_failure");
    assert_eq!(details.debug_info().unwrap().detail.len(), 2000);
    assert_eq!(status.metadata().get("x-echo-trailer-t").unwrap(), "kept");
    assert_eq!((server.handle().calls().seen, server.handle().calls().cancelled), (1, 0));
}

#[tokio::test]
async fn gzip_both_ways() {
    use tonic::codec::CompressionEncoding::Gzip;
    let (_server, client) = start(Options { gzip: true, ..Options::default() }).await;
    let mut client = client.send_compressed(Gzip).accept_compressed(Gzip);
    let answer = client.unary(chunk(&"z".repeat(10_000))).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().payload.len(), 10_000);
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented() {
    use portunus_proto::openastra::agent_service_client::AgentServiceClient;
    let (server, _client) = start(Options::default()).await;
    let mut client = AgentServiceClient::connect(format!("http://{}", server.address())).await.unwrap();
    let status = client.health_check(portunus_proto::openastra::Empty {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("openastra.AgentService"));
}
