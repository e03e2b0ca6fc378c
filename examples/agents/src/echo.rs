//! Our own Echo: all four kinds of call, for tests of the proxy. Serves reflection and grpc.health.v1.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use portunus_proto::descriptors;
use portunus_proto::echo::Chunk;
use portunus_proto::echo::echo_server::{Echo, EchoServer};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::backend;
use crate::front::Services;
use crate::handle::{Behaviour, Handle};
use crate::server::{self, Running};
use crate::stream::{Knobs, Messages};

/// Largest message made for a caller.
const SIZE: usize = 64 * 1024 * 1024;

/// How Echo is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides which calls fail under `behaviour.fail_share`.
    pub seed: u64,
    /// Longest message taken and sent, in bytes.
    pub max_message: usize,
    /// Answer in gzip whoever accepts it. Requests in gzip are always taken.
    pub gzip: bool,
    /// Says which server answered: metadata `x-instance` of every answer. Empty: none.
    pub instance: String,
    /// How it misbehaves at first; `Server::handle` changes it later.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 0,
            max_message: 4 * 1024 * 1024,
            gzip: false,
            instance: String::new(),
            behaviour: Behaviour::default(),
        }
    }
}

/// A running Echo.
#[derive(Debug)]
pub struct Server {
    running: Running,
    handle: Handle,
}

backend::running!(Server);

impl Server {
    /// Listens and serves in the background.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let handle = Handle::new(&options.behaviour, options.seed);
        let mut service = EchoServer::new(Service { instance: options.instance })
            .max_decoding_message_size(options.max_message)
            .max_encoding_message_size(options.max_message)
            .accept_compressed(CompressionEncoding::Gzip);
        if options.gzip {
            service = service.send_compressed(CompressionEncoding::Gzip);
        }
        let services = backend::with_reflection(Services::new().add(service), descriptors::ECHO)?;
        let services = backend::with_health(services, &["portunus.test.Echo"]).await;
        let running = server::start(options.listen, services.behind(&handle)).await?;
        Ok(Self { running, handle })
    }
}

struct Service {
    instance: String,
}

impl Service {
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Ok(instance) = self.instance.parse()
            && !self.instance.is_empty()
        {
            response.metadata_mut().insert("x-instance", instance);
        }
        response
    }
}

#[tonic::async_trait]
impl Echo for Service {
    type ServerStreamStream = Messages<Chunk>;
    type BidiStream = Messages<Chunk>;

    async fn unary(&self, request: Request<Chunk>) -> Result<Response<Chunk>, Status> {
        let knobs = Knobs::of(request.metadata());
        let mut chunk = request.into_inner();
        if let Some(size) = wanted(&knobs, &chunk) {
            chunk.payload = filler(size)?;
        }
        Ok(self.answer(chunk))
    }

    async fn client_stream(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Chunk>, Status> {
        let mut messages = request.into_inner();
        let mut answer = Chunk::default();
        while let Some(chunk) = messages.message().await? {
            answer.count += 1;
            answer.size += chunk.payload.len() as u64;
            answer.payload = chunk.payload;
        }
        Ok(self.answer(answer))
    }

    async fn server_stream(&self, request: Request<Chunk>) -> Result<Response<Messages<Chunk>>, Status> {
        let mut knobs = Knobs::of(request.metadata());
        let chunk = request.into_inner();
        if knobs.gap.is_zero() {
            knobs.gap = std::time::Duration::from_micros(chunk.gap_us.into());
        }
        let count = knobs.count.unwrap_or_else(|| chunk.count.into());
        let payload = match wanted(&knobs, &chunk) {
            Some(size) => filler(size)?,
            None => chunk.payload,
        };
        let chunks = (0..count).map(move |index| Chunk {
            payload: payload.clone(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            ..Chunk::default()
        });
        Ok(self.answer(knobs.send(chunks)))
    }

    async fn bidi(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Messages<Chunk>>, Status> {
        let messages = request.into_inner();
        let answers = stream::unfold((messages, 0), |(mut messages, index)| async move {
            match messages.message().await {
                Ok(Some(chunk)) => Some((Ok(Chunk { index, ..chunk }), (messages, index + 1))),
                Ok(None) => None,
                // tonic ends a broken request stream after its first error, so this comes once.
                Err(status) => Some((Err(status), (messages, index))),
            }
        });
        Ok(self.answer(answers.boxed()))
    }
}

/// How many bytes of payload the caller wants, if not its own back.
fn wanted(knobs: &Knobs, chunk: &Chunk) -> Option<usize> {
    knobs.size.or_else(|| usize::try_from(chunk.size).ok().filter(|size| *size > 0))
}

fn filler(size: usize) -> Result<Bytes, Status> {
    if size > SIZE {
        return Err(Status::invalid_argument(format!(
            "{size} bytes are too many for one chunk: ask for at most {SIZE}"
        )));
    }
    Ok(Bytes::from(vec![b'x'; size]))
}
