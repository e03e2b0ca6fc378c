//! Channels over tonic, to the core and to instances that are asked for their schema: they connect when they are first used, and again after
//! they broke. No keepalive pings (the peer counts them).

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::network::{Io, Network, Place, dial};
use super::side::Failure;

/// What we say we are.
pub const AGENT: &str = concat!("portunus/", env!("CARGO_PKG_VERSION"));

/// A channel that connects when it is first used, and again after it broke. Has to be called on a tokio runtime.
pub(super) fn channel_to(network: &Arc<dyn Network>, place: Place, connect: Duration) -> Result<Channel, Failure> {
    let target = &place.target;
    let endpoint = Endpoint::from_shared(format!("http://{target}"))
        .map_err(|error| Failure::Unreachable(format!("{target} is no authority: {error}")))?;
    let endpoint = endpoint.connect_timeout(connect).user_agent(AGENT);
    let mut endpoint = endpoint.map_err(|error| Failure::Unreachable(error.to_string()))?;
    // TLS is the dialler's, and tonic is told of it only by the origin.
    if place.is_secure() {
        let origin = format!("https://{}", place.authority()).parse();
        endpoint = endpoint.origin(origin.map_err(|_| Failure::Unreachable(format!("{target} is no authority")))?);
    }
    Ok(endpoint.connect_with_connector_lazy(Dial { network: Arc::clone(network), place }))
}

/// What a status says of the other side: transport errors arrive as statuses too.
pub fn failure(status: &Status) -> Failure {
    let mut source = status.source();
    let local = source.is_some();
    let mut last = None;
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return Failure::Refused(error.to_string());
        }
        last = Some(error.to_string());
        source = error.source();
    }
    match last {
        Some(last) if local => Failure::Unreachable(last),
        _ => Failure::Status(status.code(), status.message().to_owned()),
    }
}

/// Dials a target: its addresses are tried in order, and looked up anew each time.
#[derive(Clone, Debug)]
struct Dial {
    network: Arc<dyn Network>,
    place: Place,
}

impl tonic::codegen::Service<Uri> for Dial {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { network, place } = self.clone();
        Box::pin(async move { dial(&*network, &place).await.map(TokioIo::new) })
    }
}

/// An error of the transport with what is behind it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
