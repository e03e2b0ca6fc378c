//! A certificate authority of an hour's making, and what it issues.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::Error;

/// How long everything is good for: long enough to try things, and no longer.
const LASTS: Duration = Duration::days(30);
/// Clocks differ.
const BEFORE: Duration = Duration::minutes(5);

/// An authority that nobody else knows.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: String,
    serial: SerialNumber,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness, or the like.
    pub fn new() -> Result<Self, Error> {
        let mut params = named("Portunus throw-away CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate, in PEM: what others trust.
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Its private key, in PEM.
    pub fn key(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A server's, for these names and IP addresses.
    ///
    /// # Errors
    /// A name is none.
    pub fn server(&self, names: &[&str]) -> Result<Issued, Error> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = name(names.first().copied().unwrap_or("server"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// A workload's, for a SPIFFE id such as `spiffe://demo/caller`: to show as a client, and as a server.
    ///
    /// # Errors
    /// It is no such id.
    pub fn workload(&self, spiffe: &str) -> Result<Issued, Error> {
        if !portunus_tls::is_spiffe_id(spiffe) {
            return Err(Error::Name("it is no SPIFFE id: write one as spiffe://example.org/client"));
        }
        let mut params = named(spiffe.rsplit('/').next().unwrap_or(spiffe))?;
        params.subject_alt_names = vec![SanType::URI(spiffe.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// The list of those that it has taken back, in PEM.
    ///
    /// # Errors
    /// The list cannot be signed.
    pub fn revocations(&self, revoked: &[&Issued]) -> Result<String, Error> {
        let now = OffsetDateTime::now_utc();
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: now - BEFORE,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - BEFORE,
            next_update: now + LASTS,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.0)?.pem()?)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, Error> {
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| Error::Key("the system has no randomness"))?;
        let serial = SerialNumber::from_slice(&serial);
        params.serial_number = Some(serial.clone());
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - BEFORE, now + LASTS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), serial })
    }
}

fn named(common: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name(common);
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - BEFORE, now + LASTS);
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
