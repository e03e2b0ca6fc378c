//! What an expression costs at most, guessed before it runs: lists are taken for a hundred elements, texts for a thousand octets.
//! One that is over the bound by this guess is refused at load; whatever a message really has in it is counted when it runs.

use super::function::Function;
use super::node::{Constant, Loop, LoopKind, Node};
use super::text;

/// Elements that a list or a map is taken to have whose length is not known.
const ELEMENTS: u64 = 100;
/// Steps that working through a text takes whose length is not known.
const TEXT: u64 = 16;
/// Steps that finding a field takes.
const FIELD: u64 = 4;

/// Steps.
pub(super) fn of(node: &Node) -> u64 {
    let inner = match node {
        Node::Constant(_) | Node::Name(_) | Node::Body(..) | Node::HasName(_) | Node::Local(_) | Node::Fails(_) => 0,
        Node::Field(of, ..) | Node::HasField(of, _) => of_node(of).saturating_add(FIELD),
        Node::Select(of, _) | Node::HasSelect(of, _) => of_node(of).saturating_add(FIELD),
        Node::List(items) => sum(items),
        Node::Map(entries) => {
            let all = entries.iter().map(|(key, value)| of_node(key).saturating_add(of_node(value)));
            // Each key is compared with those before it.
            all.fold(0, u64::saturating_add).saturating_add((entries.len() as u64).saturating_pow(2))
        }
        Node::Message(_, fields) => fields.iter().map(|(_, node)| of_node(node)).fold(0, u64::saturating_add),
        Node::And(sides) | Node::Or(sides) => of_node(&sides.0).saturating_add(of_node(&sides.1)),
        Node::If(parts) => of_node(&parts.0).saturating_add(of_node(&parts.1).max(of_node(&parts.2))),
        Node::Call(function, arguments) => sum(arguments).saturating_add(call(*function, arguments)),
        Node::Matches(of, _) => of_node(of).saturating_add(TEXT * 8),
        Node::Cidr(of, _) => of_node(of).saturating_add(TEXT),
        Node::Loop(made) => repeat(made),
    };
    inner.saturating_add(1)
}

fn of_node(node: &Node) -> u64 {
    of(node)
}

fn sum(nodes: &[Node]) -> u64 {
    nodes.iter().map(of).fold(0, u64::saturating_add)
}

fn call(function: Function, arguments: &[Node]) -> u64 {
    use Function as F;
    match function {
        F::Equal | F::NotEqual | F::In | F::Add => {
            // A list that is written out is as long as it is; a constant is compared in a step.
            let sizes = arguments.iter().map(elements);
            sizes.fold(u64::MAX, u64::min).saturating_add(1)
        }
        F::Matches => TEXT * 8 + text::COMPILING as u64,
        F::Contains | F::StartsWith | F::EndsWith | F::Size | F::ToText | F::ToBytes | F::Validation(_) => TEXT,
        _ => 1,
    }
}

fn repeat(made: &Loop) -> u64 {
    let each = [made.test.as_ref(), made.make.as_ref()].into_iter().flatten().map(of).fold(2, u64::saturating_add);
    of(&made.over).saturating_add(elements(&made.over).saturating_mul(each))
}

/// How many elements a node has.
fn elements(node: &Node) -> u64 {
    match node {
        Node::List(items) => items.len() as u64,
        Node::Map(entries) => entries.len() as u64,
        Node::Constant(Constant::List(items)) => items.len() as u64,
        Node::Constant(Constant::Text(text)) => text.len() as u64 / 64,
        Node::Constant(_) => 1,
        Node::Loop(made) if made.kind == LoopKind::Collect => elements(&made.over),
        _ => ELEMENTS,
    }
}
