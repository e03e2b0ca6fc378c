//! How many connections each address has open, where a listener bounds that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The addresses that have connections to a listener, which bounds how many those are.
#[derive(Debug)]
pub(super) struct Peers {
    most: AtomicUsize,
    /// Hashed with a secret: strangers choose addresses.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection among those of its address.
#[derive(Debug)]
pub(super) struct Visit(Option<(Arc<Peers>, IpAddr)>);

impl Peers {
    /// With at most so many connections an address; none: as many as anybody wants, and nothing is counted.
    pub(super) fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most.unwrap_or(usize::MAX)), open: Mutex::default() })
    }

    /// Changes the bound, for connections that come from now on.
    pub(super) fn bound(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// One more connection from an address, if it may have one.
    pub(super) fn visit(self: &Arc<Self>, from: IpAddr) -> Option<Visit> {
        let most = self.most.load(Ordering::Relaxed);
        if most == usize::MAX {
            return Some(Visit(None));
        }
        let from = one_peer(from);
        let mut open = self.open.lock();
        let count = open.entry(from).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Visit(Some((Arc::clone(self), from))))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some((peers, from)) = self.0.take() else { return };
        let mut open = peers.open.lock();
        if let Some(count) = open.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&from);
            }
        }
    }
}

/// What counts as one: of IPv6 the first 64 bits, of which whoever has one address has all.
fn one_peer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::Peers;

    #[test]
    fn each_address_has_its_own_bound() {
        let peers = Peers::new(Some(2));
        let visit = |ip: &str| peers.visit(ip.parse().unwrap());
        let (one, two) = (visit("10.0.0.1").unwrap(), visit("::ffff:10.0.0.1").unwrap());
        assert!(visit("10.0.0.1").is_none() && visit("10.0.0.2").is_some());
        drop(one);
        let three = visit("10.0.0.1").unwrap();
        assert!(visit("10.0.0.1").is_none());
        let (four, five) = (visit("fd00::1:2:3:4").unwrap(), visit("fd00::5").unwrap());
        assert!(visit("fd00::9").is_none() && visit("fd00:0:0:1::").is_some());
        drop((two, three, four, five));
        assert!(peers.open.lock().is_empty(), "what is gone takes no room");
        let anybody = Peers::new(None);
        let many: Vec<_> = (0..100).map(|_| anybody.visit("10.0.0.1".parse().unwrap()).unwrap()).collect();
        assert!(many.len() == 100 && anybody.open.lock().is_empty());
    }
}
