//! Where a call comes from: `from`, `proxy_protocol` and `forwarded` over sockets, and what goes by it.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::harness::{Answer, Ask, Authority, Caller, Folder, Got, Setup, TestProxy, Upstream, eventually, head, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What an expression, and an instance, see.
const SEEN: &str = "filters: [{metadata: {set_expr: {x-seen: peer.address}}}]";
pub(crate) const BALANCED: &str = "proxy_protocol: {from: [127.0.0.1/32]}";
pub(crate) const RELAYED: &str = "forwarded: {trusted: [127.0.0.1/32, 10.0.0.0/8]}";

/// Answers with what it was told of where a call comes from.
async fn telling() -> Upstream {
    Upstream::start(|mut got: Got| async move {
        let values =
            |name| got.head.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        let told = [
            ("x-seen", values("x-seen").join("|")),
            ("x-hops", values("x-forwarded-for").join("|")),
            ("x-proto", values("x-forwarded-proto").join("|")),
            ("x-host", values("x-forwarded-host").join("|")),
            ("x-cert", values("x-forwarded-client-cert").join("|")),
            ("grpc-status", "0".to_owned()),
        ];
        let told = told.each_ref().map(|(name, value)| (*name, value.as_str()));
        got.reply.send_response(head(&told), true).unwrap();
    })
    .await
}

async fn proxy(instance: &Upstream, listener: &str) -> TestProxy {
    TestProxy::with(&[instance.address()], Setup { listener, route: SEEN, ..Setup::default() }).await
}

