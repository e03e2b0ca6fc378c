//! The admin port's connections: accepts them, bounds them, hands each request to the router. Knows no endpoint.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portunus_tls::Session;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::guard::Shown;
use super::recent::Recent;
use super::router::{self, Site};
use super::{AdminState, Surface};

/// What strangers may hold here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once. One more takes the place of the oldest: an honest one has its answer within milliseconds, and whoever opens
    /// many and says nothing must not keep a supervisor out, or it would have the process killed.
    pub(super) connections: usize,
    /// From accepting a connection to its end. One number for everything that can be slow (the handshake, the head, the scraper that
    /// does not read), so that nothing can be forgotten.
    pub(super) request: Duration,
    /// Bytes of a request's head.
    pub(super) head: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 64, request: Duration::from_secs(10), head: 16 * 1024 }
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
    let site = Arc::new(Site { state, surface, recent: Recent::default() });
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
                    make_room(&mut by_age, bounds.connections);
                    by_age.push_back(connections.spawn(serve_connection(bounds, stream, Arc::clone(&site))));
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

/// Ends the oldest connections until there is room for one more.
fn make_room(by_age: &mut VecDeque<AbortHandle>, most: usize) {
    by_age.retain(|connection| !connection.is_finished());
    while by_age.len() >= most {
        let Some(oldest) = by_age.pop_front() else { return };
        tracing::debug!("an admin connection was ended: there are too many, and it is the oldest");
        oldest.abort();
    }
}

async fn serve_connection(bounds: Bounds, stream: TcpStream, site: Arc<Site>) {
    let tls = match site.surface {
        Surface::Full => site.state.view.access().tls.clone(),
        Surface::Public => None,
    };
    let served = async {
        let Some(tls) = tls else { return exchange(bounds, stream, site, Shown::default()).await };
        // A client that says nothing has nothing made for it.
        stream.readable().await?;
        let Session { stream, peer } = tls.accept(stream).await.map_err(io::Error::other)?;
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
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        // The body is dropped unread: no endpoint takes one.
        let (request, _) = request.into_parts();
        let reply = router::answer(&site, &shown, &request);
        async { Ok::<_, Infallible>(reply) }
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
