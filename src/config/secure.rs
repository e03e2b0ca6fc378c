//! Makes what TLS needs out of the files that a configuration names: certificates, keys, CAs, revocation lists.

use std::path::Path as FilePath;
use std::time::SystemTime;

use portunus_tls::{Asks, Certificate, Server, Trust, Unusable};

use super::{ClientAuth, ClientAuthMode, ListenerTls, Path, Problem, Source};

/// What is spoken inside, the preferred one first. Who speaks HTTP/1.1 only is told in words what to do; without it here, TLS would break
/// off without any.
pub(super) const HTTP2: &[&[u8]] = &[b"h2", b"http/1.1"];
/// The same for what speaks HTTP/1.1 only.
pub(super) const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// What a listener needs that speaks these protocols. `before` is what it had.
pub(super) fn server(
    source: &Source,
    at: &Path,
    (tls, protocols): (&ListenerTls, &[&[u8]]),
    before: Option<&Server>,
) -> Result<Server, Problem> {
    let now = SystemTime::now();
    let serving = before.map(Server::certificates).unwrap_or_default();
    let file = |path: &FilePath| source.resolve(path);
    let load = |at: &Path, certificate: &FilePath, key: &FilePath| {
        let loaded = Certificate::load(&file(certificate), &file(key), now, serving);
        loaded.map_err(|error| unusable(source, at, &error))
    };
    let mut certificates = Vec::new();
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        certificates.push(load(at, certificate, key)?);
    }
    for (index, files) in tls.certificates.iter().enumerate() {
        certificates.push(load(&at.with("certificates").with(index), &files.certificate, &files.key)?);
    }
    let auth = tls.client_auth.as_ref();
    let auth = auth.and_then(|auth @ ClientAuth { ca, crl, .. }| Some((asks(auth)?, ca.as_ref()?, crl.as_ref())));
    let trust = auth.map(|(asks, ca, crl)| {
        let loaded = Trust::load(asks, &file(ca), crl.map(|crl| file(crl)).as_deref(), now);
        loaded.map_err(|error| unusable(source, &at.with("client_auth"), &error))
    });
    let made = Server::new(certificates, trust.transpose()?, protocols, before);
    made.map_err(|error| unusable(source, at, &error))
}

fn asks(auth: &ClientAuth) -> Option<Asks> {
    match auth.mode {
        ClientAuthMode::Required => Some(Asks::Required),
        ClientAuthMode::Optional => Some(Asks::Optional),
        ClientAuthMode::None => None,
    }
}

fn unusable(source: &Source, at: &Path, error: &Unusable) -> Problem {
    source.error_at(&at.with(error.key), error.message.clone())
}
