//! Who gets in, over TLS 1.2 and 1.3, with a client that is not ours.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;

use super::pki::{Authority, Folder, Issued, in_days, localhost, named, server, workload};
use crate::provider::provider;
use crate::{Asks, Client, Expected, Identity, Refused, Server, Session, Standing};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A client as others are: with a memory for sessions.
fn client(ca: &Authority, own: Option<&Issued>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let key = PrivatePkcs8KeyDer::from(own.key_der.clone());
            builder.with_client_auth_cert(vec![own.der.clone().into()], key.into()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::in_memory_sessions(16);
    Arc::new(config)
}

/// Both ends say a word: tickets and refusals of TLS 1.3 come after the client's handshake.
async fn meet(
    server: &Server,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (Result<Session<DuplexStream>, Refused>, std::io::Result<(HandshakeKind, CertificateDer<'static>)>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let served = async {
        let mut session = server.accept(near).await?;
        let mut word = [0; 4];
        session.stream.read_exact(&mut word).await.unwrap();
        session.stream.write_all(&word).await.unwrap();
        session.stream.flush().await.unwrap();
        Ok(session)
    };
    let asked = async {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, far).await?;
        stream.write_all(b"word").await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        let connection = stream.get_ref().1;
        Ok((connection.handshake_kind().unwrap(), connection.peer_certificates().unwrap()[0].clone()))
    };
    tokio::join!(served, asked)
}

#[tokio::test]
async fn who_shows_a_good_certificate_is_known() {
    let ca = Authority::new("ca");
    let server = localhost(&ca, Some(ca.trust(Asks::Required, None)));
    for version in BOTH {
        let (session, seen) = meet(&server, &client(&ca, Some(&ca.issue(workload("w"))), version), "localhost").await;
        let session = session.unwrap();
        assert_eq!(session.peer.unwrap().identity.spiffe.as_deref(), Some("spiffe://td/w"));
        assert_eq!((session.stream.protocol(), seen.unwrap().0), (Some(&b"h2"[..]), HandshakeKind::Full));
    }
}

#[tokio::test]
async fn who_shows_a_bad_one_does_not_get_in() {
    let (ca, stranger) = (Authority::new("ca"), Authority::new("ca"));
    let revoked = ca.issue(workload("w"));
    let mut old = workload("old");
    old.not_after = in_days(-2).into();
    let mut early = workload("early");
    early.not_before = in_days(2).into();
    let mut two = workload("two");
    two.subject_alt_names.push(rcgen::SanType::URI("spiffe://td/b".try_into().unwrap()));
    let cases = [
        (None, "no certificate"),
        (Some(ca.issue(old)), "Expired"),
        (Some(ca.issue(early)), "valid"),
        (Some(stranger.issue(workload("w"))), "invalid peer"),
        (Some(ca.issue(super::pki::server(&["a.test"]))), "key usage for client"),
        (Some(ca.issue(two)), "more than one URI"),
        (Some(Authority::new("self").issue(named("self"))), "invalid peer"),
    ];
    for version in BOTH {
        let list = ca.list(&[&revoked], 10);
        let server = localhost(&ca, Some(ca.trust(Asks::Required, Some(&list))));
        let (session, seen) = meet(&server, &client(&ca, Some(&revoked), version), "localhost").await;
        let refused = session.unwrap_err();
        assert!(refused.for_certificate && refused.why.contains("Revoked"), "{refused}");
        assert!(seen.unwrap_err().to_string().contains("Revoked"));
        for (own, words) in &cases {
            let (session, seen) = meet(&server, &client(&ca, own.as_ref(), version), "localhost").await;
            let refused = session.unwrap_err();
            let has = |text: &str| text.to_lowercase().contains(&words.to_lowercase());
            assert!(refused.for_certificate && has(&refused.why), "{words}: {refused}");
            seen.unwrap_err();
        }
    }
}

#[tokio::test]
async fn where_a_certificate_is_optional_a_bad_one_is_refused_all_the_same() {
    let (ca, stranger) = (Authority::new("ca"), Authority::new("other"));
    let server = localhost(&ca, Some(ca.trust(Asks::Optional, None)));
    assert!(!server.requires_certificates());
    for version in BOTH {
        assert!(meet(&server, &client(&ca, None, version), "localhost").await.0.unwrap().peer.is_none());
        let known = meet(&server, &client(&ca, Some(&ca.issue(workload("w"))), version), "localhost").await.0.unwrap();
        assert!(known.peer.is_some());
        // A client sends none to a server that names other CAs, so that this is about one that does.
        let mut insists = (*client(&ca, None, version)).clone();
        let own = stranger.issue(workload("w"));
        let key = provider().key_provider.load_private_key(PrivatePkcs8KeyDer::from(own.key_der).into()).unwrap();
        let shown = rustls::sign::CertifiedKey::new(vec![own.der.into()], key);
        insists.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
        meet(&server, &Arc::new(insists), "localhost").await.0.unwrap_err();
    }
}

/// A client that has shaken hands comes back with what it remembers: that must not let it in past a revocation.
#[tokio::test]
async fn no_session_outlives_its_certificate() {
    let ca = Authority::new("ca");
    for version in BOTH {
        for asks in [Asks::Required, Asks::Optional] {
            let own = ca.issue(workload("w"));
            let client = client(&ca, Some(&own), version);
            let before = localhost(&ca, Some(ca.trust(asks, Some(&ca.list(&[], 10)))));
            for _ in 0..2 {
                let (session, seen) = meet(&before, &client, "localhost").await;
                assert!(session.is_ok());
                assert_eq!(seen.unwrap().0, HandshakeKind::Full, "a resumed session would be verified by nobody");
            }
            let trust = ca.trust(asks, Some(&ca.list(&[&own], 10)));
            let after = Server::new(before.certificates().to_vec(), Some(trust), &[b"h2"], Some(&before)).unwrap();
            let (session, _) = meet(&after, &client, "localhost").await;
            assert!(session.unwrap_err().why.contains("Revoked"));
        }
    }
}

/// And where there was no question of certificates, a session from then brings nobody in once there is.
#[tokio::test]
async fn a_session_from_before_certificates_were_asked_for_is_worth_nothing() {
    let ca = Authority::new("ca");
    for version in BOTH {
        let client = client(&ca, None, version);
        let before = localhost(&ca, None);
        assert_eq!(meet(&before, &client, "localhost").await.1.unwrap().0, HandshakeKind::Full);
        assert_eq!(meet(&before, &client, "localhost").await.1.unwrap().0, HandshakeKind::Resumed, "tickets work");
        let same = Server::new(before.certificates().to_vec(), None, &[b"h2"], Some(&before)).unwrap();
        assert_eq!(meet(&same, &client, "localhost").await.1.unwrap().0, HandshakeKind::Resumed, "also over a reload");
        let trust = ca.trust(Asks::Required, None);
        let after = Server::new(before.certificates().to_vec(), Some(trust), &[b"h2"], Some(&same)).unwrap();
        assert!(meet(&after, &client, "localhost").await.0.unwrap_err().for_certificate);
        let trust = ca.trust(Asks::Optional, None);
        let after = Server::new(before.certificates().to_vec(), Some(trust), &[b"h2"], Some(&same)).unwrap();
        assert_eq!(meet(&after, &client, "localhost").await.1.unwrap().0, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn each_name_gets_its_certificate() {
    let ca = Authority::new("ca");
    let issued = [ca.issue(server(&["a.test"])), ca.issue(server(&["*.b.test"])), ca.issue(server(&["x.b.test"]))];
    let server = Server::new(issued.iter().map(Issued::certificate).collect(), None, &[], None).unwrap();
    for version in BOTH {
        let client = client(&ca, None, version);
        for (name, which) in [("a.test", 0), ("A.Test", 0), ("y.b.test", 1), ("x.b.test", 2)] {
            let (_, seen) = meet(&server, &client, name).await;
            assert!(seen.unwrap().1 == issued[which].der.clone().into(), "{name}");
        }
        // Nobody's name: the first one, which the client then refuses.
        for name in ["y.x.b.test", "b.test", "c.test"] {
            assert!(
                meet(&server, &client, name).await.1.unwrap_err().to_string().contains("not valid for name"),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn only_who_is_expected_is_connected_to() {
    let (ca, stranger, folder) = (Authority::new("ca"), Authority::new("ca"), Folder::new());
    let now = SystemTime::now();
    let bundle = folder.write("ca.pem", ca.pem());
    let mut params = named("instance");
    params.subject_alt_names = vec![
        rcgen::SanType::URI("spiffe://td/instance".try_into().unwrap()),
        rcgen::SanType::DnsName("a.test".try_into().unwrap()),
    ];
    let serve = |issued: &Issued| Server::new(vec![issued.certificate()], None, &[b"h2"], None).unwrap();
    let (good, bad) = (serve(&ca.issue(params.clone())), serve(&stranger.issue(params)));
    let by_name = Client::load(&bundle, None, Some("a.test"), now, None).unwrap();
    let unnamed = Client::load(&bundle, None, None, now, None).unwrap();
    let reach = async |server: &Server, client: &Client, host: &str, expected: Expected<'_>| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (served, connected) = tokio::join!(server.accept(near), client.connect(far, host, expected));
        assert!(connected.is_err() || served.is_ok());
        connected.map(|stream| assert_eq!(stream.protocol(), Some(&b"h2"[..])))
    };
    reach(&good, &by_name, "127.0.0.1", Expected::Host("127.0.0.1")).await.unwrap();
    reach(&good, &by_name, "127.0.0.1", Expected::Named).await.unwrap();
    reach(&good, &unnamed, "a.test", Expected::Host("a.test")).await.unwrap();
    reach(&good, &unnamed, "127.0.0.1", Expected::Spiffe("spiffe://td/instance")).await.unwrap();
    let refused = reach(&good, &unnamed, "127.0.0.1", Expected::Named).await.unwrap_err();
    assert!(refused.why.contains("server_name"), "{refused}");
    let refused = reach(&good, &unnamed, "127.0.0.1", Expected::Spiffe("spiffe://td/other")).await.unwrap_err();
    assert!(refused.why.contains("somebody else"), "{refused}");
    // By subject and issuer, where there is no SPIFFE ID: with one, that is who it is.
    let mut plain = named("plain");
    plain.subject_alt_names = vec![rcgen::SanType::DnsName("a.test".try_into().unwrap())];
    let plain = serve(&ca.issue(plain));
    let subject = |subject, issuer| Expected::Subject { subject, issuer };
    reach(&plain, &unnamed, "127.0.0.1", subject("CN=plain", "CN=ca")).await.unwrap();
    for (server, expected) in [
        (&plain, subject("CN=other", "CN=ca")),
        (&plain, subject("CN=plain", "CN=other")),
        (&good, subject("CN=instance", "CN=ca")),
    ] {
        let refused = reach(server, &unnamed, "127.0.0.1", expected).await.unwrap_err();
        assert!(refused.why.contains("somebody else"), "{refused}");
    }
    for host in ["127.0.0.1", "b.test"] {
        let refused = reach(&good, &unnamed, host, Expected::Host(host)).await.unwrap_err();
        assert!(refused.for_certificate && refused.why.contains("not valid for name"), "{refused}");
    }
    for expected in [Expected::Named, Expected::Spiffe("spiffe://td/instance")] {
        let refused = reach(&bad, &by_name, "a.test", expected).await.unwrap_err();
        assert!(refused.why.contains("UnknownIssuer") || refused.why.contains("BadSignature"), "{refused}");
    }
}

#[tokio::test]
async fn a_client_shows_its_own_certificate() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let own = ca.issue(workload("proxy"));
    let (chain, key) = (folder.write("pem", &own.pem), folder.write("key", &own.key));
    let bundle = folder.write("ca.pem", ca.pem());
    let client = Client::load(&bundle, Some((&chain, &key)), None, SystemTime::now(), None).unwrap();
    let server = localhost(&ca, Some(ca.trust(Asks::Required, None)));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let expected = Expected::Host("localhost");
    let (served, connected) = tokio::join!(server.accept(near), client.connect(far, "localhost", expected));
    connected.unwrap();
    assert_eq!(served.unwrap().peer.unwrap().identity, Identity::of(&own.der).unwrap());
}

#[tokio::test]
async fn who_came_is_judged_again() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let own = ca.issue(workload("w"));
    let server = localhost(&ca, Some(ca.trust(Asks::Optional, None)));
    let peer = meet(&server, &client(&ca, Some(&own), &TLS13), "localhost").await.0.unwrap().peer;
    let peer = peer.as_deref();
    let now = SystemTime::now();
    let under = |trust| Server::new(server.certificates().to_vec(), trust, &[], Some(&server)).unwrap();
    let is_bad = |standing: Standing| matches!(standing, Standing::Bad(_));
    assert_eq!(server.judge(peer, now), Standing::Good);
    assert_eq!(server.judge(None, now), Standing::Good);
    assert_eq!(server.judge(peer, in_days(40)), Standing::Expired);
    assert!(is_bad(under(None).judge(peer, now)));
    assert_eq!(under(None).judge(None, now), Standing::Good);
    assert!(is_bad(under(Some(other.trust(Asks::Optional, None))).judge(peer, now)));
    assert!(is_bad(under(Some(ca.trust(Asks::Required, None))).judge(None, now)));
    assert!(is_bad(under(Some(ca.trust(Asks::Optional, Some(&ca.list(&[&own], 10))))).judge(peer, now)));
    // An address that is not ours to trust is not an identity: what the peer says of itself was checked when it came.
    assert_eq!(under(Some(ca.trust(Asks::Required, Some(&ca.list(&[], 10))))).judge(peer, now), Standing::Good);
}
