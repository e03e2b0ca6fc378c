//! What is to be checked, type by type. Made by the planner, and only read from then on.

use std::sync::Arc;

use super::rules::Rule;
use crate::schema::{FieldId, TypeId};

/// Of a message type.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) fields: Vec<FieldPlan>,
    /// Expressions over the whole message.
    pub(super) custom: Vec<Arc<Rule>>,
    /// Fields of which at most one may be set.
    pub(super) exclusive: Vec<Exclusive>,
    /// Oneofs of which a member must be set.
    pub(super) required: Vec<(String, Vec<FieldId>)>,
}

/// Fields of which at most one may be set.
#[derive(Debug)]
pub(super) struct Exclusive {
    pub(super) fields: Vec<FieldId>,
    /// Their names, for who reads of it.
    pub(super) names: String,
    /// One must be.
    pub(super) required: bool,
}

/// Of a field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) field: FieldId,
    pub(super) required: bool,
    pub(super) when: When,
    /// Of what it has, which may be a whole list or map.
    pub(super) whole: Checks,
    /// Of each key of its map.
    pub(super) keys: Element,
    /// Of each element of its list, or value of its map.
    pub(super) values: Element,
}

/// Of an element of a list, or of a key or a value of a map.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) when: When,
    pub(super) checks: Checks,
}

/// Whether what is not there, or as good as not there, is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum When {
    #[default]
    Always,
    /// If it is set, and not to what a field without presence has that is not there.
    IfSet,
    Never,
}

/// Of a value.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Expressions that somebody wrote for it.
    pub(super) custom: Vec<Arc<Rule>>,
    pub(super) standard: Option<Standard>,
    /// A number without a name is none of its enum's.
    pub(super) defined_only: bool,
    /// Type URLs that an `Any` may have (none: all), and such that it may not.
    pub(super) any: Option<(Vec<String>, Vec<String>)>,
    /// It is a message that has rules in it.
    pub(super) nested: Option<TypeId>,
}

/// Rules of protovalidate's own.
#[derive(Debug)]
pub(super) struct Standard {
    /// The type of the rules, in the schema of the rulebook.
    pub(super) kind: TypeId,
    /// The rules, as they are set.
    pub(super) octets: Vec<u8>,
    /// What those mean that are set.
    pub(super) rules: Vec<Arc<Rule>>,
}

impl Checks {
    pub(super) fn is_empty(&self) -> bool {
        self.custom.is_empty()
            && self.standard.is_none()
            && !self.defined_only
            && self.any.is_none()
            && self.nested.is_none()
    }
}

impl Element {
    /// Whether there is nothing to do for any element.
    pub(super) fn is_idle(&self) -> bool {
        self.when == When::Never || self.checks.is_empty()
    }
}

impl FieldPlan {
    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.whole.is_empty() && self.keys.is_idle() && self.values.is_idle();
        !self.required && (self.when == When::Never || inner)
    }
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.custom.is_empty() && self.exclusive.is_empty() && self.required.is_empty()
    }

    /// Types of messages in it that are checked too.
    pub(super) fn nested(&self) -> impl Iterator<Item = TypeId> {
        self.fields.iter().flat_map(|field| [field.whole.nested, field.values.checks.nested]).flatten()
    }

    /// Leaves out what has nothing to do, once it is known which types have no rules.
    pub(super) fn prune(&mut self, has_rules: impl Fn(TypeId) -> bool) {
        for field in &mut self.fields {
            for checks in [&mut field.whole, &mut field.values.checks] {
                checks.nested = checks.nested.filter(|id| has_rules(*id));
            }
        }
        self.fields.retain(|field| !field.is_idle());
    }
}
