//! Sockets that listen, by listener. A reload binds what is new before anything changes, and moves what stays: a socket goes on
//! accepting though its listener has other settings, or another name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use super::handover::Inherited;
use super::{StartError, system};
use crate::call::Shared;
use crate::config::snapshot::{Listener, Snapshot};
use crate::edge::{self, Deal, Gate};
use crate::observe::metrics::ListenerMetrics;

/// Every listener that is open.
pub(super) struct Listening {
    shared: Arc<Shared>,
    deals: Vec<Deal>,
    open: BTreeMap<Arc<str>, Open>,
    /// Accept loops: each ends when its listener closes.
    accepting: JoinSet<()>,
    /// Of every listener that there has been: its connections may outlive it.
    counters: Vec<Arc<ListenerMetrics>>,
}

/// A listener.
struct Open {
    gate: Gate,
    sockets: Vec<Accepting>,
    /// Tells its connections to go.
    closing: watch::Sender<bool>,
    by_tls: bool,
}

/// A socket, and who accepts from it.
struct Accepting {
    socket: Arc<Bound>,
    accepts: AbortHandle,
}

/// A socket.
pub(super) struct Bound {
    /// The address in the file: port 0 is any.
    asked: SocketAddr,
    address: SocketAddr,
    socket: Arc<TcpListener>,
}

/// The sockets of a configuration, by listener: bound already, and not accepted from by it yet.
pub(super) struct Sockets(BTreeMap<Arc<str>, Vec<Arc<Bound>>>);

impl Sockets {
    /// Where each listener is.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr)> {
        self.0.iter().flat_map(|(name, sockets)| sockets.iter().map(move |socket| (name, socket.address)))
    }
}

impl Bound {
    fn new(what: &str, asked: SocketAddr, inherited: &Inherited) -> Result<Arc<Self>, StartError> {
        let socket = super::bind(what, asked, inherited)?;
        let address = super::local(&socket)?;
        Ok(Arc::new(Self { asked, address, socket: Arc::new(TcpListener::from_std(socket).map_err(system)?) }))
    }
}

/// Binds what a configuration listens on, at a start: what was not given.
pub(super) fn bind(snapshot: &Snapshot, inherited: &Inherited) -> Result<Sockets, StartError> {
    bind_all(snapshot, inherited, |_, _| None)
}

fn bind_all(
    snapshot: &Snapshot,
    inherited: &Inherited,
    mut have: impl FnMut(&Listener, SocketAddr) -> Option<Arc<Bound>>,
) -> Result<Sockets, StartError> {
    let one = |listener: &Arc<Listener>| {
        let what = called(&listener.name);
        let bound = listener.addresses.iter().map(|asked| match have(listener, *asked) {
            Some(bound) => Ok(bound),
            None => Bound::new(&what, *asked, inherited),
        });
        Ok((Arc::clone(&listener.name), bound.collect::<Result<_, _>>()?))
    };
    snapshot.listeners.values().map(one).collect::<Result<_, _>>().map(Sockets)
}

fn called(listener: &str) -> String {
    format!("listener `{listener}`")
}

impl Listening {
    /// Nothing is listened on yet.
    pub(super) fn new(shared: Arc<Shared>, deals: Vec<Deal>) -> Self {
        Self { shared, deals, open: BTreeMap::new(), accepting: JoinSet::new(), counters: Vec::new() }
    }

    /// Binds what a configuration listens on that is to replace the one in force. What is bound already is not bound again: that of the
    /// listener of this name, or of whichever has the address.
    pub(super) fn bind(&self, snapshot: &Snapshot) -> Result<Sockets, StartError> {
        let mut left: Vec<(&Arc<str>, &Arc<Bound>)> =
            self.open.iter().flat_map(|(name, open)| open.sockets.iter().map(move |one| (name, &one.socket))).collect();
        bind_all(snapshot, &Inherited::default(), |listener, asked| {
            let own = |(name, bound): &(&Arc<str>, &Arc<Bound>)| **name == listener.name && bound.asked == asked;
            // Of port 0 each listener has its own.
            let others = |(_, bound): &(&Arc<str>, &Arc<Bound>)| asked.port() != 0 && bound.asked == asked;
            let at = left.iter().position(own).or_else(|| left.iter().position(others))?;
            Some(Arc::clone(left.swap_remove(at).1))
        })
    }

