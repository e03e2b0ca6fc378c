//! Addresses as a configuration writes them: where to listen, whom to dial, whom to admit. Text in the file, see `text`.
//! Resolves nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use super::names::HostName;
use super::text::text_type;
use tokens::Location;

/// Addresses by prefix: `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(pub IpNet);
text_type!(Cidr, "portunus-cidr", "an address range", "10.0.0.0/8");

/// One address to listen on: `127.0.0.1:9901`, `[::1]:9901`. Port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketAddress(pub SocketAddr);
text_type!(SocketAddress, "portunus-socket-address", "an IP address with a port", "127.0.0.1:9901");

/// An IP address and one port or a range of them: `127.0.0.1:3775`, `127.0.0.1:3800-3899`. Port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    pub ip: IpAddr,
    pub ports: RangeInclusive<u16>,
}
text_type!(ListenAddress, "portunus-listen-address", "an IP address with a port or a range of ports", "127.0.0.1:3775");

/// Whom to dial: `127.0.0.1:3773`, `[::1]:3773`, `core.internal:3773`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub host: Host,
    pub port: u16,
}
text_type!(HostPort, "portunus-host-port", "a host with a port", "127.0.0.1:3773");

/// The part of a [`HostPort`] before the port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Where a key set is published: `https://idp.example/certs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeysUrl(pub Location);
text_type!(KeysUrl, "portunus-keys-url", "an `https` URL", "https://idp.example/certs");

/// Ports from the first to the last: `3800-3899`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ports(pub RangeInclusive<u16>);
text_type!(Ports, "portunus-ports", "a range of ports", "3800-3899");

impl FromStr for KeysUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl fmt::Display for KeysUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Err(format!("takes a prefix length: `{}` is this one address", IpNet::from(ip)));
        }
        let Ok(net) = text.parse::<IpNet>() else {
            return Err("is not an address range such as `10.0.0.0/8`".to_owned());
        };
        // 10.1.2.3/8 is as likely a wrong length as a wrong address: whoever admits callers should not have to guess.
        if net.trunc() != net {
            return Err(format!("has address bits behind the prefix: did you mean `{}`?", net.trunc()));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SocketAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ListenAddress { ip, ports } = text.parse()?;
        if ports.start() != ports.end() {
            return Err("takes one port, not a range".to_owned());
        }
        Ok(Self(SocketAddr::new(ip, *ports.start())))
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ListenAddress {
    /// Only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.ip.to_canonical().is_loopback()
    }

    /// `None` where the system chooses the port, or for a range.
    pub fn single(&self) -> Option<SocketAddr> {
        (self.ports.start() == self.ports.end()).then(|| SocketAddr::new(self.ip, *self.ports.start()))
    }

    /// Every address of the range.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let ip = self.ip;
        self.ports.clone().map(move |port| SocketAddr::new(ip, port))
    }

    /// Whether both cannot be bound at once. An unspecified address takes the port of every other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let chosen_by_system = *self.ports.start() == 0 || *other.ports.start() == 0;
        let (ours, theirs) = (self.ip.to_canonical(), other.ip.to_canonical());
        let same_ip = ours == theirs || covers(ours, theirs) || covers(theirs, ours);
        let same_port = self.ports.start() <= other.ports.end() && other.ports.start() <= self.ports.end();
        !chosen_by_system && same_ip && same_port
    }
}

