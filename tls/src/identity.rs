//! Who a peer is, by its certificate: the names that rules match and logs show. Reads a certificate that a verifier has found good, and
//! trusts it no further: what could be read in two ways is refused.

use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{name, pem, spiffe};

/// Who a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its SPIFFE ID, if it has one.
    pub spiffe: Option<String>,
    /// The DNS names of its certificate, in lower case; wildcards as they stand there.
    pub dns: Vec<String>,
    /// The subject, as RFC 4514 writes it.
    pub subject: String,
    /// Who issued the certificate, in the same way.
    pub issuer: String,
    /// SHA-256 of the certificate, in hexadecimal digits, lower case.
    pub fingerprint: String,
    /// When the certificate expires.
    pub not_after: SystemTime,
}

/// Why a certificate gives no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no certificate, or has something behind its end.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// A SPIFFE ID is the only URI of its certificate (X.509-SVID, section 2).
    #[error("the certificate has more than one URI, and one of them is a SPIFFE ID, which must be the only one")]
    TwoUris,
    /// Not in the form that SPIFFE IDs have.
    #[error("the certificate has a SPIFFE ID that is none: its form is spiffe://trust-domain/path")]
    NoSpiffeId,
    /// A certificate that may sign others says nothing about who holds it (X.509-SVID, section 5.2).
    #[error("the certificate has a SPIFFE ID and may sign certificates: a workload's must not")]
    Signer,
}

impl Identity {
    /// Reads it.
    ///
    /// # Errors
    /// Why the certificate gives none: the connection is to be refused.
    pub fn of(der: &[u8]) -> Result<Self, Unfit> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(Unfit::Unreadable) };
        // An error is a second such extension: which counts would be a guess.
        let names = certificate.subject_alternative_name().map_err(|_| Unfit::Unreadable)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter(|name| is_uri(name)).count();
        let spiffe = names.iter().find_map(|name| match name {
            GeneralName::URI(uri) if spiffe::claims_to_be(uri) => Some(*uri),
            _ => None,
        });
        if let Some(id) = spiffe {
            check_spiffe(&certificate, id, uris)?;
        }
        let dns = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) if is_dns_name(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        Ok(Self {
            spiffe: spiffe.map(str::to_owned),
            dns: dns.collect(),
            subject: name::in_words(certificate.subject()),
            issuer: name::in_words(certificate.issuer()),
            fingerprint: Sha256::digest(der).iter().map(|octet| format!("{octet:02x}")).collect(),
            not_after: pem::moment(certificate.validity().not_after),
        })
    }
}

/// What is no text may have been meant as a URI: it counts.
fn is_uri(name: &GeneralName<'_>) -> bool {
    const URI: u32 = 6;
    matches!(name, GeneralName::URI(_)) || matches!(name, GeneralName::Invalid(tag, _) if tag.0 == URI)
}

fn check_spiffe(certificate: &X509Certificate<'_>, id: &str, uris: usize) -> Result<(), Unfit> {
    if uris != 1 {
        return Err(Unfit::TwoUris);
    }
    if !spiffe::is_spiffe_id(id) {
        return Err(Unfit::NoSpiffeId);
    }
    let usage = certificate.key_usage().map_err(|_| Unfit::Unreadable)?;
    let constraints = certificate.basic_constraints().map_err(|_| Unfit::Unreadable)?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    if signs || constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(Unfit::Signer);
    }
    Ok(())
}

/// A DNS name with letters, digits, `-` and `_`, and perhaps `*` as its first label. Others name nobody.
fn is_dns_name(name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    name.len() <= 253 && plain.split('.').all(label)
}
