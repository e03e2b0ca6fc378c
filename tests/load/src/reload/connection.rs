//! A caller's connection by TLS, which is never made anew: one that ends fails its calls. Says which version each answer shows.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use portunus_dev::Authority;
use portunus_proto::echo::Chunk;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Error, Result};

/// A certificate as it is shown.
pub(super) type Shown = CertificateDer<'static>;

/// Of a PEM file.
pub(super) fn shown(pem: &str) -> Result<Shown> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?)
}

/// How to call somebody by TLS who shows a certificate of this authority. Each handshake is a whole one.
pub(super) fn connector(authority: &Authority) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(shown(&authority.certificate())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection.
#[derive(Clone)]
pub(super) struct Connection(SendRequest<Bytes>);

/// A call that is open.
pub(super) struct Open {
    answer: ResponseFuture,
    pub(super) request: SendStream<Bytes>,
}

impl Connection {
    /// Also which certificate it was shown.
    pub(super) async fn new(to: SocketAddr, tls: &TlsConnector) -> Result<(Self, Shown)> {
        let socket = TcpStream::connect(to).await?;
        socket.set_nodelay(true)?;
        let stream = tls.connect(ServerName::try_from("localhost")?, socket).await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = certificates.first().ok_or("it showed no certificate")?.clone().into_owned();
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        Ok((Self(sender), shown))
    }

    /// Begins a call of the echo service, which answers after a while.
    pub(super) async fn open(&self, method: &str, delay_ms: u32) -> Result<Open> {
        let mut request = Request::post(format!("https://localhost/portunus.test.Echo/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if delay_ms > 0 {
            request = request.header("x-delay-ms", delay_ms);
        }
        let (answer, request) = self.0.clone().ready().await?.send_request(request.body(())?, false)?;
        Ok(Open { answer, request })
    }

    /// A whole call; the version that its answer shows.
    pub(super) async fn unary(&self, delay_ms: u32) -> Result<u64> {
        let mut open = self.open("Unary", delay_ms).await?;
        open.request.send_data(message(), true)?;
        let (version, mut body) = open.into_parts().1.await?;
        while let Some(piece) = body.data().await {
            let length = piece?.len();
            body.flow_control().release_capacity(length)?;
        }
        ended_well(&body.trailers().await?.unwrap_or_default())?;
        Ok(version)
    }
}

impl Open {
    /// Both ways.
    pub(super) fn into_parts(self) -> (SendStream<Bytes>, impl Future<Output = Result<(u64, RecvStream)>>) {
        (self.request, Self::head(self.answer))
    }

    /// The version that its head shows, and what follows.
    async fn head(answer: ResponseFuture) -> Result<(u64, RecvStream)> {
        let (head, body) = answer.await?.into_parts();
        // One that fails at once has its status here.
        if head.headers.contains_key("grpc-status") {
            ended_well(&head.headers)?;
        }
        // What the proxy set on the request comes back from the instance; the other was set on the answer.
        let (asked, answered) = (number(&head.headers, "x-echo-gen")?, number(&head.headers, "x-gen")?);
        if asked != answered {
            return Err(format!("a call saw two versions: {asked} on its way in, {answered} on its way out").into());
        }
        Ok((asked, body))
    }
}

/// A small message as it goes by the wire.
pub(super) fn message() -> Bytes {
    let chunk = Chunk { payload: Bytes::from_static(b"ping"), ..Chunk::default() }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(chunk.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
    framed.put_slice(&chunk);
    framed.freeze()
}

/// Whether a call has ended with OK.
pub(super) fn ended_well(trailers: &HeaderMap) -> Result<()> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
    match text("grpc-status").as_str() {
        "0" => Ok(()),
        status => Err(format!("status {status}: {}", text("grpc-message")).into()),
    }
}

fn number(head: &HeaderMap, name: &str) -> Result<u64> {
    let value = head.get(name).ok_or_else(|| Error::from(format!("an answer without {name}: {head:?}")))?;
    Ok(value.to_str()?.parse()?)
}
