//! What is told of a message that does not fit, or of which that is not known.

use crate::expr::Failure;
use crate::schema::Item;

/// The longest key that a path quotes, in characters.
const MOST_KEY: usize = 200;

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

/// A key as text; keys of one map are of one kind.
pub(super) fn whole(key: &Item<'_>) -> String {
    match key {
        Item::Text(text) => text.to_string(),
        Item::Bool(value) => value.to_string(),
        Item::Int(value) => value.to_string(),
        Item::Uint(value) => value.to_string(),
        _ => String::new(),
    }
}

/// A key as it is in a path.
pub(super) fn subscript(key: &Item<'_>) -> String {
    match key {
        Item::Text(text) => format!("[{}]", serde_json::Value::from(cut(text, MOST_KEY))),
        key => format!("[{}]", whole(key)),
    }
}

/// A text to a bound.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
