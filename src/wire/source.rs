//! Addresses that others name as those where something comes from: balancers in PROXY headers, proxies in `x-forwarded-for`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address that can be somebody's; none if it is nobody's. IPv4 in IPv6 is IPv4, for which rules are written.
pub fn somebody(ip: IpAddr, port: u16) -> Option<SocketAddr> {
    let ip = ip.to_canonical();
    let is_nobody = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    (!is_nobody).then(|| SocketAddr::new(ip, port))
}

/// Whom the word of another machine means. What it calls its own loopback is that machine: it must not become this one.
pub fn told_by(teller: SocketAddr, source: SocketAddr) -> SocketAddr {
    let is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
    if is_local(source.ip()) && !is_local(teller.ip()) { teller } else { source }
}

#[cfg(test)]
mod tests {
    use super::told_by;

    #[test]
    fn the_loopback_of_another_machine_is_that_machine() {
        let of = |by: &str, said: &str| told_by(by.parse().unwrap(), said.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.5:1", "203.0.113.9:2"), "203.0.113.9:2");
        assert_eq!(of("10.0.0.5:1", "127.0.0.1:2"), "10.0.0.5:1");
        assert_eq!(of("10.0.0.5:1", "127.9.9.9:2"), "10.0.0.5:1");
        assert_eq!(of("10.0.0.5:1", "[::1]:2"), "10.0.0.5:1");
        assert_eq!(of("127.0.0.1:1", "[::1]:2"), "[::1]:2");
        assert_eq!(of("127.0.0.1:1", "203.0.113.9:2"), "203.0.113.9:2", "a stranger behind a balancer of this machine");
    }
}
