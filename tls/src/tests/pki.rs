//! CAs and what they issue, in a folder of its own that goes with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::{Asks, Certificate, Server, Trust};

static FOLDERS: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portunus-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(super) struct Authority(pub(super) CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM and DER.
pub(super) struct Issued {
    pub(super) pem: String,
    pub(super) key: String,
    pub(super) der: Vec<u8>,
    pub(super) key_der: Vec<u8>,
    pub(super) serial: Vec<u8>,
}

pub(super) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::days(400);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
    params
}

/// For a client: with a SPIFFE ID.
pub(super) fn workload(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://td/{name}").try_into().unwrap())];
    params
}

/// For a server: with DNS names.
pub(super) fn server(names: &[&str]) -> CertificateParams {
    let mut params = named(names[0]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self::with(ca(name))
    }

    pub(super) fn with(params: CertificateParams) -> Self {
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn expired(name: &str) -> Self {
        let mut params = ca(name);
        params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
        Self::with(params)
    }

    pub(super) fn below(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(ca(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(super) fn issue(&self, mut params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let serial = vec![1, u8::try_from(FOLDERS.fetch_add(1, Ordering::Relaxed) % 200).unwrap()];
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            pem: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
            serial,
        }
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A list of what is revoked, to be replaced in `days`.
    pub(super) fn list(&self, revoked: &[&Issued], days: i64) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&issued.serial),
            revocation_time: now - Duration::days(300),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - Duration::days(350),
            next_update: now + Duration::days(days),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    pub(super) fn trust(&self, asks: Asks, list: Option<&str>) -> Trust {
        let folder = Folder::new();
        let list = list.map(|list| folder.write("crl", list));
        Trust::load(asks, &folder.write("ca", self.pem()), list.as_deref(), SystemTime::now()).unwrap()
    }
}

impl Issued {
    pub(super) fn certificate(&self) -> Certificate {
        let folder = Folder::new();
        self.load(&folder).unwrap()
    }

    pub(super) fn load(&self, folder: &Folder) -> Result<Certificate, crate::Unusable> {
        load(&folder.write("pem", &self.pem), &folder.write("key", &self.key))
    }
}

pub(super) fn load(chain: &Path, key: &Path) -> Result<Certificate, crate::Unusable> {
    Certificate::load(chain, key, SystemTime::now(), &[])
}

/// A server `localhost`.
pub(super) fn localhost(ca: &Authority, trust: Option<Trust>) -> Server {
    Server::new(vec![ca.issue(server(&["localhost"])).certificate()], trust, &[b"h2", b"http/1.1"], None).unwrap()
}

pub(super) fn in_days(days: i64) -> SystemTime {
    SystemTime::from(OffsetDateTime::now_utc() + Duration::days(days))
}
