//! An instance that does with each call what a test says, through the `h2` crate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{framed, messages};

/// What an impatient instance waits for the first call of a connection.
const SOON: Duration = Duration::from_millis(200);

/// A scripted instance. Dropped, it stops listening; open connections go with the test.
pub(crate) struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    /// It ends connections that have no call within [`SOON`].
    impatient: Arc<AtomicBool>,
    task: JoinHandle<()>,
    /// Its connections.
    serving: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// A call as it came.
pub(crate) struct Got {
    pub(crate) head: http::request::Parts,
    pub(crate) body: RecvStream,
    pub(crate) reply: SendResponse<Bytes>,
    /// Counts calls of this instance from 0.
    pub(crate) number: usize,
}

impl Upstream {
    /// Serves each call with `script`.
    pub(crate) async fn start<F>(script: impl Fn(Got) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_as(h2::server::Builder::new(), script).await
    }

    /// Serves each call with `script`, as a server with these settings.
    pub(crate) async fn start_as<F>(
        mut builder: h2::server::Builder,
        script: impl Fn(Got) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // What a script leaves unread on purpose must not end its own connection.
        builder.data_frame_budget(usize::MAX).max_header_list_size(1 << 20);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (opened, seen) = (Arc::clone(&connections), Arc::clone(&calls));
        let serving: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let served = Arc::clone(&serving);
        let impatient: Arc<AtomicBool> = Arc::default();
        let hurried = Arc::clone(&impatient);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                let manner = (builder.clone(), hurried.load(Ordering::SeqCst));
                let serve = serve(socket, manner, script.clone(), Arc::clone(&seen));
                served.lock().await.push(tokio::spawn(serve));
            }
        });
        Self { address, connections, calls, impatient, task, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it anew in place: its connections are gone, and the next ones meet what it has changed to.
    pub(crate) async fn restart(&self, change: impl FnOnce()) {
        let mut serving = self.serving.lock().await;
        for connection in serving.drain(..) {
            connection.abort();
            connection.await.ok();
        }
        change();
    }

    /// Ends connections from now on that have no call soon.
    pub(crate) fn lose_patience(&self) {
        self.impatient.store(true, Ordering::SeqCst);
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<F>(
    socket: TcpStream,
    (builder, impatient): (h2::server::Builder, bool),
    script: impl Fn(Got) -> F,
    calls: Arc<AtomicUsize>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    socket.set_nodelay(true).unwrap();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let mut patience = if impatient { SOON } else { Duration::MAX };
    while let Ok(Some(Ok((request, reply)))) = timeout(patience, connection.accept()).await {
        patience = Duration::MAX;
        let (head, body) = request.into_parts();
        let number = calls.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(script(Got { head, body, reply, number }));
    }
}

impl Got {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The whole request, up to where it ends or breaks.
    pub(crate) async fn read(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut all = Vec::new();
        while let Some(bytes) = self.body.data().await {
            let bytes = bytes?;
            drop(self.body.flow_control().release_capacity(bytes.len()));
            all.extend_from_slice(&bytes);
        }
        self.body.trailers().await?;
        Ok(all)
    }

    /// The head of an answer.
    pub(crate) fn begin(&mut self) -> SendStream<Bytes> {
        self.reply.send_response(head(&[]), false).unwrap()
    }

    /// A whole answer.
    pub(crate) fn succeed(&mut self, answer: &[Vec<u8>]) {
        let mut stream = self.begin();
        for message in answer {
            stream.send_data(framed(message), false).unwrap();
        }
        stream.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    }

    /// The request's messages as the answer.
    pub(crate) async fn echo(mut self) {
        if let Ok(request) = self.read().await {
            self.succeed(&messages(&request));
        }
    }
}

/// The head of an answer with these fields.
pub(crate) fn head(more: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = fields(more);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// Fields, in order.
pub(crate) fn fields(list: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in list.iter().map(pair) {
        map.append(name, value);
    }
    map
}
