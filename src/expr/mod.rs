//! Expressions: CEL, parsed by the `cel` crate and from there on our own. [`compile`] checks types against a schema, binds fields to their
//! numbers, bounds what the expression may cost, and makes a [`Program`]; a program reads messages where they lie on the wire and counts
//! its steps. docs/expressions.md has what of CEL there is. Knows no call and no filter: what names have is handed in as [`Names`].

mod build;
mod check;
mod compare;
mod convert;
mod cost;
mod eval;
mod expression;
mod extent;
mod failure;
mod function;
mod kind;
mod macros;
mod message;
mod node;
mod parse;
mod resolve;
mod text;
mod time;
mod validation;
mod value;
mod vocabulary;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use check::{Declared, Scope};
pub use eval::Names;
pub use expression::{Expression, Wanted};
pub use failure::Failure;
pub use kind::Type;
pub use message::{field_value, item_value, message_value};
pub use parse::{MOST_OCTETS, Problem};
pub use time::Moment;
pub use value::{List, Map, Value};
pub use vocabulary::{Facts, Place, Registration};

use crate::schema::{FieldId, Meter, Schema};

/// The most steps that an expression may take, if nothing else is said.
pub const MAX_COST: u64 = 1_000_000;

/// An expression that is ready to be evaluated.
#[derive(Debug)]
pub struct Program {
    node: node::Node,
    kind: Type,
    cost: u64,
    names: BTreeSet<usize>,
    fields: Vec<FieldId>,
    schema: Option<Arc<Schema>>,
}

/// Compiles.
///
/// # Errors
/// Everything that is wrong with it, and where.
pub fn compile(
    text: &str,
    scope: Scope<'_>,
    schema: Option<&Arc<Schema>>,
    max_cost: u64,
) -> Result<Program, Vec<Problem>> {
    let scope = Scope { schema: schema.map(|schema| &**schema), ..scope };
    let parsed = parse::parse(text)?;
    let checked = check::check(&parsed, scope)?;
    let cost = cost::of(&checked.node);
    if cost > max_cost {
        let message = format!(
            "the expression may take {cost} steps (lists of 100 elements, texts of 1,000 octets), and `expr.max_cost` is {max_cost}: make it simpler, or allow more"
        );
        return Err(vec![Problem { line: 1, column: 1, message }]);
    }
    let check::Checked { node, kind, names, fields } = checked;
    Ok(Program { node, kind, cost, names, fields, schema: schema.cloned() })
}

/// Several problems as one text.
pub fn problems_in_words(problems: &[Problem]) -> String {
    let words = problems.iter().map(|Problem { line, column, message }| format!("at {line}:{column}: {message}"));
    let words: Vec<_> = words.collect();
    words.join("; ")
}

impl Program {
    /// The type of what it gives.
    pub fn kind(&self) -> &Type {
        &self.kind
    }

    /// Steps that it takes, by the guess that was made at load.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether it uses the declared name at this place.
    pub fn uses(&self, at: usize) -> bool {
        self.names.contains(&at)
    }

    /// Where the types of what it reads are.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_deref()
    }

    /// Fields of messages that it reads.
    pub fn fields(&self) -> &[FieldId] {
        &self.fields
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// There is no value, for whatever reason.
    pub fn run<'a>(&'a self, names: &dyn Names<'a>, meter: &mut Meter) -> Result<Value<'a>, Failure> {
        let schema = self.schema.as_deref();
        eval::Evaluation { names, schema, meter, locals: Vec::new() }.of(&self.node)
    }
}
