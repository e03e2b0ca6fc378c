//! The PROXY protocol, versions 1 and 2: what a balancer says, before the first octet of a connection, of who opened it. Reads what
//! strangers may have written, and not one octet behind it. Knows no listener: whose word counts is decided in `entry`.
//!
//! As in <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. What that lets a receiver choose is strict here: datagrams, and
//! addresses that are nobody's, are refused; a checksum that is there is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::wire::somebody;

/// How version 1 begins. Version 2 begins with [`SIGNATURE`].
const OPENING: &[u8; 6] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// No header of either version is shorter.
const FIRST: usize = 12;
/// A line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// The head of version 2; and what may be behind it: addresses, and whatever a balancer adds. 64 KiB could be announced.
const HEAD: usize = 16;
const MOST_BEHIND: usize = 4_096;
/// The extension that has a checksum.
const CHECKSUM: u8 = 3;

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many octets more belong to it.
    Needs(usize),
    /// It is whole.
    Whole(Source),
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody's at this address.
    Peer(SocketAddr),
    /// The balancer's own, as for a health check.
    Balancer,
    /// Somebody's, and the balancer does not say whose.
    Nameless,
}

/// Why there is no header.
#[derive(Debug)]
pub(super) enum Lacking {
    /// The connection ended before a word was said, as those of health checks do.
    Silent,
    /// What came is none.
    Malformed(&'static str),
}

/// Reads a header to its end.
pub(super) async fn read<T: AsyncRead + Unpin>(io: &mut T) -> Result<Source, Lacking> {
    let mut header = Vec::new();
    loop {
        let more = match parse(&header).map_err(Lacking::Malformed)? {
            Progress::Whole(source) => return Ok(source),
            Progress::Needs(more) => more,
        };
        let have = header.len();
        header.resize(have + more, 0);
        let came = match io.read(&mut header[have..]).await {
            Ok(0) if have > 0 => return Err(Lacking::Malformed("ends in its middle")),
            Ok(0) => return Err(Lacking::Silent),
            Ok(came) => came,
            Err(_) => return Err(Lacking::Silent),
        };
        header.truncate(have + came);
    }
}

/// Reads what there is of a header: its beginning, and nothing behind its end. Who adds as much as `Needs` says never has more. One that
/// cannot become right is refused at once.
///
/// # Errors
/// What is wrong with it.
pub fn parse(header: &[u8]) -> Result<Progress, &'static str> {
    match header.first() {
        None => Ok(Progress::Needs(FIRST)),
        Some(b'P') => parse_line(header),
        Some(_) => parse_binary(header),
    }
}

/// Whether these first octets of a connection are those of a header.
pub(super) fn is_header(first: &[u8]) -> bool {
    first.starts_with(OPENING) || first.starts_with(&SIGNATURE[..5])
}

fn begins_alike(header: &[u8], opening: &[u8]) -> bool {
    header.iter().zip(opening).all(|(came, wanted)| came == wanted)
}

/// Version 1: one line of text.
fn parse_line(header: &[u8]) -> Result<Progress, &'static str> {
    if !begins_alike(header, OPENING) {
        return Err("is of no version of the PROXY protocol");
    }
    if header.len() < FIRST {
        return Ok(Progress::Needs(FIRST - header.len()));
    }
    let text = &header[OPENING.len()..];
    let (text, ending) = match (text.strip_suffix(b"\r\n"), text.strip_suffix(b"\r")) {
        (Some(text), _) => (text, Some(0)),
        (None, Some(text)) => (text, Some(1)),
        (None, None) => (text, None),
    };
    if text.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return Err("has an end of line that is not CR LF");
    }
    if ending == Some(0) {
        return source_of(text).map(Progress::Whole);
    }
    // Never more than there must be: what is behind the line is not the header's.
    let more = ending.unwrap_or_else(|| least_left(text));
    if header.len() + more > LONGEST_LINE {
        return Err("is a line of more than 107 octets");
    }
    Ok(Progress::Needs(more))
}

/// How many octets the shortest end of a line has: CR LF, and a blank and an octet for each field that is missing.
fn least_left(text: &[u8]) -> usize {
    if !text.starts_with(b"TCP") {
        return 2;
    }
    let blanks = text.iter().filter(|octet| **octet == b' ').count();
    2 + 2 * 4_usize.saturating_sub(blanks) + usize::from(text.ends_with(b" "))
}

