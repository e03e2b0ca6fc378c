//! Whom we trust: the CAs of clients, what they have revoked, and whether a chain is good now. One verdict for a handshake and for a
//! connection that has been open for a week.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use crate::pem::{Named, Section, Unusable, moment, parse};
use crate::provider::provider;
use crate::{Identity, name, pem};

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A certificate: no connection without one.
    Required,
    /// A certificate if they have one; one that is not good ends the connection all the same.
    Optional,
}

/// The CAs whose certificates clients show.
#[derive(Debug)]
pub struct Trust {
    asks: Asks,
    verifier: Arc<Verifier>,
    digest: [u8; 32],
    warnings: Vec<String>,
}

/// Whether a peer may stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would be taken again.
    Good,
    /// Its certificate, or one that it chains through, has expired; nothing else is wrong.
    Expired,
    /// Whether it is revoked cannot be told, as the list is out of date. It was good when it came, and no new one is taken.
    Stale,
    /// It is revoked, or no longer trusted: why.
    Bad(String),
}

impl Trust {
    /// Reads the bundle of CAs, and the revocation lists if there are some.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(asks: Asks, ca: &Path, crl: Option<&Path>, now: SystemTime) -> Result<Self, Unusable> {
        let mut warnings = Vec::new();
        let (authorities, roots) = authorities(Named { key: "ca", path: ca }, now, &mut warnings)?;
        let mut digest = Sha256::new();
        authorities.iter().for_each(|der| digest.update(Sha256::digest(der)));
        digest.update([u8::from(asks == Asks::Required), u8::from(crl.is_some())]);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if let Some(path) = crl {
            let named = Named { key: "crl", path };
            let lists = lists(named, &authorities, now, &mut warnings)?;
            lists.iter().for_each(|der| digest.update(Sha256::digest(der)));
            // Each certificate of a chain is looked up, and what no list in date tells is not taken.
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        if asks == Asks::Optional {
            builder = builder.allow_unauthenticated();
        }
        let inner = builder.build().map_err(|error| match crl {
            Some(path) => Named { key: "crl", path }.unusable(format!("cannot be used: {error}")),
            None => Named { key: "ca", path: ca }.unusable(format!("cannot be used: {error}")),
        })?;
        Ok(Self { asks, verifier: Arc::new(Verifier { inner }), digest: digest.finalize().into(), warnings })
    }

    /// What is asked of clients.
    pub fn asks(&self) -> Asks {
        self.asks
    }

    /// What works, and would be better otherwise.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the other one trusts the same: CAs, lists, and what is asked.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier) as Arc<dyn ClientCertVerifier>
    }

    /// Whether a chain that was taken once would be taken now.
    pub fn still_holds(&self, chain: &[CertificateDer<'static>], now: SystemTime) -> Standing {
        let Some((own, others)) = chain.split_first() else {
            return Standing::Bad("there is no certificate".to_owned());
        };
        let verify = |now: SystemTime| self.verifier.verify_client_cert(own, others, unix(now));
        match verify(now) {
            Ok(_) => Standing::Good,
            Err(error) if is_expired(&error) => {
                // What is revoked must not hide behind its date.
                let last = Identity::of(own).map(|identity| identity.not_after.min(now));
                match last.map(|last| verify(last.checked_sub(Duration::from_secs(1)).unwrap_or(last))) {
                    Ok(Ok(_)) => Standing::Expired,
                    Ok(Err(error)) if is_expired(&error) || is_stale(&error) => Standing::Expired,
                    Ok(Err(error)) => Standing::Bad(error.to_string()),
                    Err(unfit) => Standing::Bad(unfit.to_string()),
                }
            }
            Err(error) if is_stale(&error) => Standing::Stale,
            Err(error) => Standing::Bad(error.to_string()),
        }
    }
}

/// CAs that can be trusted now.
pub(crate) fn authorities(
    named: Named<'_>,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Vec<u8>>, RootCertStore), Unusable> {
    let sections = named.sections(&named.read()?, &[SectionKind::Certificate], "certificate of a CA")?;
    let (mut ders, mut roots) = (Vec::new(), RootCertStore::empty());
    let mut expired = None;
    for Section { der, .. } in sections {
        let certificate = parse(&named, &der)?;
        let subject = name::in_words(certificate.subject());
        if !is_authority(&certificate) {
            let message = format!("holds the certificate \"{subject}\", which is no CA's: name the CA that issued it");
            return Err(named.unusable(message));
        }
        // The verifier does not look at dates of what it trusts to begin with.
        if let Err(error) = pem::check_dates(&named, &certificate, &format!("the CA \"{subject}\""), now) {
            warnings.push(format!("{error}; nothing that it issued is taken"));
            expired = Some(error);
            continue;
        }
        let added = roots.add(CertificateDer::from(der.as_slice()));
        added.map_err(|error| named.unusable(format!("holds the CA \"{subject}\", which cannot be used: {error}")))?;
        ders.push(der);
    }
    match expired {
        Some(error) if ders.is_empty() => Err(error),
        _ => Ok((ders, roots)),
    }
}

fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let constraints = certificate.basic_constraints();
    let usage = certificate.key_usage();
    constraints.is_ok_and(|constraints| constraints.is_some_and(|constraints| constraints.value.ca))
        && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// Revocation lists that are in date.
fn lists(
    named: Named<'_>,
    authorities: &[Vec<u8>],
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    let sections = named.sections(&named.read()?, &[SectionKind::Crl], "revocation list")?;
    let mut issuers = Vec::new();
    for Section { der, .. } in &sections {
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return Err(named.unusable("holds a revocation list that cannot be read: fetch it anew"));
        };
        let issuer = name::in_words(list.issuer());
        match list.next_update() {
            Some(next) if moment(next) < now => {
                let message =
                    format!("holds the list of \"{issuer}\", which was to be replaced on {next}: fetch the new one");
                return Err(named.unusable(message));
            }
            Some(_) => {}
            None => return Err(named.unusable(format!("holds the list of \"{issuer}\", which has no nextUpdate"))),
        }
        issuers.push(list.issuer().as_raw().to_vec());
    }
    for der in authorities {
        let Ok((_, authority)) = X509Certificate::from_der(der) else { continue };
        if !issuers.iter().any(|issuer| *issuer == authority.subject().as_raw()) {
            let subject = name::in_words(authority.subject());
            warnings.push(format!("`crl` has no list of the CA \"{subject}\": what it issued itself will be refused"));
        }
    }
    Ok(sections.into_iter().map(|section| CertificateRevocationListDer::from(section.der)).collect())
}

fn is_expired(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext};
    matches!(error, Error::InvalidCertificate(Expired | ExpiredContext { .. }))
}

fn is_stale(error: &Error) -> bool {
    use CertificateError::{ExpiredRevocationList, ExpiredRevocationListContext};
    matches!(error, Error::InvalidCertificate(ExpiredRevocationList | ExpiredRevocationListContext { .. }))
}

pub(crate) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// webpki's verdict, and then whether the certificate gives an identity: who has none that is clear is not let in.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        Identity::of(end_entity).map_err(unfit)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

pub(crate) fn unfit(unfit: crate::Unfit) -> Error {
    CertificateError::Other(OtherError(Arc::new(unfit))).into()
}
