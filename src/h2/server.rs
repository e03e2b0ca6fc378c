//! The server's role: calls come in over a connection.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fields::{RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::held::Held;
use super::stream::{STEP, reset_of};
use super::{Deferred, ErrorCode, Receiver, Sender, StreamError, heads};

/// Largest frame that a listener offers to take. h2 holds a whole frame before it delivers it, so a larger one would
/// give every stranger that much memory a connection (../shared/PERFORMANCE.md, point 5).
const FRAME: u32 = 16 * 1024;
/// What one stream may send ahead.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all streams of a connection may send ahead, beside what the proxy holds of them ([`Held`]).
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// Bytes that h2 holds for a stream whose caller reads slowly: a caller that reads nothing can have it in each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// h2 ends a connection over small DATA frames that nobody has read yet; each costs 256 bytes less its length of this.
/// Our streams are read at once, but a whole socket buffer may be parsed before their tasks run. A connection's window
/// full of empty messages, five bytes each, costs 50 MiB; the window is what bounds the memory.
const SMALL_FRAMES: usize = 64 << 20;

/// What a listener's configuration says of its connections.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Streams open at once.
    pub streams: u32,
    /// Bytes of a head, as [`fields::Fields::size`] counts them.
    pub headers: u32,
}

/// Takes a connection whose preface is next on `io`.
pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    settings: ServerSettings,
) -> Result<ServerConnection<T>, StreamError> {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(settings.streams)
        .max_header_list_size(settings.headers)
        .max_frame_size(FRAME)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .reset_stream_duration(Duration::from_secs(1));
    Ok(ServerConnection { connection: builder.handshake(Deferred::new(io)).await?, held: Held::default() })
}

/// A connection on which calls come in. It moves only while [`poll_call`](Self::poll_call) is polled.
pub struct ServerConnection<T> {
    connection: h2::server::Connection<Deferred<T>, Bytes>,
    held: Held,
}

/// A call as it came.
#[derive(Debug)]
pub struct Inbound {
    /// Its head.
    pub head: RequestHead,
    /// Its messages.
    pub body: Receiver,
    /// The way back.
    pub reply: Reply,
}

impl<T: AsyncRead + AsyncWrite + Unpin> ServerConnection<T> {
    /// The next call; `None` once the connection is over.
    pub fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Inbound, StreamError>>> {
        if let Some(window) = self.held.window(CONNECTION_WINDOW as usize, STEP, cx) {
            self.connection.set_target_window_size(window);
        }
        self.connection.poll_accept(cx).map(|next| {
            next.map(|result| {
                let (request, respond) = result?;
                let (parts, body) = request.into_parts();
                Ok(Inbound {
                    head: heads::request_in(&parts),
                    body: Receiver::new(body, self.held.clone()),
                    reply: Reply(respond),
                })
            })
        })
    }

    /// Says goodbye in two phases (RFC 9113 §6.8): calls under way and on the wire are served, then the connection ends.
    pub fn say_goodbye(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Streams that are open in either direction.
    pub fn has_streams(&self) -> bool {
        self.connection.has_streams()
    }
}

/// The way back to the caller, until the head of the answer is sent.
#[derive(Debug)]
pub struct Reply(h2::server::SendResponse<Bytes>);

impl Reply {
    /// Sends the head of the answer; with `end` it is the whole answer.
    pub fn send_head(&mut self, head: ResponseHead, end: bool) -> Result<Sender, StreamError> {
        self.0.send_response(heads::response_out(head), end).map(Sender).map_err(StreamError::from)
    }

    /// Ends the stream without an answer.
    pub fn reset(&mut self, code: ErrorCode) {
        self.0.send_reset(code.0.into());
    }

    /// Ready once the caller has reset the stream or its connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.poll_reset(cx).map(reset_of)
    }
}
