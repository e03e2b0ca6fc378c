//! Which addresses an SDK may name for its instance: checked when it registers and, with what its name has become, at every
//! dial. Knows no record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::holders::Holders;
use super::instance::Target;
use super::settings::Settings;

/// Where an instance may be dialled: asked with each address that is about to be, since a name can move and a reload can
/// change the rules.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) settings: Arc<ArcSwap<Settings>>,
    /// Where the core is, if it was given by name.
    pub(super) core: Arc<ArcSwap<Vec<SocketAddr>>>,
    /// Whose addresses are.
    pub(super) holders: Arc<Holders>,
    /// Who registered it.
    pub(super) peer: IpAddr,
    /// Our end of that connection: with a listener on an unspecified address it is the one address of this machine that is
    /// known to be ours.
    pub(super) local: Option<IpAddr>,
}

impl Permit {
    /// Whether this address may be dialled. The error says why not, and what to do.
    pub fn check(&self, address: SocketAddr) -> Result<(), String> {
        let settings = self.settings.load();
        self.never(address, &settings).map_err(|why| format!("{address} cannot be a callback: {why}"))?;
        if self.admits(address.ip(), &settings) { Ok(()) } else { Err(self.not_allowed(&address, &settings)) }
    }

    /// The same of an address that is about to be dialled for the instance at `target`: a name can come to mean another's.
    pub fn check_for(&self, target: &Target, address: SocketAddr) -> Result<(), String> {
        self.check(address)?;
        match self.holders.another(target, address) {
            Some(agent) => Err(format!("{target} is {address} now, where agent {agent} has an instance")),
            None => Ok(()),
        }
    }

    /// Reads the callback that an SDK names and checks it, but for what a name resolves to.
    pub(super) fn callback(&self, text: &str) -> Result<Target, String> {
        let settings = self.settings.load();
        let target = parse(text, self.peer.to_canonical(), &settings)?;
        self.has_allowed(&target, &settings)?;
        Ok(target)
    }

    /// Whether the rules in force would let somebody name this place, where they let him once.
    pub(super) fn allows(&self, target: &Target) -> Result<(), String> {
        let settings = self.settings.load();
        match target {
            Target::Name(host, _) if !settings.allow_names.iter().any(|pattern| is_named(pattern, host)) => {
                Err(format!("no pattern in this registry's `allow_names` covers `{}` any more", clip(host)))
            }
            _ => self.has_allowed(target, &settings),
        }
    }

    /// Whether a place is one that may be named, but for what a name resolves to.
    fn has_allowed(&self, target: &Target, settings: &Settings) -> Result<(), String> {
        let Some(addresses) = target.known_addresses() else { return Ok(()) };
        for address in &addresses {
            self.never(*address, settings).map_err(|why| format!("{target} cannot be a callback: {why}"))?;
        }
        if addresses.iter().any(|address| self.admits(address.ip(), settings)) {
            return Ok(());
        }
        Err(self.not_allowed(target, settings))
    }

    fn not_allowed(&self, named: &dyn std::fmt::Display, settings: &Settings) -> String {
        match &settings.allow {
            Some(_) => format!("{named} is not in this registry's `allow`: use an address that is, or add it there"),
            None => format!(
                "{named} is not the address that you called from ({}): use your own address (localhost:port will do), \
                 or have the operator name the range in the registry's `allow`",
                self.peer.to_canonical()
            ),
        }
    }

    fn admits(&self, ip: IpAddr, settings: &Settings) -> bool {
        let (ip, peer) = (ip.to_canonical(), self.peer.to_canonical());
        match &settings.allow {
            Some(ranges) => ranges.iter().any(|range| range.contains(&ip)),
            None => ip == peer || (ip.is_loopback() && peer.is_loopback()),
        }
    }

    /// What no `allow` can open.
    fn never(&self, address: SocketAddr, settings: &Settings) -> Result<(), String> {
        let ip = address.ip().to_canonical();
        [Some(ip), embedded(ip)].into_iter().flatten().try_for_each(never_dialled)?;
        high_port(address.port())?;
        let ours = |bound: IpAddr| {
            let bound = bound.to_canonical();
            let local = self.local.map(|local| local.to_canonical());
            bound == ip || (bound.is_unspecified() && (ip.is_loopback() || local == Some(ip)))
        };
        if let Some(found) = settings.forbidden.iter().find(|f| f.ports.contains(&address.port()) && ours(f.ip)) {
            return Err(format!("that is {}, not an agent", found.what));
        }
        let is_core = |core: &SocketAddr| (core.ip().to_canonical(), core.port()) == (ip, address.port());
        if self.core.load().iter().any(is_core) { Err("that is the core, not an agent".into()) } else { Ok(()) }
    }
}

fn parse(text: &str, peer: IpAddr, settings: &Settings) -> Result<Target, String> {
    let text = text.trim();
    let wanted =
        "grpc_callback_address is the place where the agent's AgentHandler listens: write ip:port or localhost:port";
    let target = Target::parse(text).ok_or_else(|| format!("`{}` is no address. {wanted}", clip(text)))?;
    let target = match target {
        Target::Loopback(port) if !peer.is_loopback() => Target::Socket(SocketAddr::new(peer, port)),
        Target::Socket(socket) => Target::Socket(SocketAddr::new(socket.ip().to_canonical(), socket.port())),
        Target::Name(host, _) if !settings.allow_names.iter().any(|pattern| is_named(pattern, &host)) => {
            return Err(format!(
                "`{}` is a name, and no pattern in this registry's `allow_names` covers it. {wanted}",
                clip(&host)
            ));
        }
        known => known,
    };
    if let Target::Name(_, port) = &target {
        high_port(*port)?;
    }
    if settings.core.as_ref() == Some(&target) {
        return Err(format!("{target} is the core, not an agent. {wanted}"));
    }
    Ok(target)
}

