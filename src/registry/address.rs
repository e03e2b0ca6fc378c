//! Which callback addresses an SDK may name. Called by admission with the peer's address; the check at every dial uses
//! the same rules. Knows no record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::instance::Target;
use super::settings::{Forbidden, Settings};

/// Reads the callback that an SDK at `peer` names and checks it. `local` is our end of its connection: with a listener
/// on an unspecified address it is the one address of this machine that is known to be ours.
pub(super) fn check_callback(
    text: &str,
    peer: IpAddr,
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<Target, String> {
    let text = text.trim();
    let peer = peer.to_canonical();
    let wanted =
        "grpc_callback_address is the place where the agent's AgentHandler listens: write ip:port or localhost:port";
    let target = Target::parse(text).ok_or_else(|| format!("`{}` is no address. {wanted}", clip(text)))?;
    let target = match target {
        Target::Loopback(port) if !peer.is_loopback() => Target::Socket(SocketAddr::new(peer, port)),
        Target::Socket(socket) => Target::Socket(SocketAddr::new(socket.ip().to_canonical(), socket.port())),
        Target::Name(host, _) => {
            return Err(format!("`{}` is a name, and names are not resolved. {wanted}", clip(&host)));
        }
        loopback => loopback,
    };
    let addresses = target.known_addresses().unwrap_or_default();
    for address in &addresses {
        never(*address, local, &settings.forbidden).map_err(|why| format!("{target} cannot be a callback: {why}"))?;
    }
    if addresses.iter().any(|address| admitted(address.ip(), peer, settings)) {
        return Ok(target);
    }
    Err(match &settings.allow {
        Some(_) => format!("{target} is not in this registry's `allow`: use an address that is, or add it there"),
        None => format!(
            "{target} is not the address that you called from ({peer}): use your own address (localhost:port will do), \
             or have the operator name the range in the registry's `allow`"
        ),
    })
}

/// The form of an address under which it can be held by one agent only: the loopback addresses are one, since
/// `localhost` stands for either.
pub(super) fn holder_key(target: &Target) -> Target {
    match target {
        Target::Socket(socket) if socket.ip().to_canonical().is_loopback() && is_local_host(socket.ip()) => {
            Target::Loopback(socket.port())
        }
        other => other.clone(),
    }
}

/// Whether `target` is on the machine that `peer` called from.
pub(super) fn is_at(target: &Target, peer: IpAddr) -> bool {
    match target {
        Target::Socket(socket) => fold(socket.ip()) == fold(peer),
        Target::Loopback(_) => fold(peer) == IpAddr::V4(Ipv4Addr::LOCALHOST),
        Target::Name(..) => false,
    }
}

/// One spelling an address: IPv4-mapped ones are IPv4, and ::1 is 127.0.0.1 (a client that asks for `localhost` gets
/// now one, now the other).
pub(super) fn fold(ip: IpAddr) -> IpAddr {
    let ip = ip.to_canonical();
    if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip }
}

fn is_local_host(ip: IpAddr) -> bool {
    fold(ip) == IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn admitted(ip: IpAddr, peer: IpAddr, settings: &Settings) -> bool {
    match &settings.allow {
        Some(ranges) => ranges.iter().any(|range| range.contains(&ip)),
        None => ip == peer || (ip.is_loopback() && peer.is_loopback()),
    }
}

/// What no `allow` can open.
fn never(address: SocketAddr, local: Option<IpAddr>, forbidden: &[Forbidden]) -> Result<(), String> {
    let ip = address.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        return Err("it is the wildcard address; name the address on which the agent is reached".into());
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("it is no unicast address".into());
    }
    if link_local {
        return Err("link-local addresses (cloud metadata services live there) are never dialled".into());
    }
    if address.port() < 1024 {
        return Err("ports under 1024 are never dialled; let the agent listen on a higher one".into());
    }
    let ours = |bound: IpAddr| {
        let bound = bound.to_canonical();
        bound == ip || (bound.is_unspecified() && (ip.is_loopback() || local.map(|l| l.to_canonical()) == Some(ip)))
    };
    match forbidden.iter().find(|f| f.ports.contains(&address.port()) && ours(f.ip)) {
        Some(found) => Err(format!("that is {}, not an agent", found.what)),
        None => Ok(()),
    }
}

