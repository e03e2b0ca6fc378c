//! What a registry cluster is told by the file: whom it admits, how it names agents to the core, how it checks health.
//! Built by config/ (or by hand in tests), replaced whole at a reload. Knows no record and no time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::instance::Target;

/// The registry's part of a cluster (DESIGN.md §2, `clusters.*.registry` and `health`).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Bindu core that each agent is registered with, once; `None`: the registrar answers by itself.
    pub core: Option<Target>,
    /// What the core is told as our address; `None` where there is no core and no authority to match.
    pub callback: Option<Callback>,
    /// How long a registration or heartbeat vouches for an instance.
    pub lease: Duration,
    /// How long a lost instance, or the owner and port of an agent that left, is remembered.
    pub forget: Duration,
    /// Addresses that an SDK may name; `None`: its own, and loopback for a loopback peer.
    pub allow: Option<Vec<IpNet>>,
    /// Names that an SDK may give instead: whole, or the end of one with its leading dot. In lower case.
    pub allow_names: Vec<String>,
    /// Patterns such as `*.agents.example.com` whose label names the agent in `:authority`.
    pub authorities: Vec<HostPattern>,
    /// Who gets the calls that name nobody: id, DID or name.
    pub default_agent: Option<String>,
    /// When an instance counts as healthy.
    pub health: HealthSettings,
    /// Places that no callback may name: our listeners, our admin server, the core.
    pub forbidden: Vec<Forbidden>,
    /// Keys of `config_json` that reach the core besides the harmless ones.
    pub config_allow: BTreeSet<String>,
    /// How much is held at once.
    pub limits: Limits,
}

/// `clusters.*.registry.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Agents, those that have left and are remembered too.
    pub agents: usize,
    /// Instances of one agent.
    pub instances_per_agent: usize,
    /// Instances that one address has registered.
    pub instances_per_peer: usize,
    /// The most bytes of `config_json` and skills together.
    pub config_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { agents: 1_000, instances_per_agent: 100, instances_per_peer: 2_000, config_bytes: 256 * 1024 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            core: None,
            callback: None,
            lease: Duration::from_secs(90),
            forget: Duration::from_secs(24 * 3600),
            allow: None,
            allow_names: Vec::new(),
            authorities: Vec::new(),
            default_agent: None,
            health: HealthSettings::default(),
            forbidden: Vec::new(),
            config_allow: BTreeSet::new(),
            limits: Limits::default(),
        }
    }
}

/// `clusters.*.health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Between two probes of a healthy instance.
    pub interval: Duration,
    /// For one probe, connecting included.
    pub timeout: Duration,
    /// Failures in a row that make a healthy instance unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make an unhealthy instance healthy.
    pub healthy_after: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            unhealthy_after: 2,
            healthy_after: 1,
        }
    }
}

/// Ports of an address that are ours (or the core's). An unspecified address stands for every address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The address that is bound.
    pub ip: IpAddr,
    /// Its ports: one, or a listener's range.
    pub ports: RangeInclusive<u16>,
    /// What is there, for the refusal: "listener `sdk`", "the core".
    pub what: String,
}

/// What the core is told as an agent's callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// `{agent}.localhost:3790`: the id fills the host, one port for all.
    Pattern { host: HostPattern, port: u16 },
    /// `{host: NAME, ports: 3800-3899}`: one port an agent.
    Ports { host: String, ports: RangeInclusive<u16> },
}

impl Callback {
    /// Reads `HOST:PORT`, where HOST may hold `{agent}` once. The error says what to write instead.
    pub fn pattern(text: &str) -> Result<Self, String> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("`{text}` has no port: write HOST:PORT, such as {{agent}}.localhost:3790"))?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| format!("`{text}` ends in no port from 1 to 65535"))?;
        Ok(Self::Pattern { host: HostPattern::parse(host, "{agent}")?, port })
    }

    /// What the core is told for the agent with this id and (in the form with ports) this port.
    pub fn fill(&self, id: &str, given: Option<u16>) -> Option<String> {
        match self {
            Self::Pattern { host, port } => Some(format!("{}:{port}", host.fill(id))),
            Self::Ports { host, .. } => given.map(|port| format!("{host}:{port}")),
        }
    }
}

/// A host name with at most one place that varies within one label: `{agent}.localhost`, `*.agents.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    prefix: String,
    suffix: String,
    varies: bool,
}

impl HostPattern {
    /// Reads a host in which `variable` (`{agent}` or `*`) stands for the agent. The error says what to write instead.
    pub fn parse(text: &str, variable: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (prefix, suffix, varies) = match lower.split_once(variable) {
            Some((prefix, suffix)) => (prefix, suffix, true),
            None => (lower.as_str(), "", false),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
        if text.is_empty() || !prefix.bytes().chain(suffix.bytes()).all(plain) {
            return Err(format!("`{text}` is no host name with at most one `{variable}`"));
        }
        Ok(Self { prefix: prefix.into(), suffix: suffix.into(), varies })
    }

    /// Whether it has a place that names the agent.
    pub fn varies(&self) -> bool {
        self.varies
    }

    /// The part of `host` (lower-case, without port) that names the agent, if it matches.
    pub fn label<'h>(&self, host: &'h str) -> Option<&'h str> {
        let label = host.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        (self.varies && !label.is_empty() && !label.contains('.')).then_some(label)
    }

    fn fill(&self, label: &str) -> String {
        if self.varies { format!("{}{label}{}", self.prefix, self.suffix) } else { self.prefix.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Callback, HostPattern};

    #[test]
    fn a_pattern_fills_and_matches_one_label() {
        let callback = Callback::pattern("agent-{agent}.LOCALHOST:3790").unwrap();
        assert_eq!(callback.fill("7", None).as_deref(), Some("agent-7.localhost:3790"));
        let Callback::Pattern { host, .. } = callback else { panic!("a pattern") };
        assert_eq!(host.label("agent-7.localhost"), Some("7"));
        for other in ["agent-.localhost", "agent-a.b.localhost", "7.localhost", "localhost", "agent-7.localhost.x"] {
            assert_eq!(host.label(other), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_without_a_variable_names_nobody() {
        let host = HostPattern::parse("127.0.0.1", "{agent}").unwrap();
        assert!(!host.varies() && host.label("127.0.0.1").is_none());
        assert_eq!(Callback::pattern("127.0.0.1:3790").unwrap().fill("7", None).as_deref(), Some("127.0.0.1:3790"));
    }

    #[test]
    fn ports_are_told_with_the_host() {
        let callback = Callback::Ports { host: "proxy".into(), ports: 3800..=3899 };
        assert_eq!(callback.fill("7", Some(3801)).as_deref(), Some("proxy:3801"));
        assert_eq!(callback.fill("7", None), None);
    }

    #[test]
    fn bad_patterns_are_refused_with_the_reason() {
        for bad in ["{agent}.localhost", "{agent}:0", "{agent}.{agent}.x:1", "a b:1", ":1", "http://{agent}:1"] {
            assert!(Callback::pattern(bad).is_err(), "{bad}");
        }
    }
}
