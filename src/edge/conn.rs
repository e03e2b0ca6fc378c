//! One accepted connection, on its worker: handshake, then calls, until it is idle, old, or the proxy closes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use filter_api::Reason;
use rand::Rng as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};

use super::entry::Entry;
use super::listener::Counted;
use super::preface;
use super::secure::{Door, Fate, Secured, Showing};
use crate::call::{Attached, Budget, Origin, Worker, close};
use crate::config::snapshot::{Limits, Listener};
use crate::h2;
use crate::observe::metrics::{ListenerMetrics, OpenConnection};
use crate::registry::Connection;

/// Between the two phases of a goodbye, beside the round trip that they take in any case: a client whose threads make calls learns of the
/// first one from another thread, and what it has begun meanwhile need not be begun again.
const ANNOUNCED: Duration = Duration::from_millis(100);
/// A peer answers our goodbye (it acknowledges a PING between its two phases) within a round trip, behind any call that is on the wire; one
/// that never does must not keep its connection, nor a drain.
const ANSWERS: Duration = Duration::from_secs(3);
/// Who was told to go, now, has this long to read why.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection that came just before a drain may still take for its handshake: its first call may be on the wire.
const LAST_WORD: Duration = ANSWERS;

/// A connection that was accepted, on its way to a worker.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: std::net::TcpStream,
    /// Where it came from, and to which listener.
    pub arrival: Arrival,
    /// Counts it for its worker.
    pub counted: Counted,
    /// Turns true when its listener closes.
    pub closing: watch::Receiver<bool>,
    /// How far it has come in.
    pub(super) entry: Entry,
}

/// Where a connection came from, and to which listener.
#[derive(Debug)]
pub struct Arrival {
    /// The other end; where a balancer says who that is, what it says.
    pub peer: SocketAddr,
    /// A balancer cannot say who that is, and `peer` is the balancer.
    pub nameless: bool,
    /// Our end.
    pub local: SocketAddr,
    /// The listener as it was when the connection came: what a handshake fixes stays with it.
    pub listener: Arc<Listener>,
    /// The listener's counters.
    pub metrics: Arc<ListenerMetrics>,
    /// What the listener's calls may hold, and keep for another try.
    pub buffered: Arc<Budget>,
    /// Counts it for the metrics.
    pub open: OpenConnection,
}

/// Serves an accepted connection to its end.
pub async fn drive(worker: Arc<Worker>, accepted: Accepted) {
    let Accepted { stream, mut arrival, counted: _counted, closing, entry } = accepted;
    let Ok(mut stream) = TcpStream::from_std(stream) else { return };
    // Small frames must not wait for the peer's acknowledgement; the write buffer does the batching.
    drop(stream.set_nodelay(true));
    let until = Instant::now() + arrival.listener.limits.handshake;
    // Boxed here and below: the state is large, and only those who need it have it.
    let _visit = match entry {
        Entry::Admitted(visit) if arrival.listener.proxy_protocol.is_none() => visit,
        entry => match Box::pin(within(until, &closing, entry.open(&mut stream, &mut arrival))).await {
            Some(visit) => visit,
            None => return,
        },
    };
    match Door::of(&worker.shared, &arrival.listener.name) {
        None => converse(worker, stream, arrival, (until, None), closing).await,
        Some(door) => Box::pin(drive_secured(worker, (stream, door), arrival, (until, closing))).await,
    }
}

/// The same by TLS.
async fn drive_secured(
    worker: Arc<Worker>,
    (stream, door): (TcpStream, Door),
    arrival: Arrival,
    (until, closing): (Instant, watch::Receiver<bool>),
) {
    let Some(opened) = within(until, &closing, async { Some(door.open(stream).await) }).await else {
        tracing::debug!(listener = %arrival.listener.name, peer = %arrival.peer, "no TLS handshake; the connection is closed");
        return;
    };
    match opened {
        Ok((stream, secured)) => converse(worker, stream, arrival, (until, Some(secured)), closing).await,
        Err(refused) => {
            if refused.for_certificate {
                arrival.metrics.refused(Reason::Certificate);
            }
            tracing::debug!(listener = %arrival.listener.name, peer = %arrival.peer, why = %refused, "a TLS handshake failed");
        }
    }
}

/// Serves a connection to its end, whatever carries it.
pub async fn serve<T>(worker: Arc<Worker>, io: T, arrival: Arrival, closing: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let until = Instant::now() + arrival.listener.limits.handshake;
    converse(worker, io, arrival, (until, None), closing).await;
}

