//! One agent as calls see it, and the caller of the registrar. Published by the registry's index; its set of endpoints
//! changes by the second, the rest never.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use filter_api::AgentInfo;

use super::address::fold;
use super::identity::Identity;
use super::instance::EndpointSet;
use super::shown::Shown;

/// An agent, and the instances among which its calls are balanced.
#[derive(Debug)]
pub struct Agent {
    /// Who it is, as expressions and filters see it too.
    pub info: Arc<AgentInfo>,
    /// Where calls may go now: the healthy instances or, as long as there is none, the new ones. Empty: no usable one.
    pub endpoints: ArcSwap<EndpointSet>,
    /// The balancer's place in the schedule.
    pub cursor: AtomicUsize,
}

impl Agent {
    pub(super) fn new(identity: &Identity, owner: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            info: Arc::new(AgentInfo {
                id: Arc::clone(&identity.id),
                did: Arc::clone(&identity.did),
                name: Arc::clone(&identity.name),
                author: Arc::clone(&identity.author),
                owner,
            }),
            endpoints: ArcSwap::from_pointee(EndpointSet::default()),
            cursor: AtomicUsize::new(0),
        })
    }
}

impl Deref for Agent {
    type Target = AgentInfo;

    fn deref(&self) -> &AgentInfo {
        &self.info
    }
}

/// A connection to the registrar, as a hint which instance is speaking. The edge makes one a connection and closes it;
/// the registry keeps a clone and looks when it needs to know.
#[derive(Clone, Debug)]
pub struct Connection {
    id: u64,
    open: Arc<AtomicBool>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn opened() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), open: Arc::new(AtomicBool::new(true)) }
    }

    /// Where the caller's own is not known: one that is nobody else's, and counts as closed.
    pub fn unknown() -> Self {
        let connection = Self::opened();
        connection.close();
        connection
    }

    /// Tells that it has ended, in whatever way.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Whether it has not been told to have ended.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Who calls the registrar, and from where.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The other end of its connection.
    pub peer: SocketAddr,
    /// Our end's address.
    pub local: Option<IpAddr>,
    /// Its connection.
    pub connection: Connection,
    /// As whom it acts; see [`owner_by_address`].
    pub owner: Arc<str>,
    /// By what it was told from others.
    pub shown: Shown,
}

#[cfg(test)]
impl Caller {
    /// One without an identity, on a connection of its own.
    pub(crate) fn at(peer: SocketAddr) -> Self {
        let (connection, owner) = (Connection::opened(), owner_by_address(peer.ip(), false));
        Self { peer, local: None, connection, owner, shown: Shown::Nothing }
    }
}

/// The owner of what a caller without an identity registers: "open" (one for all) on a route with `open_registration`,
/// else its address. 127.0.0.1 and ::1 are one: a client that asks for `localhost` gets now one, now the other.
pub fn owner_by_address(peer: IpAddr, open_registration: bool) -> Arc<str> {
    if open_registration { "open".into() } else { fold(peer).to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::{Connection, owner_by_address};

    #[test]
    fn owners_without_an_identity() {
        let owner = |ip: &str, open| owner_by_address(ip.parse().unwrap(), open);
        assert_eq!(&*owner("10.0.0.9", true), "open");
        assert_eq!(owner("127.0.0.1", false), owner("::1", false));
        assert_eq!(owner("127.0.0.1", false), owner("::ffff:127.0.0.1", false));
        assert_ne!(owner("127.0.0.1", false), owner("127.0.0.2", false));
    }

    #[test]
    fn clones_of_a_connection_close_together() {
        let (one, other) = (Connection::opened(), Connection::opened());
        let kept = one.clone();
        one.close();
        assert!(!kept.is_open() && other.is_open() && kept.is(&one) && !kept.is(&other));
    }
}
