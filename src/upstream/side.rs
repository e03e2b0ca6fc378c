//! Unary calls that Portunus makes by itself, beside the data path: health checks, and the channel to the core. Plain h2c,
//! a connection an instance, no keepalive pings (the peers count them). Knows neither registry records nor calls.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::network::{Io, Network, Place, dial};
use crate::registry::instance::Instance;

/// Why a side call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens there.
    #[error("connection refused: {0}")]
    Refused(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// It answered with this status.
    #[error("{0:?}: {1}")]
    Status(Code, String),
}

/// Calls a method of an instance with an encoded message. The caller sets the time limit.
pub trait UnaryClient: Send + Sync {
    /// `path` is `/package.Service/Method`; answers the encoded response message.
    fn unary(
        &self,
        instance: &Arc<Instance>,
        path: PathAndQuery,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>>;
}

/// Side calls over tonic channels, one an instance, kept as long as the instance is in service.
#[derive(Debug)]
pub struct SideClient {
    network: Arc<dyn Network>,
    channels: Mutex<HashMap<u64, (Weak<Instance>, Channel)>>,
}

impl UnaryClient for SideClient {
    fn unary(
        &self,
        instance: &Arc<Instance>,
        path: PathAndQuery,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let channel = self.channel(instance);
        async move {
            let mut client = Grpc::new(channel?);
            client.ready().await.map_err(|error| failure(&Status::from_error(error.into())))?;
            let answer = client.unary(Request::new(message), path, BytesCodec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
        }
        .boxed()
    }
}

impl SideClient {
    /// No channel yet.
    pub fn new(network: Arc<dyn Network>) -> Self {
        Self { network, channels: Mutex::default() }
    }

    fn channel(&self, instance: &Arc<Instance>) -> Result<Channel, Failure> {
        let mut channels = self.channels.lock();
        if let Some((_, channel)) = channels.get(&instance.id) {
            return Ok(channel.clone());
        }
        channels.retain(|_, (known, _)| known.upgrade().is_some_and(|known| !known.is_gone()));
        let channel = channel_to(&self.network, Place::from(&**instance), Duration::from_secs(5))?;
        channels.insert(instance.id, (Arc::downgrade(instance), channel.clone()));
        Ok(channel)
    }
}

/// A channel that connects when it is first used, and again after it broke. Has to be called on a tokio runtime.
pub(super) fn channel_to(network: &Arc<dyn Network>, place: Place, connect: Duration) -> Result<Channel, Failure> {
    let target = &place.target;
    let endpoint = Endpoint::from_shared(format!("http://{target}"))
        .map_err(|error| Failure::Unreachable(format!("{target} is no authority: {error}")))?;
    let endpoint = endpoint.connect_timeout(connect).user_agent(concat!("portunus/", env!("CARGO_PKG_VERSION")));
    let endpoint = endpoint.map_err(|error| Failure::Unreachable(error.to_string()))?;
    Ok(endpoint.connect_with_connector_lazy(Dial { network: Arc::clone(network), place }))
}

/// What a status says of the other side: transport errors arrive as statuses too.
pub(super) fn failure(status: &Status) -> Failure {
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

/// Messages are bytes here: who asks knows their type.
#[derive(Clone, Copy, Debug, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests;
