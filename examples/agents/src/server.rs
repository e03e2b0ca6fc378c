//! Runs a front on a port, and ends it politely or at once. Every backend uses it; it knows none of them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::front::Front;

/// How long a polite end waits for open calls.
const PATIENCE: Duration = Duration::from_secs(5);
/// Resets that a client may have in flight before it counts as an attack: a load test that cancels a tenth of its
/// calls over one connection must not be mistaken for one.
const RESETS: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    Gracefully,
    AtOnce,
}

/// A front that listens. Dropped, it ends at once.
#[derive(Debug)]
pub(crate) struct Running {
    address: SocketAddr,
    stop: watch::Sender<Stop>,
    task: Option<JoinHandle<()>>,
}

/// Binds `listen` and serves in the background.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn start(listen: SocketAddr, front: Front) -> io::Result<Running> {
    let listener = TcpListener::bind(listen).await.map_err(|e| io::Error::new(e.kind(), format!("{listen}: {e}")))?;
    let address = listener.local_addr()?;
    let stop = watch::Sender::new(Stop::No);
    let mut asked = stop.subscribe();
    let incoming = stream::unfold((listener, stop.subscribe()), |(listener, stop)| async move {
        let accepted = accept(&listener, &stop).await;
        Some((accepted, (listener, stop)))
    });
    let serving = Server::builder()
        .max_concurrent_streams(1000)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_local_error_reset_streams(Some(RESETS))
        .serve_with_incoming_shutdown(front, incoming, async move {
            let _ = asked.wait_for(|stop| *stop != Stop::No).await;
        });
    let task = tokio::spawn(async move {
        // It ends when it is told to; errors of single connections are theirs.
        let _ = serving.await;
    });
    Ok(Running { address, stop, task: Some(task) })
}

async fn accept(listener: &TcpListener, stop: &watch::Receiver<Stop>) -> io::Result<Connection> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut stop = stop.clone();
    let killed = Box::pin(async move {
        // The sender gone means the same: nobody wants this backend any more.
        let _ = stop.wait_for(|stop| *stop == Stop::AtOnce).await;
    });
    Ok(Connection { stream, killed })
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, says GOAWAY, waits a few seconds for open calls.
    pub(crate) async fn shutdown(mut self) {
        self.stop.send_replace(Stop::Gracefully);
        let Some(mut task) = self.task.take() else { return };
        if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            self.stop.send_replace(Stop::AtOnce);
            let _ = task.await;
        }
    }

    /// Drops the listener and every connection, and returns once the port is free.
    pub(crate) async fn killed(mut self) {
        self.stop.send_replace(Stop::AtOnce);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::AtOnce);
    }
}

/// A connection that breaks when its server is killed.
struct Connection {
    stream: TcpStream,
    killed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A connection always reads, so this is where it learns of the end.
        if self.killed.as_mut().poll(cx).is_ready() {
            // Polled again after this error, it must not poll a finished future.
            self.killed = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
