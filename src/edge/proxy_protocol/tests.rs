//! Headers as balancers write them, and as nobody may; cut in every place, and changed in every octet.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;

use super::{Lacking, Progress, SIGNATURE, Source, crc32c, is_header, parse, read};

/// Version 2, with this command and family.
fn binary(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(behind.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, behind].concat()
}

fn v4(source: [u8; 4], port: u16, extensions: &[u8]) -> Vec<u8> {
    let ports = [port.to_be_bytes(), 443_u16.to_be_bytes()].concat();
    binary(0x21, 0x11, &[&source[..], &[10, 0, 0, 5], &ports, extensions].concat())
}

fn v6(source: &str, port: u16) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().unwrap();
    let ports = [port.to_be_bytes(), 443_u16.to_be_bytes()].concat();
    binary(0x21, 0x21, &[&source.octets()[..], &[0x20; 16], &ports].concat())
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// With the right checksum behind these extensions.
fn checked(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let with = |sum: [u8; 4]| v4([203, 0, 113, 9], 1, &[before, &extension(3, &sum), behind].concat());
    with(crc32c(&[&with([0; 4])]).to_be_bytes())
}

/// What a header says, asked as `read` asks: nothing behind its end is ever taken.
fn said(octets: &[u8]) -> Result<(Source, usize), &'static str> {
    let mut have = 0;
    loop {
        match parse(&octets[..have])? {
            Progress::Whole(source) => return Ok((source, have)),
            Progress::Needs(more) if have + more <= octets.len() => have += more,
            Progress::Needs(_) => return Err("ends in its middle"),
        }
    }
}

fn good() -> Vec<(Vec<u8>, Source)> {
    let line = |text: &str| text.as_bytes().to_vec();
    let from = |source: &str| Source::Peer(source.parse().unwrap());
    let longest =
        "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace("f...f", "ffff:ffff:ffff:ffff:ffff:ffff");
    assert_eq!(longest.len(), 104);
    vec![
        (line("PROXY TCP4 203.0.113.9 10.0.0.5 56324 443\r\n"), from("203.0.113.9:56324")),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 0 0\r\n"), from("1.1.1.1:0")),
        (line("PROXY TCP4 127.0.0.1 127.0.0.1 1 65535\r\n"), from("127.0.0.1:1")),
        (line("PROXY TCP6 2001:db8::9 :: 56324 443\r\n"), from("[2001:db8::9]:56324")),
        (line("PROXY TCP6 ::1 ::1 1 1\r\n"), from("[::1]:1")),
        (line("PROXY TCP6 ::ffff:203.0.113.9 ::1 1 1\r\n"), from("203.0.113.9:1")),
        (line("PROXY UNKNOWN\r\n"), Source::Nameless),
        (line("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), Source::Nameless),
        (line("PROXY UNKNOWN \u{e9}\0 whatever\r\n"), Source::Nameless),
        (line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(91))), Source::Nameless),
        (v4([203, 0, 113, 9], 56_324, &[]), from("203.0.113.9:56324")),
        (v4([203, 0, 113, 9], 1, &extension(0xe0, b"own")), from("203.0.113.9:1")),
        (v4([203, 0, 113, 9], 1, &extension(4, &[0; 4_081])), from("203.0.113.9:1")),
        (checked(&[], &[]), from("203.0.113.9:1")),
        (checked(&extension(1, b"h2"), &extension(2, b"edge.test")), from("203.0.113.9:1")),
        (v6("2001:db8::9", 56_324), from("[2001:db8::9]:56324")),
        (v6("::ffff:203.0.113.9", 1), from("203.0.113.9:1")),
        (binary(0x21, 0x31, &[b'/'; 216]), Source::Nameless),
        (binary(0x21, 0x00, &[]), Source::Nameless),
        (binary(0x21, 0x00, b"whatever"), Source::Nameless),
        (binary(0x20, 0x00, &[]), Source::Balancer),
        // All but the command is to be ignored.
        (binary(0x20, 0xff, b"whatever"), Source::Balancer),
        (binary(0x20, 0x11, &[203, 0, 113, 9, 10, 0, 0, 5, 0, 1, 0, 1]), Source::Balancer),
    ]
}

