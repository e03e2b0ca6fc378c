//! Sockets of the simulation, as the proxy, tonic's servers and tonic's clients want them.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use portunus::upstream::{Io, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tonic::codegen::Service;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

/// The proxy's way to instances and the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simulated;

impl Network for Simulated {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Io>) }.boxed()
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let address = SocketAddr::new(turmoil::lookup(host), port);
        async move { Ok(vec![address]) }.boxed()
    }
}

/// Listens on every address of this host.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
}

/// What a tonic server is given.
pub(crate) fn incoming(listener: TcpListener, power: Power) -> impl Stream<Item = io::Result<Accepted>> {
    futures_util::stream::unfold(listener, move |listener| {
        let power = power.clone();
        async move {
            let accepted = listener.accept().await.map(|(stream, _)| Accepted { stream, off: off(power) });
            Some((accepted, listener))
        }
    })
}

/// Whether a process runs, and for which agent. When it does not any more, its sockets are closed: as the kernel does for one that
/// was killed.
pub(crate) type Power = watch::Receiver<Option<&'static str>>;

/// Waits until the process is killed.
pub(crate) fn off(mut power: Power) -> BoxFuture<'static, ()> {
    async move { drop(power.wait_for(Option::is_none).await) }.boxed()
}

/// A channel that connects when it is used, and again after it broke.
pub(crate) fn channel(to: &str) -> Channel {
    Endpoint::from_shared(format!("http://{to}")).unwrap().connect_with_connector_lazy(Dial)
}

/// An accepted connection.
pub(crate) struct Accepted {
    stream: TcpStream,
    off: BoxFuture<'static, ()>,
}

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.off.poll_unpin(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Clone, Copy)]
struct Dial;

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let place = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or_default());
            TcpStream::connect(place).await.map(TokioIo::new)
        })
    }
}
