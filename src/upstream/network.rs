//! How sockets are opened and names looked up: one small trait, so that a simulator can take the network's place.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
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
            keep_alive(&socket)?;
            Ok(Box::new(socket) as Box<dyn Io>)
        }
        .boxed()
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
}

/// Has the kernel find out that the other host is gone, where no bytes would: after 60 s of silence, within 30 s more.
fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    let patience =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);
    SockRef::from(socket).set_tcp_keepalive(&patience)
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
