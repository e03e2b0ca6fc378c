//! The admin port where others can reach it: by TLS, with a token, and what is public.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use portunus::config::{self, snapshot};
use portunus::filters;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Authority, Folder, Shown, TestProxy, get, refused_port, soon};
use crate::tls::reload;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn file(admin: &str) -> String {
    let port = refused_port();
    format!(
        "admin: {{{admin}}}\nclusters: {{c: {{endpoints: [\"{port}\"], schema: {{reflection: false}}}}}}\n\
         listeners: {{edge: {{address: 127.0.0.1:0, routes: [{{cluster: c}}]}}}}\n"
    )
}

fn with_mode(folder: &Folder, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.write(name, text);
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

/// The status of a request; 0 where there is no answer.
async fn status(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, more: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
    let mut answer = Vec::new();
    // An error means that it is closed, which what was read shows.
    drop(stream.write_all(request.as_bytes()).await);
    drop(soon(stream.read_to_end(&mut answer)).await);
    let answer = String::from_utf8_lossy(&answer);
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

async fn by_tls(ca: &Authority, proxy: &TestProxy, shown: Option<&Shown>, more: &str) -> u16 {
    match ca.connect(proxy.admin_address(), shown, &["http/1.1"]).await {
        Ok(stream) => status(stream, "/config", more).await,
        Err(_) => 0,
    }
}

#[tokio::test]
async fn the_admin_port_asks_for_certificates_that_are_good_now() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let tls =
        ca.listener(&format!("mode: required, crl: {}", ca.path("crl.pem"))).replace(", client_cert_header: set", "");
    let text = file(&format!("address: 127.0.0.1:0, {tls}"));
    let proxy = TestProxy::yaml(&text).await;
    let (good, bad) = (ca.workload("operator"), ca.workload("former"));
    assert_eq!(by_tls(&ca, &proxy, Some(&good), "").await, 200);
    assert_eq!(by_tls(&ca, &proxy, Some(&bad), "").await, 200);
    for shown in [None, Some(stranger.workload("a")), Some(ca.workload_for("a", std::time::Duration::ZERO))] {
        assert_eq!(by_tls(&ca, &proxy, shown.as_ref(), "").await, 0);
    }
    assert!(get(proxy.admin_address(), "/live").await.is_err(), "nothing in the clear");
    assert!(ca.connect(proxy.admin_address(), Some(&good), &["h2"]).await.is_err(), "HTTP/1.1 only");
    // One that is open when it is revoked gets nothing any more either.
    let open = ca.connect(proxy.admin_address(), Some(&bad), &["http/1.1"]).await.unwrap();
    ca.revoke(&[&bad]);
    reload(&proxy, &text).await;
    assert_eq!(status(open, "/config", "").await, 403);
    assert_eq!(by_tls(&ca, &proxy, Some(&bad), "").await, 0);
    assert_eq!(by_tls(&ca, &proxy, Some(&good), "").await, 200);
}

#[tokio::test]
async fn a_token_opens_the_admin_port_and_another_file_has_another() {
    let folder = Folder::new("admin-token");
    let ca = Authority::new();
    let token = with_mode(&folder, "token", &format!("{TOKEN}\n"), 0o600);
    let other = with_mode(&folder, "other", &TOKEN.replace('0', "9"), 0o400);
    // Off loopback a token is enough; here it comes with TLS, where nobody can overhear it.
    let text =
        |file_: &Path| file(&format!("address: 0.0.0.0:0, token_file: {}, {}", file_.display(), ca.listener("")));
    let proxy = TestProxy::yaml(&text(&token)).await;
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(by_tls(&ca, &proxy, None, "").await, 401);
    assert_eq!(by_tls(&ca, &proxy, None, &bearer).await, 200);
    assert_eq!(by_tls(&ca, &proxy, None, &bearer.replace("abc", "abd")).await, 401);
    let view = &proxy.shared().in_force.load_full().snapshot;
    assert!(!format!("{:?} {}", view.access, view.view).contains(TOKEN));
    reload(&proxy, &text(&other)).await;
    assert_eq!(by_tls(&ca, &proxy, None, &bearer).await, 401);
    assert_eq!(by_tls(&ca, &proxy, None, &bearer.replace('0', "9")).await, 200);
}

#[tokio::test]
async fn what_is_public_is_little_and_needs_nothing() {
    let folder = Folder::new("admin-public");
    let token = with_mode(&folder, "token", TOKEN, 0o600);
    let admin = format!("address: 127.0.0.1:0, token_file: {}, public: \"127.0.0.1:0\"", token.display());
    let proxy = TestProxy::yaml(&file(&admin)).await;
    let to = |address| async move { TcpStream::connect(address).await.unwrap() };
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(status(to(proxy.public_address()).await, path, "").await, 200, "{path}");
        assert_eq!(status(to(proxy.admin_address()).await, path, "").await, 401, "{path}");
    }
    for path in ["/", "/config", "/agents", "/schema", "/config/status"] {
        assert_eq!(status(to(proxy.public_address()).await, path, "").await, 404, "{path}");
    }
    let mut bare = to(proxy.public_address()).await;
    bare.write_all(b"GET /live HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(bare.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_is_wrong_with_the_file_of_the_token_is_said() {
    let folder = Folder::new("admin-token-file");
    let errors = |name: &str| {
        let text = file(&format!("address: 127.0.0.1:0, token_file: {}", folder.at(name).display()));
        let loaded = config::load_str(&text, Path::new("it.yaml"), &|_| None, filters::ALL).unwrap();
        snapshot::build(&loaded, filters::ALL, 1).map(drop).unwrap_err().to_string()
    };
    with_mode(&folder, "open", TOKEN, 0o644);
    with_mode(&folder, "shared", TOKEN, 0o660);
    with_mode(&folder, "short", "secret", 0o600);
    with_mode(&folder, "blank", &format!("{TOKEN} {TOKEN}"), 0o600);
    with_mode(&folder, "long", &"a".repeat(5_000), 0o600);
    for (name, words) in [
        ("nowhere", "cannot be read"),
        ("open", "has mode 0644"),
        ("shared", "has mode 0660"),
        ("short", "a token of 6 characters, and 32 is the least"),
        ("blank", "characters in it that no token has"),
        ("long", "is over 4096 octets"),
    ] {
        let said = errors(name);
        assert!(said.contains("admin.token_file: ") && said.contains(words), "{said}");
        assert!(!said.contains(TOKEN) && !said.contains("secret"), "{said}");
    }
}

#[test]
fn a_token_that_can_be_overheard_is_warned_of() {
    let folder = Folder::new("admin-overheard");
    let ca = Authority::new();
    let token = with_mode(&folder, "token", TOKEN, 0o600);
    let warnings = |admin: &str| {
        let text = file(&format!("{admin}, token_file: {}", token.display()));
        let loaded = config::load_str(&text, Path::new("it.yaml"), &|_| None, filters::ALL).unwrap();
        snapshot::build(&loaded, filters::ALL, 1).unwrap().warnings()
    };
    assert!(warnings("address: 0.0.0.0:0")[0].starts_with("admin.token_file: "));
    assert!(warnings("address: 127.0.0.1:0").is_empty());
    assert!(warnings(&format!("address: 0.0.0.0:0, {}", ca.listener(""))).is_empty());
}
