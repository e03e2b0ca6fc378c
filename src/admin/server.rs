//! The admin port's connections: accepts them, bounds them, hands each request to the router. Knows no endpoint.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portunus_tls::{Server, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::body::Turns;
use super::guard::Shown;
use super::recent::Recent;
use super::router::{self, Next, Site};
use super::{AdminState, Surface};

/// What strangers may hold here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once. One more takes the place of the oldest: an honest one has its answer within milliseconds, and whoever opens
    /// many and says nothing must not keep a supervisor out, or it would have the process killed.
    pub(super) connections: usize,
    /// Of them, those that have not shaken hands by TLS: each costs a signature, and nobody knows yet who it is. One more takes the place
    /// of the oldest of these.
    pub(super) handshakes: usize,
    /// From accepting a connection to its end. One number for everything that can be slow (the handshake, the head, the scraper that
    /// does not read), so that nothing can be forgotten.
    pub(super) request: Duration,
    /// Bytes of a request's head.
    pub(super) head: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 64, handshakes: 16, request: Duration::from_secs(10), head: 16 * 1024 }
    }
}

/// The most header fields of a request. Browsers send some twenty.
const MOST_HEADERS: usize = 64;

/// After an accept that failed (no descriptors left): without a pause the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long requests that are being answered may take once the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves `surface` on `listener` until `shutdown` is done, then finishes the answers that are under way. Each
/// connection carries one request: scrapers and curl come seldom, and an idle connection could only be misused.
pub async fn serve(listener: TcpListener, state: AdminState, surface: Surface, shutdown: impl Future<Output = ()>) {
    serve_within(Bounds::default(), listener, (state, surface), shutdown).await;
}

pub(super) async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    (state, surface): (AdminState, Surface),
    shutdown: impl Future<Output = ()>,
) {
    let site = Arc::new(Site { state, surface, recent: Recent::default(), turns: Turns::default() });
    let mut connections = JoinSet::new();
    let mut by_age = VecDeque::new();
    tokio::pin!(shutdown);
    loop {
        // Cancel-safe, all three: a branch that loses has taken nothing.
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    make_room(&mut by_age, bounds);
                    let tls = tls_of(&site);
                    let met = Arc::new(AtomicBool::new(tls.is_none()));
                    let served = serve_connection(bounds, (stream, tls), Arc::clone(&site), Arc::clone(&met));
                    by_age.push_back(Held { task: connections.spawn(served), met });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin port cannot accept a connection; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    // What is left after that is a client that does not read; dropping the set ends it.
    let _ = timeout(LAST_ANSWERS, finish).await;
}

/// A connection that is served.
struct Held {
    task: AbortHandle,
    /// It needs no handshake, or has been through it.
    met: Arc<AtomicBool>,
}

/// Ends the oldest connections until there is room for one more: first those that have not shaken hands, of which there may be fewer.
fn make_room(by_age: &mut VecDeque<Held>, bounds: Bounds) {
    by_age.retain(|held| !held.task.is_finished());
    let is_strange = |held: &Held| !held.met.load(Ordering::Relaxed);
    loop {
        let strange = by_age.iter().filter(|held| is_strange(held)).count();
        if by_age.len() < bounds.connections && strange < bounds.handshakes {
            return;
        }
        let oldest = by_age.iter().position(is_strange).unwrap_or_default();
        let Some(oldest) = by_age.remove(oldest) else { return };
        tracing::debug!("an admin connection was ended: there are too many, and it is the oldest");
        oldest.task.abort();
    }
}

fn tls_of(site: &Site) -> Option<Arc<Server>> {
    match site.surface {
        Surface::Full => site.state.view.access().tls.clone(),
        Surface::Public => None,
    }
}

async fn serve_connection(
    bounds: Bounds,
    (stream, tls): (TcpStream, Option<Arc<Server>>),
    site: Arc<Site>,
    met: Arc<AtomicBool>,
) {
    let served = async {
        let Some(tls) = tls else { return exchange(bounds, stream, site, Shown::default()).await };
        // A client that says nothing has nothing made for it.
        stream.readable().await?;
        let Session { stream, peer } = tls.accept(stream).await.map_err(io::Error::other)?;
        met.store(true, Ordering::Relaxed);
        exchange(bounds, stream, site, Shown { peer }).await
    };
    match timeout(bounds.request, served).await {
        Ok(Ok(())) => {}
        // Clients that break off or send rubbish are no news for the operator.
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection ended early"),
        Err(_) => tracing::debug!("an admin connection took too long and was closed"),
    }
}

/// Reads one request and answers it.
async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(
    bounds: Bounds,
    stream: T,
    site: Arc<Site>,
    shown: Shown,
) -> io::Result<()> {
    let (site, shown) = (&*site, &shown);
    let service = service_fn(async move |request: hyper::Request<Incoming>| {
        let (request, body) = request.into_parts();
        Ok::<_, Infallible>(match router::answer(site, shown, &request) {
            Next::Send(reply) => reply,
            Next::Take(takes) => site.turns.answer(&site.state, takes, body).await,
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.request)
        .max_headers(MOST_HEADERS)
        .max_header_size(bounds.head)
        .max_buf_size(bounds.head)
        .keep_alive(false)
        // `printf … | nc` closes its side after the request and still wants the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    connection.await.map_err(io::Error::other)
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "an admin request failed inside; this is a bug");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::{Bounds, Held, make_room};

    /// Who is held by now, once one more may come: the strangers as `s`, those who have shaken hands as `m`, by age.
    async fn left(held: &str, connections: usize, handshakes: usize) -> String {
        let hold = |(at, who): (usize, char)| {
            let task = tokio::spawn(std::future::pending::<()>());
            (at, task.abort_handle(), Held { task: task.abort_handle(), met: Arc::new(AtomicBool::new(who == 'm')) })
        };
        let all: Vec<_> = held.chars().enumerate().map(hold).collect();
        let (tasks, mut by_age): (Vec<_>, VecDeque<_>) =
            all.into_iter().map(|(at, task, held)| ((at, task), held)).unzip();
        make_room(&mut by_age, Bounds { connections, handshakes, ..Bounds::default() });
        tokio::task::yield_now().await;
        let left = tasks.iter().filter(|(_, task)| !task.is_finished()).map(|(at, _)| held.as_bytes()[*at] as char);
        assert_eq!(tasks.iter().filter(|(_, task)| !task.is_finished()).count(), by_age.len());
        left.collect()
    }

    #[tokio::test]
    async fn strangers_go_first_and_are_fewer() {
        assert_eq!(left("mmm", 4, 2).await, "mmm");
        assert_eq!(left("mmmm", 4, 2).await, "mmm");
        assert_eq!(left("mmms", 4, 2).await, "mmm", "the stranger goes, though it came last");
        assert_eq!(left("msms", 5, 2).await, "mms", "one more of them may come");
        assert_eq!(left("ssss", 9, 2).await, "s");
    }
}
