//! Protocols: what a caller's bytes mean, and how answers are written. Knows no route, no cluster and no socket.
//!
//! Every client protocol is turned into one form here (head, numbered messages, end), so that everything behind knows
//! one. gRPC is that form itself.

mod classify;
mod compress;
mod envelope;
mod forwarded;
mod hops;
mod identity;
mod source;
mod status;
mod timeout;

pub use classify::{Asked, Rejected, authority_host, classify, method_of};
pub use compress::{Encoding, Unreadable, narrow_accepted};
pub use envelope::{FramingError, Prefix, Scanner, framed, prefix_of};
pub use forwarded::{caller_of, pass_on};
pub use hops::HopId;
pub use identity::{CLIENT_CERT, client_cert, strip_identity};
pub use source::{somebody, told_by};
pub use status::{code_of_http, refusal_trailers, status_of, status_of_reset, trailers_only};
pub use timeout::{format_timeout, parse_timeout};
