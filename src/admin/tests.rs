//! The admin server over real sockets, with requests written by hand: what a client library would not send is what
//! matters here.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

mod sample;

use sample::Sample;

use super::router::ENDPOINTS;
use super::server::{Bounds, serve_within};
use super::*;
use crate::observe::metrics::{Format, Seen};

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start_with(view: Sample, surface: Surface, bounds: Bounds) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let site = (AdminState { view: Arc::new(view), metrics: Metrics::new() }, surface);
    let task = tokio::spawn(serve_within(bounds, listener, site, async {
        let _ = stopped.await;
    }));
    Server { address, stop, task }
}

async fn start() -> Server {
    start_with(Sample::default(), Surface::Full, Bounds::default()).await
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends the bytes and reads until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn ask(server: &Server, method: &str, path: &str) -> Answer {
    exchange(server.address, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

#[tokio::test]
async fn every_endpoint_answers_json() {
    let server = start().await;
    let mut pages = String::new();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.method == "GET" && endpoint.path != "/metrics") {
        let answer = ask(&server, "GET", endpoint.path).await;
        assert_eq!(answer.status, 200, "{}: {}", endpoint.path, answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(!answer.head.to_lowercase().contains("access-control-"), "{}", answer.head);
        pages += &format!("GET {}\n{}\n", endpoint.path, answer.body);
    }
    insta::assert_snapshot!(pages);
}

/// A request with a body.
fn tries(body: &str) -> String {
    let head = "POST /config/check HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_body_is_read_where_an_endpoint_takes_one() {
    let server = start().await;
    let fine = exchange(server.address, &tries("a: 1")).await;
    assert_eq!((fine.status, fine.body.contains("4 octets")), (200, true), "{}", fine.body);
    assert_eq!(exchange(server.address, &tries("wrong")).await.status, 422);
    let mut longer = tries("a: 1");
    longer = longer.replace("Content-Length: 4", &format!("Content-Length: {}", (8 << 20) + 1));
    let refused = exchange(server.address, &longer).await;
    assert_eq!(refused.status, 413, "before it is read: {}", refused.body);
    let chunk = format!("100000\r\n{}\r\n", "#".repeat(1 << 20));
    let head = tries("").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let refused = exchange(server.address, &format!("{head}{}", chunk.repeat(9))).await;
    assert_eq!(refused.status, 413, "as it comes: {}", refused.body);
    assert_eq!(exchange(server.address, "GET /config/check HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status, 405);
    let html = tries("a: 1").replace("application/json", "text/plain");
    assert_eq!(exchange(server.address, &html).await.status, 415, "a form of another page");
}

#[tokio::test]
async fn one_body_is_worked_on_at_a_time() {
    let server = start().await;
    let slow = tokio::spawn({
        let address = server.address;
        async move { exchange(address, &tries("slow")).await.status }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let other = exchange(server.address, &tries("a: 1")).await;
    assert_eq!(other.status, 429, "{}", other.body);
    assert_eq!(ask(&server, "GET", "/live").await.status, 200, "others are answered meanwhile");
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(exchange(server.address, &tries("a: 1")).await.status, 200);
    // Whoever does not send what it announced loses its turn with its connection.
    let bounds = Bounds { request: Duration::from_millis(200), ..Bounds::default() };
    let server = start_with(Sample::default(), Surface::Full, bounds).await;
    exchange(server.address, &tries("a: 1").replace("Content-Length: 4", "Content-Length: 5")).await;
    assert_eq!(exchange(server.address, &tries("a: 1")).await.status, 200);
}

#[tokio::test]
async fn not_ready_is_503_and_says_what_is_missing() {
    let view = Sample { missing: vec!["listener edge is not bound".to_owned()], ..Sample::default() };
    let server = start_with(view, Surface::Full, Bounds::default()).await;
    let answer = ask(&server, "GET", "/ready").await;
    assert_eq!(answer.status, 503);
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["ready"], false);
    assert_eq!(body["missing"][0], "listener edge is not bound");
    assert_eq!(ask(&server, "GET", "/live").await.status, 200, "not ready is no reason for a restart");
}

#[tokio::test]
async fn metrics_come_in_both_formats() {
    let server = start().await;
    let plain = ask(&server, "GET", "/metrics").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.body.contains("\nportunus_instances{cluster=\"agents\",state=\"healthy\"} 2\n"), "{}", plain.body);
    assert!(plain.body.contains("\nportunus_instances{cluster=\"agents\",state=\"lost\"} 0\n"), "{}", plain.body);
    let accept = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n";
    let open = exchange(server.address, accept).await;
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = start().await;
    for path in ["/ready", "/metrics", "/instances"] {
        let answer = ask(&server, "HEAD", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(length > 0, "{path}");
    }
    assert_eq!(ask(&server, "HEAD", "/nothing").await.status, 404);
}

#[tokio::test]
async fn other_methods_are_refused_with_allow() {
    let server = start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let answer = ask(&server, method, "/clusters").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method}");
    }
}

#[tokio::test]
async fn an_agent_is_released_on_purpose_only() {
    let server = start().await;
    let path = "/agents/0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7";
    assert_eq!(ask(&server, "GET", path).await.status, 405);
    assert_eq!(ask(&server, "DELETE", path).await.status, 415, "a page could send that");
    let delete = |path: &str, more: &str| {
        format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n")
    };
    assert_eq!(exchange(server.address, &delete(path, "Origin: http://evil.example\r\n")).await.status, 403);
    let answer = exchange(server.address, &delete(path, "")).await;
    assert_eq!((answer.status, answer.body.contains("agents")), (200, true), "{}", answer.body);
    assert_eq!(exchange(server.address, &delete("/agents/other", "")).await.status, 404);
    assert_eq!(exchange(server.address, &delete("/agents/", "")).await.status, 404);
}

#[tokio::test]
async fn an_unknown_path_lists_what_there_is() {
    let server = start().await;
    for path in ["/", "/config/", "/config/statu", "/Live", "/live/../config", "//live", "/%6Cive"] {
        let answer = ask(&server, "GET", path).await;
        assert_eq!(answer.status, 404, "{path}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let listed: Vec<_> = body["endpoints"].as_array().unwrap().iter().filter_map(|path| path.as_str()).collect();
        assert!(listed.iter().copied().eq(ENDPOINTS.iter().map(|endpoint| endpoint.path)), "{listed:?}");
    }
    assert_eq!(ask(&server, "GET", "/live?verbose=1").await.status, 200, "a query does not change the path");
}

#[tokio::test]
async fn the_host_rule_holds_on_the_wire() {
    let server = start().await;
    let port = server.address.port();
    for (headers, status) in [
        (format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: localhost\r\n".to_owned(), 200),
        ("Host: Portunus.Internal:9901\r\n".to_owned(), 200),
        ("Host: portunus.internal.evil.example\r\n".to_owned(), 421),
        (format!("Host: rebound.evil.example:{port}\r\n"), 421),
        ("Host: localhost.evil.example\r\n".to_owned(), 421),
        (String::new(), 421),
        ("Host:\r\n".to_owned(), 421),
        ("Host: localhost\r\nHost: localhost\r\n".to_owned(), 421),
        ("Host: localhost\r\nHost: evil.example\r\n".to_owned(), 421),
    ] {
        for path in ["/config", "/nothing"] {
            let answer = exchange(server.address, &format!("GET {path} HTTP/1.1\r\n{headers}\r\n")).await;
            let expected = if path == "/nothing" && status == 200 { 404 } else { status };
            assert_eq!(answer.status, expected, "{path} {headers:?}: {}", answer.body);
        }
    }
    let absolute = "GET http://evil.example/config HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(server.address, absolute).await.status, 421);
    assert_eq!(exchange(server.address, "GET /config HTTP/1.0\r\n\r\n").await.status, 421);
}

#[tokio::test]
async fn the_public_port_answers_any_host_and_only_three_paths() {
    let server = start_with(Sample::default(), Surface::Public, Bounds::default()).await;
    for path in ["/live", "/ready", "/metrics"] {
        for request in [format!("GET {path} HTTP/1.0\r\n\r\n"), format!("GET {path} HTTP/1.1\r\nHost: a.b\r\n\r\n")] {
            assert_eq!(exchange(server.address, &request).await.status, 200, "{request}");
        }
    }
    let ready = ask(&server, "GET", "/ready").await.body;
    assert!(ready.contains("\"1 of what `/ready` on `admin.address` tells of\"") && !ready.contains("core"), "{ready}");
    for path in ["/config", "/agents", "/instances", "/routes", "/clusters", "/config/status"] {
        let answer = ask(&server, "GET", path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("/config"), "it does not even list them: {}", answer.body);
    }
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let server = start().await;
    let long = format!("GET /live HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET /live HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: 1\r\n".repeat(200));
    for request in [long, many] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may close while the rest is on its way, which resets the connection: both ends are fine, a 200 is not.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    }
    assert_eq!(ask(&server, "GET", "/live").await.status, 200);
}

/// One that has said half a word.
async fn slow(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: loc").await.unwrap();
    stream
}

/// What the other end says until it closes, if it does.
async fn last_words(stream: &mut TcpStream, patience: Duration) -> Option<String> {
    let mut rest = Vec::new();
    let _ = timeout(patience, stream.read_to_end(&mut rest)).await.ok()?;
    Some(String::from_utf8_lossy(&rest).into_owned())
}

#[tokio::test]
async fn slow_clients_are_bounded_in_time() {
    let bounds = Bounds { request: Duration::from_millis(300), ..Bounds::default() };
    for surface in [Surface::Full, Surface::Public] {
        let server = start_with(Sample::default(), surface, bounds).await;
        let began = Instant::now();
        let (mut half, mut silent) = (slow(&server).await, TcpStream::connect(server.address).await.unwrap());
        for stream in [&mut half, &mut silent] {
            let words = last_words(stream, PATIENCE).await.expect("a slow client is cut off");
            assert!(!words.contains("200 OK"), "{words}");
            assert!(began.elapsed() >= Duration::from_millis(250), "it had its time");
        }
    }
}

#[tokio::test]
async fn whoever_holds_many_connections_keeps_nobody_out() {
    let bounds = Bounds { connections: 2, request: PATIENCE * 2, ..Bounds::default() };
    for surface in [Surface::Full, Surface::Public] {
        let server = start_with(Sample::default(), surface, bounds).await;
        let (mut first, mut second) = (slow(&server).await, slow(&server).await);
        assert_eq!(ask(&server, "GET", "/live").await.status, 200);
        assert!(last_words(&mut first, PATIENCE).await.is_some(), "the oldest goes");
        assert!(last_words(&mut second, Duration::from_millis(200)).await.is_none(), "and that one only");
        second.write_all(b"alhost\r\n\r\n").await.unwrap();
        assert!(last_words(&mut second, PATIENCE).await.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn without_the_token_there_is_nothing_to_see() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let server = start_with(Sample { token: Some(TOKEN), ..Sample::default() }, Surface::Full, Bounds::default()).await;
    let with = |head: &str, host: &str, token: &str| {
        let request = format!("{head} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
        async move { exchange(server.address, &request).await }
    };
    for endpoint in ENDPOINTS {
        let answer = with(&format!("{} {}", endpoint.method, endpoint.path), "localhost", "x").await;
        assert_eq!(answer.status, 401, "{}", endpoint.path);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"portunus admin\""));
        assert!(!answer.body.contains("endpoints") && !answer.body.contains(TOKEN), "{}", answer.body);
    }
    assert_eq!(ask(&server, "GET", "/nothing").await.status, 401);
    assert_eq!(with("GET /live", "localhost", TOKEN).await.status, 200);
    assert_eq!(with("GET /nothing", "localhost", TOKEN).await.status, 404);
    assert_eq!(with("GET /live", "evil.example", TOKEN).await.status, 421, "a name is not made good by a token");
    let open = Sample { token: Some(TOKEN), ..Sample::default() };
    let public = start_with(open, Surface::Public, Bounds::default()).await;
    assert_eq!(ask(&public, "GET", "/ready").await.status, 200, "kubelet has no token");
    assert_eq!(ask(&public, "POST", "/ready").await.status, 405);
}

#[tokio::test]
async fn no_answer_can_be_put_into_another_page() {
    let server = start().await;
    for path in ["/config", "/metrics", "/nothing"] {
        let answer = ask(&server, "GET", path).await;
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
    }
    let foreign = "GET /config HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\n\r\n";
    assert_eq!(exchange(server.address, foreign).await.status, 403);
}

#[tokio::test]
async fn a_request_in_two_pieces_is_one_request() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nHo").await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(b"st: localhost\r\n\r\n").await.unwrap();
    // As `printf … | nc` does: no more requests, and the answer is still wanted.
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.to_lowercase().contains("connection: close"), "{text}");
}

#[tokio::test]
async fn the_server_stops_when_told() {
    let server = start().await;
    assert_eq!(ask(&server, "GET", "/live").await.status, 200);
    server.stop.send(()).unwrap();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is free again");
}

#[test]
fn docs_name_every_endpoint_and_every_metric() {
    let docs = include_str!("../../docs/admin.md");
    for endpoint in ENDPOINTS {
        assert!(docs.contains(&format!("`{} {}`", endpoint.method, endpoint.path)), "undocumented: {}", endpoint.path);
    }
    let page = Metrics::new().expose(Format::Prometheus, Seen::default()).unwrap();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(docs.contains(&format!("`{name}")), "undocumented: {name}");
    }
}