impl From<SocketAddress> for ListenAddress {
    fn from(address: SocketAddress) -> Self {
        Self { ip: address.0.ip(), ports: address.0.port()..=address.0.port() }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((host, ports)) = text.rsplit_once(':') else {
            return Err("takes a port, for example `127.0.0.1:3775`".to_owned());
        };
        let ip = match ip(host) {
            Some(ip) => ip,
            None if host.is_empty() => {
                return Err("takes an address before the port: `127.0.0.1` or `0.0.0.0`".to_owned());
            }
            None => return Err("takes an IP address, not a name: `127.0.0.1` instead of `localhost`".to_owned()),
        };
        if ports.contains('-') {
            return Ok(Self { ip, ports: ports.parse::<Ports>()?.0 });
        }
        let port = port(ports)?;
        Ok(Self { ip, ports: port..=port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = SocketAddr::new(self.ip, *self.ports.start());
        if self.ports.start() == self.ports.end() { first.fmt(f) } else { write!(f, "{first}-{}", self.ports.end()) }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("takes a host and a port without a scheme, for example `127.0.0.1:3773`".to_owned());
        }
        let Some((host, ports)) = text.rsplit_once(':') else {
            return Err("takes a port, for example `127.0.0.1:3773`".to_owned());
        };
        let port = port(ports)?;
        if port == 0 {
            return Err("has port 0, which nobody can dial".to_owned());
        }
        match ip(host) {
            Some(ip) if ip.is_unspecified() || ip.is_multicast() => {
                Err(format!("has the address {ip}, which nobody can dial: name the host that serves"))
            }
            Some(ip) => Ok(Self { host: Host::Ip(ip), port }),
            None => Ok(Self { host: Host::Name(host.parse::<HostName>()?.to_string()), port }),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((first, last)) = text.split_once('-') else {
            return Err("is not a range of ports such as `3800-3899`".to_owned());
        };
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last {
            return Err("is not a range: the first port is from 1, the last not below it".to_owned());
        }
        Ok(Self(first..=last))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// An IPv6 address needs brackets before a port, or its last group could be the port.
fn ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let well_formed = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| well_formed);
    port.ok_or_else(|| format!("has no valid port: `{text}` is not from 0 to 65535"))
}

/// Binding `unspecified` takes the port on `other` too: `[::]` on both families, as Linux has it by default.
fn covers(unspecified: IpAddr, other: IpAddr) -> bool {
    unspecified.is_unspecified() && (unspecified.is_ipv6() || other.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["127.0.0.1:3775", "[::1]:0", "0.0.0.0:3800-3899", "[::]:1-65535"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["127.0.0.1:1", "[fd00::1]:65535", "core.internal:3773", "a_b-c:80"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let listen = |text: &str| text.parse::<ListenAddress>().unwrap_err();
        assert!(listen("localhost:80").contains("not a name"));
        assert!(listen(":80").contains("before the port"));
        assert!(listen("127.0.0.1").contains("takes a port"));
        assert!(listen("::1:80").contains("not a name"));
        assert!(listen("127.0.0.1:65536").contains("65535"));
        assert!(listen("127.0.0.1:+1").contains("65535"));
        assert!(listen("127.0.0.1:9-8").contains("not a range"));
        assert!(listen("127.0.0.1:0-8").contains("not a range"));
        let dial = |text: &str| text.parse::<HostPort>().unwrap_err();
        assert!(dial("http://a:80").contains("scheme"));
        assert!(dial("0.0.0.0:80").contains("nobody can dial"));
        assert!(dial("a:0").contains("port 0"));
        assert!(dial("a").contains("takes a port"));
        assert!(dial("a b:80").contains("host name"));
        let cidr = |text: &str| text.parse::<Cidr>().unwrap_err();
        assert!(cidr("10.0.0.1").contains("`10.0.0.1/32`"));
        assert!(cidr("10.1.2.3/8").contains("did you mean `10.0.0.0/8`"));
        assert!(cidr("10.0.0.0/33").contains("not an address range"));
    }

    #[test]
    fn knows_what_cannot_be_bound_twice() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (a.parse::<ListenAddress>().unwrap(), b.parse::<ListenAddress>().unwrap());
            assert_eq!(a.overlaps(&b), b.overlaps(&a));
            a.overlaps(&b)
        };
        assert!(overlap("127.0.0.1:80", "127.0.0.1:80"));
        assert!(overlap("127.0.0.1:80", "0.0.0.0:80"));
        assert!(overlap("127.0.0.1:80", "[::]:80"));
        assert!(overlap("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
        assert!(overlap("127.0.0.1:80-90", "127.0.0.1:90-99"));
        assert!(!overlap("127.0.0.1:80-90", "127.0.0.1:91-99"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlap("[::1]:80", "0.0.0.0:80"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"));
    }
}
