//! Values that may have one of several forms: `endpoints: [addr | {address, weight}]`. Called by the walk.
//!
//! "does not match any of the variants" helps nobody. So: first the form (text, list, map) picks the options that were
//! meant; enums with a key a variant are merged into one map that takes one key; only if several options are still left,
//! each is tried, and the one with the fewest problems speaks for all.

use serde_json::{Map, Value, json};

use super::super::Position;
use super::super::yaml::{Kind, Node};
use super::{Walk, expect, shorten};

/// The options of a union; `None` if `schema` is none.
pub(super) fn options(schema: &Map<String, Value>) -> Option<&Vec<Value>> {
    let options = schema.get("anyOf").or_else(|| schema.get("oneOf"));
    options.and_then(Value::as_array)
}

impl Walk<'_> {
    pub(super) fn union(&mut self, node: &Node, options: &[Value], key_at: Position) -> Option<Value> {
        let merged = merged(options, self.definitions);
        let mut meant: Vec<&Value> = merged.iter().filter(|option| has_form(node, option, self.definitions)).collect();
        let last = meant.pop();
        match (last, meant.as_slice()) {
            (None, _) => {
                let expected = merged.iter().map(|option| expect::of_value(option, self.definitions));
                let expected = expected.collect::<Vec<_>>().join(", or ");
                let message = match &node.kind {
                    Kind::Scalar(scalar) if scalar.is_null() => format!("is empty: give {expected}"),
                    Kind::Scalar(scalar) => format!("must be {expected}, not `{}`", shorten(scalar.shown())),
                    Kind::List(_) => format!("must be {expected}, not a list"),
                    Kind::Map(_) => format!("must be {expected}, not a map"),
                };
                self.report(if matches!(node.kind, Kind::Scalar(_)) { node.at } else { key_at }, message);
                None
            }
            (Some(only), []) => self.value(node, only, key_at),
            (Some(last), others) => self.nearest(node, others, last, key_at),
        }
    }

    /// Tries every option and keeps what the one with the fewest problems found; the first, where several have none.
    fn nearest(&mut self, node: &Node, others: &[&Value], last: &Value, key_at: Position) -> Option<Value> {
        let mut best: Option<(usize, super::Checked, Option<Value>)> = None;
        for option in others.iter().copied().chain([last]) {
            let mut walk = Walk {
                definitions: self.definitions,
                path: self.path.clone(),
                found: super::Checked::default(),
                steps: self.steps,
            };
            let value = walk.value(node, option, key_at);
            self.steps = walk.steps;
            let problems = walk.found.problems.len();
            if best.as_ref().is_none_or(|(fewest, ..)| problems < *fewest) {
                best = Some((problems, walk.found, value));
            }
        }
        let (_, found, value) = best?;
        self.found.problems.extend(found.problems);
        self.found.gaps.extend(found.gaps);
        value
    }
}

/// The options with two kinds of them made into one: words into an `enum`, and maps of one key (what serde makes of an
/// enum whose variants hold something) into a map that takes one key. So an unknown word or key is seen beside all of
/// its alternatives, and not beside the first of them.
pub(super) fn merged(options: &[Value], definitions: &Value) -> Vec<Value> {
    let mut words = Vec::new();
    let mut keys = Map::new();
    let mut rest = Vec::new();
    for option in options {
        let resolved = expect::resolve(option, definitions).as_object();
        if let Some(own) = resolved.and_then(expect::words) {
            words.extend(own);
        } else if let Some((key, schema)) = resolved.and_then(only_key) {
            keys.insert(key.clone(), schema.clone());
        } else {
            rest.push(option.clone());
        }
    }
    let mut merged = Vec::new();
    if !words.is_empty() {
        merged.push(json!({ "enum": words }));
    }
    merged.extend(rest);
    if !keys.is_empty() {
        merged.push(json!({
            "type": "object",
            "properties": keys,
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        }));
    }
    merged
}

/// The key of a map that must have this one and can have no other.
fn only_key(schema: &Map<String, Value>) -> Option<(&String, &Value)> {
    let properties = schema.get("properties")?.as_object().filter(|properties| properties.len() == 1)?;
    let (key, value) = properties.iter().next()?;
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    (closed && expect::required(schema).any(|required| required == key)).then_some((key, value))
}

/// Whether `option` could have been meant, by the outer form alone.
fn has_form(node: &Node, option: &Value, definitions: &Value) -> bool {
    let Some(option) = expect::resolve(option, definitions).as_object() else { return true };
    if let (Some(options), None) = (options(option), option.get("properties")) {
        return options.iter().any(|option| has_form(node, option, definitions));
    }
    let types = expect::types(option);
    if types.is_empty() && expect::words(option).is_none() {
        return true;
    }
    match &node.kind {
        Kind::Map(_) => types.contains(&"object"),
        Kind::List(_) => types.contains(&"array"),
        Kind::Scalar(scalar) if scalar.is_null() => false,
        Kind::Scalar(_) => types.is_empty() || types.iter().any(|name| !matches!(*name, "object" | "array")),
    }
}
