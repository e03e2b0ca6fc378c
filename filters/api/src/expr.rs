//! Expressions, as filters have them: compiled when a filter is built, evaluated as often as it wants. What they are written in, and what
//! names there are, is the proxy's matter (docs/expressions.md).

use std::sync::Arc;

use fields::RequestHead;

use crate::{CallInfo, Reads};

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// `true` or `false`.
    Truth,
    /// Text, or a number or truth value that becomes text.
    Text,
}

/// An expression.
pub trait Expression: Send + Sync + std::fmt::Debug {
    /// Which messages it looks at.
    fn reads(&self) -> Reads;

    /// Whether it holds.
    ///
    /// # Errors
    /// It cannot be told, for whatever reason: the call is to be refused.
    fn holds(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated>;

    /// The text that it gives; none for null.
    ///
    /// # Errors
    /// There is none, for whatever reason: the call is to be refused.
    fn text(&self, seen: &Seen<'_>) -> Result<Option<String>, Unevaluated>;
}

/// What an expression looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What is known of the call.
    pub call: &'a CallInfo,
    /// The head of the request.
    pub head: &'a RequestHead,
}

/// Why an expression has no value: in words, without anything of what it looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unevaluated(pub String);

/// Who compiles expressions.
pub trait Expressions {
    /// Compiles.
    ///
    /// # Errors
    /// Everything that is wrong with it, in words and with the place in the text.
    fn compile(&self, text: &str, gives: Gives) -> Result<Arc<dyn Expression>, String>;
}
