//! What is told of a message that does not fit, or of which that is not known.

use crate::expr::Failure;

/// Something that a message must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where, as protovalidate writes it: `items[2].name`, `labels["x"]`. Empty for the message itself.
    pub field: String,
    /// What is wrong, for people.
    pub message: String,
    /// The rule: `string.min_len`.
    pub rule: String,
    /// It is the key of the map's entry that is wrong, and not its value.
    pub for_key: bool,
}

/// Why it is not known whether a message fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.in_words())]
pub struct Unchecked {
    /// Where the work ended. Empty for the message itself.
    pub field: String,
    /// The rule that has no value, if it is one.
    pub rule: Option<String>,
    /// Why.
    pub failure: Failure,
}

impl Unchecked {
    fn in_words(&self) -> String {
        let place = if self.field.is_empty() { "the message" } else { &self.field };
        match &self.rule {
            Some(rule) => format!("{place} cannot be checked by the rule {rule}: {}", self.failure),
            None => format!("{place} cannot be checked: {}", self.failure),
        }
    }
}