/// A connection from an address of this machine, which begins with these octets.
pub(crate) async fn begin(from: &str, to: SocketAddr, header: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

pub(crate) async fn caller(from: &str, to: SocketAddr, header: &[u8]) -> Caller {
    Caller::over(begin(from, to, header).await, h2::client::Builder::new()).await.unwrap()
}

async fn told(caller: &Caller, ask: Ask) -> Answer {
    let answer = caller.unary(ask, b"").await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    answer
}

/// Where a call of this connection comes from, by an expression.
async fn seen(caller: &Caller) -> String {
    told(caller, Ask::echo("Unary")).await.field("x-seen").unwrap()
}

/// That a connection which begins so is closed without a word of HTTP/2.
async fn is_closed(from: &str, to: SocketAddr, begins: &[u8]) {
    let mut stream = begin(from, to, begins).await;
    let came = soon(stream.read(&mut [0; 64])).await.unwrap_or(0);
    assert_eq!(came, 0, "{}", begins.escape_ascii());
}

async fn refused(proxy: &TestProxy, reason: &str) -> f64 {
    proxy.metric("portunus_refused_total", &[("reason", reason), ("listener", "edge")]).await
}

pub(crate) fn line(source: &str) -> Vec<u8> {
    let family = if source.contains(':') { "6" } else { "4" };
    let to = if source.contains(':') { "2001:db8::5" } else { "10.0.0.5" };
    format!("PROXY TCP{family} {source} {to} 56324 443\r\n").into_bytes()
}

pub(crate) fn binary(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(behind.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, behind].concat()
}

fn v4(source: [u8; 4]) -> Vec<u8> {
    binary(0x21, 0x11, &[&source[..], &[10, 0, 0, 5, 220, 4, 1, 187]].concat())
}

#[tokio::test]
async fn a_balancer_says_who_is_behind_it() {
    let instance = telling().await;
    let proxy = proxy(&instance, BALANCED).await;
    let v6 = |ip: &str| {
        let ip: std::net::Ipv6Addr = ip.parse().unwrap();
        binary(0x21, 0x21, &[&ip.octets()[..], &[0x20; 16], &[220, 4, 1, 187]].concat())
    };
    for (header, source) in [
        (line("203.0.113.9"), "203.0.113.9"),
        (line("2001:db8::9"), "2001:db8::9"),
        (line("::ffff:203.0.113.9"), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n".to_vec(), "127.0.0.1"),
        (v4([203, 0, 113, 9]), "203.0.113.9"),
        (v6("2001:db8::9"), "2001:db8::9"),
        (v6("::ffff:203.0.113.9"), "203.0.113.9"),
        (binary(0x20, 0, b""), "127.0.0.1"),
        (binary(0x21, 0, b""), "127.0.0.1"),
        (binary(0x21, 0x31, &[0; 216]), "127.0.0.1"),
    ] {
        let caller = caller("127.0.0.1", proxy.address(), &header).await;
        assert_eq!(seen(&caller).await, source, "{}", header.escape_ascii());
        // What a caller writes itself counts for nothing here.
        let answer = told(&caller, Ask::echo("Unary").with("x-forwarded-for", "198.51.100.1")).await;
        assert_eq!(
            (answer.field("x-seen").unwrap(), answer.field("x-hops").unwrap()),
            (source.to_owned(), String::new())
        );
    }
    // Others connect as ever.
    assert_eq!(seen(&caller("127.0.0.2", proxy.address(), b"").await).await, "127.0.0.2");
    assert_eq!(refused(&proxy, "proxy_header").await, 0.0);
}

#[tokio::test]
async fn a_header_is_expected_of_balancers_and_refused_of_others() {
    let instance = telling().await;
    let proxy = proxy(&instance, BALANCED).await;
    let wrong = [
        PREFACE.to_vec(),
        b"\x16\x03\x01".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.9 10.0.0.5 70000 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.09 10.0.0.5 7 443\r\n".to_vec(),
        b"proxy TCP4 203.0.113.9 10.0.0.5 7 443\r\n".to_vec(),
        vec![b'P'; 200],
        [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
        binary(0x21, 0x11, &[0; 5_000]),
        v4([0, 0, 0, 0]),
    ];
    for (at, header) in wrong.iter().enumerate() {
        is_closed("127.0.0.1", proxy.address(), header).await;
        eventually!(refused(&proxy, "proxy_header").await == (at + 1) as f64, "{}", header.escape_ascii());
    }
    for header in [line("203.0.113.9"), v4([203, 0, 113, 9])] {
        is_closed("127.0.0.2", proxy.address(), &[&header[..], PREFACE].concat()).await;
    }
    eventually!(refused(&proxy, "proxy_header").await == (wrong.len() + 2) as f64);
    // The second of two is none of the protocol that is spoken here; an end in the middle, and silence, are the end.
    is_closed("127.0.0.1", proxy.address(), &[&line("203.0.113.9")[..], &line("203.0.113.8"), PREFACE].concat()).await;
    is_closed("127.0.0.1", proxy.address(), &[&v4([203, 0, 113, 9])[..], &v4([203, 0, 113, 8]), PREFACE].concat())
        .await;
    drop(begin("127.0.0.1", proxy.address(), b"").await);
    let mut cut = begin("127.0.0.1", proxy.address(), b"PROXY TCP4 203").await;
    cut.shutdown().await.unwrap();
    assert_eq!(soon(cut.read(&mut [0; 1])).await.unwrap_or(0), 0);
    eventually!(refused(&proxy, "proxy_header").await == (wrong.len() + 3) as f64);
    eventually!(proxy.metric("portunus_open_connections", &[]).await == 0.0);
    assert_eq!(instance.calls(), 0);
}

#[tokio::test]
async fn a_header_has_the_time_of_the_handshake_and_no_more() {
    let instance = telling().await;
    let proxy = proxy(&instance, "proxy_protocol: {from: [127.0.0.1/32]}\nlimits: {handshake: 400ms}").await;
    let begun = Instant::now();
    let mut slow = begin("127.0.0.1", proxy.address(), b"").await;
    let mut silent = begin("127.0.0.1", proxy.address(), b"").await;
    let mut stranger = begin("127.0.0.2", proxy.address(), b"").await;
    let header = line("203.0.113.9");
    for octet in header.iter().cycle() {
        if slow.write_all(&[*octet]).await.is_err() || begun.elapsed() > Duration::from_secs(10) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for stream in [&mut slow, &mut silent, &mut stranger] {
        assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
    // Slow, and in time.
    let mut good = begin("127.0.0.1", proxy.address(), b"").await;
    for piece in header.chunks(12) {
        good.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen(&Caller::over(good, h2::client::Builder::new()).await.unwrap()).await, "203.0.113.9");
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let (ca, instance) = (Authority::new(), telling().await);
    let keys = format!("{}\n{BALANCED}", ca.listener("mode: required"));
    let proxy = proxy(&instance, &keys).await;
    let workload = ca.workload("agents/a");
    for header in [line("203.0.113.9"), v4([203, 0, 113, 9])] {
        let stream = begin("127.0.0.1", proxy.address(), &header).await;
        let connector = ca.client(Some(&workload), &["h2"]);
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let caller = Caller::over(stream, h2::client::Builder::new()).await.unwrap();
        let answer = told(&caller, Ask::echo("Unary").with("x-forwarded-for", "10.0.0.1")).await;
        assert_eq!(answer.field("x-seen").unwrap(), "203.0.113.9");
        assert!(answer.field("x-cert").unwrap().contains("URI=spiffe://td/agents/a"));
    }
    // TLS without a header, a header inside of TLS, and a header from elsewhere.
    assert!(ca.connect(proxy.address(), Some(&workload), &["h2"]).await.is_err());
    eventually!(refused(&proxy, "proxy_header").await == 1.0);
    let stream = begin("127.0.0.1", proxy.address(), &line("203.0.113.9")).await;
    let connector = ca.client(Some(&workload), &["h2"]);
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    stream.write_all(&line("203.0.113.8")).await.unwrap();
    assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
    is_closed("127.0.0.2", proxy.address(), &line("203.0.113.9")).await;
    eventually!(refused(&proxy, "proxy_header").await == 2.0);
    assert_eq!(instance.calls(), 2);
}

/// `from`, and the bound for each peer, are about the source that a balancer names.
#[tokio::test]
async fn sources_are_admitted_and_counted_by_who_they_really_are() {
    let instance = telling().await;
    let keys = "from: [203.0.113.0/24, 127.0.0.2/32]\nlimits: {connections_per_peer: 1}\n";
    let proxy = proxy(&instance, &format!("{keys}{BALANCED}")).await;
    let of = |source: u8| v4([203, 0, 113, source]);
    let (one, two) =
        (caller("127.0.0.1", proxy.address(), &of(1)).await, caller("127.0.0.1", proxy.address(), &of(2)).await);
    assert_eq!((seen(&one).await, seen(&two).await), ("203.0.113.1".into(), "203.0.113.2".into()));
    is_closed("127.0.0.1", proxy.address(), &of(1)).await;
    eventually!(refused(&proxy, "overloaded").await == 1.0);
    one.connection.abort();
    eventually!(proxy.metric("portunus_open_connections", &[]).await == 1.0);
    assert_eq!(seen(&caller("127.0.0.1", proxy.address(), &of(1)).await).await, "203.0.113.1");
    // A stranger behind the balancer, the balancer itself, and a stranger beside it.
    for (from, header) in
        [("127.0.0.1", v4([198, 51, 100, 1])), ("127.0.0.1", binary(0x20, 0, b"")), ("127.0.0.3", vec![])]
    {
        is_closed(from, proxy.address(), &header).await;
    }
    eventually!(refused(&proxy, "source").await == 3.0);
    assert_eq!(seen(&caller("127.0.0.2", proxy.address(), b"").await).await, "127.0.0.2");
    assert_eq!(refused(&proxy, "proxy_header").await, 0.0);
}

#[tokio::test]
async fn a_source_that_is_not_admitted_is_counted() {
    let instance = telling().await;
    let proxy = proxy(&instance, "from: [127.0.0.2/32]\nlimits: {connections: 1}").await;
    is_closed("127.0.0.1", proxy.address(), b"").await;
    eventually!(refused(&proxy, "source").await == 1.0);
    let _welcome = caller("127.0.0.2", proxy.address(), b"").await;
    is_closed("127.0.0.2", proxy.address(), b"").await;
    eventually!(refused(&proxy, "overloaded").await == 1.0);
}

#[tokio::test]
async fn what_trusted_proxies_say_is_believed_and_passed_on() {
    let instance = telling().await;
    let proxy = proxy(&instance, RELAYED).await;
    let (trusted, other) =
        (caller("127.0.0.1", proxy.address(), b"").await, caller("127.0.0.2", proxy.address(), b"").await);
    for (hops, seen, passed) in [
        (&[][..], "127.0.0.1", "127.0.0.1"),
        (&["203.0.113.9"], "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        (&["6.6.6.6, 203.0.113.9, 10.0.0.7"], "203.0.113.9", "6.6.6.6, 203.0.113.9, 10.0.0.7, 127.0.0.1"),
        (&["x", "[2001:db8::9]:1"], "2001:db8::9", "x, [2001:db8::9]:1, 127.0.0.1"),
        (&["::ffff:203.0.113.9"], "203.0.113.9", "::ffff:203.0.113.9, 127.0.0.1"),
    ] {
        let ask = || hops.iter().fold(Ask::echo("Unary"), |ask, hop| ask.with("x-forwarded-for", hop));
        let ask = || ask().with("x_forwarded_for", "9.9.9.9").with("x-forwarded-for-bin", "AAAA");
        let answer =
            told(&trusted, ask().with("x-forwarded-proto", "https").with("x-forwarded-host", "edge.test")).await;
        let told_of = ["x-seen", "x-hops", "x-proto", "x-host"].map(|name| answer.field(name).unwrap());
        assert_eq!(told_of, [seen, passed, "https", "edge.test"], "{hops:?}");
        let answer = told(&other, ask().with("x-forwarded-proto", "https").with("x-forwarded-host", "edge.test")).await;
        let told_of = ["x-seen", "x-hops", "x-proto", "x-host"].map(|name| answer.field(name).unwrap());
        assert_eq!(told_of, ["127.0.0.2", "", "", ""], "{hops:?}");
    }
    let forged = Ask::echo("Unary").with("x-forwarded-client-cert", "URI=spiffe://td/admin");
    assert_eq!(told(&trusted, forged.with("x-forwarded-proto", "gopher")).await.field("x-cert").unwrap(), "");
    for unreadable in ["", "unknown", "203.0.113.9, unknown", "203.0.113.09", "0.0.0.0", "203.0.113.9,"] {
        let ask = || Ask::echo("Unary").with("x-forwarded-for", unreadable);
        assert_eq!(trusted.unary(ask(), b"").await.refusal(), (3, "forwarded".into()), "{unreadable:?}");
        assert_eq!(told(&other, ask()).await.field("x-seen").unwrap(), "127.0.0.2");
    }
    assert_eq!(refused(&proxy, "forwarded").await, 6.0);
}

/// A balancer names the proxy that connected to it, and that names its caller.
#[tokio::test]
async fn one_behind_the_other() {
    let instance = telling().await;
    let proxy = proxy(&instance, &format!("{BALANCED}\nforwarded: {{trusted: [10.0.0.0/8]}}")).await;
    let ask = || Ask::echo("Unary").with("x-forwarded-for", "203.0.113.9");
    let to = proxy.address();
    let of = |header: Vec<u8>| async move { caller("127.0.0.1", to, &header).await };
    let relay = of(v4([10, 0, 0, 7])).await;
    let answer = told(&relay, ask()).await;
    assert_eq!(
        answer.field("x-seen").unwrap() + " " + &answer.field("x-hops").unwrap(),
        "203.0.113.9 203.0.113.9, 10.0.0.7"
    );
    // The balancer itself is no trusted proxy.
    for header in [binary(0x20, 0, b""), line("198.51.100.1")] {
        let answer = told(&of(header.clone()).await, ask()).await;
        assert!(answer.field("x-hops").unwrap().is_empty());
        assert!(["127.0.0.1", "198.51.100.1"].contains(&&*answer.field("x-seen").unwrap()));
    }
}

#[tokio::test]
async fn rules_limits_and_logs_go_by_the_caller() {
    let (instance, folder) = (telling().await, Folder::new("origin-logs"));
    let (log, audit) = (folder.at("access.jsonl"), folder.at("audit.jsonl"));
    let top = format!("access_log: {{file: {}}}", log.display());
    let listener = format!(
        "{RELAYED}\nfilters:\n  - audit: {{file: {}}}\n  - authz: {{deny: 'cidr(peer.address, \"198.51.100.0/24\")', allow: 'true'}}\n  \
         - rate_limit: {{key: peer.address, rate: 1/h, burst: 2}}",
        audit.display()
    );
    let setup = Setup { top: &top, listener: &listener, ..Setup::default() };
    let proxy = TestProxy::with(&[instance.address()], setup).await;
    let trusted = caller("127.0.0.1", proxy.address(), b"").await;
    let from = |hops: &str| Ask::echo("Unary").with("x-forwarded-for", hops);
    assert_eq!(trusted.unary(from("198.51.100.1"), b"").await.refusal(), (7, "denied".into()));
    // Of what a caller writes before its own address nothing counts, neither for rules nor to get another share.
    for forged in ["198.51.100.1, 203.0.113.9", "203.0.113.1, 203.0.113.9:4711"] {
        told(&trusted, from(forged)).await;
    }
    assert_eq!(trusted.unary(from("203.0.113.2, 203.0.113.9"), b"").await.refusal(), (8, "rate_limited".into()));
    told(&trusted, from("203.0.113.10")).await;
    drop(trusted);
    assert!(proxy.drain(Duration::from_secs(5)).await);
    let peers = |file| {
        let lines = std::fs::read_to_string(file).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["peer"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let logged = ["198.51.100.1:0", "203.0.113.9:0", "203.0.113.9:4711", "203.0.113.9:0", "203.0.113.10:0"];
    assert_eq!(peers(&log), logged);
    let audited = ["198.51.100.1", "203.0.113.9", "203.0.113.9", "203.0.113.9", "203.0.113.10"];
    assert_eq!(peers(&audit), audited);
}

#[tokio::test]
async fn to_believe_everybody_is_warned_of() {
    let instance = telling().await;
    for (ranges, warned) in [(["0.0.0.0/0", "\"::/0\""], 2), (["10.0.0.0/8", "\"fd00::/8\""], 0)] {
        let keys = format!("proxy_protocol: {{from: [{}]}}\nforwarded: {{trusted: [{}]}}", ranges[0], ranges[1]);
        let proxy = proxy(&instance, &keys).await;
        let warnings = proxy.shared().in_force.load().snapshot.warnings();
        let names = |key: &str| warnings.iter().any(|warning| warning.starts_with(&format!("listeners.edge.{key}: ")));
        assert_eq!(warnings.len(), warned, "{warnings:?}");
        assert!(warned == 0 || (names("proxy_protocol.from") && names("forwarded.trusted")), "{warnings:?}");
    }
}
