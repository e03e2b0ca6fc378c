//! Where a call comes from, if proxies before this one say so in `x-forwarded-for`, and what goes on of what they say. Asked only
//! where the peer of the connection is one of those proxies (`forwarded.trusted`).

use std::net::{IpAddr, SocketAddr};

use fields::Fields;
use filter_api::{Code, Reason, Refusal};

use super::classify::Rejected;
use super::source::{somebody, told_by};

const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";
/// Trusted proxies between a caller and us, at most: each is an address to read.
const MOST_HOPS: usize = 64;

/// Whom the call is from: read from the right, where the nearest proxy has written, the first address that is not one of the trusted; if
/// all are, the last. What is left of that address may be anybody's, and is not looked at.
///
/// # Errors
/// An address that had to be read is none. To take the proxy for the caller instead would give strangers what the proxy may.
pub fn caller_of(fields: &Fields, peer: SocketAddr, trusted: impl Fn(IpAddr) -> bool) -> Result<SocketAddr, Rejected> {
    let lines: Vec<&[u8]> = fields.get_all(FOR).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|octet| *octet == b','));
    let mut nearest = peer;
    for (at, hop) in hops.enumerate() {
        let hop = address(hop).filter(|_| at < MOST_HOPS).ok_or_else(unreadable)?;
        let caller = told_by(nearest, hop);
        if !trusted(hop.ip()) {
            return Ok(caller);
        }
        nearest = caller;
    }
    Ok(nearest)
}

/// Passes on what a trusted proxy says, with that proxy as the last of those whom the call came through.
pub fn pass_on(fields: &mut Fields, peer: IpAddr) {
    let mut hops = Vec::new();
    for line in fields.get_all(FOR) {
        hops.extend_from_slice(line);
        hops.extend_from_slice(b", ");
    }
    hops.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    fields.set(FOR, &hops);
    // One of two, and said once: what two readers could take for different things is taken for nothing.
    let mut said = fields.get_all(PROTO);
    let clear = matches!((said.next(), said.next()), (Some(b"http" | b"https"), None));
    drop(said);
    if !clear {
        fields.remove(PROTO);
    }
}

/// `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::9`, `[2001:db8::9]`, `[2001:db8::9]:4711`: what proxies write. Without a port it is 0,
/// as Envoy has it.
fn address(hop: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let ip = match bare {
        Some(v6) => v6.parse().map(IpAddr::V6).ok(),
        None => text.parse().ok(),
    };
    let address = match ip {
        Some(ip) => SocketAddr::new(ip, 0),
        // A scope (`%1`) is one of another machine's.
        None => text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%'))?,
    };
    somebody(address.ip(), address.port())
}

