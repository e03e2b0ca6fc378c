//! An expression as it is evaluated: names are places, fields are numbers, macros are loops.

use std::sync::Arc;

use ipnet::IpNet;

use super::failure::Failure;
use super::function::Function;
use super::text::Pattern;
use crate::schema::{FieldId, TypeId};

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// What is given from outside, by its place among the declared names.
    Name(usize),
    /// The same, where that is the octets of a message.
    Body(usize, TypeId),
    /// Whether something is given under it.
    HasName(usize),
    /// The variable of a loop, by its place among those that are open.
    Local(usize),
    /// A message's field, and what it has where it is not there.
    Field(Box<Node>, FieldId, Constant),
    HasField(Box<Node>, FieldId),
    /// A map's entry, or the field of a message whose type is not known before.
    Select(Box<Node>, Arc<str>),
    HasSelect(Box<Node>, Arc<str>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Message(TypeId, Vec<(FieldId, Node)>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    If(Box<(Node, Node, Node)>),
    Call(Function, Vec<Node>),
    /// `matches` with a pattern that is known.
    Matches(Box<Node>, Box<Pattern>),
    /// `cidr` with a network that is known.
    Cidr(Box<Node>, IpNet),
    Loop(Box<Loop>),
    /// What cannot be had, where it was asked for not to be an error before it is evaluated.
    Fails(Failure),
}

#[derive(Clone, Debug)]
pub enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    Type(Arc<str>),
    /// A list of such: made once, not at each evaluation.
    List(Vec<Constant>),
    /// The default of a field's own kind.
    OfKind,
}

impl Node {
    /// A list of these.
    pub(super) fn list(items: Vec<Node>) -> Self {
        let constant = |node: &Node| match node {
            Node::Constant(constant) => Some(constant.clone()),
            _ => None,
        };
        match items.iter().map(constant).collect() {
            Some(constants) => Self::Constant(Constant::List(constants)),
            None => Self::List(items),
        }
    }
}

/// A macro over a list or the keys of a map.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Node,
    /// Whether an element counts.
    pub(super) test: Option<Node>,
    /// What becomes of one.
    pub(super) make: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    /// `map` and `filter`.
    Collect,
}
