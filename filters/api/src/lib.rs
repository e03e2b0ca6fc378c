//! The contract between the proxy and its filters: what a filter is given, and what it may answer.
//!
//! A filter is built once per use in a configuration ([`Factory::build`] fails at load or never), sees the head of every
//! call that passes ([`Filter::request_head`]) and follows a call further only where it asks to ([`Start::Follow`]).
//! A filter that only looks at the head costs no allocation; one that follows costs one small box a call.
//!
//! docs/writing-a-filter.md walks through an example; `examples/hello_filter` is one to copy.

mod call;
mod code;
mod factory;
mod readers;
mod reason;
mod refusal;
pub mod units;

pub use call::{
    AgentInfo, Bounds, CallFilter, CallInfo, Depth, Filter, Message, MethodKind, Outcome, PeerIdentity, Protocol,
    Reads, RequestView, ResponseView, Start, Types, Verdict,
};
pub use code::Code;
pub use factory::{Build, BuildCx, BuildError, Factory, Known, Phase};
pub use readers::{Expression, Gives, Hidden, Readers, Redaction, Seen, Unevaluated, Unread};
pub use reason::Reason;
pub use refusal::{Detail, Refusal};

pub use fields;
