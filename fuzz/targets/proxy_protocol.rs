//! The beginning of a connection that says it is from a balancer, whatever it is: read in one way however it comes, and never an octet
//! behind the header's end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portunus::edge::proxy_protocol::{Progress, Source, parse};

/// Version 2's head, and what may be behind it.
const LONGEST: usize = 16 + 4_096;

fuzz_target!(|data: &[u8]| {
    // As it is read: what it asks for, and at most that.
    let mut have = 0;
    let by_need = loop {
        match parse(&data[..have]) {
            Ok(Progress::Whole(source)) => break Some((source, have)),
            Ok(Progress::Needs(more)) => {
                assert!(more > 0 && have + more <= LONGEST, "{more} more than {have}");
                have += more;
                if have > data.len() {
                    break None;
                }
            }
            Err(why) => {
                assert!(!why.is_empty());
                break None;
            }
        }
    };
    let Some((source, end)) = by_need else { return };
    let source = match source {
        Source::Peer(source) => Some(source),
        Source::Balancer | Source::Nameless => None,
    };
    if let Some(source) = source {
        let ip = source.ip();
        assert!(ip == ip.to_canonical() && !ip.is_unspecified() && !ip.is_multicast(), "{ip} is nobody's");
    }
    // An octet at a time: the same, and not before.
    for at in 0..end {
        match parse(&data[..at]) {
            Ok(Progress::Needs(more)) => assert!(at + more <= end, "{more} more than {at}, where {end} are all"),
            other => panic!("{other:?} at {at} of {end}"),
        }
    }
    // A line says so in text what was read of it.
    if let (Some(source), Some(line)) = (source, data[..end].strip_prefix(b"PROXY ")) {
        let line = std::str::from_utf8(line).expect("a line with a source is ASCII");
        let mut fields = line.trim_end_matches("\r\n").split(' ');
        let said: std::net::IpAddr = fields.nth(1).expect("a source").parse().expect("an address");
        assert_eq!(said.to_canonical(), source.ip());
        assert_eq!(fields.nth(1).expect("a port"), source.port().to_string());
    }
});
