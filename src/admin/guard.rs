//! Keeps web pages away from the admin port. A page that a browser on this machine opens can send requests to
//! 127.0.0.1, and by DNS rebinding under a name of its own; both show in Host and Origin. Called by the router only.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::reply::Refused;

/// The names under which the admin port may be asked: IP literals and `localhost` always, others as configured.
#[derive(Clone, Debug, Default)]
pub struct Hosts(BTreeSet<String>);

impl Hosts {
    /// `names`: `admin.hosts`, without ports. Case does not matter.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect())
    }

    /// Exactly one Host whose name passes. A rebinding page cannot pass: its Host is a DNS name that it owns. Not even
    /// an HTTP/1.0 request goes without, or leaving the header away would be a way around.
    pub(super) fn admit(&self, request: &Parts) -> Result<(), Refused> {
        let mut values = request.headers.get_all(HOST).iter();
        let (first, second) = (values.next(), values.next());
        let Some(host) = first.filter(|_| second.is_none()) else {
            return Err(Refused(StatusCode::MISDIRECTED_REQUEST, "send exactly one Host header"));
        };
        // In an absolute-form request the target overrides Host (RFC 9112 section 3.2.2), so that it must pass too.
        let target = request.uri.authority().map(http::uri::Authority::as_str);
        if host.to_str().is_ok_and(|host| self.allow(host)) && target.is_none_or(|target| self.allow(target)) {
            return Ok(());
        }
        let error = "this Host is not served here: ask by IP address or as localhost, or list the name in admin.hosts";
        Err(Refused(StatusCode::MISDIRECTED_REQUEST, error))
    }

    /// Whether `name` or `name:port` passes.
    fn allow(&self, host: &str) -> bool {
        if let Some(rest) = host.strip_prefix('[') {
            let Some((address, port)) = rest.split_once(']') else { return false };
            let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            return port_fits && address.parse::<Ipv6Addr>().is_ok();
        }
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let known = name.parse::<Ipv4Addr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.contains(&name.to_ascii_lowercase());
        known && port.is_none_or(is_port)
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What a request that changes something needs besides its Host: no foreign Origin, and a content type that a form of
/// another page cannot send without asking first (`application/json` makes a browser send a preflight, which gets 405).
pub(super) fn admit_mutation(headers: &HeaderMap) -> Result<(), Refused> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let foreign = |origin: &http::HeaderValue| !origin.to_str().is_ok_and(|origin| is_own(origin, host));
    if headers.get_all(ORIGIN).iter().any(foreign) {
        return Err(Refused(StatusCode::FORBIDDEN, "pages of another origin cannot change anything here"));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let json = types.next().and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if json && types.next().is_none() {
        return Ok(());
    }
    Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send content-type: application/json"))
}

/// Whether an Origin is the one under which the admin port itself was asked. Browsers write both alike, without a
/// default port. `null` (a sandboxed page, a file) is nobody's own.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn asked(uri: &str, hosts: &[&str]) -> Option<StatusCode> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Hosts::new(["Portunus.Internal"]).admit(&parts).err().map(|Refused(status, _)| status)
    }

    #[test]
    fn literals_localhost_and_configured_names_pass() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9901",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:9901",
            "[2001:db8::7]:9901",
            "localhost",
            "LocalHost:9901",
            "portunus.internal",
            "PORTUNUS.internal:9901",
        ] {
            assert_eq!(asked("/live", &[host]), None, "{host}");
        }
    }

    #[test]
    fn everything_else_is_misdirected() {
        for host in [
            "",
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "portunus.internal.evil.example",
            "127.1",
            "0x7f000001",
            "127.0.0.1:",
            "127.0.0.1:x",
            "127.0.0.1:99999",
            "127.0.0.1:+1",
            "::1",
            "[::1",
            "[::1]9901",
            "[evil]:80",
            "localhost@evil.example",
            "user@localhost",
            "localhost, evil.example",
        ] {
            assert_eq!(asked("/live", &[host]), Some(StatusCode::MISDIRECTED_REQUEST), "{host}");
        }
        assert!(asked("/live", &[]).is_some(), "no Host");
        assert!(asked("/live", &["localhost", "localhost"]).is_some(), "two of them, even alike");
        assert!(asked("http://evil.example/live", &["localhost"]).is_some(), "the target overrides Host");
        assert_eq!(asked("http://127.0.0.1:9901/live", &["127.0.0.1:9901"]), None);
    }

    fn mutation(headers: &[(http::HeaderName, &'static str)]) -> Option<StatusCode> {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("localhost:9901"));
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        admit_mutation(&map).err().map(|Refused(status, _)| status)
    }

    #[test]
    fn a_mutation_needs_json_and_no_foreign_origin() {
        const JSON: (http::HeaderName, &str) = (CONTENT_TYPE, "application/json");
        assert_eq!(mutation(&[JSON]), None, "no browser sent it");
        assert_eq!(mutation(&[(CONTENT_TYPE, "Application/JSON; charset=utf-8")]), None);
        assert_eq!(mutation(&[JSON, (ORIGIN, "http://localhost:9901")]), None, "the console");
        for origin in [
            "http://evil.example",
            "http://localhost",
            "http://localhost:9902",
            "http://localhost:9901.evil.example",
            "http://127.0.0.1:9901",
            "null",
            "",
            "localhost:9901",
            "ftp://localhost:9901",
        ] {
            assert_eq!(mutation(&[JSON, (ORIGIN, origin)]), Some(StatusCode::FORBIDDEN), "{origin}");
        }
        let both = [JSON, (ORIGIN, "http://localhost:9901"), (ORIGIN, "http://evil.example")];
        assert_eq!(mutation(&both), Some(StatusCode::FORBIDDEN), "the second one counts too");
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/plain; application/json"]
        {
            assert_eq!(mutation(&[(CONTENT_TYPE, kind)]), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{kind}");
        }
        assert_eq!(mutation(&[]), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(mutation(&[JSON, JSON]), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "twice is not clear");
    }
}
