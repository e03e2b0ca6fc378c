//! The end of TLS in front of an instance that knows none: it decrypts, and passes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A server by TLS in front of an instance. Dropped, it closes all.
pub(crate) struct Front {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    config: Mutex<Arc<ServerConfig>>,
    open: Mutex<JoinSet<()>>,
    handshakes: AtomicUsize,
}

impl Front {
    pub(crate) async fn before(instance: SocketAddr, config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Mutex::new(Arc::new(config));
        let inner = Arc::new(Inner { config, open: Mutex::default(), handshakes: AtomicUsize::new(0) });
        let served = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let own = Arc::clone(&served);
                served.open.lock().spawn(async move { own.serve(socket, instance).await });
            }
        });
        Self { address, inner, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As the SDK of an agent would name it.
    pub(crate) fn local(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Handshakes that both ends took to be good.
    pub(crate) fn handshakes(&self) -> usize {
        self.inner.handshakes.load(Ordering::SeqCst)
    }

    /// Connections from now on are taken so.
    pub(crate) fn turn(&self, config: ServerConfig) {
        *self.inner.config.lock() = Arc::new(config);
    }

    /// Closes every connection.
    pub(crate) fn hang_up(&self) {
        self.inner.open.lock().abort_all();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
        self.hang_up();
    }
}

impl Inner {
    async fn serve(&self, socket: TcpStream, instance: SocketAddr) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config.lock()));
        let Ok(mut stream) = acceptor.accept(socket).await else { return };
        self.handshakes.fetch_add(1, Ordering::SeqCst);
        let Ok(mut behind) = TcpStream::connect(instance).await else { return };
        tokio::io::copy_bidirectional(&mut stream, &mut behind).await.ok();
    }
}
