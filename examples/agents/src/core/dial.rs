//! How the core reaches agents: plaintext, no token, one channel an agent, one call at a time. Names under `.localhost`
//! go to loopback (RFC 6761), as the real core's resolver has it, with the name kept as `:authority`.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use portunus_proto::bindu::agent_handler_client::AgentHandlerClient;
use portunus_proto::bindu::{ChatMessage, HandleRequest, HandleResponse};
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A client whose lock is held for the length of a call: the real core's call is synchronous.
type Client = Arc<tokio::sync::Mutex<AgentHandlerClient<Channel>>>;

/// The channels to agents.
#[derive(Debug)]
pub(super) struct Callbacks {
    clients: Mutex<BTreeMap<String, Client>>,
    timeout: Duration,
    max_message: usize,
}

impl Callbacks {
    pub(super) fn new(timeout: Duration, max_message: usize) -> Self {
        Self { clients: Mutex::default(), timeout, max_message }
    }

    pub(super) fn clear(&self) {
        self.clients.lock().clear();
    }

    pub(super) async fn send(&self, agent_id: &str, callback: &str, text: &str) -> Result<HandleResponse, Status> {
        let client = self.client(agent_id, callback)?;
        let mut client = client.lock().await;
        let message = ChatMessage { role: "user".into(), content: text.to_owned() };
        let mut request = Request::new(HandleRequest { messages: vec![message], ..HandleRequest::default() });
        request.set_timeout(self.timeout);
        Ok(client.handle_messages(request).await?.into_inner())
    }

    fn client(&self, agent_id: &str, callback: &str) -> Result<Client, Status> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(agent_id) {
            return Ok(Arc::clone(client));
        }
        // Like grpc-python, which takes `http://…` for a name that does not resolve.
        let channel = Endpoint::from_shared(format!("http://{callback}"))
            .map_err(|e| Status::unavailable(format!("callback `{callback}`: {e}")))?
            .connect_with_connector_lazy(Dial);
        let client = AgentHandlerClient::new(channel)
            .max_decoding_message_size(self.max_message)
            .max_encoding_message_size(self.max_message);
        let client = Arc::new(tokio::sync::Mutex::new(client));
        clients.insert(agent_id.to_owned(), Arc::clone(&client));
        Ok(client)
    }
}

/// Connects to the host of a URI.
#[derive(Clone, Copy)]
struct Dial;

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(80);
            let stream = if host.ends_with(".localhost") {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?
            } else {
                TcpStream::connect((host.trim_matches(['[', ']']), port)).await?
            };
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
