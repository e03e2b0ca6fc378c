//! Names and addresses of hosts, as protovalidate has them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest name of a host, and of a part of one.
const MOST_NAME: usize = 253;
const MOST_LABEL: usize = 63;

/// By the HTML standard, which means to find mistypes and not all that RFC 5322 has.
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_local = |c: u8| c.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&c);
    !local.is_empty() && local.bytes().all(is_local) && domain.split('.').all(is_label)
}

/// Labels with dots between, the last not all digits; a dot may follow.
pub(super) fn is_hostname(text: &str) -> bool {
    if text.len() > MOST_NAME {
        return false;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.split('.').all(is_label) && !last.bytes().all(|c| c.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    let own = label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    own && (1..=MOST_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

/// Of this version; 0 is either.
pub(super) fn is_ip(text: &str, version: u8) -> bool {
    match version {
        4 => text.parse::<Ipv4Addr>().is_ok(),
        6 => {
            // A zone may follow, which may be anything.
            let (address, zone) = text.split_once('%').unwrap_or((text, "zone"));
            !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok()
        }
        0 => is_ip(text, 4) || is_ip(text, 6),
        _ => false,
    }
}

/// An address and the length of a prefix; `strict`: all else of the address is zero.
pub(super) fn is_prefix(text: &str, version: u8, strict: bool) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let length = |most: u32| number(length).filter(|length| *length <= most);
    match version {
        4 => match (address.parse::<Ipv4Addr>(), length(32)) {
            (Ok(address), Some(length)) => {
                !strict || address.to_bits() & u32::MAX.checked_shr(length).unwrap_or(0) == 0
            }
            _ => false,
        },
        6 => match (address.parse::<Ipv6Addr>(), length(128)) {
            (Ok(address), Some(length)) => {
                !strict || address.to_bits() & u128::MAX.checked_shr(length).unwrap_or(0) == 0
            }
            _ => false,
        },
        0 => is_prefix(text, 4, strict) || is_prefix(text, 6, strict),
        _ => false,
    }
}

/// `host:port`, `1.2.3.4:80`, `[::1]:80`.
pub(super) fn is_host_and_port(text: &str, port_required: bool) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.rsplit_once(']') else { return false };
        return is_ip(address, 6)
            && match port.strip_prefix(':') {
                Some(port) => is_port(port),
                None => port.is_empty() && !port_required,
            };
    }
    let is_host = |host: &str| is_hostname(host) || is_ip(host, 4);
    match text.rsplit_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => !port_required && is_host(text),
    }
}

fn is_port(text: &str) -> bool {
    number(text).is_some_and(|port| port <= u16::MAX.into())
}

/// Digits without zeros before them.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}
