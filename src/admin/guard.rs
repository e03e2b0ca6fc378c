//! Who may ask: those whose connection and request bring what `admin` asks for, and never a web page of somebody else. A page that a
//! browser on this machine opens can send requests to 127.0.0.1, and by DNS rebinding under a name of its own; both show in what its
//! browser says of them. Called by the router only.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use portunus_tls::{Peer, Standing};

use super::reply::Refused;
use crate::config::snapshot::{Access, Token};

/// What a connection has shown of who is at its other end.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// By a certificate, if it has shown one.
    pub(super) peer: Option<Arc<Peer>>,
}

/// What every request needs. The name first, so that a rebound one learns nothing of what else is asked.
pub(super) fn admit(access: &Access, shown: &Shown, request: &Parts) -> Result<(), Refused> {
    admit_host(&access.hosts, request)?;
    admit_page(request)?;
    admit_peer(access, shown)?;
    access.token.as_ref().map_or(Ok(()), |token| admit_token(token, &request.headers))
}

/// Exactly one Host whose name passes. A rebinding page cannot pass: its Host is a DNS name that it owns. Not even
/// an HTTP/1.0 request goes without, or leaving the header away would be a way around.
fn admit_host(names: &BTreeSet<String>, request: &Parts) -> Result<(), Refused> {
    let mut values = request.headers.get_all(HOST).iter();
    let (first, second) = (values.next(), values.next());
    let Some(host) = first.filter(|_| second.is_none()) else {
        return Err(Refused(StatusCode::MISDIRECTED_REQUEST, "send exactly one Host header"));
    };
    // In an absolute-form request the target overrides Host (RFC 9112 section 3.2.2), so that it must pass too.
    let target = request.uri.authority().map(http::uri::Authority::as_str);
    if host.to_str().is_ok_and(|host| allow(names, host)) && target.is_none_or(|target| allow(names, target)) {
        return Ok(());
    }
    let error = "this Host is not served here: ask by IP address or as localhost, or list the name in admin.hosts";
    Err(Refused(StatusCode::MISDIRECTED_REQUEST, error))
}

/// Whether `name` or `name:port` passes.
fn allow(names: &BTreeSet<String>, host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_fits && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let known = name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.contains(&name.to_ascii_lowercase());
    known && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// That no page of another origin asks, as far as its browser says so: not even one of the same machine, at another port, which is of the
/// same site. Browsers tell the site only to what is loopback or TLS, and the origin not with every request: so that this comes on top
/// of what else is asked. A link to a page here may be followed: who asks then is a person, and the page that had the link sees nothing
/// of the answer.
fn admit_page(request: &Parts) -> Result<(), Refused> {
    let headers = &request.headers;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_ours = |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| is_own(origin, host));
    let said = |name: &'static str| headers.get_all(HeaderName::from_static(name));
    let only = |name, wanted: &str| said(name).iter().eq([wanted]);
    let is_link = matches!(request.method, Method::GET | Method::HEAD)
        && only("sec-fetch-mode", "navigate")
        && only("sec-fetch-dest", "document");
    let is_own_site = said("sec-fetch-site").iter().all(|site| site == "same-origin" || site == "none");
    if headers.get_all(ORIGIN).iter().all(is_ours) && (is_own_site || is_link) {
        return Ok(());
    }
    Err(Refused(StatusCode::FORBIDDEN, "pages of another origin have nothing to ask here"))
}

/// That the connection would be let in now. It was when it began; a certificate may have been revoked since.
fn admit_peer(access: &Access, shown: &Shown) -> Result<(), Refused> {
    let Some(tls) = &access.tls else { return Ok(()) };
    match tls.judge(shown.peer.as_deref(), SystemTime::now()) {
        Standing::Good | Standing::Stale => Ok(()),
        Standing::Expired | Standing::Bad(_) => {
            let error = "the certificate of this connection is not trusted any more: connect again, with one that is";
            Err(Refused(StatusCode::FORBIDDEN, error))
        }
    }
}

/// Exactly one `Authorization: Bearer` with the token behind it (RFC 6750 section 2.1).
fn admit_token(token: &Token, headers: &HeaderMap) -> Result<(), Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let shown = first.filter(|_| second.is_none()).and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()));
    if shown.is_some_and(|(scheme, shown)| scheme.eq_ignore_ascii_case(b"Bearer ") && token.is(shown)) {
        return Ok(());
    }
    Err(Refused(StatusCode::UNAUTHORIZED, "send `authorization: Bearer TOKEN`, with the token of admin.token_file"))
}

/// What a request that changes something needs besides: a content type that a form of another page cannot send without asking first
/// (`application/json` makes a browser send a preflight, which is refused).
pub(super) fn admit_mutation(headers: &HeaderMap) -> Result<(), Refused> {
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
    use http::Request;

    use super::*;

    fn asked(uri: &str, hosts: &[&str]) -> Option<StatusCode> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let names = BTreeSet::from(["portunus.internal".to_owned()]);
        admit_host(&names, &parts).err().map(|Refused(status, _)| status)
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
        let (mut parts, ()) = Request::builder().method("DELETE").uri("/agents/x").body(()).unwrap().into_parts();
        parts.headers = map;
        admit_page(&parts).and_then(|()| admit_mutation(&parts.headers)).err().map(|Refused(status, _)| status)
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

    fn with(method: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/config");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_browsers_say_of_pages_counts() {
        const SITE: &str = "sec-fetch-site";
        let link = [(SITE, "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let frame = [(SITE, "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        let passes = |method: &str, headers: &[(&'static str, &str)]| admit_page(&with(method, headers)).is_ok();
        assert!(passes("GET", &[]) && passes("DELETE", &[]), "no browser");
        for own in ["same-origin", "none"] {
            assert!(passes("GET", &[(SITE, own)]) && passes("POST", &[(SITE, own)]), "{own}");
        }
        for foreign in ["same-site", "cross-site", "", "Same-Origin", "x"] {
            assert!(!passes("GET", &[(SITE, foreign)]) && !passes("POST", &[(SITE, foreign)]), "{foreign}");
            assert!(!passes("GET", &[(SITE, "none"), (SITE, foreign)]), "{foreign} is the second one");
        }
        assert!(passes("GET", &link) && passes("HEAD", &link) && !passes("GET", &frame));
        assert!(!passes("POST", &link), "a form of another page");
        assert!(!passes("GET", &[link.as_slice(), &[("sec-fetch-dest", "iframe")]].concat()));
    }

    #[test]
    fn the_token_is_asked_for_as_it_stands() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = Token::of(text.as_bytes()).unwrap();
        let shown = |values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            admit_token(&token, &with("GET", &headers).headers).err().map(|Refused(status, _)| status)
        };
        let good = format!("Bearer {text}");
        assert_eq!(shown(&[&good]), None);
        assert_eq!(shown(&[&format!("bearer {text}")]), None, "schemes have no case");
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            text,
            &format!("Basic {text}"),
            &format!("Bearer  {text}"),
            &format!("Bearer {text}0"),
            &format!("Bearer {}", &text[1..]),
            &format!("Bearer {text},{text}"),
        ] {
            assert_eq!(shown(&[wrong]), Some(StatusCode::UNAUTHORIZED), "{wrong:?}");
        }
        assert_eq!(shown(&[]), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(shown(&[&good, &good]), Some(StatusCode::UNAUTHORIZED), "which of them counts is not clear");
    }
}
