//! A CA, what it issues, and callers by TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Caller, Folder};

static NUMBERS: AtomicUsize = AtomicUsize::new(1);

/// A CA with a folder, in which what a proxy needs lies: `ca.pem`, `server.pem`, `server.key` (for `localhost`), `crl.pem`.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

/// A client's certificate.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    der: Vec<u8>,
    key: Vec<u8>,
    serial: Vec<u8>,
}

impl Shown {
    /// Whether the other end of a connection showed this.
    pub(crate) fn is_at(&self, stream: &TlsStream<TcpStream>) -> bool {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        shown.is_some_and(|shown| **shown == *self.der)
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "test ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let ca = Self { issuer, folder: Folder::new(&format!("tls-{number}")) };
        let mut server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = ca.issue(server);
        ca.write("ca.pem", &ca.issuer.pem());
        ca.write("server.pem", &server.pem);
        ca.write("server.key", &server.key_pem);
        ca.revoke(&[]);
        ca
    }

    fn issue(&self, mut params: CertificateParams) -> Shown {
        let key = KeyPair::generate().unwrap();
        let serial = (NUMBERS.fetch_add(1, Ordering::Relaxed) as u64).to_be_bytes().to_vec();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let der = certificate.der().to_vec();
        Shown { pem: certificate.pem(), key_pem: key.serialize_pem(), der, key: key.serialize_der(), serial }
    }

    /// A workload `spiffe://td/NAME`, whose certificate expires.
    pub(crate) fn workload_for(&self, name: &str, lasts: std::time::Duration) -> Shown {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://td/{name}").try_into().unwrap())];
        // A certificate is good to the end of its last second.
        params.not_after = OffsetDateTime::now_utc() + lasts - Duration::seconds(1);
        self.issue(params)
    }

    /// A client whose certificate names nobody.
    pub(crate) fn nameless(&self) -> Shown {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// The same, for longer than a test lasts.
    pub(crate) fn workload(&self, name: &str) -> Shown {
        self.workload_for(name, std::time::Duration::from_secs(86_400))
    }

    /// A server's certificate for names and addresses, which expires.
    pub(crate) fn server_for(&self, names: &[&str], lasts: std::time::Duration) -> Shown {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = OffsetDateTime::now_utc() + lasts - Duration::seconds(1);
        self.issue(params)
    }

    /// The same, for longer than a test lasts.
    pub(crate) fn server(&self, names: &[&str]) -> Shown {
        self.server_for(names, std::time::Duration::from_secs(86_400))
    }

    /// A server that shows this and speaks these; `asks`: for a certificate of this CA, and takes nobody without.
    pub(crate) fn serving(&self, shown: &Shown, protocols: &[&str], asks: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = if asks {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider);
            builder.unwrap().with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.unwrap().with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(shown.key.clone());
        let mut config = builder.with_single_cert(vec![shown.der.clone().into()], key.into()).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// The key `tls` of a cluster whose instances have certificates of this CA, with `more` keys.
    pub(crate) fn cluster(&self, more: &str) -> String {
        format!("tls: {{ca: {}, {more}}}", self.path("ca.pem"))
    }

    /// A channel to a listener that has this CA's certificate for `localhost`, for a client that shows this.
    pub(crate) async fn channel(&self, to: SocketAddr, shown: Option<&Shown>) -> tonic::transport::Channel {
        use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
        let roots = Certificate::from_pem(std::fs::read(self.path("ca.pem")).unwrap());
        let mut tls = ClientTlsConfig::new().ca_certificate(roots).domain_name("localhost");
        if let Some(shown) = shown {
            tls = tls.identity(Identity::from_pem(&shown.pem, &shown.key_pem));
        }
        let endpoint = Endpoint::from_shared(format!("https://localhost:{}", to.port())).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    /// Writes the revocation list anew.
    pub(crate) fn revoke(&self, revoked: &[&Shown]) {
        let now = OffsetDateTime::now_utc();
        let revoked = revoked.iter().map(|shown| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&shown.serial),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &params.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    /// Puts a file into the folder; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        self.folder.write(name, text).display().to_string()
    }

    /// Where a file of the folder is.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.at(name).display().to_string()
    }

    /// The keys of a listener with TLS; `auth` is what `client_auth` has besides the CA.
    pub(crate) fn listener(&self, auth: &str) -> String {
        let file = |name| self.path(name);
        let auth = match auth {
            "" => String::new(),
            auth => format!(", client_auth: {{ca: {}, {auth}}}", file("ca.pem")),
        };
        format!(
            "tls: {{certificate: {}, key: {}, client_cert_header: set{auth}}}",
            file("server.pem"),
            file("server.key")
        )
        .replace(if auth.is_empty() { ", client_cert_header: set" } else { "\0" }, "")
    }

    /// What a client needs.
    pub(crate) fn client(&self, shown: Option<&Shown>, protocols: &[&str]) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        let mut config = match shown {
            Some(Shown { der, key, .. }) => {
                let key = PrivatePkcs8KeyDer::from(key.clone());
                builder.with_client_auth_cert(vec![der.clone().into()], key.into()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// A connection that has shaken hands, as far as this end knows.
    pub(crate) async fn connect(
        &self,
        to: SocketAddr,
        shown: Option<&Shown>,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(to).await?;
        self.client(shown, protocols).connect(ServerName::try_from("localhost").unwrap(), socket).await
    }

    /// A caller that shows this.
    pub(crate) async fn caller(&self, to: SocketAddr, shown: Option<&Shown>) -> Result<Caller, h2::Error> {
        let stream = self.connect(to, shown, &["h2"]).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(64 << 20);
        Caller::over(stream, builder).await
    }
}
