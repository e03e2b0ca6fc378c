//! Stands in for `portunus::expr::conformance` until that is there: delete this file, and name that module in `engine.rs`.

#![allow(dead_code, reason = "nothing reads a case, and one is known")]

use std::sync::Arc;

use portunus::schema::Schema;

/// An expression, and what it is evaluated with.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) source: &'a str,
    /// The package in which names are looked up.
    pub(crate) container: &'a str,
    /// Name, declared type as CEL writes it, and value.
    pub(crate) variables: &'a [(&'a str, &'a str, Value)],
    /// Whether types are checked before it is evaluated.
    pub(crate) checked: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Message { name: String, wire: Vec<u8> },
    Duration { seconds: i64, nanos: i32 },
    Timestamp { seconds: i64, nanos: i32 },
    Type(String),
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is no expression, or, where types are checked, one that does not fit them.
    Refused(String),
    /// Evaluation failed.
    Failed(String),
}

pub(crate) fn run(_: &Arc<Schema>, case: &Case<'_>) -> Result<Value, Failure> {
    match case.source {
        "1 + 1" => Ok(Value::Int(2)),
        _ => Err(Failure::Refused("the engine is not wired yet".into())),
    }
}
