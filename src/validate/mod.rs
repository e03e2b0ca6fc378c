//! Whether messages are as they must be: protovalidate's rules, which descriptors carry ([`Validator`]), and JSON Schema for texts that
//! hold JSON ([`JsonCheck`], which [`Texts`] finds in a message). Compiled once for a definition of a message; a rule that cannot be checked
//! here is an error then, and never passed over. Knows no call and no filter.

mod check;
mod items;
mod json;
mod plan;
mod planner;
mod rules;
mod texts;
mod violation;

use std::collections::HashMap;
use std::sync::Arc;

pub use json::{JsonCheck, MOST_JSON, MOST_SCHEMA, Misfit};
pub use texts::Texts;
pub use violation::{Unchecked, Violation};

use crate::expr::Moment;
use crate::schema::{Meter, Octets, Schema, TypeId, View};

/// The most that is told of one message.
pub const MOST_VIOLATIONS: usize = 20;

/// Checks messages of one type by the rules in their descriptors.
#[derive(Debug)]
pub struct Validator {
    schema: Arc<Schema>,
    root: TypeId,
    /// Types that have rules, or have messages in them that do.
    plans: HashMap<TypeId, plan::Plan>,
}

impl Validator {
    /// Reads the rules of a message's type, and of all that can be in it. An expression among them may cost `max_cost`.
    ///
    /// # Errors
    /// In words: which rule cannot be checked here, and why.
    pub fn compile(schema: &Arc<Schema>, root: TypeId, max_cost: u64) -> Result<Self, String> {
        let plans = planner::plan(schema, root, max_cost)?;
        Ok(Self { schema: Arc::clone(schema), root, plans })
    }

    /// Whether there is no rule: every message fits.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// What of a message does not fit: at most [`MOST_VIOLATIONS`].
    ///
    /// # Errors
    /// It is malformed, it takes more steps than the meter has, or a rule has no value for it. Then it is not known whether it fits.
    pub fn check<'a>(&'a self, body: &'a [u8], now: Moment, meter: &mut Meter) -> Result<Vec<Violation>, Unchecked> {
        let view = View::new(self.schema.type_at(self.root), Octets::Lent(body));
        check::run(&self.schema, &self.plans, view, now, meter)
    }
}

#[cfg(test)]
mod tests;
