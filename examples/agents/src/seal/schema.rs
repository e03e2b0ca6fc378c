//! The part of JSON Schema that tool inputs use: `type: object`, `required`, and the types of `properties`.

use serde_json::{Map, Value};

/// Reads a schema; an empty text is one that takes any object.
///
/// # Errors
/// Why it is none, to follow the name of the field.
pub(super) fn parse(json: &str) -> Result<Map<String, Value>, String> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(json) {
        Ok(Value::Object(schema)) => Ok(schema),
        Ok(_) => Err("is not a JSON object".into()),
        Err(e) => Err(format!("is not JSON: {e}")),
    }
}

/// Reads an input and holds it against a schema.
///
/// # Errors
/// What is wrong with the input, by name.
pub(super) fn check(schema_json: &str, input_json: &str) -> Result<Map<String, Value>, String> {
    let schema = parse(schema_json)?;
    let input = match serde_json::from_str(if input_json.is_empty() { "{}" } else { input_json }) {
        Ok(Value::Object(input)) => input,
        Ok(_) => return Err("input_json is not a JSON object".into()),
        Err(e) => return Err(format!("input_json is not JSON: {e}")),
    };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !input.contains_key(name) {
            return Err(format!("input_json needs `{name}`"));
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let (Some(value), Some(wanted)) = (input.get(name), property.get("type").and_then(Value::as_str)) else {
            continue;
        };
        if !is(value, wanted) {
            return Err(format!("input_json.{name} is not of type {wanted}"));
        }
    }
    Ok(input)
}

fn is(value: &Value, wanted: &str) -> bool {
    match wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        // A type that JSON Schema does not have constrains nothing.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    const SCHEMA: &str = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;

    #[test]
    fn inputs_are_held_against_the_schema() {
        assert!(check(SCHEMA, r#"{"n": 1}"#).is_ok());
        assert_eq!(check(SCHEMA, "{}").unwrap_err(), "input_json needs `n`");
        assert_eq!(check(SCHEMA, r#"{"n":"1"}"#).unwrap_err(), "input_json.n is not of type integer");
        assert!(check("", "").is_ok());
        assert!(check("[]", "{}").is_err());
    }
}
