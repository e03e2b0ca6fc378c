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
mod keep;
mod methods;
mod readers;
mod reason;
mod refusal;
mod secret;
mod target;
mod time;
mod tokens;
pub mod units;

pub use call::{
    Admitted, AgentInfo, Bounds, CallFilter, CallInfo, Depth, Filter, Message, MethodKind, Outcome, PeerIdentity,
    Protocol, Reads, RequestView, ResponseView, Start, Types, Verdict, Who,
};
pub use code::Code;
pub use factory::{Build, BuildCx, BuildError, Factory, Known, Noting, Phase};
pub use keep::Keep;
pub use methods::{MethodPattern, ServicePattern};
pub use readers::{
    Expression, Extract, Extracted, Gives, Hidden, Misfit, Readers, Redaction, Rules, Seen, Unevaluated, Unread,
    Validation, is_field_path,
};
pub use reason::Reason;
pub use refusal::{Detail, Refusal};
pub use secret::read_secret;
pub use target::{MOST_VALUE, are_one_name, check_target, is_target_value};
pub use time::Rfc3339;
pub use tokens::{Claims, Issuers, Signed, Token, Verification, Verifier};

pub use fields;
