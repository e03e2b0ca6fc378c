//! Makes what TLS needs out of the files that a configuration names: certificates, keys, CAs, revocation lists.

use std::path::{Path as FilePath, PathBuf};
use std::time::SystemTime;

use portunus_tls::{Asks, Certificate, Client, Server, Trust, Unusable};

use super::{ClientAuth, ClientAuthMode, Cluster, ListenerTls, Path, Problem, Source};

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
    let load = |at: &Path, certificate: &FilePath, key: &FilePath| {
        let certificate = file(source, (at, "certificate"), certificate)?;
        let loaded = Certificate::load(&certificate, &file(source, (at, "key"), key)?, now, serving);
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
        let at = at.with("client_auth");
        let crl = crl.map(|crl| file(source, (&at, "crl"), crl)).transpose()?;
        let loaded = Trust::load(asks, &file(source, (&at, "ca"), ca)?, crl.as_deref(), now);
        loaded.map_err(|error| unusable(source, &at, &error))
    });
    let made = Server::new(certificates, trust.transpose()?, protocols, before);
    made.map_err(|error| unusable(source, at, &error))
}

/// What connections to the instances of a cluster need, if they are by TLS. `before` is what they had.
pub(super) fn client(
    source: &Source,
    at: &Path,
    cluster: &Cluster,
    before: Option<&Client>,
) -> Result<Option<Client>, Problem> {
    let Some(tls) = &cluster.tls else { return Ok(None) };
    let file = |key, path: &FilePath| file(source, (at, key), path);
    let certificate = tls.certificate.as_deref().map(|path| file("certificate", path)).transpose()?;
    let own = certificate.zip(tls.key.as_deref().map(|path| file("key", path)).transpose()?);
    let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    // Its addresses are what a name server says, and only the name is whom the file means.
    let listed = cluster.dns.as_ref().map(|dns| &dns.name);
    let name = tls.server_name.as_ref().or(listed).map(ToString::to_string);
    let loaded = Client::load(&file("ca", &tls.ca)?, own, name.as_deref(), SystemTime::now(), before);
    loaded.map(Some).map_err(|error| unusable(source, at, &error))
}

/// A file that is about to be read.
fn file(source: &Source, (at, key): (&Path, &str), path: &FilePath) -> Result<PathBuf, Problem> {
    source.to_read(path).map_err(|why| source.error_at(&at.with(key), format!("`{}` {why}", path.display())))
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
