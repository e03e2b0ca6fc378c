//! What a caller is told when a call does not pass.

use std::time::Duration;

use crate::{Code, Reason};

/// A refusal: a status, the reason word, and a message that says what to do.
///
/// The message goes to the caller: it never holds a secret, a token, an upstream address or a stack trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC status.
    pub code: Code,
    /// The word for metrics, logs and `ErrorInfo`.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub message: String,
    /// More for machines.
    pub details: Vec<Detail>,
}

/// What goes into `google.rpc.Status.details` beside the `ErrorInfo` that every refusal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `google.rpc.RetryInfo`: do not come back sooner.
    RetryAfter(Duration),
    /// `google.rpc.BadRequest`: the field that is wrong (a path), and why.
    BadField {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        description: String,
    },
}

impl Refusal {
    /// A refusal without details.
    pub fn new(code: Code, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Vec::new() }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }
}
