use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portunus_tls::Client;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokens::{Fetch as _, Location};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Fetcher;

/// A server that gives each connection the next of these answers, the last of them for ever; `{port}` is its own.
async fn server(answers: &[&str], tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Vec<String> = answers.iter().map(|answer| answer.replace("{port}", &port.to_string())).collect();
    tokio::spawn(async move {
        for at in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let answer = answers[at.min(answers.len() - 1)].clone();
            match &tls {
                None => drop(tokio::spawn(say(stream, answer))),
                Some(tls) => {
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            say(stream, answer).await;
                        }
                    });
                }
            }
        }
    });
    port
}

async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn elsewhere(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

async fn fetch(url: &str, tls: Option<Arc<Client>>) -> Result<String, String> {
    let location: Location = url.parse()?;
    let fetcher = Fetcher::new(location, tls);
    let octets = timeout(Duration::from_secs(15), fetcher.fetch()).await.unwrap()?;
    Ok(String::from_utf8(octets).unwrap())
}

/// In the clear, on this machine.
async fn plain(answers: &[&str]) -> Result<String, String> {
    let port = server(answers, None).await;
    fetch(&format!("http://127.0.0.1:{port}/keys"), None).await
}

#[tokio::test]
async fn what_is_published_is_read_however_it_is_framed() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ke:\r\n5\r\nys\"}}\r\n0\r\n\r\n";
    let to_the_end = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}";
    for (answer, wanted) in
        [(whole("{}").as_str(), "{}"), (chunked, "{\"ke:ys\"}}"), (to_the_end, "{}"), (&whole(""), "")]
    {
        assert_eq!(plain(&[answer]).await, Ok(wanted.to_owned()), "{answer}");
    }
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_and_to_nothing_less_safe() {
    let (same, port) = (elsewhere("/other"), elsewhere("http://127.0.0.1:{port}/other"));
    assert_eq!(plain(&[&same, &port, &same, &whole("{}")]).await, Ok("{}".to_owned()));
    assert!(plain(&[&same]).await.unwrap_err().contains("more than 3 times"));
    for to in ["http://10.0.0.1/", "http://idp.example/", "//127.0.0.1/", "file:///etc/passwd", "keys"] {
        assert!(plain(&[&elsewhere(to)]).await.unwrap_err().contains("elsewhere"), "{to}");
    }
    assert!(plain(&["HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"]).await.unwrap_err().contains("nowhere"));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_in_words() {
    let large = whole(&"x".repeat(300_000));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(300_000));
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    for (answer, word) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "500"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204"),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n", "coding"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "cannot be read"),
        ("nonsense\r\n\r\n", "HTTP"),
        ("", "HTTP"),
        (large.as_str(), "cannot be read"),
        (&endless, "cannot be read"),
        (&head, "HTTP"),
    ] {
        let error = plain(&[answer]).await.unwrap_err();
        assert!(error.contains(word), "{}: {error}", &answer[..answer.len().min(60)]);
    }
    let gone = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() };
    let error = fetch(&format!("http://127.0.0.1:{gone}/"), None).await.unwrap_err();
    assert!(error.contains("cannot be reached"), "{error}");
}

/// A client that trusts its authority, and a server's certificate for these names.
fn certified(names: &[&str]) -> (Arc<Client>, TlsAcceptor) {
    let mut of_ca = CertificateParams::new(Vec::new()).unwrap();
    of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(of_ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let named = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let certificate = CertificateParams::new(named).unwrap().signed_by(&key, &ca).unwrap();
    let path = std::env::temp_dir().join(format!("portunus-fetch-{}-{}.pem", std::process::id(), names.concat()));
    std::fs::write(&path, ca.pem()).unwrap();
    let client = Client::for_web(Some(&path), SystemTime::now()).unwrap();
    std::fs::remove_file(&path).ok();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(client), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_server_must_show_a_certificate_of_its_name_from_an_authority_that_counts() {
    let (ours, tls) = certified(&["localhost", "127.0.0.1"]);
    let (others, _) = certified(&["localhost"]);
    let port = server(&[&whole("{}")], Some(tls)).await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/keys");
        assert_eq!(fetch(&url, Some(Arc::clone(&ours))).await, Ok("{}".to_owned()), "{host}");
        assert!(fetch(&url, Some(Arc::clone(&others))).await.unwrap_err().contains("TLS"), "{host}");
        assert!(fetch(&url, None).await.unwrap_err().contains("TLS"), "{host}");
    }
    let (ours, tls) = certified(&["idp.example"]);
    let port = server(&[&whole("{}")], Some(tls)).await;
    assert!(fetch(&format!("https://localhost:{port}/"), Some(ours)).await.unwrap_err().contains("TLS"));
    // What speaks no TLS is not asked without.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(whole("{}").as_bytes()).await.unwrap();
        // Whatever the caller says first.
        while stream.read_u8().await.is_ok() {}
    });
    assert!(fetch(&format!("https://127.0.0.1:{port}/"), Some(others)).await.unwrap_err().contains("TLS"));
}
