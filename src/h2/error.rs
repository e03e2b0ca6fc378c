//! What ends a stream or a connection, and how it is told to the peer (RFC 9113 §5.4, §7).

use super::guard::Limit;

/// An HTTP/2 error code (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Not an error: the sender needs no more of the other half.
    pub const NO_ERROR: Self = Self(0);
    /// The peer broke a rule that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Something is broken that neither side's peer did.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than a window takes, or a window grew beyond 2^31 - 1.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame for a half that is closed.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame of a length that its kind cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Not processed at all: clients repeat such a call at once.
    pub const REFUSED_STREAM: Self = Self(7);
    /// No longer needed.
    pub const CANCEL: Self = Self(8);
    /// The compression state is lost.
    pub const COMPRESSION_ERROR: Self = Self(9);
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

impl StreamError {
    /// What a reset by the peer means for the stream.
    pub(super) fn of_reset(code: ErrorCode) -> Self {
        if code == ErrorCode::REFUSED_STREAM { Self::NotStarted } else { Self::Reset(code) }
    }
}

/// Why a whole connection has to end. GOAWAY with the code is in its output by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (HTTP/2 error {})", code.0)]
pub struct Fatal {
    /// What the peer is told.
    pub code: ErrorCode,
    /// The limit that was met, if it was one.
    pub limit: Option<Limit>,
    /// For the log: which rule, in words.
    pub what: &'static str,
}

impl Fatal {
    /// The peer broke a rule.
    pub(super) const fn broken(code: ErrorCode, what: &'static str) -> Self {
        Self { code, limit: None, what }
    }

    /// The peer asked too much.
    pub(super) const fn limit(limit: Limit) -> Self {
        Self { code: ErrorCode::ENHANCE_YOUR_CALM, limit: Some(limit), what: limit.as_str() }
    }
}
