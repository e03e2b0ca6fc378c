//! Where a key set is published: an `https` URL, or an `http` one on this machine. Whoever can change the keys on their way can sign any
//! token.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest URL.
const MOST_OCTETS: usize = 2048;

/// Where a key set is published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// `https`.
    pub is_secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port, the scheme's own if none is written.
    pub port: u16,
    /// Path and query, as they are asked for.
    pub target: String,
}

impl Location {
    /// Where a redirect from here leads.
    ///
    /// # Errors
    /// It is no URL, or one that would be less safe.
    pub fn follow(&self, to: &str) -> Result<Self, String> {
        if to.starts_with('/') && !to.starts_with("//") {
            return Ok(Self { target: target(to)?, ..self.clone() });
        }
        let next: Self = to.parse()?;
        if self.is_secure && !next.is_secure {
            return Err("it leads from https to http".to_owned());
        }
        Ok(next)
    }

    /// `host:port` for the `host` header, without the scheme's own port.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == own_port(self.is_secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether an address may be dialled for it: one of this machine, without TLS.
    pub fn may_dial(&self, ip: IpAddr) -> bool {
        self.is_secure || ip.to_canonical().is_loopback()
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("must begin with `https://`".to_owned()),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err("must not have a name and password in front of the host".to_owned());
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{address}` is no IPv6 address"))?;
                (address, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
            }
            None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
        };
        let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
        if host.is_empty() || host.len() > 253 || !is_name(host) {
            return Err(format!("`{host}` is no host"));
        }
        let port = match port {
            Some("") if !authority.ends_with(':') => own_port(is_secure),
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("has a port that is none")?,
            None => return Err("has something behind its host that is no port".to_owned()),
        };
        let is_local = host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        if !is_secure && !is_local {
            return Err(
                "is plain http, so anybody on the way could put keys of their own there: use `https://`".to_owned()
            );
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_secure, host: host.to_ascii_lowercase(), port, target: target(&path)? })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_secure { "https" } else { "http" }, self.authority(), self.target)
    }
}

fn own_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

fn target(text: &str) -> Result<String, String> {
    let fits = text.len() <= MOST_OCTETS && text.bytes().all(|octet| octet.is_ascii_graphic()) && !text.contains('#');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("has a path that is too long, or has blanks, `#` or other letters than ASCII".into())
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    #[test]
    fn locations_are_read_and_shown() {
        for (text, shown) in [
            ("https://idp.example/certs", "https://idp.example/certs"),
            ("https://IDP.example", "https://idp.example/"),
            ("https://idp.example:8443/a?b=c", "https://idp.example:8443/a?b=c"),
            ("https://idp.example:443?x", "https://idp.example/?x"),
            ("http://127.0.0.1:8080/certs", "http://127.0.0.1:8080/certs"),
            ("http://localhost/certs", "http://localhost/certs"),
            ("http://[::1]:81/certs", "http://[::1]:81/certs"),
            ("https://[2001:db8::1]/certs", "https://[2001:db8::1]/certs"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "idp.example/certs",
            "file:///etc/passwd",
            "ftp://idp.example/",
            "HTTPS://idp.example/",
            "https://",
            "https:///certs",
            "https://user:pass@idp.example/",
            "https://idp.example:/",
            "https://idp.example:0/",
            "https://idp.example:99999/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[zz]/",
            "https://a b/",
            "https://a/b c",
            "https://a/b#c",
            "https://a/b\r\nx: y",
            "http://idp.example/certs",
            "http://10.0.0.1/certs",
            "http://127.0.0.1.evil.example/certs",
            "http://localhost.evil.example/",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    #[test]
    fn redirects_lead_to_nothing_less_safe() {
        let from: Location = "https://idp.example:8443/a".parse().unwrap();
        assert_eq!(from.follow("/b?c").unwrap().to_string(), "https://idp.example:8443/b?c");
        assert_eq!(from.follow("https://other.example/b").unwrap().to_string(), "https://other.example/b");
        for to in ["http://127.0.0.1/b", "http://other.example/", "//other.example/", "b", "", "file:///x", "/b c"] {
            assert!(from.follow(to).is_err(), "{to}");
        }
        let here: Location = "http://127.0.0.1:1/a".parse().unwrap();
        assert!(here.follow("http://127.0.0.1:2/b").is_ok() && here.follow("http://10.0.0.1/").is_err());
    }
}
