//! OpenSSL's own client against a listener by TLS: versions, ciphers, certificates, and sessions that come back.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::harness::{Authority, Shown, TestProxy, echo, soon};
use crate::tls::{file, reload};

/// HTTP/2's preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether a client with these options gets in: that it hears our SETTINGS. And what it says on stderr.
async fn gets_in(ca: &Authority, to: SocketAddr, shown: Option<&Shown>, options: &str) -> (bool, String) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-nocommands", "-verify_return_error", "-servername", "localhost"]);
    command.args(["-connect", &to.to_string(), "-CAfile", &ca.path("ca.pem")]);
    if !options.contains("-alpn") {
        command.args(["-alpn", "h2"]);
    }
    if let Some(Shown { pem, key_pem, .. }) = shown {
        command.args(["-cert", &ca.write("client.pem", pem), "-key", &ca.write("client.key", key_pem)]);
    }
    command.args(options.split_whitespace());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut client = command.spawn().expect("openssl: install it, CI has it");
    let (mut say, mut hear) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    // An error means that it is gone, which the answer shows.
    drop(say.write_all(HELLO).await);
    drop(say.flush().await);
    let mut heard = [0; 9];
    let is_in = soon(hear.read_exact(&mut heard)).await.is_ok() && heard[3] == 4;
    if is_in {
        // Tickets come behind.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        client.start_kill().unwrap();
    }
    let mut words = String::new();
    drop(soon(client.stderr.take().unwrap().read_to_string(&mut words)).await);
    drop(soon(client.wait()).await);
    (is_in, words)
}

#[tokio::test]
async fn openssl_gets_in_where_it_should_and_nowhere_else() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let echo = echo("e").await;
    let text = file(&ca, echo.address(), &format!("mode: required, crl: {}", ca.path("crl.pem")));
    let proxy = TestProxy::yaml(&text).await;
    let good = ca.workload("good");
    let (foreign, old) = (stranger.workload("good"), ca.workload_for("old", std::time::Duration::ZERO));
    let rows: [(Option<&Shown>, &str, bool); 17] = [
        (Some(&good), "-tls1_3", true),
        (Some(&good), "-tls1_2", true),
        (Some(&good), "-tls1_1 -cipher DEFAULT@SECLEVEL=0", false),
        (Some(&good), "-tls1 -cipher DEFAULT@SECLEVEL=0", false),
        (Some(&good), "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", true),
        (Some(&good), "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", true),
        (Some(&good), "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", false),
        (Some(&good), "-tls1_2 -cipher AES128-GCM-SHA256", false),
        (Some(&good), "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", true),
        (Some(&good), "-tls1_3 -verify_hostname other.test", false),
        (Some(&good), "-tls1_3 -alpn h3", false),
        (None, "-tls1_3", false),
        (None, "-tls1_2", false),
        (Some(&foreign), "-tls1_3", false),
        (Some(&foreign), "-tls1_2", false),
        (Some(&old), "-tls1_3", false),
        (Some(&old), "-tls1_2", false),
    ];
    for (shown, options, wanted) in rows {
        let (is_in, words) = gets_in(&ca, proxy.address(), shown, options).await;
        assert_eq!(is_in, wanted, "{options}: {words}");
    }
    // A session from before the revocation brings nobody in after it.
    for version in ["-tls1_2", "-tls1_3"] {
        let own = ca.workload("leaves");
        let session = ca.path(&format!("session{version}"));
        let first = gets_in(&ca, proxy.address(), Some(&own), &format!("{version} -sess_out {session}")).await;
        assert!(first.0, "{}", first.1);
        // Nothing to resume is as good: then openssl has written no file.
        let again = match std::path::Path::new(&session).exists() {
            true => format!("{version} -sess_in {session}"),
            false => version.to_owned(),
        };
        assert!(gets_in(&ca, proxy.address(), Some(&own), &again).await.0);
        ca.revoke(&[&own]);
        reload(&proxy, &text).await;
        let (is_in, words) = gets_in(&ca, proxy.address(), Some(&own), &again).await;
        assert!(!is_in && words.contains("revoked"), "{version}: {words}");
        assert!(gets_in(&ca, proxy.address(), Some(&good), version).await.0);
    }
}
