//! How sockets are opened and names looked up: one small trait, so that a simulator can take the network's place.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::registry::Target;

/// A connected socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What the proxy needs of a network towards instances and cores.
pub trait Network: Debug + Send + Sync {
    /// Connects to an address.
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;

    /// The addresses of a name, each with the port.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The system's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        async move {
            let socket = TcpStream::connect(address).await?;
            // Small frames must not wait for the peer's acknowledgement; the write buffer does the batching.
            socket.set_nodelay(true)?;
            Ok(Box::new(socket) as Box<dyn Io>)
        }
        .boxed()
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
}

/// Connects to the first address of a target that takes it. Names are looked up anew at each dial.
pub(super) async fn dial(network: &dyn Network, target: &Target) -> io::Result<Box<dyn Io>> {
    let addresses = match (target.known_addresses(), target) {
        (Some(known), _) => known,
        (None, Target::Name(host, port)) => network.resolve(host, *port).await?,
        (None, _) => Vec::new(),
    };
    let mut failed = None;
    for address in addresses {
        match network.open(address).await {
            Ok(socket) => return Ok(socket),
            // The first error is the one that counts: ::1 is only tried because 127.0.0.1 failed.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{target} has no address"))))
}
