//! The two halves of a stream, and what can end it.

use std::task::{Context, Poll};

use bytes::Bytes;
use fields::Fields;

use super::heads;
use super::held::Held;

/// An HTTP/2 error code (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Not an error: the sender needs no more of the other half.
    pub const NO_ERROR: Self = Self(0);
    /// Something is broken that neither side's peer did.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// Not processed at all: clients repeat such a call at once.
    pub const REFUSED_STREAM: Self = Self(7);
    /// No longer needed.
    pub const CANCEL: Self = Self(8);
    /// The peer asks too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// Why a stream ended before it was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The peer reset it.
    Reset(ErrorCode),
    /// The peer provably did not start on it: REFUSED_STREAM, or a stream above GOAWAY's last id.
    NotStarted,
    /// The connection is gone.
    Lost,
    /// The peer broke the protocol, and our side ended it.
    Violation(ErrorCode),
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        let code = ErrorCode(error.reason().map_or(2, u32::from));
        match () {
            () if error.is_reset() && error.is_remote() && code == ErrorCode::REFUSED_STREAM => Self::NotStarted,
            () if error.is_reset() && error.is_remote() => Self::Reset(code),
            // h2 gives a stream this error only where its id is above the last one that the peer will process.
            () if error.is_go_away() && error.is_remote() => Self::NotStarted,
            // The whole connection ended: for this call that is as if it were lost.
            () if error.is_library() && !error.is_go_away() => Self::Violation(code),
            () => Self::Lost,
        }
    }
}

/// The half from which bytes come.
///
/// Credit goes back to the peer only through [`release`](Self::release): what was taken and not released is what the
/// proxy holds, and the stream's window bounds it.
#[derive(Debug)]
pub struct Receiver {
    stream: h2::RecvStream,
    held: Held,
    /// Bytes of this stream that are held.
    ours: usize,
}

/// Held bytes by which a connection's window lags behind at the most.
pub(super) const STEP: usize = 64 * 1024;

impl Receiver {
    pub(super) fn new(stream: h2::RecvStream, held: Held) -> Self {
        Self { stream, held, ours: 0 }
    }

    /// The next bytes; `None` after the last.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let data = self.stream.poll_data(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &data {
            self.ours += bytes.len();
            self.held.take(bytes.len(), STEP);
        }
        data.map(|data| data.map(|result| result.map_err(StreamError::from)))
    }

    /// The trailers, once `poll_data` has said `None`.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Fields>, StreamError>> {
        self.stream.poll_trailers(cx).map(|result| match result {
            Ok(map) => Ok(map.as_ref().map(heads::list_in)),
            Err(error) => Err(error.into()),
        })
    }

    /// Whether the peer has ended its half and everything was taken.
    pub fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Gives credit back for `bytes` that have gone on.
    pub fn release(&mut self, bytes: usize) {
        // An error means that the stream is over: nobody waits for credit.
        drop(self.stream.flow_control().release_capacity(bytes));
        self.let_go(bytes);
    }

    fn let_go(&mut self, bytes: usize) {
        let bytes = bytes.min(self.ours);
        self.ours -= bytes;
        self.held.release(bytes);
    }
}

impl Drop for Receiver {
    /// h2 gives the connection back what a stream that is dropped had not released.
    fn drop(&mut self) {
        self.let_go(usize::MAX);
    }
}

/// The half to which bytes go.
#[derive(Debug)]
pub struct Sender(pub(super) h2::SendStream<Bytes>);

impl Sender {
    /// How many of `wanted` bytes the peer's windows take now; pending while that is none.
    ///
    /// `None` means that the stream takes no more at all: [`poll_reset`](Self::poll_reset) tells why.
    pub fn poll_credit(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        // Reserved only with a chunk in hand: capacity held by a stream that has nothing to send starves the others.
        self.0.reserve_capacity(wanted);
        loop {
            let credit = self.0.capacity();
            if credit > 0 {
                return Poll::Ready(Some(credit.min(wanted)));
            }
            match self.0.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends bytes for which there is credit; `end` closes this half.
    pub fn send(&mut self, bytes: Bytes, end: bool) -> Result<(), StreamError> {
        self.0.send_data(bytes, end).map_err(StreamError::from)
    }

    /// Sends trailers, which close this half.
    pub fn send_trailers(&mut self, trailers: Fields) -> Result<(), StreamError> {
        self.0.send_trailers(heads::map_out(trailers)).map_err(StreamError::from)
    }

    /// Ends the stream.
    pub fn reset(&mut self, code: ErrorCode) {
        self.0.send_reset(code.0.into());
    }

    /// Ready once the peer has reset the stream or its connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.0.poll_reset(cx).map(reset_of)
    }
}

/// What `poll_reset` of either side of h2 says, as an error of the stream.
pub(super) fn reset_of(result: Result<h2::Reason, h2::Error>) -> StreamError {
    match result {
        Ok(reason) if reason == h2::Reason::REFUSED_STREAM => StreamError::NotStarted,
        Ok(reason) => StreamError::Reset(ErrorCode(reason.into())),
        Err(error) => error.into(),
    }
}