/// What a line says behind `PROXY `.
fn source_of(text: &[u8]) -> Result<Source, &'static str> {
    // What follows here is for nobody, whatever it is.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Ok(Source::Nameless);
    }
    let text = std::str::from_utf8(text).map_err(|_| "is not in ASCII")?;
    let mut fields = text.split(' ');
    let mut next = || fields.next().ok_or("has too few fields");
    let (family, source, destination, from, to) = (next()?, next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err("has too many fields");
    }
    let ip = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| "has an address that is not IPv4"),
        "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| "has an address that is not IPv6"),
        _ => Err("is neither TCP4, TCP6 nor UNKNOWN"),
    };
    let (source, _) = (ip(source)?, ip(destination)?);
    let (from, _) = (port(from)?, port(to)?);
    named(source, from)
}

fn port(text: &str) -> Result<u16, &'static str> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or("has a port that is not a number from 0 to 65535")
}

/// Version 2: a head, addresses, and extensions.
fn parse_binary(header: &[u8]) -> Result<Progress, &'static str> {
    if !begins_alike(header, SIGNATURE) {
        return Err("is of no version of the PROXY protocol");
    }
    let Some((head, behind)) = header.split_first_chunk::<HEAD>() else {
        return Ok(Progress::Needs(if header.len() < FIRST { FIRST } else { HEAD } - header.len()));
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err("is of no version of the PROXY protocol");
    }
    if length > MOST_BEHIND {
        return Err("has more than 4096 octets of addresses and extensions");
    }
    if behind.len() < length {
        return Ok(Progress::Needs(length - behind.len()));
    }
    match command & 0xf {
        // The balancer itself, as for a health check. Whatever else is there is to be ignored.
        0 => Ok(Progress::Whole(Source::Balancer)),
        1 => {
            let (source, extensions) = addresses(family, behind)?;
            check_extensions(header, extensions)?;
            Ok(Progress::Whole(source))
        }
        _ => Err("has a command that is neither LOCAL nor PROXY"),
    }
}

/// The source, and what is behind the addresses.
fn addresses(family: u8, behind: &[u8]) -> Result<(Source, &[u8]), &'static str> {
    const SHORT: &str = "is too short for its addresses";
    match family {
        // Of a kind that has no addresses: the rest cannot be told apart.
        0x00 => Ok((Source::Nameless, &[])),
        0x11 => {
            let (both, rest) = behind.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *both;
            let source = named(Ipv4Addr::from([a, b, c, d]).into(), u16::from_be_bytes([high, low]))?;
            Ok((source, rest))
        }
        0x21 => {
            let (both, rest) = behind.split_first_chunk::<36>().ok_or(SHORT)?;
            let (source, [.., high, low, _, _]) = both.split_first_chunk::<16>().ok_or(SHORT)? else {
                return Err(SHORT);
            };
            let source = named(Ipv6Addr::from(*source).into(), u16::from_be_bytes([*high, *low]))?;
            Ok((source, rest))
        }
        // Two paths of sockets, which are on the balancer's machine. Whose they are is not said.
        0x31 => behind.split_first_chunk::<216>().map(|(_, rest)| (Source::Nameless, rest)).ok_or(SHORT),
        0x12 | 0x22 | 0x32 => Err("is about datagrams, and this is a connection"),
        _ => Err("has a kind of address that there is not"),
    }
}

/// That extensions end where the header does, and that its checksum is right if it has one.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), &'static str> {
    let mut checked = false;
    while !extensions.is_empty() {
        let Some(([kind, high, low], rest)) = extensions.split_first_chunk::<3>() else {
            return Err("has an extension that is cut");
        };
        let Some((value, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else {
            return Err("has an extension that is cut");
        };
        if *kind == CHECKSUM {
            let told: [u8; 4] = value.try_into().map_err(|_| "has a checksum that is none")?;
            // Of the header with zeros in its place.
            let place = header.len() - rest.len() - value.len();
            let (before, behind) = (&header[..place], &header[place + value.len()..]);
            if std::mem::replace(&mut checked, true) || crc32c(&[before, &[0; 4], behind]) != u32::from_be_bytes(told) {
                return Err("has a checksum that is wrong");
            }
        }
        extensions = rest;
    }
    Ok(())
}

/// A source that can be somebody's.
fn named(ip: IpAddr, port: u16) -> Result<Source, &'static str> {
    somebody(ip, port).map(Source::Peer).ok_or("names a source that is nobody's address")
}

/// CRC-32C (RFC 3720 B.4).
fn crc32c(parts: &[&[u8]]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    let octets = parts.iter().copied().flatten();
    !octets.fold(u32::MAX, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step))
}

#[cfg(test)]
mod tests;
