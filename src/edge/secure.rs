//! Connections by TLS: the handshake, who is at the other end, and whether they may stay when what is trusted changes.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use filter_api::{Code, PeerIdentity, Reason, Refusal};
use portunus_tls::{Identity, Peer, Refused, Server, Session, Standing, Stream as TlsStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::{Certified, Shared};
use crate::config::snapshot::Listener;

/// A connection by TLS, once it has shaken hands.
pub(super) struct Secured {
    shared: Arc<Shared>,
    listener: Arc<str>,
    /// By what it was judged last.
    server: Arc<Server>,
    peer: Option<Arc<Peer>>,
    /// Tells whether another snapshot is in force than was looked at last. Asked at each turn of a connection: it costs one look at a number,
    /// and wakes nobody, as the worker has each connection take a turn then.
    replaced: watch::Receiver<()>,
}

/// What a connection has shown when it was let in.
pub(super) enum Showing {
    /// It is in the clear.
    Nothing,
    /// It is by TLS, with a certificate or without.
    Tls(Option<Arc<Peer>>),
}

impl Showing {
    pub(super) fn of(secured: Option<&Secured>) -> Self {
        secured.map_or(Self::Nothing, |secured| Self::Tls(secured.peer.clone()))
    }
}

impl std::fmt::Debug for Showing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Showing")
    }
}

impl Certified for Showing {
    fn judge(&self, listener: &Listener) -> Result<(), String> {
        let standing = match (self, &listener.tls) {
            (Self::Nothing, None) => return Ok(()),
            (Self::Tls(_), None) => return Err("the listener has no `tls` any more".to_owned()),
            (Self::Nothing, Some(server)) => server.judge(None, SystemTime::now()),
            (Self::Tls(peer), Some(server)) => server.judge(peer.as_deref(), SystemTime::now()),
        };
        match standing {
            Standing::Good | Standing::Stale | Standing::Expired => Ok(()),
            Standing::Bad(why) => Err(format!("the certificate that registered it is not trusted any more: {why}")),
        }
    }
}

/// What is to become of a connection.
pub(super) enum Fate {
    /// Its certificate has expired: it takes no more calls, and those that are open go on.
    Goodbye,
    /// It would not be let in any more: its calls end too.
    Oust(Box<Refusal>),
}

/// What a handshake is made by: what is in force when it begins, and what tells that this is no longer so.
pub(super) struct Door {
    shared: Arc<Shared>,
    listener: Arc<str>,
    server: Arc<Server>,
    replaced: watch::Receiver<()>,
}

impl Door {
    /// The door of a listener, if it has one now.
    pub(super) fn of(shared: &Arc<Shared>, listener: &Arc<str>) -> Option<Self> {
        // Before the snapshot is looked at: what replaces it from here on is seen.
        let replaced = shared.replaced.subscribe();
        let server = Arc::clone(shared.in_force.load().snapshot.listeners.get(listener)?.tls.as_ref()?);
        Some(Self { shared: Arc::clone(shared), listener: Arc::clone(listener), server, replaced })
    }

    /// Shakes hands. A client that says nothing has nothing made for it.
    pub(super) async fn open(self, socket: TcpStream) -> Result<(TlsStream<TcpStream>, Secured), Refused> {
        let Self { shared, listener, server, replaced } = self;
        socket.readable().await?;
        let Session { stream, peer } = server.accept(socket).await?;
        Ok((stream, Secured { shared, listener, server, peer, replaced }))
    }
}

impl Secured {
    /// Who is at the other end.
    pub(super) fn identity(&self) -> Option<Arc<PeerIdentity>> {
        Some(Arc::new(identity_of(&self.peer.as_ref()?.identity)))
    }

    /// When the certificate expires, as far as that can be told.
    pub(super) fn expires(&self) -> Option<Instant> {
        let left = self.peer.as_ref()?.identity.not_after.duration_since(SystemTime::now());
        Instant::now().checked_add(left.unwrap_or(Duration::ZERO))
    }

    /// Ready when what is trusted has changed, and the connection may not stay as it is.
    pub(super) fn fate(&mut self) -> Poll<Fate> {
        // None is left who could change anything: that is no change.
        while self.replaced.has_changed().unwrap_or_default() {
            // Before the snapshot is looked at: what replaces it from here on is seen at the next look.
            self.replaced.mark_unchanged();
            let in_force = self.shared.in_force.load();
            // A listener that is gone closes its connections itself.
            let Some(listener) = in_force.snapshot.listeners.get(&self.listener) else { continue };
            let Some(server) = &listener.tls else {
                return Poll::Ready(Fate::Oust(ousted("the listener has no `tls` any more")));
            };
            let trust = |server: &Server| server.trust().map(Arc::as_ptr);
            if trust(server) == trust(&self.server) {
                continue;
            }
            let standing = server.judge(self.peer.as_deref(), SystemTime::now());
            self.server = Arc::clone(server);
            match standing {
                Standing::Good | Standing::Stale => {}
                Standing::Expired => return Poll::Ready(Fate::Goodbye),
                Standing::Bad(why) => return Poll::Ready(Fate::Oust(ousted(&why))),
            }
        }
        Poll::Pending
    }
}

/// Who a certificate says that its holder is, as filters are told.
pub fn identity_of(identity: &Identity) -> PeerIdentity {
    let text = |text: &String| Arc::from(text.as_str());
    PeerIdentity {
        spiffe: identity.spiffe.as_ref().map(text),
        dns: identity.dns.iter().map(text).collect(),
        subject: text(&identity.subject),
        issuer: text(&identity.issuer),
        fingerprint: text(&identity.fingerprint),
        not_after: identity.not_after,
    }
}

fn ousted(why: &str) -> Box<Refusal> {
    tracing::info!(why, "a connection is ended: its certificate is not trusted any more");
    let message = "the certificate of this connection is not trusted any more: connect again, with one that is";
    Box::new(Refusal::new(Code::Unauthenticated, Reason::Certificate, message))
}
