//! The end of a connection to which others connect: which certificate is shown to whom, what is asked of them, and whether they may stay.
//!
//! **Nothing is resumed where clients show certificates.** A resumed session brings the chain of the first handshake, and rustls has it
//! verified by nobody: it would outlive a revocation. Judging it afterwards is no way out either: who is refused after a resumed handshake
//! (a workload whose certificate was renewed since) comes back with the same session, for as long as its ticket lives. Connections of gRPC
//! are few and long; where no certificates are asked for, tickets work as everywhere, and their keys are a [`Server`]'s own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Connection, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::pem::Unusable;
use crate::provider::provider;
use crate::stream::{Refused, Stream};
use crate::trust::{Asks, Standing, Trust};
use crate::{Certificate, Identity};

/// What a listener needs for TLS. Immutable: a new certificate, CA or list is a new value, and [`judge`](Self::judge) tells which of the
/// open connections may stay under it.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    certificates: Vec<Certificate>,
    trust: Option<Arc<Trust>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
}

/// A connection that has shaken hands.
#[derive(Debug)]
pub struct Session<T> {
    /// What goes over it.
    pub stream: Stream<T>,
    /// Who is at the other end, if they have shown it.
    pub peer: Option<Arc<Peer>>,
}

/// Who is at the other end, by a chain that was found good.
#[derive(Debug)]
pub struct Peer {
    /// Who that is.
    pub identity: Identity,
    chain: Vec<CertificateDer<'static>>,
}

impl Server {
    /// Puts a server together: certificates, of which the first is for those who name none that another one has; whom to trust, if clients
    /// are asked; and the protocols inside, the preferred one first. `before` is what this one replaces.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn new(
        certificates: Vec<Certificate>,
        trust: Option<Trust>,
        protocols: &[&[u8]],
        before: Option<&Self>,
    ) -> Result<Self, Unusable> {
        let Some(first) = certificates.first() else {
            return Err(Unusable::new("certificate", "there is none: give `certificate` and `key`"));
        };
        let by_name = ByName::new(first, &certificates);
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(|error| Unusable::new("certificate", format!("TLS cannot be used: {error}")))?;
        let trust = trust.map(|trust| match before.and_then(|before| before.trust.as_ref()) {
            // So that whoever compares the two sees at once that nothing has changed.
            Some(before) if before.is_same_as(&trust) => Arc::clone(before),
            _ => Arc::new(trust),
        });
        let mut config = match &trust {
            Some(trust) => builder.with_client_cert_verifier(trust.verifier()),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // What a session needs is in its ticket: nothing is kept here of who has gone.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let mut tickets = None;
        if trust.is_none() {
            let made = before.and_then(|before| before.tickets.clone()).map_or_else(Ticketer::new, Ok);
            let made = made.map_err(|error| Unusable::new("certificate", format!("no keys for tickets: {error}")))?;
            config.ticketer = Arc::clone(&made);
            config.send_tls13_tickets = 1;
            tickets = Some(made);
        }
        Ok(Self { config: Arc::new(config), certificates, trust, tickets })
    }

    /// The certificates that are shown.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whom it trusts, if it asks clients for certificates.
    pub fn trust(&self) -> Option<&Arc<Trust>> {
        self.trust.as_ref()
    }

    /// Whether nobody gets in without a certificate.
    pub fn requires_certificates(&self) -> bool {
        self.trust.as_ref().is_some_and(|trust| trust.asks() == Asks::Required)
    }

    /// Shakes hands. Takes as long as the other end does: whoever asks has a clock.
    ///
    /// # Errors
    /// Why there is no connection. The other end has been told, as far as TLS has words for it.
    pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(&self, io: T) -> Result<Session<T>, Refused> {
        let accepted = TlsAcceptor::from(Arc::clone(&self.config)).accept(io).await.map_err(Refused::from)?;
        let (io, connection) = accepted.into_inner();
        let peer = match connection.peer_certificates() {
            Some([]) | None => None,
            Some(chain @ [own, ..]) => {
                let identity = Identity::of(own).map_err(|unfit| Refused::of(unfit.to_string()))?;
                let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
                Some(Arc::new(Peer { identity, chain }))
            }
        };
        Ok(Session { stream: Stream::new(io, Connection::from(connection)), peer })
    }

    /// Whether who came before may stay now: `peer` is what they showed when they came.
    pub fn judge(&self, peer: Option<&Peer>, now: SystemTime) -> Standing {
        match (&self.trust, peer) {
            (None, None) => Standing::Good,
            (None, Some(_)) => Standing::Bad("certificates of clients are not trusted any more".to_owned()),
            (Some(trust), None) if trust.asks() == Asks::Optional => Standing::Good,
            (Some(_), None) => Standing::Bad("a certificate is required by now".to_owned()),
            (Some(trust), Some(peer)) => trust.still_holds(&peer.chain, now),
        }
    }
}

/// Certificates by the names that clients ask for.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows the first label.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For whoever names nobody, or nobody that we have.
    first: Arc<CertifiedKey>,
}

impl ByName {
    fn new(first: &Certificate, certificates: &[Certificate]) -> Self {
        let mut names = Self { exact: HashMap::new(), wildcard: HashMap::new(), first: Arc::clone(&first.key) };
        for certificate in certificates {
            for name in &certificate.identity().dns {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut names.wildcard, rest),
                    None => (&mut names.exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_default().push(Arc::clone(&certificate.key));
            }
        }
        names
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        // Two certificates of a name (RSA, ECDSA): the first whose key the client can check.
        let fitting = |keys: &Vec<Arc<CertifiedKey>>| {
            keys.iter().find(|key| key.key.choose_scheme(schemes).is_some()).map(Arc::clone)
        };
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = self.exact.get(&name).and_then(fitting);
            exact.or_else(|| self.wildcard.get(name.split_once('.')?.1).and_then(fitting))
        });
        Some(named.unwrap_or_else(|| Arc::clone(&self.first)))
    }
}