async fn converse<T>(
    worker: Arc<Worker>,
    mut io: T,
    arrival: Arrival,
    (until, secured): (Instant, Option<Secured>),
    closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Arrival { peer, nameless, local, listener, metrics, buffered, open: _open } = arrival;
    let limits = listener.limits;
    let read = async { preface::read(&mut io, secured.is_some()).await.ok().flatten() };
    let Some(first) = within(until, &closing, read).await else {
        tracing::debug!(listener = %listener.name, %peer, "no HTTP/2 handshake; the connection is closed");
        return;
    };
    let known = Known(Connection::opened());
    let origin = Origin {
        listener: Arc::clone(&listener.name),
        metrics,
        peer,
        nameless,
        local,
        identity: secured.as_ref().and_then(Secured::identity),
        client_cert: OnceLock::new(),
        port_names_agent: listener.port_names_agent,
        buffered,
        connection: known.0.clone(),
        certified: Arc::new(Showing::of(secured.as_ref())),
    };
    let config = h2::Config::server(limits.streams, limits.headers);
    let attached = Attached::caller(&worker, Arc::new(origin), config);
    attached.feed(&first);
    let pace = Pace::new(limits, secured.as_ref().and_then(Secured::expires));
    run(attached, &mut io, (pace, secured), closing).await;
    close(io).await;
}

/// What comes of something that a peer must do first, in its time. Who has not said a word has no call to lose, and a drain does not
/// wait for it for long.
async fn within<R>(
    until: Instant,
    closing: &watch::Receiver<bool>,
    what: impl Future<Output = Option<R>>,
) -> Option<R> {
    let mut closing = closing.clone();
    let drained = async {
        // An error means that whoever would begin a drain is gone, which is the same.
        drop(closing.wait_for(|closing| *closing).await);
        sleep(LAST_WORD).await;
    };
    tokio::select! {
        done = timeout_at(until, what) => done.ok().flatten(),
        () = drained => None,
    }
}

/// A connection as the registrar knows it: closed however its task ends.
struct Known(Connection);

impl Drop for Known {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Moves a connection until it is over, and says goodbye when it is time.
async fn run<T>(
    attached: Attached,
    io: &mut T,
    (mut pace, mut secured): (Pace, Option<Secured>),
    mut closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut closed = std::pin::pin!(closing.wait_for(|closing| *closing));
    let (mut leaving, mut ousted, mut requests) = (Leaving::No, false, 0);
    poll_fn(|cx| {
        loop {
            // First the connection: it takes what came and writes what is queued.
            if attached.poll(cx, io).is_ready() {
                return Poll::Ready(());
            }
            let fate = secured.as_mut().map_or(Poll::Pending, Secured::fate);
            if let Poll::Ready(Fate::Oust(refusal)) = &fate {
                attached.oust(refusal);
                (leaving, ousted, secured) = (Leaving::Said, true, None);
                pace.linger(LINGER);
                continue;
            }
            let pulse = attached.pulse();
            match leaving {
                Leaving::No => {}
                Leaving::Announced if pace.poll_announced(cx) => {
                    leaving = Leaving::Said;
                    attached.goodbye();
                    pace.linger(ANSWERS);
                    continue;
                }
                Leaving::Announced => return Poll::Pending,
                // Who was told to go has its time to read why, and no more.
                Leaving::Said if pace.poll_left(cx, pulse.busy && !ousted) => return Poll::Ready(()),
                Leaving::Said => return Poll::Pending,
            }
            if std::mem::replace(&mut requests, pulse.requests) != pulse.requests {
                pace.called();
            }
            let stays = fate.is_pending() && !pulse.dismissed;
            if stays && !closed.as_mut().poll(cx).is_ready() && !pace.poll_end(cx, pulse.busy) {
                return Poll::Pending;
            }
            leaving = Leaving::Announced;
            attached.announce_goodbye();
            pace.announce();
        }
    })
    .await;
}

/// How far our goodbye is.
#[derive(Clone, Copy)]
enum Leaving {
    No,
    Announced,
    Said,
}

/// How long a connection may live: without calls, and at all.
struct Pace {
    limits: Limits,
    timer: Pin<Box<Sleep>>,
    quiet_since: Instant,
    ends: Option<Instant>,
}

impl Pace {
    /// `expires` is when its certificate does: then it takes no more calls.
    fn new(limits: Limits, expires: Option<Instant>) -> Self {
        let now = Instant::now();
        // A tenth of jitter: connections that came together must not all go together (gRFC A9).
        let age = limits.connection_age.map(|age| age.mul_f64(rand::rng().random_range(0.9..1.1)));
        let ends = [age.and_then(|age| now.checked_add(age)), expires].into_iter().flatten().min();
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

    /// Goodbye was announced, and is to be said a moment later.
    fn announce(&mut self) {
        self.timer.as_mut().reset(Instant::now() + ANNOUNCED);
    }

    /// Whether that moment has come.
    fn poll_announced(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Goodbye was said: from now on the timer is for the peer that does not answer it.
    fn linger(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }

    /// Whether the peer has had its time, and has no call open that deserves more.
    fn poll_left(&mut self, cx: &mut Context<'_>, busy: bool) -> bool {
        while self.timer.as_mut().poll(cx).is_ready() {
            if !busy {
                return true;
            }
            self.linger(LINGER);
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