/// Whether a pattern of `allow_names` covers a host in lower case.
fn is_named(pattern: &str, host: &str) -> bool {
    if pattern.starts_with('.') { host.len() > pattern.len() && host.ends_with(pattern) } else { host == pattern }
}

/// The form of an address under which it can be held by one agent only: the loopback addresses are one, since
/// `localhost` stands for either.
pub(super) fn holder_key(target: &Target) -> Target {
    match target {
        Target::Socket(socket) => {
            let ip = socket.ip().to_canonical();
            let local = ip.is_loopback() && is_local_host(ip);
            if local { Target::Loopback(socket.port()) } else { Target::Socket(SocketAddr::new(ip, socket.port())) }
        }
        other => other.clone(),
    }
}

/// Whether `target` is on the machine that `peer` called from.
pub(super) fn is_at(target: &Target, peer: IpAddr) -> bool {
    match target {
        Target::Socket(socket) => fold(socket.ip()) == fold(peer),
        Target::Loopback(_) => fold(peer) == IpAddr::V4(Ipv4Addr::LOCALHOST),
        Target::Name(..) | Target::Within(_) => false,
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

fn high_port(port: u16) -> Result<(), String> {
    if port < 1024 {
        Err("ports under 1024 are never dialled; let the agent listen on a higher one".into())
    } else {
        Ok(())
    }
}

/// Addresses that are nobody's agent, on whatever port.
fn never_dialled(ip: IpAddr) -> Result<(), String> {
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
    if link_local || METADATA.contains(&ip) {
        return Err("link-local addresses and those of cloud metadata services are never dialled".into());
    }
    Ok(())
}

/// Metadata services of clouds that are not link-local: AWS over IPv6, Alibaba, Azure's host, Oracle.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// The IPv4 address that a translator (NAT64, 6to4) or an old stack would reach under this IPv6 address.
fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = ip else { return None };
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => of(high, low),
        _ => None,
    }
}

/// A stranger's text, short enough for a message.
pub fn clip(text: &str) -> String {
    if text.chars().count() <= 128 {
        return text.to_owned();
    }
    text.chars().take(128).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Arc;

    use arc_swap::ArcSwap;

    use super::{Permit, Settings, Target, holder_key, is_at};
    use crate::registry::settings::Forbidden;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn permit(peer: &str, settings: &Settings) -> Permit {
        let (settings, core) = (Arc::new(ArcSwap::from_pointee(settings.clone())), Arc::default());
        Permit { settings, core, holders: Arc::default(), peer: ip(peer), local: Some(ip("10.0.0.1")) }
    }

    fn check(text: &str, peer: &str, settings: &Settings) -> Result<String, String> {
        permit(peer, settings).callback(text).map(|target| target.to_string())
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
            "[64:ff9b::a9fe:a9fe]:5000",
            "[2002:a9fe:a9fe::1]:5000",
            "[::169.254.169.254]:5000",
            "[fd00:ec2::254]:5000",
            "100.100.100.200:5000",
            "168.63.129.16:32526",
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
    fn names_need_leave_and_so_does_what_they_resolve_to() {
        let names = vec![".pods.internal".to_owned(), "one.internal".to_owned()];
        let core = Target::parse("core.pods.internal:5000");
        let settings = Settings { allow_names: names, core, ..Settings::default() };
        assert_eq!(check("a.b.PODS.internal:5000", "10.0.0.9", &settings).unwrap(), "a.b.pods.internal:5000");
        assert!(check("one.internal:5000", "10.0.0.9", &settings).is_ok());
        for bad in [
            ".pods.internal:5000",
            "pods.internal:5000",
            "xpods.internal:5000",
            "two.one.internal:5000",
            "a.pods.internal:80",
            "core.pods.internal:5000",
            "a.pods.internal.:5000",
        ] {
            assert!(check(bad, "10.0.0.9", &settings).is_err(), "{bad}");
        }
        let permit = permit("10.0.0.9", &settings);
        let may = |text: &str| permit.check(text.parse().unwrap());
        assert!(may("10.0.0.9:5000").is_ok() && may("[::ffff:10.0.0.9]:5000").is_ok());
        for elsewhere in ["10.0.0.8:5000", "127.0.0.1:5000", "169.254.169.254:5000", "10.0.0.9:80"] {
            assert!(may(elsewhere).is_err(), "{elsewhere}");
        }
        let core: SocketAddr = "10.0.0.9:3774".parse().unwrap();
        assert!(permit.check(core).is_ok());
        permit.core.store(Arc::new(vec![core]));
        assert!(permit.check(core).unwrap_err().contains("that is the core"));
    }

    #[test]
    fn a_permit_follows_a_reload() {
        let permit = permit("10.0.0.9", &Settings::default());
        let home = "10.0.0.9:5000".parse().unwrap();
        assert!(permit.check(home).is_ok());
        let narrow = Settings { allow: Some(vec!["10.1.0.0/16".parse().unwrap()]), ..Settings::default() };
        permit.settings.store(Arc::new(narrow));
        assert!(permit.check(home).is_err());
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
