//! One accepted connection, on its worker: handshake, then calls, until it is idle, old, or the proxy closes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::Rng as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::listener::Counted;
use super::preface::{self, Rewound};
use crate::call::{self, Budget, Origin, Worker};
use crate::config::snapshot::{Limits, Listener};
use crate::h2::{self, ServerConnection, ServerSettings};
use crate::observe::metrics::{ListenerMetrics, OpenConnection};
use crate::registry::Connection;

/// A peer answers our goodbye (it acknowledges a PING between its two phases) within a round trip; one that never does must
/// not keep its connection, nor a drain.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection that came just before a drain may still take for its handshake: its first call may be on the wire.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection that was accepted, on its way to a worker.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: std::net::TcpStream,
    /// Where it came from, and to which listener.
    pub arrival: Arrival,
    /// Counts it for its worker.
    pub counted: Counted,
}

/// Where a connection came from, and to which listener.
#[derive(Debug)]
pub struct Arrival {
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The listener as it was when the connection came: what a handshake fixes stays with it.
    pub listener: Arc<Listener>,
    /// The listener's counters.
    pub metrics: Arc<ListenerMetrics>,
    /// What the listener's calls may keep for another try.
    pub buffered: Arc<Budget>,
    /// Counts it for the metrics.
    pub open: OpenConnection,
}

/// Serves an accepted connection to its end.
pub async fn drive(worker: Arc<Worker>, accepted: Accepted, closing: watch::Receiver<bool>) {
    let Accepted { stream, arrival, counted: _counted } = accepted;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    // Small frames must not wait for the peer's acknowledgement; the write buffer does the batching.
    drop(stream.set_nodelay(true));
    serve(worker, stream, arrival, closing).await;
}

/// Serves a connection to its end, whatever carries it. Each call is a task of its own on the same worker.
pub async fn serve<T>(worker: Arc<Worker>, io: T, arrival: Arrival, closing: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Arrival { peer, local, listener, metrics, buffered, open: _open } = arrival;
    let limits = listener.limits;
    let settings = ServerSettings { streams: limits.streams, headers: limits.headers };
    let handshake = async {
        let io = preface::read(io).await.ok().flatten()?;
        h2::accept(io, settings).await.ok()
    };
    let mut began = closing.clone();
    let drained = async {
        // An error means that whoever would begin a drain is gone, which is the same.
        drop(began.wait_for(|closing| *closing).await);
        sleep(LAST_WORD).await;
    };
    let connection = tokio::select! {
        connection = timeout(limits.handshake, handshake) => connection.ok().flatten(),
        // Who has not said a word has no call to lose, and a drain must not wait for it.
        () = drained => None,
    };
    let Some(connection) = connection else {
        tracing::debug!(listener = %listener.name, %peer, "no HTTP/2 handshake; the connection is closed");
        return;
    };
    let known = Known(Connection::opened());
    let origin = Origin {
        listener: Arc::clone(&listener.name),
        metrics,
        peer,
        local,
        port_names_agent: listener.port_names_agent,
        buffered,
        connection: known.0.clone(),
    };
    Driven { connection, worker, origin: Arc::new(origin), pace: Pace::new(limits), closing }.run().await;
}

/// A connection as the registrar knows it: closed however its task ends.
struct Known(Connection);

impl Drop for Known {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Driven<T> {
    connection: ServerConnection<Rewound<T>>,
    worker: Arc<Worker>,
    origin: Arc<Origin>,
    pace: Pace,
    closing: watch::Receiver<bool>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driven<T> {
    async fn run(mut self) {
        let mut closing = self.closing.clone();
        let mut closed = std::pin::pin!(closing.wait_for(|closing| *closing));
        let mut leaving = false;
        loop {
            let next = poll_fn(|cx| {
                // First the connection: it writes what is queued and takes what came.
                if let Poll::Ready(call) = self.connection.poll_call(cx) {
                    return Poll::Ready(Next::Call(call));
                }
                if leaving {
                    let over = self.pace.poll_left(cx, self.connection.has_streams());
                    return if over { Poll::Ready(Next::Call(None)) } else { Poll::Pending };
                }
                if closed.as_mut().poll(cx).is_ready() || self.pace.poll_end(cx, self.connection.has_streams()) {
                    return Poll::Ready(Next::Goodbye);
                }
                Poll::Pending
            });
            match next.await {
                Next::Call(Some(Ok(inbound))) => {
                    self.pace.called();
                    tokio::spawn(call::serve(Arc::clone(&self.worker), Arc::clone(&self.origin), inbound));
                }
                Next::Goodbye => {
                    leaving = true;
                    self.connection.say_goodbye();
                    self.pace.linger();
                }
                Next::Call(Some(Err(error))) => {
                    tracing::debug!(listener = %self.origin.listener, peer = %self.origin.peer, ?error, "connection ended");
                    return;
                }
                Next::Call(None) => return,
            }
        }
    }
}

enum Next {
    Call(Option<Result<h2::Inbound, h2::StreamError>>),
    Goodbye,
}

/// How long a connection may live: without calls, and at all.
struct Pace {
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    quiet_since: Instant,
    ends: Option<Instant>,
}

impl Pace {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        // A tenth of jitter: connections that came together must not all go together (gRFC A9).
        let age = limits.connection_age.map(|age| age.mul_f64(rand::rng().random_range(0.9..1.1)));
        let ends = age.and_then(|age| now.checked_add(age));
        let mut pace = Self { limits, timer: Box::pin(sleep_until(now)), quiet_since: now, ends };
        pace.rewind();
        pace
    }

    /// A call came.
    fn called(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Whether it is time to end the connection.
    fn poll_end(&mut self, cx: &mut Context<'_>, busy: bool) -> bool {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.ends.is_some_and(|ends| ends <= now) {
                return true;
            }
            if busy {
                self.quiet_since = now;
            } else if self.quiet_since + self.limits.idle <= now {
                return true;
            }
            self.rewind();
        }
        false
    }

    /// Goodbye was said: from now on the timer is for the peer that does not answer it.
    fn linger(&mut self) {
        self.timer.as_mut().reset(Instant::now() + LINGER);
    }

    /// Whether the peer has had its time, and has no call open that deserves more.
    fn poll_left(&mut self, cx: &mut Context<'_>, busy: bool) -> bool {
        while self.timer.as_mut().poll(cx).is_ready() {
            if !busy {
                return true;
            }
            self.linger();
        }
        false
    }

    fn rewind(&mut self) {
        let idle = self.quiet_since.checked_add(self.limits.idle);
        if let Some(next) = [idle, self.ends].into_iter().flatten().min() {
            self.timer.as_mut().reset(next);
        }
    }
}
