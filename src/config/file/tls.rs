//! `tls` of listeners: which certificates are shown, and what is asked of clients. And of clusters: whom instances must prove to be.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::names::HostName;

/// TLS of a listener: versions 1.2 and 1.3, with HTTP/2 inside. Files are PEM, relative to the configuration's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTls {
    /// The certificate, and behind it those of its issuers but for the root. Shown to clients that ask for no name, or for one that no
    /// other certificate has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// More certificates, each shown to clients that ask for one of its DNS names (SNI). Without `certificate`, the first is for the rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFiles>,
    /// What is asked of clients. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// `set`: instances are told of the client's certificate, in `x-forwarded-client-cert` as Envoy writes it. A client's own is always
    /// removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_header: Option<ClientCertHeader>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and behind it those of its issuers but for the root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// `required`: no connection without a certificate. `optional`: none is fine, a bad one is not. `none`: no certificate is asked for.
    pub mode: ClientAuthMode,
    /// The CAs whose certificates are taken. One that has expired is left out, with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Their revocation lists, for every issuer in the chains of clients: what no list in date tells of is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// No connection without one.
    Required,
    /// None is fine, a bad one is not.
    Optional,
    /// No certificate is asked for.
    None,
}

/// Whether instances are told of the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertHeader {
    /// They are.
    Set,
}

/// TLS to the instances of a cluster: versions 1.2 and 1.3, with HTTP/2 inside, which they must offer (ALPN `h2`). There is no way back to
/// plaintext. Files are PEM, relative to the configuration's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// The CAs whose certificates are taken. One that has expired is left out, with a warning.
    pub ca: PathBuf,
    /// Our certificate, for instances that ask for one; behind it those of its issuers but for the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name (or IP address) that every instance's certificate must have, also asked for by SNI. Default: with `endpoints` the host of
    /// each, with `dns` its `name`. In a registry cluster an instance that registered with a certificate must show the same identity
    /// instead; one that registered with a token alone needs this key; others have the address that they registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<HostName>,
}

impl ListenerTls {
    /// Whether no call gets in without a certificate.
    pub fn requires_certificates(&self) -> bool {
        self.client_auth.as_ref().is_some_and(|auth| auth.mode == ClientAuthMode::Required)
    }
}
