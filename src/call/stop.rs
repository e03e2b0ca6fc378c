//! Why a call ends before its upstream has answered in full, and what its caller is told.

use std::time::Duration;

use fields::Fields;
use filter_api::{Code, Detail, Reason, Refusal};
use rand::Rng as _;
use tokio::time::Instant;

use crate::h2::{ErrorCode, StreamError};
use crate::upstream::ConnectError;
use crate::wire::{FramingError, Unreadable, status_of_reset};

/// A timer fires up to this much after its moment, and an upstream's may fire that much before ours: an upstream that
/// cancels so close to the deadline does it for the deadline (FIELD.md §5, "the deadline race").
const TIMER_SLACK: Duration = Duration::from_millis(10);

/// When those whose calls a drain has ended are to call again, in milliseconds.
const PUSHBACK: std::ops::RangeInclusive<u64> = 100..=1_000;

/// Why the proxy ends a call: what its caller is told.
#[derive(Debug)]
pub(super) struct Stop(pub(super) Box<Refusal>);

impl Stop {
    /// A refusal.
    pub(super) fn refuse(code: Code, reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal::new(code, reason, message)))
    }

    /// Time ran out.
    pub(super) fn deadline() -> Self {
        Self(past_deadline())
    }

    /// The token of the call has run out while it went on.
    pub(super) fn expired() -> Self {
        let message = "the token of this call has expired while it was open: call again with a new one";
        Self::refuse(Code::Unauthenticated, Reason::TokenExpired, message)
    }

    /// Nothing moved for too long.
    pub(super) fn idle(limit: Duration) -> Self {
        let message =
            format!("nothing came in either direction for {} s, which is the limit here", limit.as_secs_f64());
        Self::refuse(Code::DeadlineExceeded, Reason::Idle, message)
    }

    /// The wrong number of request messages.
    pub(super) fn cardinality(what: &str) -> Self {
        let message =
            format!("the method takes one request message, this call has {what}: is it called as what it is?");
        Self::refuse(Code::Unimplemented, Reason::Cardinality, message)
    }

    /// A rule decides by a message, and none came.
    pub(super) fn undecided() -> Self {
        let message =
            "a rule decides by what is in a message, and the call ended without one: send it, or ask for a rule";
        Self::refuse(Code::PermissionDenied, Reason::Denied, message)
    }

    /// The listener's calls hold as much as they may.
    pub(super) fn overloaded() -> Self {
        let message = "the listener holds as much of messages as it may (limits.buffered): come back a little later";
        let refusal = Refusal::new(Code::ResourceExhausted, Reason::Overloaded, message);
        Self(Box::new(refusal.with(Detail::RetryAfter(Duration::from_millis(250)))))
    }

    /// The proxy ends, or the listener does, and will not finish this call.
    pub(super) fn draining(message: &'static str) -> Self {
        let refusal = Refusal::new(Code::Unavailable, Reason::Draining, message);
        // Many calls end at the same moment, and their callers must not all come back at another one.
        let wait = Duration::from_millis(rand::rng().random_range(PUSHBACK));
        Self(Box::new(refusal.with(Detail::RetryAfter(wait))))
    }

    /// A message has to be read, and cannot be.
    pub(super) fn unreadable(what: &str, why: Unreadable, limit: u64) -> Self {
        let (code, reason, message) = match why {
            Unreadable::TooLarge => (
                Code::ResourceExhausted,
                Reason::MessageTooLarge,
                format!("a {what} message has more than {limit} bytes once it is decompressed: send less at once"),
            ),
            Unreadable::Broken => (
                Code::InvalidArgument,
                Reason::Framing,
                format!("a {what} message is not compressed as its grpc-encoding says, or has octets behind its end"),
            ),
            // So gRPC has it ("Compression", compressed flag without an encoding).
            Unreadable::Undeclared => (
                Code::Internal,
                Reason::Framing,
                format!("a {what} message is flagged as compressed, and the head names no grpc-encoding"),
            ),
            Unreadable::Unknown => (
                Code::Unimplemented,
                Reason::Encoding,
                format!("a {what} message must be read here, and not in its grpc-encoding: use one that is accepted"),
            ),
        };
        Self::refuse(code, reason, message)
    }

    /// A message is over a bound.
    pub(super) fn too_large(what: &str, size: u32, limit: u64) -> Self {
        let message = format!("a {what} message of {size} bytes is over the limit of {limit}: send less at once");
        Self::refuse(Code::ResourceExhausted, Reason::MessageTooLarge, message)
    }

    /// The same where it was the instance that broke the framing: not the caller's fault.
    pub(super) fn by_the_instance(self) -> Self {
        let message = match self.0.reason {
            Reason::Framing => {
                "the instance broke gRPC's framing: its messages are cut, or not what their prefixes say"
            }
            Reason::Encoding => "the instance compressed a message in a way that the call did not say it accepts",
            _ => return self,
        };
        Self::refuse(Code::Internal, Reason::UpstreamReset, message)
    }

    /// The request ended inside a message.
    pub(super) fn torn() -> Self {
        let message = "the request ended inside a message: its five-byte prefix announces more than was sent";
        Self::refuse(Code::InvalidArgument, Reason::Framing, message)
    }
}

