//! What reads calls and messages for filters: made when a filter is built, used as often as it wants. How a message is to be read is the
//! proxy's matter: it knows what the instances serve.

use std::path::PathBuf;
use std::sync::Arc;

use fields::RequestHead;

use crate::{CallInfo, Code, Message, MethodPattern, Reads, Reason, Refusal};

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

    /// Whether it holds. One that reads a message: under every definition of it that is in force.
    ///
    /// # Errors
    /// It cannot be told, for whatever reason: the call is to be refused.
    fn holds(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated>;

    /// Whether it holds under some definition that is in force, for rules that refuse. The same as [`holds`](Self::holds) for one that
    /// reads no message.
    ///
    /// # Errors
    /// It cannot be told, for whatever reason: the call is to be refused.
    fn may_hold(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated>;

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
    /// The message that it is about; none while there is only the head.
    pub message: Option<&'a Message<'a>>,
}

/// Why an expression has no value: in words, without anything of what it looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unevaluated {
    /// What the message is made of is not known, or not yet.
    #[error("what the message is made of is not known, or not yet")]
    NoSchema,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Hides fields of messages.
pub trait Redaction: Send + Sync + std::fmt::Debug {
    /// A message of the request without them; none if nothing has to change.
    ///
    /// # Errors
    /// It cannot be told what is in it: it must not go on.
    fn request(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread>;

    /// The same for a message of the response.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    fn response(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread>;
}

/// Whether a text can be the path of a field: names by dots, through lists, and through the values of maps by `*`.
pub fn is_field_path(path: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    path.split('.').all(|name| name == "*" || is_name(name)) && !path.starts_with('*')
}

/// What to hide, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Paths of fields in messages of the request.
    pub request: Vec<String>,
    /// In messages of the response.
    pub response: Vec<String>,
    /// What texts become.
    pub mask: String,
}

/// Reads fields of messages of the request.
pub trait Extract: Send + Sync + std::fmt::Debug {
    /// What a message has in them.
    ///
    /// # Errors
    /// It cannot be told what is in it.
    fn request(&self, message: &Message<'_>) -> Result<Extracted, Unread>;
}

/// What a message has in chosen fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extracted {
    /// Fields that are there, by their paths, in the order in which they were asked for. Long values are cut.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// Paths of fields that were asked for, and that somebody else hides.
    pub hidden: Vec<Arc<str>>,
    /// Paths of fields that messages of this type do not have.
    pub unknown: Vec<Arc<str>>,
}

/// Says whether messages of the request are as they must be.
pub trait Validation: Send + Sync + std::fmt::Debug {
    /// What of a message does not fit; nothing for one that does.
    ///
    /// # Errors
    /// It cannot be told: it must not go on.
    fn request(&self, message: &Message<'_>) -> Result<Vec<Misfit>, Unread>;
}

/// By what messages are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules that their descriptors carry.
    pub protovalidate: bool,
    /// Files of JSON Schema, by the path of the texts whose JSON they are for.
    pub json_schema: Vec<(String, PathBuf)>,
}

/// Something that a message must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The path of the field; empty for the whole message.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// What it is made of is not known (yet), or the policy does not fit it.
    #[error("what the message is made of is not known, or not yet")]
    NoSchema,
    /// It is not what its type says.
    #[error("the message cannot be read: {0}")]
    Malformed(String),
}

impl Unread {
    /// What the caller is told. It was `theirs`, or an instance's answer.
    pub fn refusal(&self, theirs: bool) -> Refusal {
        match self {
            Self::NoSchema => {
                let message = format!("a policy has to read this call's messages: {self}; try again a little later");
                Refusal::new(Code::Unavailable, Reason::SchemaUnavailable, message)
            }
            Self::Malformed(_) if theirs => Refusal::new(Code::InvalidArgument, Reason::Schema, self.to_string()),
            Self::Malformed(_) => {
                Refusal::new(Code::Internal, Reason::Schema, "an answer that a policy has to read cannot be read")
            }
        }
    }
}

/// Who makes them.
pub trait Readers {
    /// Compiles an expression. It is asked only in calls of these methods, where some are named: it has to fit no others.
    ///
    /// # Errors
    /// Everything that is wrong with it, in words and with the place in the text.
    fn expression(
        &self,
        text: &str,
        gives: Gives,
        methods: Option<&MethodPattern>,
    ) -> Result<Arc<dyn Expression>, String>;

    /// Hides fields. What they are is looked up for each definition of a method's messages, as it comes up; where one does not have them,
    /// its calls are refused.
    fn redaction(&self, hidden: Hidden) -> Arc<dyn Redaction>;

    /// Reads fields of request messages, by their paths. A field that a message's type does not have is not there; one that a redaction of
    /// the same listener or route hides is left out.
    fn extract(&self, paths: Vec<String>) -> Arc<dyn Extract>;

    /// Judges messages, for each definition as [`redaction`](Self::redaction) hides fields; under all that are in force, where several are.
    ///
    /// # Errors
    /// A file cannot be used: its path in the message, and why.
    fn validation(&self, rules: Rules) -> Result<Arc<dyn Validation>, (String, String)>;
}
