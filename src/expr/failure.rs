//! Why the evaluation of an expression failed. Never says what a message or a token had in it.

use crate::schema::{Spent, Unreadable};

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It takes more steps than it may.
    TooCostly,
    /// What it reads is not what it is said to be.
    Malformed(&'static str),
    /// The map has no such key, or the list no such place.
    NoSuchKey,
    /// Nothing of that name is there: no token was shown, no message has come.
    NoValue,
    /// There is no such field.
    NoSuchField,
    /// The operator or function does not take such values.
    NoOverload(&'static str),
    /// A number does not fit.
    Overflow,
    /// A division by 0.
    DivideByZero,
    /// A value cannot be made into another.
    Unconvertible(&'static str),
    /// What the message is made of is not known, or not yet.
    NoSchema,
    /// It was compiled although something in it is unknown.
    Unknown,
}

impl From<Spent> for Failure {
    fn from(Spent: Spent) -> Self {
        Self::TooCostly
    }
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Spent => Self::TooCostly,
            Unreadable::Malformed(why) => Self::Malformed(why),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooCostly => f.write_str("it takes more steps than `expr.max_cost` allows"),
            Self::Malformed(why) => write!(f, "what it reads is malformed: {why}"),
            Self::NoSuchKey => f.write_str("no such key"),
            Self::NoValue => f.write_str("a name in it has no value for this call"),
            Self::NoSuchField => f.write_str("no such field"),
            Self::NoOverload(function) => write!(f, "no such overload of `{function}`"),
            Self::Overflow => f.write_str("a number is out of range"),
            Self::DivideByZero => f.write_str("division by zero"),
            Self::Unconvertible(to) => write!(f, "a value cannot be made into a {to}"),
            Self::NoSchema => f.write_str("the schema of the message is not known yet"),
            Self::Unknown => f.write_str("something in it is unknown"),
        }
    }
}