impl From<FramingError> for Stop {
    fn from(error: FramingError) -> Self {
        let message = format!(
            "a message starts with 0 or 1 and four bytes of length (gRPC over HTTP/2), this one with {}: is it gRPC?",
            error.flag
        );
        Self::refuse(Code::InvalidArgument, Reason::Framing, message)
    }
}

/// What a caller is told where the upstream's own status is CANCELLED and comes at the deadline: the caller cancelled
/// nothing. A tonic server says so when its timer is the first to fire, where a grpc-go server resets the stream.
pub(super) fn late(status: &Fields, deadline: Option<Instant>, now: Instant) -> Option<Box<Refusal>> {
    let cancelled = status.get("grpc-status") == Some(b"1");
    if !cancelled || !is_near(deadline, now) {
        return None;
    }
    Some(past_deadline())
}

/// What a caller is told where the upstream's stream broke.
pub(super) fn refusal_of(error: StreamError, deadline: Option<Instant>, now: Instant) -> Box<Refusal> {
    let (code, message) = match error {
        StreamError::Reset(ErrorCode::CANCEL) if is_near(deadline, now) => {
            return past_deadline();
        }
        StreamError::NotStarted => return unstarted(),
        StreamError::Lost => {
            (Code::Unavailable, "the connection to the instance was lost while the call was open".to_owned())
        }
        StreamError::Reset(ErrorCode::NO_ERROR) => {
            (Code::Internal, "the instance ended the call without a status".to_owned())
        }
        StreamError::Reset(code) => {
            (status_of_reset(code.0), format!("the instance reset the call with HTTP/2 error {}", code.0))
        }
        StreamError::Violation(code) => {
            (Code::Internal, format!("the instance broke HTTP/2 (error {}): is it a gRPC server?", code.0))
        }
    };
    Box::new(Refusal::new(code, Reason::UpstreamReset, message))
}

/// What a caller is told where no connection could be made.
pub(super) fn refusal_of_connect(error: &ConnectError) -> Box<Refusal> {
    // The kind of error helps whoever calls; the address, and who should be there, are the operator's, in metrics and logs.
    let error = match error {
        ConnectError::Insecure(_) => "no TLS connection could be made".to_owned(),
        other => other.to_string(),
    };
    let message =
        format!("no instance could be reached: {error}; repeat the call, or see /instances on the admin port");
    Box::new(
        Refusal::new(Code::Unavailable, Reason::ConnectFailed, message)
            .with(Detail::RetryAfter(Duration::from_millis(250))),
    )
}

fn past_deadline() -> Box<Refusal> {
    let message = "the deadline passed before the call was complete: give it more time, or look why its agent is slow";
    Box::new(Refusal::new(Code::DeadlineExceeded, Reason::Deadline, message))
}

fn unstarted() -> Box<Refusal> {
    Box::new(Refusal::new(Code::Unavailable, Reason::UpstreamReset, "the instance did not take the call: repeat it"))
}

fn is_near(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now + TIMER_SLACK >= deadline)
}
