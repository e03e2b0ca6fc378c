//! URIs and references to them by RFC 3986, with zones in addresses (RFC 6874), as protovalidate has them.

use super::address;

/// `scheme ":" hier-part [ "?" query ] [ "#" fragment ]`.
pub(super) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let begins = scheme.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    let is_scheme = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
    begins && scheme.bytes().all(is_scheme) && is_rest(rest, false)
}

/// A URI, or what is relative to one.
pub(super) fn is_reference(text: &str) -> bool {
    is_uri(text) || is_rest(text, true)
}

/// What follows the scheme; without one, the first segment has no colon.
fn is_rest(text: &str, relative: bool) -> bool {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let is_tail = |text: &str| is_made_of(text, b"!$&'()*+,;=:@/?");
    is_tail(fragment) && is_tail(query) && is_hierarchy(path, relative)
}

/// `"//" authority path-abempty / path-absolute / path-rootless (or path-noscheme) / path-empty`.
fn is_hierarchy(text: &str, relative: bool) -> bool {
    if let Some(rest) = text.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        return is_authority(authority) && is_path(path);
    }
    let first = text.split('/').next().unwrap_or_default();
    is_path(text) && !(relative && first.contains(':'))
}

/// Segments with slashes between.
fn is_path(text: &str) -> bool {
    is_made_of(text, b"!$&'()*+,;=:@/")
}

/// `[ userinfo "@" ] host [ ":" port ]`.
fn is_authority(text: &str) -> bool {
    let host = match text.split_once('@') {
        Some((user, host)) if is_made_of(user, b"!$&'()*+,;=:") => host,
        Some(_) => return false,
        None => text,
    };
    let is_port = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    if let Some(literal) = host.strip_prefix('[') {
        let Some((literal, port)) = literal.split_once(']') else { return false };
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_fine && is_literal(literal);
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    is_port(port) && is_made_of(name, b"!$&'()*+,;=") && is_decoded_text(name)
}

/// `IPv6address / IPv6address "%25" ZoneID / "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`.
fn is_literal(text: &str) -> bool {
    if let Some((version, rest)) = text.strip_prefix('v').and_then(|rest| rest.split_once('.')) {
        let is_version = !version.is_empty() && version.bytes().all(|c| c.is_ascii_hexdigit());
        return is_version && !rest.is_empty() && !rest.contains('%') && is_made_of(rest, b"!$&'()*+,;=:");
    }
    match text.split_once('%') {
        None => address::is_ip(text, 6),
        Some((address, zone)) => {
            let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty());
            address::is_ip(address, 6) && zone.is_some_and(|zone| is_made_of(zone, b"") && is_decoded_text(zone))
        }
    }
}

/// Whether there is nothing but what needs no escape, octets in hexadecimal (`%41`), and these.
fn is_made_of(text: &str, also: &[u8]) -> bool {
    let mut octets = text.bytes();
    while let Some(c) = octets.next() {
        let fine = match c {
            b'%' => {
                let mut digit = || octets.next().is_some_and(|c| c.is_ascii_hexdigit());
                digit() && digit()
            }
            c => c.is_ascii_alphanumeric() || b"-._~".contains(&c) || also.contains(&c),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Whether what the escapes stand for is UTF-8.
fn is_decoded_text(text: &str) -> bool {
    let (mut octets, mut out) = (text.bytes(), Vec::with_capacity(text.len()));
    while let Some(c) = octets.next() {
        let mut digit = || octets.next().and_then(|c| char::from(c).to_digit(16)).unwrap_or(0);
        out.push(if c == b'%' { (digit() * 16 + digit()) as u8 } else { c });
    }
    std::str::from_utf8(&out).is_ok()
}
