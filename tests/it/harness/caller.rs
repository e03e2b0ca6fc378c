//! A caller that speaks HTTP/2 through the `h2` crate: it sees resets, END_STREAM and trailers as they are.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic_types::pb;

use super::{chunk, framed, messages, soon};

/// A connection to the proxy.
pub(crate) struct Caller {
    requests: SendRequest<Bytes>,
    /// How the connection ended, once it has.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// The head of a call.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    uri: String,
    fields: Vec<(String, Vec<u8>)>,
}

/// A call whose head has gone.
pub(crate) struct Open {
    pub(crate) up: SendStream<Bytes>,
    response: ResponseFuture,
}

/// All that came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) head: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    /// END_STREAM stood on the head itself.
    pub(crate) only_head: bool,
    /// The stream broke; with this code, where the peer reset it.
    pub(crate) broken: Option<h2::Error>,
}

impl Caller {
    /// With windows so large that they never stand in the way.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(64 << 20);
        Self::connect_as(address, builder).await
    }

    /// As a client with these settings.
    pub(crate) async fn connect_as(address: SocketAddr, builder: h2::client::Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, builder).await.unwrap()
    }

    /// From another address of this machine.
    pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> Result<Self, h2::Error> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(to).await.unwrap();
        Self::over(stream, h2::client::Builder::new()).await
    }

    /// Over a connection that is there.
    pub(crate) async fn over<T>(stream: T, mut builder: h2::client::Builder) -> Result<Self, h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // What a test leaves unread on purpose must not end its own connection.
        builder.data_frame_budget(usize::MAX).max_header_list_size(1 << 20);
        let (requests, connection) = builder.handshake(stream).await?;
        Ok(Self { requests, connection: tokio::spawn(connection) })
    }

    /// Sends the head of a call.
    pub(crate) async fn open(&self, ask: Ask) -> Open {
        self.try_open(ask, false).await.unwrap()
    }

    /// Sends the head of a call; with `end` it is the whole request.
    pub(crate) async fn try_open(&self, ask: Ask, end: bool) -> Result<Open, h2::Error> {
        let mut requests = soon(self.requests.clone().ready()).await?;
        let (response, up) = requests.send_request(ask.request(), end)?;
        Ok(Open { up, response })
    }

    /// A whole call with one message.
    pub(crate) async fn unary(&self, ask: Ask, message: &[u8]) -> Answer {
        let mut open = self.open(ask).await;
        open.finish(framed(message));
        soon(open.answer()).await
    }

    /// An Echo call that must succeed; gives the name of the instance.
    pub(crate) async fn echoed(&self, ask: Ask) -> String {
        let answer = self.unary(ask, &chunk(b"ping")).await;
        assert_eq!(answer.code(), Some(0), "{answer:?}");
        assert_eq!(answer.messages(), [chunk(b"ping")]);
        answer.field("x-instance").unwrap_or_default()
    }

    /// How the connection ended, which it must soon.
    pub(crate) async fn ended(self) -> Result<(), h2::Error> {
        let Self { connection, requests } = self;
        let ended = soon(connection).await.unwrap();
        drop(requests);
        ended
    }
}

impl Ask {
    /// A call of our Echo.
    pub(crate) fn echo(method: &str) -> Self {
        Self::path(&format!("/portunus.test.Echo/{method}"))
    }

    /// A call.
    pub(crate) fn path(path: &str) -> Self {
        let ask = Self { method: Method::POST, uri: format!("http://caller.test{path}"), fields: Vec::new() };
        ask.with("content-type", "application/grpc").with("te", "trailers")
    }

    /// With this verb.
    pub(crate) fn verb(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// To this authority.
    pub(crate) fn authority(mut self, authority: &str) -> Self {
        self.uri = self.uri.replacen("caller.test", authority, 1);
        self
    }

    /// With one more field.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Without any such field.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(found, _)| found != name);
        self
    }

    fn request(self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri.parse().unwrap();
        for (name, value) in self.fields {
            let (name, value) = (HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap());
            request.headers_mut().append(name, value);
        }
        request
    }
}

impl Open {
    /// Sends a message; what the windows do not take waits in h2.
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.up.send_data(framed(message), false).unwrap();
    }

    /// Sends the last bytes.
    pub(crate) fn finish(&mut self, bytes: Bytes) {
        // An error means that the answer is here already; it tells.
        drop(self.up.send_data(bytes, true));
    }

    /// Goes away.
    pub(crate) fn cancel(mut self) {
        self.up.send_reset(h2::Reason::CANCEL);
    }

    /// The head of the answer, and its body.
    pub(crate) async fn head(self) -> Result<(http::response::Parts, RecvStream, SendStream<Bytes>), h2::Error> {
        let (head, body) = self.response.await?.into_parts();
        Ok((head, body, self.up))
    }

    /// All that comes back.
    pub(crate) async fn answer(self) -> Answer {
        match self.head().await {
            Ok((head, body, _up)) => Answer::read(head, body).await,
            Err(error) => Answer {
                http: 0,
                head: HeaderMap::new(),
                bytes: Vec::new(),
                trailers: HeaderMap::new(),
                only_head: false,
                broken: Some(error),
            },
        }
    }
}

impl Answer {
    /// The rest of an answer whose head is here.
    pub(crate) async fn read(head: http::response::Parts, mut body: RecvStream) -> Self {
        let (http, only_head) = (head.status.as_u16(), body.is_end_stream());
        let mut answer =
            Self { http, head: head.headers, bytes: Vec::new(), trailers: HeaderMap::new(), only_head, broken: None };
        while let Some(data) = body.data().await {
            match data {
                Ok(bytes) => {
                    drop(body.flow_control().release_capacity(bytes.len()));
                    answer.bytes.extend_from_slice(&bytes);
                }
                Err(error) => {
                    answer.broken = Some(error);
                    return answer;
                }
            }
        }
        match body.trailers().await {
            Ok(trailers) => answer.trailers = trailers.unwrap_or_default(),
            Err(error) => answer.broken = Some(error),
        }
        answer
    }

    /// The gRPC status.
    pub(crate) fn code(&self) -> Option<u32> {
        self.field("grpc-status")?.parse().ok()
    }

    /// `grpc-message`, decoded.
    pub(crate) fn message(&self) -> String {
        let text = self.field("grpc-message").unwrap_or_default();
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            if *first == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(*first);
                rest = tail;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The reason word of a refusal of the proxy's.
    pub(crate) fn reason(&self) -> Option<String> {
        let status = self.details()?;
        assert_eq!(Some(u32::try_from(status.code).unwrap()), self.code());
        assert_eq!(status.message, self.message());
        let info = status.details.iter().find(|any| any.type_url == "type.googleapis.com/google.rpc.ErrorInfo")?;
        let info = pb::ErrorInfo::decode(&info.value[..]).unwrap();
        (info.domain == "portunus").then_some(info.reason)
    }

    /// `google.rpc.Status`.
    pub(crate) fn details(&self) -> Option<pb::Status> {
        let bytes = STANDARD_NO_PAD.decode(self.field("grpc-status-details-bin")?.trim_end_matches('=')).unwrap();
        Some(pb::Status::decode(&bytes[..]).unwrap())
    }

    /// A status of the proxy's own: which, and why.
    pub(crate) fn refusal(&self) -> (u32, String) {
        (self.code().unwrap_or_else(|| panic!("{self:?}")), self.reason().unwrap_or_else(|| panic!("{self:?}")))
    }

    /// The first value of this name: in the trailers, else in the head.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let value = self.trailers.get(name).or_else(|| self.head.get(name))?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// The messages.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        messages(&self.bytes)
    }
}
