//! Whether a connection may come in: by its source address, and by how many there are from it. Where a balancer stands before the
//! listener (`proxy_protocol`), its word counts for who the source is; nobody else may give one.

use std::net::SocketAddr;
use std::sync::Arc;

use filter_api::Reason;
use tokio::net::TcpStream;

use super::conn::Arrival;
use super::peers::{Peers, Visit};
use super::proxy_protocol::{self, Lacking, Source};
use crate::config::snapshot::Listener;
use crate::observe::metrics::ListenerMetrics;
use crate::wire::told_by;

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Entry {
    /// It is in, and counted among those of its address.
    Admitted(Visit),
    /// It is a balancer's, which has yet to say whom it is for.
    Announced(Arc<Peers>),
}

/// Takes a connection, or not: who is refused is closed at once and without a word, as there is no call that could get an answer.
pub(super) fn knock(
    listener: &Listener,
    metrics: &ListenerMetrics,
    peers: &Arc<Peers>,
    peer: SocketAddr,
) -> Option<Entry> {
    if metrics.open_connections() >= listener.limits.connections {
        return refuse((listener, metrics), peer, Reason::Overloaded, "`limits.connections` is reached");
    }
    if listener.proxy_protocol.as_ref().is_some_and(|balancers| balancers.hold(peer.ip())) {
        return Some(Entry::Announced(Arc::clone(peers)));
    }
    admit((listener, metrics), peers, peer).map(Entry::Admitted)
}

fn admit((listener, metrics): (&Listener, &ListenerMetrics), peers: &Arc<Peers>, peer: SocketAddr) -> Option<Visit> {
    if listener.from.as_ref().is_some_and(|from| !from.hold(peer.ip())) {
        return refuse((listener, metrics), peer, Reason::Source, "its address is not in `from`");
    }
    peers.visit(peer.ip()).or_else(|| {
        let why = "`limits.connections_per_peer` is reached";
        refuse((listener, metrics), peer, Reason::Overloaded, why)
    })
}

fn refuse<T>(
    (listener, metrics): (&Listener, &ListenerMetrics),
    peer: SocketAddr,
    reason: Reason,
    why: &str,
) -> Option<T> {
    metrics.refused(reason);
    tracing::debug!(listener = %listener.name, %peer, why, "a connection is refused");
    None
}

impl Entry {
    /// Where a listener has balancers before it: hears what is said before anything else, TLS included, and takes the connection as
    /// that of whom it is said to be from.
    pub(super) async fn open(self, stream: &mut TcpStream, arrival: &mut Arrival) -> Option<Visit> {
        let at = (&*arrival.listener, &*arrival.metrics);
        match self {
            Self::Admitted(visit) => {
                // Nothing behind us would take it for anything else than garbage. Here it is counted.
                let mut first = [0; 12];
                let came = stream.peek(&mut first).await.ok()?;
                if proxy_protocol::is_header(&first[..came]) {
                    let why = "it has a PROXY header, and its address is not in `proxy_protocol.from`";
                    return refuse(at, arrival.peer, Reason::ProxyHeader, why);
                }
                Some(visit)
            }
            Self::Announced(peers) => match proxy_protocol::read(stream).await {
                Ok(source) => {
                    let peer = match source {
                        Source::Peer(source) => told_by(arrival.peer, source),
                        Source::Balancer | Source::Nameless => arrival.peer,
                    };
                    let visit = admit(at, &peers, peer);
                    (arrival.peer, arrival.nameless) = (peer, source == Source::Nameless);
                    visit
                }
                Err(Lacking::Silent) => None,
                Err(Lacking::Malformed(why)) => refuse(at, arrival.peer, Reason::ProxyHeader, why),
            },
        }
    }
}