/// A stranger's text, short enough for a message.
pub(super) fn clip(text: &str) -> String {
    if text.chars().count() <= 128 {
        return text.to_owned();
    }
    text.chars().take(128).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Settings, Target, check_callback, holder_key, is_at};
    use crate::registry::settings::Forbidden;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn check(text: &str, peer: &str, settings: &Settings) -> Result<String, String> {
        check_callback(text, ip(peer), Some(ip("10.0.0.1")), settings).map(|target| target.to_string())
    }

    #[test]
    fn a_peer_may_name_itself() {
        let settings = Settings::default();
        assert_eq!(check("localhost:5000", "127.0.0.1", &settings).unwrap(), "localhost:5000");
        assert_eq!(check("localhost:5000", "::1", &settings).unwrap(), "localhost:5000");
        assert_eq!(check("127.0.0.2:5000", "127.0.0.1", &settings).unwrap(), "127.0.0.2:5000");
        assert_eq!(check("localhost:5000", "10.0.0.9", &settings).unwrap(), "10.0.0.9:5000");
        assert_eq!(check("[::ffff:10.0.0.9]:5000", "10.0.0.9", &settings).unwrap(), "10.0.0.9:5000");
        assert_eq!(check("10.0.0.9:5000", "::ffff:10.0.0.9", &settings).unwrap(), "10.0.0.9:5000");
    }

    #[test]
    fn a_peer_may_not_name_others() {
        let settings = Settings::default();
        for (text, peer) in [("10.0.0.8:5000", "10.0.0.9"), ("127.0.0.1:5000", "10.0.0.9"), ("10.0.0.9:1", "::1")] {
            assert!(check(text, peer, &settings).is_err(), "{text} from {peer}");
        }
        assert!(check("10.0.0.8:5000", "10.0.0.9", &settings).unwrap_err().contains("`allow`"));
    }

    #[test]
    fn allow_replaces_the_default() {
        let settings = Settings { allow: Some(vec!["127.0.0.0/8".parse().unwrap()]), ..Settings::default() };
        assert!(check("localhost:5000", "127.0.0.1", &settings).is_ok());
        assert!(check("127.9.9.9:5000", "127.0.0.1", &settings).is_ok());
        assert!(check("[::ffff:127.0.0.1]:5000", "127.0.0.1", &settings).is_ok());
        assert!(check("10.0.0.9:5000", "10.0.0.9", &settings).is_err());
        assert!(check("localhost:5000", "10.0.0.9", &settings).is_err());
    }

    #[test]
    fn some_addresses_are_never_callbacks() {
        let everything = Some(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        let forbidden = vec![
            Forbidden { ip: ip("0.0.0.0"), ports: 3775..=3775, what: "listener `sdk`".into() },
            Forbidden { ip: ip("127.0.0.1"), ports: 3774..=3774, what: "the core".into() },
            Forbidden { ip: ip("::"), ports: 3800..=3899, what: "listener `callback`".into() },
        ];
        let settings = Settings { allow: everything, forbidden, ..Settings::default() };
        for bad in [
            "0.0.0.0:5000",
            "[::]:5000",
            "[::ffff:0.0.0.0]:5000",
            "224.0.0.1:5000",
            "[ff02::1]:5000",
            "255.255.255.255:5000",
            "169.254.169.254:5000",
            "[::ffff:169.254.1.1]:5000",
            "[fe80::1]:5000",
            "10.0.0.7:1023",
            "localhost:80",
            "127.0.0.1:3775",
            "localhost:3775",
            "10.0.0.1:3775",
            "localhost:3774",
            "127.0.0.1:3850",
            "[::1]:3800",
            "agent.internal:5000",
            "http://10.0.0.7:5000",
            "10.0.0.7",
            "",
        ] {
            assert!(check(bad, "127.0.0.1", &settings).is_err(), "{bad}");
        }
        // Another machine's port of the same number is its own.
        assert!(check("10.0.0.7:3775", "10.0.0.7", &settings).is_ok());
        assert!(check("localhost:3774", "127.0.0.1", &settings).unwrap_err().contains("the core"));
    }

    #[test]
    fn loopback_spellings_are_one_place() {
        let parse = |text: &str| Target::parse(text).unwrap();
        assert_eq!(holder_key(&parse("127.0.0.1:5000")), parse("localhost:5000"));
        assert_eq!(holder_key(&parse("[::1]:5000")), parse("localhost:5000"));
        assert_eq!(holder_key(&parse("127.0.0.2:5000")), parse("127.0.0.2:5000"));
        assert!(is_at(&parse("localhost:5000"), ip("::1")) && is_at(&parse("127.0.0.1:5000"), ip("::1")));
        assert!(
            !is_at(&parse("localhost:5000"), ip("127.0.0.2")) && is_at(&parse("10.0.0.9:1"), ip("::ffff:10.0.0.9"))
        );
    }
}
