//! What a JSON Schema asks for, in words ("a duration such as `30s`") and in parts. Called by the walk; reports nothing.

use serde_json::{Map, Value};

use super::super::schema::NOUN;
use super::super::{formats, suggest};
use super::{MOST_REFERENCES, property_names, union};

/// The end of a chain of `$ref`s.
pub(super) fn resolve<'a>(schema: &'a Value, definitions: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..MOST_REFERENCES {
        let Some(Value::String(reference)) = schema.get("$ref") else { return schema };
        let Some(next) = reference.strip_prefix('#').and_then(|pointer| definitions.pointer(pointer)) else {
            return schema;
        };
        schema = next;
    }
    schema
}

/// What `schema` asks for, to stand behind "must be".
pub(super) fn of(schema: &Map<String, Value>, definitions: &Value) -> String {
    in_words(schema, definitions, MOST_REFERENCES)
}

/// As [`of`], for a schema that may be a reference.
pub(super) fn of_value(schema: &Value, definitions: &Value) -> String {
    match resolve(schema, definitions) {
        Value::Object(schema) => of(schema, definitions),
        _ => "a value".to_owned(),
    }
}

fn in_words(schema: &Map<String, Value>, definitions: &Value, depth: usize) -> String {
    if let Some(options) = union::options(schema).filter(|_| depth > 0) {
        let mut parts: Vec<String> = Vec::new();
        for option in union::merged(options, definitions) {
            let part = match resolve(&option, definitions) {
                Value::Object(option) => in_words(option, definitions, depth - 1),
                _ => "a value".to_owned(),
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        return parts.join(", or ");
    }
    if let Some(words) = words(schema) {
        return match words.as_slice() {
            [word] => format!("`{}`", word_text(word)),
            _ => {
                let words: Vec<_> = words.iter().map(word_text).collect();
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                format!("one of {}", suggest::listed(&words))
            }
        };
    }
    let parts: Vec<String> = types(schema).iter().map(|name| of_type(name, schema)).collect();
    if parts.is_empty() { "a value".to_owned() } else { parts.join(" or ") }
}

fn of_type(name: &str, schema: &Map<String, Value>) -> String {
    match name {
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => format!("a whole number{}", range(schema)),
        "number" => format!("a number{}", range(schema)),
        "array" => "a list".to_owned(),
        "object" if schema.get("maxProperties") == Some(&Value::from(1)) => {
            let noun = schema.get(NOUN).and_then(Value::as_str).unwrap_or("key");
            format!("a map with one {noun} of {}", suggest::listed(&property_names(schema)))
        }
        "object" => "a map".to_owned(),
        "string" => match schema.get("format").and_then(Value::as_str).and_then(formats::find) {
            Some(format) => format!("{} such as `{}`", format.what, format.example),
            None => "text".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// " from 1 to 256", " of at least 1", or nothing.
pub(super) fn range(schema: &Map<String, Value>) -> String {
    match bounds(schema) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    }
}

/// The least and the greatest number. Rust's types bound theirs by a format, not by numbers.
pub(super) fn bounds(schema: &Map<String, Value>) -> (Option<Value>, Option<Value>) {
    let by_type = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(Value::from(u8::MAX)),
        Some("uint16") => Some(Value::from(u16::MAX)),
        Some("uint32") => Some(Value::from(u32::MAX)),
        Some("int32") => Some(Value::from(i32::MAX)),
        _ => None,
    };
    (schema.get("minimum").cloned(), schema.get("maximum").cloned().or(by_type))
}

/// The values of an `enum` or `const`.
pub(super) fn words(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(words)), _) => Some(words.clone()),
        (_, Some(word)) => Some(vec![word.clone()]),
        _ => None,
    }
}

/// A word as the file writes it.
pub(super) fn word_text(word: &Value) -> String {
    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
}

/// The names in `type`; empty if everything is allowed.
pub(super) fn types(schema: &Map<String, Value>) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ if schema.contains_key("properties") => vec!["object"],
        _ => Vec::new(),
    }
}

pub(super) fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
