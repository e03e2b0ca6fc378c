//! Files of certificates, keys and revocation lists: read, with a bound, and told apart. What is wrong is said with what to do.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// Octets of a file of certificates or of a key.
const MOST: u64 = 4 * 1024 * 1024;
/// Octets of a file of revocation lists: those of public CAs are large.
const MOST_LISTS: u64 = 64 * 1024 * 1024;

/// A setting that cannot be used: which, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unusable {
    /// The key of the configuration that is wrong: `certificate`, `key`, `ca`, `crl` or `server_name`.
    pub key: &'static str,
    /// What is wrong with it and what to do. Never holds anything of a key.
    pub message: String,
}

impl Unusable {
    pub(crate) fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// A file, for messages about it.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) key: &'static str,
    pub(crate) path: &'a Path,
}

impl Named<'_> {
    pub(crate) fn unusable(&self, what: impl std::fmt::Display) -> Unusable {
        Unusable::new(self.key, format!("`{}` {what}", self.path.display()))
    }

    /// Its octets.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Unusable> {
        let most = if self.key == "crl" { MOST_LISTS } else { MOST };
        let unreadable = |error| self.unusable(format!("cannot be read: {error}"));
        let metadata = std::fs::metadata(self.path).map_err(unreadable)?;
        // Before it is read: somebody may have named a device.
        if !metadata.is_file() || metadata.len() > most {
            return Err(self.unusable(format!("is no file, or one over {most} octets: name a PEM file")));
        }
        std::fs::read(self.path).map_err(unreadable)
    }

    /// Its sections of one kind, of which there must be one. `what` they are, in words.
    pub(crate) fn sections(&self, pem: &[u8], wanted: &[SectionKind], what: &str) -> Result<Vec<Section>, Unusable> {
        let mut found = Vec::new();
        let mut others = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|error| self.unusable(format!("is no PEM file: {error}")))?;
            if wanted.contains(&kind) { found.push(Section { kind, der }) } else { others.push(kind) }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let hint = if pem.windows(9).any(|octets| octets == b"ENCRYPTED") {
            "its key is encrypted: decrypt it with `openssl pkey -in FILE -out FILE`, and let only Portunus read that"
                .to_owned()
        } else if !others.is_empty() {
            let others: Vec<_> = others.iter().map(|kind| in_words(*kind)).collect();
            format!("only {}: is it the file of another key?", others.join(", "))
        } else if pem.first() == Some(&0x30) {
            "it is DER: turn it into PEM with `openssl x509`, `pkey` or `crl` and `-inform der`".to_owned()
        } else {
            format!("write {what} in PEM, which begins with `-----BEGIN`")
        };
        Err(self.unusable(format!("holds no {what}: {hint}")))
    }
}

/// A section of a PEM file.
pub(crate) struct Section {
    pub(crate) kind: SectionKind,
    pub(crate) der: Vec<u8>,
}

fn in_words(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "a certificate",
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => "a private key",
        SectionKind::PublicKey => "a public key",
        SectionKind::Crl => "a revocation list",
        SectionKind::Csr => "a request for a certificate",
        _ => "something else",
    }
}

/// A certificate that must be whole.
pub(crate) fn parse<'a>(named: &Named<'_>, der: &'a [u8]) -> Result<X509Certificate<'a>, Unusable> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(named.unusable("holds a certificate with something behind its end: issue it anew")),
        Err(error) => Err(named.unusable(format!("holds a certificate that cannot be read ({error}): issue it anew"))),
    }
}

/// That `now` lies within the dates of a certificate. `whose` it is, in words.
pub(crate) fn check_dates(
    named: &Named<'_>,
    certificate: &X509Certificate<'_>,
    whose: &str,
    now: SystemTime,
) -> Result<(), Unusable> {
    let validity = certificate.validity();
    if now > moment(validity.not_after) {
        return Err(named.unusable(format!("holds {whose} that expired on {}: renew it", validity.not_after)));
    }
    if now < moment(validity.not_before) {
        let message = format!("holds {whose} that is not valid before {}: look at the clock", validity.not_before);
        return Err(named.unusable(message));
    }
    Ok(())
}

/// A moment of a certificate. What lies before 1970 is 1970: it has passed.
pub(crate) fn moment(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
