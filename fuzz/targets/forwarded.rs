//! What a trusted proxy hands over in `x-forwarded-for`, which its callers have written most of: who calls does not depend on anything
//! left of the caller, is never one of this machine by a header's word, and the caller's own inventions change nothing.
//!
//! The input is lines of the header, apart by an octet 0.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use fields::Fields;
use libfuzzer_sys::fuzz_target;
use portunus::wire::{caller_of, pass_on, strip_identity};

const FOR: &str = "x-forwarded-for";

fn trusted(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets()[0] == 10 || ip.is_loopback(),
        IpAddr::V6(ip) => ip.segments()[0] == 0xfd00,
    }
}

fuzz_target!(|data: &[u8]| {
    let peer = SocketAddr::from(([10, 0, 0, 1], 7));
    let said = |lines: &[&[u8]]| lines.iter().map(|line| (FOR, *line)).collect::<Fields>();
    let lines: Vec<&[u8]> = data.split(|octet| *octet == 0).collect();
    let found = caller_of(&said(&lines), peer, trusted);
    if let Ok(found) = &found {
        let ip = found.ip();
        assert!(ip == ip.to_canonical() && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback(), "{ip}");
        if !trusted(ip) {
            // Its own line, and whatever it puts before, is nothing to us.
            for invented in [&b"127.0.0.1"[..], b"garbage, ,", b"10.0.0.9"] {
                let more = [&[invented][..], &lines].concat();
                assert_eq!(caller_of(&said(&more), peer, trusted).ok(), Some(*found));
            }
        }
    }
    // One more that can be trusted does not hide who was there, and one that cannot is who calls.
    let next = |hop: &'static [u8]| caller_of(&said(&[&lines[..], &[hop]].concat()), peer, trusted).ok();
    assert_eq!(next(b"203.0.113.9"), Some(SocketAddr::from(([203, 0, 113, 9], 0))));
    if let Some(caller) = next(b"10.0.0.9") {
        assert!(found.as_ref().is_ok_and(|found| found == &caller || found.ip() == peer.ip()), "{caller}");
    }
    // What goes on is what came, and the proxy; and of others nothing does.
    let mut passed = said(&lines);
    pass_on(&mut passed, peer.ip());
    let all: Vec<&[u8]> = passed.get_all(FOR).collect();
    assert_eq!(all, [[&lines.join(&b", "[..])[..], b", 10.0.0.1"].concat()]);
    let mut others = said(&lines);
    strip_identity(&mut others, &[], false);
    assert!(others.is_empty());
});