#[test]
fn what_balancers_write_is_read() {
    for (header, source) in good() {
        assert_eq!(said(&header), Ok((source, header.len())), "{}", header.escape_ascii());
        assert!(is_header(&header));
    }
    assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
}

/// What is no line of version 1.
const WRONG_LINES: [&str; 51] = [
    "PROXY\r\n",
    "PROXY \r\nxxxxxxxx",
    "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "Proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY Tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY unknown 1\r\n",
    "PROXY UNKNOWNS\r\n",
    "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
    "PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 00\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 0x2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2  2\r\n",
    "PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 ::1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.1 ::1 1 2\r\n",
    "PROXY TCP4 ::ffff:1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP6 1.1.1.1 ::1 1 2\r\n",
    "PROXY TCP6 ::1 2.2.2.2 1 2\r\n",
    "PROXY TCP6 [::1] ::1 1 2\r\n",
    "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
    "PROXY TCP6 :::1 ::1 1 2\r\n",
    "PROXY TCP4 localhost 2.2.2.2 1 2\r\n",
    "PROXY TCP4\t1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 0.0.0.0 2.2.2.2 1 2\r\n",
    "PROXY TCP4 255.255.255.255 2.2.2.2 1 2\r\n",
    "PROXY TCP4 224.0.0.1 2.2.2.2 1 2\r\n",
    "PROXY TCP6 :: ::1 1 2\r\n",
    "PROXY TCP6 ff02::1 ::1 1 2\r\n",
    "PROXY TCP6 ::ffff:0.0.0.0 ::1 1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
    "PROXY TCP4 1.1.1.1\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rx\n",
    "PROXY UNKNOWN \n\r\n",
    "PROXY UNKNOWN \r \r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 \u{b2}\r\n",
    "PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n",
];

#[test]
fn lines_that_nobody_may_write_are_refused() {
    let longer = [format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)), format!("PROXY TCP4 {}", "1".repeat(200))];
    for line in WRONG_LINES.iter().copied().chain(longer.iter().map(String::as_str)) {
        assert!(said(line.as_bytes()).is_err(), "{line:?}: {:?}", said(line.as_bytes()));
    }
}

#[test]
fn headers_that_nobody_may_write_are_refused() {
    let mut wrong_sum = checked(&[], &[]);
    *wrong_sum.last_mut().unwrap() ^= 1;
    let twice = checked(&[], &[]).split_off(16 + 12);
    let headers = [
        binary(0x11, 0x11, &[1; 12]),
        binary(0x31, 0x11, &[1; 12]),
        binary(0x01, 0x11, &[1; 12]),
        binary(0x22, 0x11, &[1; 12]),
        binary(0x2f, 0x11, &[1; 12]),
        binary(0x21, 0x11, &[1; 11]),
        binary(0x21, 0x11, &[]),
        binary(0x21, 0x21, &[1; 35]),
        binary(0x21, 0x31, &[1; 215]),
        binary(0x21, 0x12, &[1; 12]),
        binary(0x21, 0x22, &[1; 36]),
        binary(0x21, 0x32, &[1; 216]),
        binary(0x21, 0x10, &[1; 12]),
        binary(0x21, 0x01, &[1; 12]),
        binary(0x21, 0x13, &[1; 12]),
        binary(0x21, 0x41, &[1; 216]),
        v4([0, 0, 0, 0], 1, &[]),
        v4([255, 255, 255, 255], 1, &[]),
        v4([224, 0, 0, 1], 1, &[]),
        v6("::", 1),
        v6("ff02::1", 1),
        v6("::ffff:0.0.0.0", 1),
        v4([1; 4], 1, &[4]),
        v4([1; 4], 1, &[4, 0]),
        v4([1; 4], 1, &[4, 0, 1]),
        v4([1; 4], 1, &[4, 255, 255, 0, 0]),
        v4([1; 4], 1, &extension(3, &[0; 3])),
        v4([1; 4], 1, &extension(3, &[0; 4])),
        v4([1; 4], 1, &extension(4, &[0; 4_082])),
        binary(0x20, 0x00, &[0; 4_097]),
        wrong_sum,
        checked(&[], &twice),
    ];
    for header in headers {
        assert!(said(&header).is_err(), "{}", header.escape_ascii());
    }
    for other in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
    ] {
        assert!(said(other).is_err() && !is_header(other));
    }
}

