//! A certificate of our own with its key: read, and found to fit together, before anybody is shown it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::X509Certificate;

use crate::pem::{Named, Section, Unusable, check_dates, parse};
use crate::provider::provider;
use crate::{Identity, name};

/// A chain and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    identity: Identity,
    /// It has expired: it is used only because it was when that happened.
    expired: bool,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Shown to those who connect to us.
    Server,
    /// Shown where we connect to.
    Client,
}

impl Certificate {
    /// Reads the certificate of a server: the file of its chain, the server's own first, and that of its key. `serving` is what is in use
    /// already: a certificate among those goes on after it has expired, as taking it away would help nobody.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(chain: &Path, key: &Path, now: SystemTime, serving: &[Self]) -> Result<Self, Unusable> {
        Self::load_for(Purpose::Server, (chain, key), now, serving)
    }

    pub(crate) fn load_for(
        purpose: Purpose,
        (chain, key): (&Path, &Path),
        now: SystemTime,
        serving: &[Self],
    ) -> Result<Self, Unusable> {
        let (chain, key) = (Named { key: "certificate", path: chain }, Named { key: "key", path: key });
        let sections = chain.sections(&chain.read()?, &[SectionKind::Certificate], "certificate")?;
        let private = private_key(&key)?;
        let identity = match sections.first() {
            Some(own) => Identity::of(&own.der).map_err(|error| chain.unusable(format!("cannot be used: {error}")))?,
            None => return Err(chain.unusable("holds no certificate")),
        };
        check_chain(&chain, &sections)?;
        let goes_on = serving.iter().any(|serving| serving.identity.fingerprint == identity.fingerprint);
        let parsed: Vec<_> = sections.iter().map(|section| parse(&chain, &section.der)).collect::<Result<_, _>>()?;
        let dates = parsed.iter().enumerate().try_for_each(|(index, certificate)| {
            let whose = if index == 0 { "a certificate" } else { "a certificate of an issuer" };
            check_dates(&chain, certificate, whose, now)
        });
        let expired = dates.is_err();
        if !goes_on {
            dates?;
        }
        if let Some(own) = parsed.first() {
            check_purpose(&chain, own, purpose)?;
        }
        let ders = sections.iter().map(|section| CertificateDer::from(section.der.clone())).collect();
        let certified = CertifiedKey::new(ders, private);
        certified.keys_match().map_err(|_| {
            let message = format!(
                "is not the key of the certificate in `{}`: name the two that belong together",
                chain.path.display()
            );
            key.unusable(message)
        })?;
        Ok(Self { key: Arc::new(certified), identity, expired })
    }

    /// Whom it names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it had expired when it was read.
    pub fn has_expired(&self) -> bool {
        self.expired
    }
}

fn private_key(named: &Named<'_>) -> Result<Arc<dyn rustls::sign::SigningKey>, Unusable> {
    let kinds = [SectionKind::PrivateKey, SectionKind::RsaPrivateKey, SectionKind::EcPrivateKey];
    let mut keys = named.sections(&named.read()?, &kinds, "private key")?;
    if keys.len() > 1 {
        return Err(named.unusable("holds more than one private key: leave only that of the certificate"));
    }
    let key = keys.pop().and_then(|Section { kind, der }| match kind {
        SectionKind::PrivateKey => Some(PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der))),
        SectionKind::RsaPrivateKey => Some(PrivatePkcs1KeyDer::from(der).into()),
        SectionKind::EcPrivateKey => Some(PrivateSec1KeyDer::from(der).into()),
        _ => None,
    });
    let loaded = key.and_then(|key| provider().key_provider.load_private_key(key).ok());
    // The error could hold what it read.
    loaded.ok_or_else(|| {
        named.unusable(
            "holds a key that cannot be used: take ECDSA (P-256, P-384, P-521), Ed25519, or RSA of 2048 bits or more",
        )
    })
}

/// That each certificate is followed by that of its issuer: many clients look no further.
fn check_chain(named: &Named<'_>, sections: &[Section]) -> Result<(), Unusable> {
    for (at, pair) in sections.windows(2).enumerate() {
        let [of, by] = pair else { continue };
        let (of, by) = (parse(named, &of.der)?, parse(named, &by.der)?);
        if of.issuer().as_raw() != by.subject().as_raw() {
            let message = format!(
                "is out of order: certificate {} was issued by \"{}\", and the one after it is that of \"{}\"; write each issuer after what it issued",
                at + 1,
                name::in_words(of.issuer()),
                name::in_words(by.subject()),
            );
            return Err(named.unusable(message));
        }
    }
    Ok(())
}

fn check_purpose(named: &Named<'_>, certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<(), Unusable> {
    let usage = certificate.extended_key_usage();
    let usage = usage.map_err(|_| named.unusable("holds a certificate with two extendedKeyUsage: issue it anew"))?;
    let Some(usage) = usage else { return Ok(()) };
    let (fits, word) = match purpose {
        Purpose::Server => (usage.value.server_auth, "serverAuth"),
        Purpose::Client => (usage.value.client_auth, "clientAuth"),
    };
    if fits || usage.value.any {
        return Ok(());
    }
    Err(named.unusable(format!("holds a certificate for another purpose: its extendedKeyUsage lacks {word}")))
}