    /// Listens on these, and on nothing else any more, for the configuration that has just come into force. Connections of a listener
    /// that is gone are told to go, and so are those in the clear of one that has TLS now.
    pub(super) fn listen(&mut self, snapshot: &Snapshot, Sockets(sockets): Sockets) {
        let mut before = std::mem::take(&mut self.open);
        for (name, sockets) in sockets {
            let Some(listener) = snapshot.listeners.get(&name) else { continue };
            let (by_tls, mut former) = (listener.tls.is_some(), Vec::new());
            let (gate, closing) = match before.remove(&name) {
                Some(open) if open.by_tls == by_tls => {
                    open.gate.resize(listener);
                    former = open.sockets;
                    (open.gate, open.closing)
                }
                Some(open) => {
                    open.close();
                    open.gate.resize(listener);
                    (open.gate, watch::Sender::new(false))
                }
                None => (self.gate(listener), watch::Sender::new(false)),
            };
            let mut open = Open { gate, sockets: Vec::new(), closing, by_tls };
            for socket in sockets {
                let known = former.iter().position(|one| Arc::ptr_eq(&one.socket, &socket));
                let accepting = match known.map(|known| former.swap_remove(known)) {
                    Some(accepting) => accepting,
                    None => Accepting { accepts: open.accept(&mut self.accepting, &socket, &self.deals), socket },
                };
                open.sockets.push(accepting);
            }
            former.iter().for_each(|one| one.accepts.abort());
            self.open.insert(name, open);
        }
        before.into_values().for_each(|gone| gone.close());
        // Those that have ended are forgotten.
        while self.accepting.try_join_next().is_some() {}
    }

    fn gate(&mut self, listener: &Listener) -> Gate {
        let gate = Gate::new(Arc::clone(&self.shared), listener);
        if !self.counters.iter().any(|known| Arc::ptr_eq(known, gate.metrics())) {
            self.counters.push(Arc::clone(gate.metrics()));
        }
        gate
    }

    /// Accepts nobody for now where instances register: their connections wait in the queue of the socket.
    pub(super) fn pause(&self, snapshot: &Snapshot) {
        for (name, open) in &self.open {
            if snapshot.listeners.get(name).is_some_and(|listener| listener.registers()) {
                open.sockets.iter().for_each(|one| one.accepts.abort());
            }
        }
    }

    /// Accepts again.
    pub(super) fn resume(&mut self) {
        for open in self.open.values_mut() {
            let mut sockets = std::mem::take(&mut open.sockets);
            for one in &mut sockets {
                // That of one that was not paused begins anew, which is no different.
                one.accepts.abort();
                one.accepts = open.accept(&mut self.accepting, &one.socket, &self.deals);
            }
            open.sockets = sockets;
        }
    }

    /// Every socket, with who listens there and by which address in the file.
    pub(super) fn sockets(&self) -> Vec<(String, SocketAddr, Arc<TcpListener>)> {
        let of = |(name, open): (&Arc<str>, &Open)| {
            let one = |one: &Accepting| (called(name), one.socket.asked, Arc::clone(&one.socket.socket));
            open.sockets.iter().map(one).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of).collect()
    }

    /// Where each listener listens.
    pub(super) fn addresses(&self) -> BTreeMap<Arc<str>, Vec<SocketAddr>> {
        let of = |open: &Open| open.sockets.iter().map(|one| one.socket.address).collect();
        self.open.iter().map(|(name, open)| (Arc::clone(name), of(open))).collect()
    }

    /// Takes no new connections and tells those that there are to go. Answers who counts the ones that are left.
    pub(super) async fn close(mut self) -> Vec<Arc<ListenerMetrics>> {
        for open in self.open.values() {
            open.closing.send_replace(true);
        }
        while self.accepting.join_next().await.is_some() {}
        self.counters
    }
}

impl Open {
    fn accept(&self, accepting: &mut JoinSet<()>, socket: &Bound, deals: &[Deal]) -> AbortHandle {
        accepting.spawn(edge::run(
            Arc::clone(&socket.socket),
            self.gate.clone(),
            deals.to_vec(),
            self.closing.subscribe(),
        ))
    }

    fn close(&self) {
        self.closing.send_replace(true);
        self.sockets.iter().for_each(|one| one.accepts.abort());
    }
}
