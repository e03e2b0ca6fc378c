//! JSON Schema, for texts that hold JSON. The schema comes from a file of the configuration, and nothing is fetched for it; what is
//! checked comes from anybody, and is bounded.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::MOST_VIOLATIONS;
use super::violation::cut;

/// The longest schema, and the longest text that is checked, in octets.
pub const MOST_SCHEMA: usize = 1 << 20;
pub const MOST_JSON: usize = 1 << 20;
/// How deep a text's objects and lists may be nested.
const MOST_DEPTH: usize = 64;
/// What a compiled pattern may take.
const MOST_COMPILED: usize = 256 * 1024;
/// The longest message, in characters.
const MOST_MESSAGE: usize = 400;

/// Checks texts by a JSON Schema.
pub struct JsonCheck {
    validator: Validator,
}

/// Where a text does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where in the JSON, as a JSON pointer: `/steps/0/name`. Empty for all of it.
    pub pointer: String,
    /// What is wrong, for people. Does not quote the value.
    pub message: String,
    /// The keyword of the schema: `json_schema.required`; `json_schema` where it is no JSON.
    pub rule: String,
}

impl JsonCheck {
    /// Compiles a schema: draft 2020-12, or the one that its `$schema` names. Formats are checked.
    ///
    /// # Errors
    /// In words: it is none, or it is one that refers to another document.
    pub fn compile(schema: &str) -> Result<Self, String> {
        if schema.len() > MOST_SCHEMA {
            return Err(format!("it has {} octets, and {MOST_SCHEMA} is the most", schema.len()));
        }
        let schema = read(schema).map_err(|error| format!("it is no JSON: {error}"))?;
        // By default a schema that is neither an object nor a truth value is an error too, but a stranger one to read.
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err("a JSON Schema is an object".into());
        }
        let patterns = PatternOptions::regex().size_limit(MOST_COMPILED).dfa_size_limit(MOST_COMPILED);
        let options = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false);
        match options.build(&schema) {
            Ok(validator) => Ok(Self { validator }),
            Err(error) => {
                let (place, error) = (error.instance_path().to_string(), cut(&error.to_string(), MOST_MESSAGE));
                Err(if place.is_empty() { error } else { format!("at {place}: {error}") })
            }
        }
    }

    /// What of a text does not fit: at most [`MOST_VIOLATIONS`]. Takes time by the schema and the text; longer ones than [`MOST_JSON`]
    /// do not fit.
    pub fn check(&self, text: &str) -> Vec<Misfit> {
        let whole = |message: String| vec![Misfit { pointer: String::new(), message, rule: "json_schema".into() }];
        if text.len() > MOST_JSON {
            return whole(format!(
                "it has {} octets, and {MOST_JSON} is the most for JSON that is checked",
                text.len()
            ));
        }
        let value = match read(text) {
            Ok(value) => value,
            Err(error) => return whole(format!("it is no JSON: {error}")),
        };
        let errors = self.validator.iter_errors(&value).take(MOST_VIOLATIONS);
        let misfit = errors.map(|error| Misfit {
            pointer: cut(error.instance_path().as_str(), MOST_MESSAGE),
            message: cut(&error.masked().to_string(), MOST_MESSAGE),
            rule: format!("json_schema.{}", error.kind().keyword()),
        });
        misfit.collect()
    }
}

impl fmt::Debug for JsonCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonCheck")
    }
}

/// JSON that all readers read alike: whoever decides by one reading must not let another through.
fn read(text: &str) -> Result<Value, String> {
    strict_json::read(text.as_bytes(), MOST_DEPTH).map_err(|error| cut(&error.to_string(), MOST_MESSAGE))
}
