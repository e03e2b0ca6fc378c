//! The client's role: calls go out over a connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fields::{RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::held::Held;
use super::stream::STEP;
use super::{Deferred, Receiver, Sender, StreamError, heads};

/// Large frames save a fifth of the cost of large bodies; an upstream is trusted with them, a caller is not.
const FRAME: u32 = 1 << 20;
/// What one answer may be ahead of its caller: a slow caller holds that much of the proxy's memory.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all answers on a connection may be ahead, beside what the proxy holds of them ([`Held`]).
const CONNECTION_WINDOW: u32 = 16 << 20;
const SEND_BUFFER: usize = 256 * 1024;
/// See the server's: here token streams of all callers share one connection, and its end would end them all.
const SMALL_FRAMES: usize = 32 << 20;
/// Bytes of a head or trailers that an upstream may send: status details of 64 KiB in base64, and room for the rest. With
/// frames as large as ours h2 takes five CONTINUATIONs and ends the connection over a sixth (it counts by our frame size,
/// peers split by theirs, 16 KiB): so no more than that is invited.
const HEADERS: u32 = 112 * 1024;
/// Streams to open before the peer's SETTINGS have said how many it takes (RFC 9113 §6.5.2 recommends no less).
const STREAMS_BEFORE_SETTINGS: usize = 100;

/// What a cluster's configuration says of its connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientSettings {}

/// Opens a connection over a connected socket, and waits until the peer has spoken: what connects and says nothing is not
/// an upstream. The future that is handed back moves the connection and must be driven; it ends with the connection.
pub async fn connect<T>(
    io: T,
    _settings: ClientSettings,
) -> Result<(ClientConnection, impl Future<Output = ()>), StreamError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .max_header_list_size(HEADERS)
        .max_frame_size(FRAME)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        // Callers cancel a lot, and a reset that crosses the peer's last frames must not count against the connection:
        // the peer is an upstream of ours (h2 issue 856: the defaults end the connection after 1,024 in its life).
        .max_concurrent_reset_streams(1_024)
        // What crosses a reset comes within a round trip. h2 keeps each of these streams for so long, and the room for the
        // most there were for ever (tests/load, 300 cancels a second: with 5 s, 0.8 MiB more stayed on six connections).
        .reset_stream_duration(Duration::from_secs(1))
        .max_local_error_reset_streams(None);
    let (requests, mut connection) = builder.handshake(Deferred::new(io)).await?;
    wait_for_settings(&mut connection).await?;
    let held = Held::default();
    let handle = ClientConnection { requests, held: held.clone() };
    Ok((handle, poll_fn(move |cx| drive(&mut connection, &held, cx))))
}

/// A peer's SETTINGS are the first frame it sends, so they are here once a PING has been answered.
async fn wait_for_settings<T>(connection: &mut h2::client::Connection<Deferred<T>, Bytes>) -> Result<(), StreamError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut ping = connection.ping_pong().ok_or(StreamError::Lost)?;
    ping.send_ping(h2::Ping::opaque())?;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = ping.poll_pong(cx) {
            return Poll::Ready(result.map(|_| ()).map_err(StreamError::from));
        }
        match Pin::new(&mut *connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(StreamError::Lost)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => ping.poll_pong(cx).map(|result| result.map(|_| ()).map_err(StreamError::from)),
        }
    })
    .await
}

/// Moves a connection to its end. How it ends is seen by its streams; nobody else asks.
fn drive<T>(connection: &mut h2::client::Connection<Deferred<T>, Bytes>, held: &Held, cx: &mut Context<'_>) -> Poll<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(window) = held.window(CONNECTION_WINDOW as usize, STEP, cx) {
        connection.set_target_window_size(window);
    }
    Pin::new(connection).poll(cx).map(drop)
}

/// A connection on which calls go out. Clones share it.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    requests: h2::client::SendRequest<Bytes>,
    held: Held,
}

impl ClientConnection {
    /// Whether new calls can be opened: false after GOAWAY, the end of the connection or of its stream ids.
    pub fn is_open(&mut self) -> bool {
        // Never pending: no stream of this handle waits to be opened.
        matches!(self.requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }

    /// Calls that the peer takes at once.
    pub fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Opens a call; with `end` it has no message.
    pub fn open(&mut self, head: RequestHead, end: bool) -> Result<(Response, Sender), StreamError> {
        // An error up to here means that nothing was sent.
        let request = heads::request_out(head).ok_or(StreamError::NotStarted)?;
        let (response, sender) = self.requests.send_request(request, end).map_err(|_| StreamError::NotStarted)?;
        Ok((Response { head: response, held: self.held.clone() }, Sender(sender)))
    }
}

/// The answer to a call that went out.
#[derive(Debug)]
pub struct Response {
    head: h2::client::ResponseFuture,
    held: Held,
}

impl Response {
    /// The head of the answer. Informational heads (1xx) are swallowed by h2.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(ResponseHead, Receiver), StreamError>> {
        Pin::new(&mut self.head).poll(cx).map(|result| {
            let (parts, body) = result?.into_parts();
            Ok((heads::response_in(&parts), Receiver::new(body, self.held.clone())))
        })
    }
}
