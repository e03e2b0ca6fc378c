//! What a listener serves itself (`serve: [reflection, health]`): an ordinary gRPC server within the process, which the data path
//! reaches as it reaches an instance. So the listener's filters, limits, deadlines, counters and log hold for it without a word here.
//! It runs on the control runtime.

mod directory;
mod health;
mod reflection;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use portunus_proto::descriptors;
use portunus_proto::health::health_server::HealthServer;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture as Answering, Service};
use tonic::transport::Server;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;
use tonic_reflection::pb::{v1, v1alpha};

use crate::in_force::InForce;
use crate::schema::{self, Catalog, Definitions, Schema};
use directory::Directory;
use health::Health;
use reflection::Reflection;

/// No question is longer.
const QUESTION: usize = 64 << 10;
/// Calls on one worker's connection at once.
const STREAMS: u32 = 1_024;
const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// Where the server of a listener finds what it tells of.
pub struct Sources {
    /// The configuration in force, with its clusters.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// What the registrar serves.
    pub registrar: Arc<Schema>,
    /// Who asks.
    pub callers: Arc<dyn Callers>,
    /// Whether the proxy is to end soon: it serves as before, and says that nobody new is to come.
    pub leaving: watch::Receiver<bool>,
    /// Whether it ends now: streams that would never end by themselves do.
    pub closing: watch::Receiver<bool>,
}

/// Knows those who ask, by what their calls carry.
pub trait Callers: Send + Sync {
    /// The services of a catalog of which whoever asks may call some method; none at all for somebody who is not known.
    fn may_call<'c>(&'c self, visitor: &'c str, catalog: &'c Catalog) -> BoxFuture<'c, BTreeSet<String>>;
}

/// The definitions of what is served here.
pub fn definitions() -> Option<Arc<Definitions>> {
    // Sets of descriptors one behind the other are one set.
    let sets = [v1::FILE_DESCRIPTOR_SET, v1alpha::FILE_DESCRIPTOR_SET, descriptors::HEALTH].concat();
    // A test holds that they load.
    let schema = schema::from_octets(&sets).ok()?;
    Some(Arc::new(Definitions::of(Arc::new(schema))))
}

/// Serves for a listener, for as long as it is polled.
pub async fn run(listener: Arc<str>, sources: Sources, arrivals: mpsc::Receiver<DuplexStream>) {
    let Sources { in_force, registrar, callers, leaving, closing } = sources;
    let directory = Arc::new(Directory::new(in_force, listener, registrar));
    let reflection = Reflection::new(Arc::clone(&directory), callers, closing.clone());
    let services = Services {
        reflection: ServerReflectionServer::new(reflection).max_decoding_message_size(QUESTION),
        health: HealthServer::new(Health::new(directory, leaving, closing)).max_decoding_message_size(QUESTION),
    };
    let arrivals = ReceiverStream::new(arrivals).map(Ok::<_, io::Error>);
    let server = Server::builder().max_concurrent_streams(STREAMS);
    if let Err(error) = server.serve_with_incoming(services, arrivals).await {
        tracing::error!(%error, "what a listener serves itself has ended");
    }
}

fn draining() -> Status {
    Status::unavailable("the proxy is draining: connect anew")
}

#[derive(Clone)]
struct Services {
    reflection: ServerReflectionServer<Reflection>,
    health: HealthServer<Health>,
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with("/grpc.health.v1.Health/") {
            return self.health.call(request);
        }
        // The two versions have the same messages under two names.
        if path == V1ALPHA {
            *request.uri_mut() = Uri::from_static(V1);
        }
        self.reflection.call(request)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_served_here_is_described() {
        let known = super::definitions().unwrap();
        assert!(known.schema().problems().is_empty());
        let mut methods: Vec<_> = known.all().map(|(service, method, _)| format!("{service}/{method}")).collect();
        methods.sort();
        let expected = [
            "grpc.health.v1.Health/Check",
            "grpc.health.v1.Health/List",
            "grpc.health.v1.Health/Watch",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ];
        assert_eq!(methods, expected);
    }
}
