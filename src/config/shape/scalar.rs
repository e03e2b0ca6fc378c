//! Single values against their schema: words, text and its formats, numbers, true and false. Called by the walk.

use serde_json::{Map, Number, Value};

use super::super::text::Format;
use super::super::yaml::{Kind, Node, Scalar};
use super::super::{Position, formats, suggest};
use super::{Walk, expect, shorten};

impl Walk<'_> {
    /// One of the `types`, which do not include what `node` is not.
    pub(super) fn scalar(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        types: &[&str],
        schema: &Map<String, Value>,
    ) -> Option<Value> {
        if scalar.is_null() {
            // Nobody writes `registry:` to have no registry.
            let takes_defaults = types == ["object"] && expect::required(schema).next().is_none();
            let expected = match takes_defaults && !schema.contains_key("minProperties") {
                true => "`{}` for all defaults".to_owned(),
                false => expect::of(schema, self.definitions),
            };
            self.report(node.at, format!("is empty: give {expected}, or leave the key out if it is optional"));
            return None;
        }
        // Where several types are allowed, the narrower one wins, as YAML itself has it.
        let as_bool = scalar.as_bool().filter(|_| types.contains(&"boolean"));
        let as_integer = scalar.as_integer().filter(|_| types.contains(&"integer"));
        let as_number = scalar.as_number().filter(|_| types.contains(&"number"));
        match (as_bool, as_integer, as_number) {
            (Some(truth), ..) => Some(Value::Bool(truth)),
            (_, Some(integer), _) => self.integer(node, scalar, integer, schema),
            (.., Some(number)) => self.number(node, scalar, number, schema),
            _ if types.contains(&"string") => self.text(node, scalar, schema),
            _ => {
                let expected = expect::of(schema, self.definitions);
                let shown = shorten(scalar.shown());
                let message = match types {
                    ["boolean" | "integer" | "number"] if scalar.is_text() => {
                        format!("must be {expected}: write it without quotes")
                    }
                    ["array"] => format!("must be a list: write `[{shown}]`"),
                    _ => format!("must be {expected}, not `{shown}`"),
                };
                self.report_value(node, scalar, message);
                None
            }
        }
    }

    /// One of a few fixed values.
    pub(super) fn word(&mut self, node: &Node, words: &[Value], key_at: Position) -> Option<Value> {
        let texts: Vec<_> = words.iter().map(expect::word_text).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let Kind::Scalar(scalar) = &node.kind else {
            let expected = if texts.len() == 1 { "" } else { "one of " };
            let found = if matches!(node.kind, Kind::Map(_)) { "a map" } else { "a list" };
            self.report(key_at, format!("must be {expected}{}, not {found}", suggest::listed(&texts)));
            return None;
        };
        let fits = |word: &&Value| match word {
            Value::Bool(truth) => scalar.as_bool() == Some(*truth),
            word => expect::word_text(word) == scalar.text,
        };
        if let Some(word) = words.iter().find(fits) {
            return Some(word.clone());
        }
        let shown = shorten(scalar.shown());
        let message = match texts.as_slice() {
            [only] => format!("must be `{only}`, not `{shown}`"),
            // The nearest word to a secret would say something about the secret.
            _ if scalar.written.is_some() => format!("`{shown}` is not one of {}", suggest::listed(&texts)),
            _ => format!("unknown value `{shown}`{}", suggest::hint(&scalar.text, &texts)),
        };
        self.report_value(node, scalar, message);
        None
    }

    fn integer(&mut self, node: &Node, scalar: &Scalar, integer: i128, schema: &Map<String, Value>) -> Option<Value> {
        let (least, most) = expect::bounds(schema);
        let whole = |bound: Option<Value>| bound.and_then(|bound| bound.as_i64().map(i128::from));
        let below = whole(least).is_some_and(|least| integer < least);
        let above = whole(most).is_some_and(|most| integer > most);
        match Number::from_i128(integer).filter(|_| !below && !above) {
            Some(number) => Some(Value::Number(number)),
            None => self.out_of_range(node, scalar, schema),
        }
    }

    fn number(&mut self, node: &Node, scalar: &Scalar, number: f64, schema: &Map<String, Value>) -> Option<Value> {
        let (least, most) = expect::bounds(schema);
        let below = least.and_then(|least| least.as_f64()).is_some_and(|least| number < least);
        let above = most.and_then(|most| most.as_f64()).is_some_and(|most| number > most);
        match Number::from_f64(number).filter(|_| !below && !above) {
            Some(number) => Some(Value::Number(number)),
            None => self.out_of_range(node, scalar, schema),
        }
    }

    fn out_of_range(&mut self, node: &Node, scalar: &Scalar, schema: &Map<String, Value>) -> Option<Value> {
        let expected = expect::of(schema, self.definitions);
        self.report_value(node, scalar, format!("`{}` is out of range: must be {expected}", shorten(scalar.shown())));
        None
    }

    fn text(&mut self, node: &Node, scalar: &Scalar, schema: &Map<String, Value>) -> Option<Value> {
        let shown = shorten(scalar.shown());
        if let Some(format) = schema.get("format").and_then(Value::as_str).and_then(formats::find) {
            return self.formatted(node, scalar, format);
        }
        // `x-canary: 1` would work, but `x-canary: 1.0` and `1e3` would surprise: text that looks like something else
        // takes quotes. What comes from the environment has none to give.
        let looks_like_more = scalar.as_bool().is_some() || scalar.as_number().is_some();
        if looks_like_more && scalar.written.is_none() {
            self.report_value(node, scalar, format!("must be text: put it in quotes, `\"{shown}\"`"));
            return None;
        }
        let length = scalar.text.chars().count() as u64;
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if length < least || length > most {
            let message = match (least, most) {
                (1, _) if length == 0 => "is empty: give some text, or leave the key out if it is optional".to_owned(),
                (least, u64::MAX) => format!("`{shown}` must have at least {least} characters"),
                (least, most) => format!("`{shown}` must have {least} to {most} characters"),
            };
            self.report_value(node, scalar, message);
            return None;
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && regex::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(&scalar.text))
        {
            self.report_value(node, scalar, format!("`{shown}` does not have the form `{pattern}`"));
            return None;
        }
        Some(Value::String(scalar.text.clone()))
    }

    fn formatted(&mut self, node: &Node, scalar: &Scalar, format: &Format) -> Option<Value> {
        let Err(message) = (format.check)(&scalar.text) else { return Some(Value::String(scalar.text.clone())) };
        let shown = shorten(scalar.shown());
        let message = if scalar.written.is_some() {
            // The check's own words may hold parts of the value.
            format!("what `{shown}` stands for is not {} such as `{}`", format.what, format.example)
        } else {
            format!("`{shown}` {message}")
        };
        self.report(node.at, message);
        None
    }
}

/// A value that no schema describes, as YAML 1.2 reads it.
pub(super) fn untyped(node: &Node) -> Value {
    match &node.kind {
        Kind::List(items) => Value::Array(items.iter().map(untyped).collect()),
        Kind::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), untyped(&entry.value))).collect(),
        Kind::Scalar(scalar) if scalar.is_null() => Value::Null,
        // Nobody knows what was meant; text from the environment stays text.
        Kind::Scalar(scalar) if scalar.written.is_some() => Value::String(scalar.text.clone()),
        Kind::Scalar(scalar) => {
            let number = scalar.as_integer().and_then(Number::from_i128);
            let number = number.or_else(|| scalar.as_number().and_then(Number::from_f64));
            let value = scalar.as_bool().map(Value::Bool).or(number.map(Value::Number));
            value.unwrap_or_else(|| Value::String(scalar.text.clone()))
        }
    }
}
