//! The end of a connection that connects: whom it trusts to answer, and what it shows of itself.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, Connection, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::certificate::Purpose;
use crate::pem::{Named, Unusable};
use crate::provider::provider;
use crate::stream::{Refused, Stream};
use crate::trust::{authorities, unfit};
use crate::{Certificate, Identity, Unfit};

/// What is needed to connect by TLS. Sessions are never resumed: a resumed one is verified by nobody, and connections to instances last.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    roots: Arc<RootCertStore>,
    /// What is shown to servers that ask.
    own: Option<Certificate>,
    name: Option<(ServerName<'static>, Arc<str>)>,
    /// Of whom is trusted, and who must answer.
    digest: [u8; 32],
    warnings: Vec<String>,
}

/// Who must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Whoever the settings name, or else who has this host (a name or an IP address).
    Host(&'a str),
    /// The workload with this SPIFFE ID, wherever it is.
    Spiffe(&'a str),
    /// Whoever has a certificate without a SPIFFE ID, of this subject by this issuer: both as RFC 4514 writes them.
    Subject {
        /// The subject, which must not be empty: that would be many.
        subject: &'a str,
        /// Who issued the certificate.
        issuer: &'a str,
    },
    /// Whoever the settings name, and nobody if they name none.
    Named,
}

impl Client {
    /// Reads the bundle of CAs that are trusted, and what is shown to servers that ask: a chain and its key. `name` is whom every server
    /// must prove to be. `before` is what this one replaces: a certificate that it has goes on after it has expired.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(
        ca: &Path,
        own: Option<(&Path, &Path)>,
        name: Option<&str>,
        now: SystemTime,
        before: Option<&Self>,
    ) -> Result<Self, Unusable> {
        let mut warnings = Vec::new();
        let (authorities, roots) = authorities(Named { key: "ca", path: ca }, now, &mut warnings)?;
        let mut digest = Sha256::new();
        authorities.iter().for_each(|der| digest.update(Sha256::digest(der)));
        digest.update(name.unwrap_or_default());
        let shown = before.and_then(|before| before.own.as_ref()).map(std::slice::from_ref).unwrap_or_default();
        let own = own.map(|own| Certificate::load_for(Purpose::Client, own, now, shown)).transpose()?;
        let roots = Arc::new(roots);
        let config = config(&roots, own.as_ref(), b"h2")?;
        let name = name.map(|name| {
            let parsed = ServerName::try_from(name.to_owned());
            let parsed = parsed
                .map_err(|_| Unusable::new("server_name", format!("`{name}` is no DNS name and no IP address")))?;
            Ok((parsed, Arc::from(name)))
        });
        Ok(Self { config, roots, own, name: name.transpose()?, digest: digest.finalize().into(), warnings })
    }

    /// For servers of the web, over HTTP/1.1: `ca` vouches for them, or else whom the system trusts.
    ///
    /// # Errors
    /// What is wrong with `ca`, or that the system trusts nobody.
    pub fn for_web(ca: Option<&Path>, now: SystemTime) -> Result<Self, Unusable> {
        let mut warnings = Vec::new();
        let roots = match ca {
            Some(path) => authorities(Named { key: "ca", path }, now, &mut warnings)?.1,
            None => {
                let mut roots = RootCertStore::empty();
                // Some of what a system trusts is older than what rustls reads.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    let message = "needs authorities to vouch for its server, and this system has none: give `ca`";
                    return Err(Unusable::new("url", message));
                }
                roots
            }
        };
        let roots = Arc::new(roots);
        let config = config(&roots, None, b"http/1.1")?;
        Ok(Self { config, roots, own: None, name: None, digest: [0; 32], warnings })
    }

    /// Whom every server must prove to be, if the settings say.
    pub fn server_name(&self) -> Option<&Arc<str>> {
        self.name.as_ref().map(|(_, name)| name)
    }

    /// What is shown to servers that ask, if something is.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.own.as_ref()
    }

    /// Whether the other one connects to the same servers: what is shown to them may differ.
    pub fn trusts_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The same where there may be no TLS, on either side: then only none is as good.
    pub fn trust_alike(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => one.trusts_as(other),
            _ => false,
        }
    }

    /// What works, and would be better otherwise.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Shakes hands with a server, which must be who is expected. Takes as long as it does: whoever asks has a clock.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect<T>(&self, io: T, host: &str, expected: Expected<'_>) -> Result<Stream<T>, Refused>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let host = || {
            ServerName::try_from(host.to_owned()).map_err(|_| Refused::of(format!("`{host}` is no name of a server")))
        };
        // What is asked for by name (SNI), and what must be proven: they differ where a workload is known by its identity alone.
        let asked = match &self.name {
            Some((name, _)) => name.clone(),
            None => host()?,
        };
        let mut config = self.config.clone();
        let who = match expected {
            Expected::Spiffe(id) => Who::Spiffe(id.to_owned()),
            Expected::Subject { subject, issuer } => Who::Subject(subject.to_owned(), issuer.to_owned()),
            Expected::Named if self.name.is_none() => {
                let message = "nothing says who must answer: the instance registered without a certificate that names it, and `server_name` is not set";
                return Err(Refused::of(message.to_owned()));
            }
            Expected::Named | Expected::Host(_) => Who::Asked,
        };
        config.dangerous().set_certificate_verifier(Arc::new(Verifier { roots: Arc::clone(&self.roots), who }));
        let connected = TlsConnector::from(Arc::new(config)).connect(asked, io).await.map_err(Refused::from)?;
        let (io, connection) = connected.into_inner();
        Ok(Stream::new(io, Connection::from(connection)))
    }
}

fn config(
    roots: &Arc<RootCertStore>,
    own: Option<&Certificate>,
    protocol: &'static [u8],
) -> Result<ClientConfig, Unusable> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| Unusable::new("ca", format!("TLS cannot be used: {error}")))?;
    let builder = builder.with_root_certificates(Arc::clone(roots));
    let mut config = match own {
        Some(own) => {
            let shown = rustls::sign::SingleCertAndKey::from(Arc::clone(&own.key));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[derive(Debug)]
enum Who {
    /// Who was asked for.
    Asked,
    /// Who has this SPIFFE ID.
    Spiffe(String),
    /// Who has no SPIFFE ID, and this subject by this issuer.
    Subject(String, String),
}

impl Who {
    fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::Asked => true,
            Self::Spiffe(id) => identity.spiffe.as_ref() == Some(id),
            Self::Subject(subject, issuer) => {
                let same = identity.subject == *subject && identity.issuer == *issuer;
                same && !subject.is_empty() && identity.spiffe.is_none()
            }
        }
    }
}

/// The chain must lead to a CA of ours, and the certificate be that of who is expected.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    who: Who,
}

/// A server is somebody else.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is of somebody else than who registered")]
struct SomebodyElse;

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = provider().signature_verification_algorithms;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms.all)?;
        match &self.who {
            Who::Asked => verify_server_name(&certificate, server_name)?,
            who => {
                let identity = Identity::of(end_entity).map_err(|error: Unfit| unfit(error))?;
                if !who.is(&identity) {
                    return Err(CertificateError::Other(OtherError(Arc::new(SomebodyElse))).into());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