fn unreadable() -> Rejected {
    let message = "`x-forwarded-for` cannot be read: it must be a list of IP addresses, each written by the proxy that was called from it";
    Rejected::Status(200, Box::new(Refusal::new(Code::InvalidArgument, Reason::Forwarded, message)))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use fields::Fields;

    use super::{caller_of, pass_on};

    fn said(lines: &[&str]) -> Fields {
        lines.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect()
    }

    /// Who calls, where 10.0.0.0/8, ::1 and 127.0.0.1 are trusted.
    fn caller(lines: &[&str], peer: &str) -> Option<String> {
        let trusted = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10 || ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        let caller = caller_of(&said(lines), SocketAddr::new(peer.parse().unwrap(), 7), trusted);
        caller.ok().map(|caller| caller.to_string())
    }

    #[test]
    fn the_first_from_the_right_that_is_not_trusted_calls() {
        let table: &[(&[&str], &str)] = &[
            (&[], "10.0.0.1:7"),
            (&["203.0.113.9"], "203.0.113.9:0"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9:0"),
            (&["198.51.100.1,203.0.113.9 ,\t10.0.0.2,10.1.1.1"], "203.0.113.9:0"),
            // What is left of the caller is the caller's to write.
            (&["garbage, 127.0.0.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9:0"),
            (&["127.0.0.1", "203.0.113.9, 10.0.0.2", "10.0.0.3"], "203.0.113.9:0"),
            (&["203.0.113.9:4711"], "203.0.113.9:4711"),
            (&["2001:db8::9"], "[2001:db8::9]:0"),
            (&["[2001:db8::9]"], "[2001:db8::9]:0"),
            (&["[2001:db8::9]:4711"], "[2001:db8::9]:4711"),
            (&["::ffff:203.0.113.9"], "203.0.113.9:0"),
            (&["[::ffff:10.0.0.9]:1, 10.0.0.2"], "10.0.0.9:1"),
            // All are trusted: the last of them calls.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            // Another machine's loopback is that machine.
            (&["127.0.0.1"], "10.0.0.1:7"),
            (&["::1, 10.0.0.2"], "10.0.0.2:0"),
            (&["203.0.113.9, 127.0.0.1, 10.0.0.2"], "203.0.113.9:0"),
            (&["127.0.0.7, 127.0.0.1, 10.0.0.2"], "10.0.0.2:0"),
        ];
        for (lines, wanted) in table {
            assert_eq!(caller(lines, "10.0.0.1").as_deref(), Some(*wanted), "{lines:?}");
        }
        assert_eq!(caller(&["127.0.0.1"], "127.0.0.1").as_deref(), Some("127.0.0.1:0"), "beside us both");
        assert_eq!(caller(&["127.0.0.1, 10.0.0.2"], "127.0.0.1").as_deref(), Some("10.0.0.2:0"));
    }

    #[test]
    fn what_has_to_be_read_and_is_no_address_is_refused() {
        let wrong = [
            "",
            ",",
            "203.0.113.9,",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.09",
            "203.0.113.9:",
            "203.0.113.9:65536",
            "203.0.113.9:+1",
            "2001:db8::9]:1",
            "[203.0.113.9]",
            "fe80::1%eth0",
            "[fe80::1%1]:5",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "203.0.113.9 10.0.0.2",
            "\"203.0.113.9\"",
            "for=203.0.113.9",
            "203.0.113.9;10.0.0.2",
            "0xcb007109",
            "3405803785",
            "203.0.113.9\u{a0}",
            "é",
        ];
        for line in wrong {
            assert_eq!(caller(&[line], "10.0.0.1"), None, "{line:?}");
            assert_eq!(caller(&["203.0.113.9", line, "10.0.0.2"], "10.0.0.1"), None, "{line:?}");
        }
        let chain = |hops: usize| vec!["10.0.0.2"; hops].join(",");
        assert!(caller(&[&chain(64)], "10.0.0.1").is_some() && caller(&[&chain(65)], "10.0.0.1").is_none());
        let first = format!("203.0.113.9,{}", chain(63));
        assert_eq!(caller(&[&first], "10.0.0.1").as_deref(), Some("203.0.113.9:0"));
    }

    #[test]
    fn a_proxy_is_added_to_those_that_it_names() {
        let passed = |lines: &[(&str, &str)]| {
            let mut fields: Fields = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            pass_on(&mut fields, "::ffff:10.0.0.1".parse().unwrap());
            let text =
                |name| fields.get_all(name).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect::<Vec<_>>();
            (text("x-forwarded-for"), text("x-forwarded-proto").concat())
        };
        let (hops, proto) = ("x-forwarded-for", "x-forwarded-proto");
        assert_eq!(passed(&[]), (vec!["10.0.0.1".to_owned()], String::new()));
        let both = passed(&[(hops, "a, 203.0.113.9"), (proto, "https"), (hops, "10.0.0.2")]);
        assert_eq!(both, (vec!["a, 203.0.113.9, 10.0.0.2, 10.0.0.1".to_owned()], "https".to_owned()));
        for unclear in
            [&[(proto, "https"), (proto, "http")][..], &[(proto, "https, http")], &[(proto, "HTTPS")], &[(proto, "")]]
        {
            assert_eq!(passed(unclear).1, "", "{unclear:?}");
        }
    }
}
