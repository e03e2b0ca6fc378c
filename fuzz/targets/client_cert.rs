//! `x-forwarded-client-cert`, for a certificate whose names its holder has chosen: what instances read there is who it is, and no name
//! can pass for another, or for more than one.
//!
//! The input is names, apart by an octet 0: the parts of the subject, and behind an empty one the DNS names and URIs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portunus::edge::identity_of;
use portunus::wire::client_cert;
use portunus_tls::Identity;

fuzz_target!(|data: &[u8]| {
    let names: Vec<&[u8]> = data.split(|octet| *octet == 0).take(16).collect();
    let split = names.iter().position(|name| name.is_empty()).unwrap_or(names.len());
    let (subject, others) = names.split_at(split);
    let Ok(identity) = Identity::of(&certificate(subject, others)) else { return };
    let identity = identity_of(&identity);
    let value = client_cert(&identity);
    assert!(
        value.len() <= 4_096 && value.iter().all(|octet| (b' '..=b'~').contains(octet)),
        "{}",
        value.escape_ascii()
    );
    let value = String::from_utf8(value).expect("ASCII");
    let read = elements(&value);
    let of = |name: &str| read.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect::<Vec<_>>();
    assert_eq!(of("Hash"), [&*identity.fingerprint]);
    assert_eq!(of("URI"), identity.spiffe.as_deref().into_iter().collect::<Vec<_>>());
    let whole = !of("Subject").is_empty();
    let dns: Vec<&str> = identity.dns.iter().map(|name| &**name).filter(|_| whole).collect();
    assert_eq!(of("DNS"), dns);
    let known = 1 + usize::from(whole) + usize::from(identity.spiffe.is_some()) + dns.len();
    assert_eq!(read.len(), known, "{value}");
    assert!(
        whole || identity.subject.len() + identity.dns.iter().map(|name| name.len()).sum::<usize>() > 1_000,
        "{value}"
    );
});

/// As Envoy's readers cut it: at `;` and `,` outside of quotes, in which `\` lets the next octet be itself.
fn elements(value: &str) -> Vec<(&str, &str)> {
    let (mut found, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, octet) in value.bytes().chain([b';']).enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' | b',' if !quoted => {
                let element = &value[begin..at];
                found.push(element.split_once('=').unwrap_or_else(|| panic!("{element} in {value}")));
                begin = at + 1;
            }
            _ => {}
        }
    }
    assert!(!quoted && !escaped, "{value} is cut");
    found
}

/// DER: a tag, the length, and what is in it.
fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    [&[tag, 0x84][..], &length, &content].concat()
}

/// A certificate as far as anybody reads it here. The verifier, which has more to ask, has been before.
fn certificate(subject: &[&[u8]], others: &[&[u8]]) -> Vec<u8> {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    let common = of(0x06, &[&[0x55, 4, 3]]);
    let part = |(at, name): (usize, &&[u8])| {
        of(0x31, &[&of(0x30, &[&common, &of(if at % 2 == 0 { UTF8 } else { PRINTABLE }, &[name])])])
    };
    let subject: Vec<Vec<u8>> = subject.iter().enumerate().map(part).collect();
    let subject = of(0x30, &subject.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let other = |name: &&[u8]| of(if name.contains(&b':') { 0x86 } else { 0x82 }, &[name]);
    let others: Vec<Vec<u8>> = others.iter().filter(|name| !name.is_empty()).map(other).collect();
    let names = of(0x30, &others.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let extension = of(0x30, &[&of(0x06, &[&[0x55, 0x1d, 17]]), &of(0x04, &[&names])]);
    let extensions = of(0xa3, &[&of(0x30, &[&extension])]);
    let algorithm = of(0x30, &[&of(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let key = of(0x30, &[&algorithm, &of(0x03, &[&[0, 4]])]);
    let dates = of(0x30, &[&of(0x17, &[b"250101000000Z"]), &of(0x17, &[b"350101000000Z"])]);
    let nobody = of(0x30, &[]);
    let version = of(0xa0, &[&of(0x02, &[&[2]])]);
    let body = of(0x30, &[&version, &of(0x02, &[&[1]]), &algorithm, &nobody, &dates, &subject, &key, &extensions]);
    of(0x30, &[&body, &algorithm, &of(0x03, &[&[0, 0]])])
}
