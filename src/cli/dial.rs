//! How the commands that are clients connect: in plaintext, or by TLS with certificates of the system or of a file.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::upstream::channel::{AGENT, causes};

const CONNECT: Duration = Duration::from_secs(10);

/// Where to, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Peer {
    /// host:port of a server or a proxy; `https://host:port` for TLS with the certificates that this system trusts.
    address: String,
    /// TLS, with the authorities in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// TLS with this certificate chain of ours (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of --cert (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The `:authority` to send, and the name that the server's certificate must have, instead of the address.
    #[arg(long, value_name = "HOST")]
    authority: Option<String>,
    /// Metadata to send, with questions for the schema too; `-bin` names take base64.
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    headers: Vec<String>,
    /// A token, sent as `authorization: Bearer TOKEN`. Better in the environment than where `ps` shows it.
    #[arg(long, value_name = "TOKEN", env = "PORTUNUS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Why there is no connection.
pub(super) enum Failure {
    /// What was asked for makes no sense.
    Arguments(String),
    /// Nobody answers there, or not as they should.
    Unreachable(String),
}

impl Peer {
    /// Connects.
    pub(super) async fn connect(&self) -> Result<Channel, Failure> {
        let (address, https) = match self.address.split_once("://") {
            Some(("https", address)) => (address, true),
            Some(("http", address)) => (address, false),
            Some((scheme, _)) => {
                return Err(Failure::Arguments(format!(
                    "`{scheme}` is not known: write host:port or https://host:port"
                )));
            }
            None => (self.address.as_str(), self.cacert.is_some() || self.cert.is_some()),
        };
        if !https && (self.cacert.is_some() || self.cert.is_some()) {
            return Err(Failure::Arguments(
                "`http://` is without TLS: leave it out, or leave --cacert and --cert out".into(),
            ));
        }
        let scheme = if https { "https" } else { "http" };
        let bad = |error: tonic::transport::Error| Failure::Arguments(format!("`{address}`: {}", causes(&error)));
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(bad)?;
        if let Some(authority) = &self.authority {
            let origin = format!("{scheme}://{authority}").parse();
            endpoint = endpoint.origin(origin.map_err(|_| Failure::Arguments(format!("`{authority}` is no host")))?);
        }
        if https {
            endpoint = endpoint.tls_config(self.tls()?).map_err(bad)?;
        }
        let endpoint = endpoint.user_agent(AGENT).map_err(bad)?;
        let connected = endpoint.connect_timeout(CONNECT).connect().await;
        connected.map_err(|error| Failure::Unreachable(format!("{address}: {}", causes(&error))))
    }

    /// What is sent along. The error says nothing of a value, which may be a secret.
    pub(super) fn metadata(&self) -> Result<MetadataMap, String> {
        let mut metadata = MetadataMap::new();
        let token = self.token.as_ref().map(|token| format!("authorization:Bearer {token}"));
        for header in self.headers.iter().chain(&token) {
            let (name, value) = header.split_once(':').ok_or("a header has no `:`: write NAME:VALUE")?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let bad = || format!("the header `{name}` cannot be sent: its name or value is not allowed");
            if name.ends_with("-bin") {
                let key: BinaryMetadataKey = name.parse().map_err(|_| bad())?;
                let octets = STANDARD.decode(value).or_else(|_| STANDARD_NO_PAD.decode(value)).map_err(|_| bad())?;
                metadata.append_bin(key, BinaryMetadataValue::from_bytes(&octets));
            } else {
                let key: AsciiMetadataKey = name.parse().map_err(|_| bad())?;
                metadata.append(key, AsciiMetadataValue::try_from(value).map_err(|_| bad())?);
            }
        }
        Ok(metadata)
    }

    /// What else may be wrong where a connection breaks.
    pub(super) fn hint(&self) -> &'static str {
        let tls = self.address.starts_with("https://") || self.cacert.is_some() || self.cert.is_some();
        if tls { "" } else { "; if the server wants TLS, write https:// before its address, or --cacert FILE" }
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let mut tls = match &self.cacert {
            Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        if let Some(authority) = &self.authority {
            let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
            tls = tls.domain_name(host);
        }
        Ok(tls)
    }
}

fn read(file: &PathBuf) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::Arguments(format!("{}: {error}", file.display())))
}
