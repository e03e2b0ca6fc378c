//! Patterns and addresses in texts.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

use super::failure::Failure;

/// The longest pattern.
pub(super) const MOST_PATTERN: usize = 1024;
/// What a compiled pattern may take.
const MOST_COMPILED: usize = 256 * 1024;

/// Compiles a pattern. Matching takes time by the length of the text, whatever the pattern.
///
/// # Errors
/// In words.
pub(super) fn pattern(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MOST_PATTERN {
        return Err(format!("the pattern has {} octets, and {MOST_PATTERN} is the most", pattern.len()));
    }
    let built = RegexBuilder::new(pattern).size_limit(MOST_COMPILED).dfa_size_limit(MOST_COMPILED).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large once it is compiled: repeat less".to_owned(),
        error => {
            // The last line says what is wrong; those above draw where.
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("`{pattern}` is no pattern: {what}")
        }
    })
}

/// Whether an address, with or without a port, is in a network. IPv4 in IPv6 is IPv4.
pub(super) fn is_within(address: &str, network: &IpNet) -> Result<bool, Failure> {
    let ip = address.parse::<IpAddr>().or_else(|_| address.parse::<SocketAddr>().map(|address| address.ip()));
    let ip = ip.map_err(|_| Failure::Unconvertible("address"))?;
    Ok(network.contains(&ip.to_canonical()))
}
