//! A callback, and where its name leads: what is admitted is never a place where nobody may be sent.
//!
//! The input is lines: what the SDK says, who it is, then what a name resolves to.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portunus::observe::ClusterMetrics;
use portunus::registry::{Caller, Connection, Forbidden, Registry, Settings, Shown};

fuzz_target!(|data: &str| {
    let mut lines = data.split('\n');
    let callback = lines.next().unwrap_or_default();
    let Some(peer) = lines.next().and_then(|line| line.parse::<IpAddr>().ok()) else { return };
    let ours = Forbidden { ip: Ipv4Addr::UNSPECIFIED.into(), ports: 3775..=3775, what: "listener `sdk`".into() };
    let settings =
        Settings { allow_names: vec![".pods.internal".into()], forbidden: vec![ours], ..Settings::default() };
    let registry = Registry::new("agents", settings, Arc::new(ClusterMetrics::default()));
    let caller = Caller {
        peer: SocketAddr::new(peer, 40_000),
        local: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
        connection: Connection::opened(),
        owner: "o".into(),
        shown: Shown::Nothing,
    };
    let permit = registry.permit(&caller);
    let fine = |address: SocketAddr| {
        let ip = address.ip().to_canonical();
        let peer = peer.to_canonical();
        assert!(ip == peer || (ip.is_loopback() && peer.is_loopback()), "{address} from {peer}");
        assert!(!ip.is_unspecified() && !ip.is_multicast() && address.port() >= 1024);
        assert!(!matches!(ip, IpAddr::V4(v4) if v4.is_link_local() || v4.is_broadcast()));
        assert!(!(address.port() == 3775 && ip.is_loopback()), "our own listener");
    };
    let addresses: Vec<SocketAddr> = lines.filter_map(|line| line.parse().ok()).collect();
    for address in addresses.iter().filter(|address| permit.check(**address).is_ok()) {
        fine(*address);
    }
    match registry.place(callback, &caller) {
        Ok(place) => match place.name() {
            Some((name, port)) => {
                assert!(name.ends_with(".pods.internal") && port >= 1024, "{name}:{port}");
                let admitted = place.clone().resolved(&addresses).is_ok();
                assert_eq!(admitted, addresses.iter().any(|address| permit.check(*address).is_ok()));
            }
            None => assert!(!callback.trim().is_empty()),
        },
        Err(refusal) => assert!(!refusal.error.is_empty() && refusal.error.len() < 2_048, "{}", refusal.error),
    }
});