/// Whatever is behind a header is not the header's, and no part of one is taken for a whole.
#[test]
fn no_octet_too_many_and_none_too_few() {
    for (header, source) in good() {
        let longer = [&header[..], b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"].concat();
        assert_eq!(said(&longer).unwrap().1, header.len());
        for end in 0..header.len() {
            match parse(&header[..end]) {
                Ok(Progress::Needs(more)) => assert!((1..=header.len() - end).contains(&more), "{end}: {more}"),
                other => panic!("{} is {other:?}", header[..end].escape_ascii()),
            }
        }
        assert_eq!(parse(&header), Ok(Progress::Whole(source)));
    }
}

/// Headers that are nearly right: what is read of them was in them, and the same however they come.
#[test]
fn changed_headers_are_read_in_one_way() {
    let mut random = SmallRng::seed_from_u64(7);
    let seeds = good();
    let mut read = 0;
    for _ in 0..60_000 {
        let mut octets = seeds[random.random_range(0..seeds.len())].0.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..octets.len());
            match random.random_range(0..4) {
                0 => octets[at] = random.random(),
                1 => octets[at] = *b" :.0159f\r\n".get(random.random_range(0..10_usize)).unwrap(),
                2 => octets.insert(at, octets[at]),
                _ => drop(octets.remove(at)),
            }
        }
        let by_need = said(&octets);
        // One by one, as a slow peer sends.
        let by_octet = (0..=octets.len()).find_map(|end| match parse(&octets[..end]) {
            Ok(Progress::Whole(source)) => Some(Ok((source, end))),
            Ok(Progress::Needs(_)) => None,
            Err(why) => Some(Err(why)),
        });
        match (by_need, by_octet) {
            (Ok(whole), other) => {
                read += 1;
                assert_eq!(other, Some(Ok(whole)), "{}", octets.escape_ascii());
                if let Source::Peer(source) = whole.0 {
                    let ip = source.ip();
                    assert!(ip == ip.to_canonical() && !ip.is_unspecified() && !ip.is_multicast());
                }
            }
            (Err(_), other) => assert!(!matches!(other, Some(Ok(_))), "{}", octets.escape_ascii()),
        }
    }
    assert!(read > 1_000, "only {read} were read at all");
}

#[tokio::test]
async fn a_header_is_read_as_it_comes() {
    for (header, source) in good() {
        for step in [1, 5, 4_096] {
            let (mut near, mut far) = tokio::io::duplex(64);
            let whole = [&header[..], b"rest"].concat();
            let say = async {
                for piece in whole.chunks(step) {
                    far.write_all(piece).await.unwrap();
                }
            };
            let hear = async {
                let found = read(&mut near).await.unwrap();
                let mut rest = [0; 4];
                tokio::io::AsyncReadExt::read_exact(&mut near, &mut rest).await.unwrap();
                (found, rest)
            };
            let ((), (found, rest)) = tokio::join!(say, hear);
            assert_eq!((found, &rest), (source, b"rest"));
        }
    }
    let ended = |said: &'static [u8]| async move { read(&mut &*said).await.unwrap_err() };
    assert!(matches!(ended(b"").await, Lacking::Silent));
    assert!(matches!(ended(b"PROXY TCP4 1.1").await, Lacking::Malformed("ends in its middle")));
    // Nothing is waited for that could not help any more.
    let (mut near, mut far) = tokio::io::duplex(64);
    far.write_all(b"\x16").await.unwrap();
    assert!(matches!(read(&mut near).await, Err(Lacking::Malformed(_))));
}
