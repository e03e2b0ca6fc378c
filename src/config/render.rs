//! Shows a configuration: with every default filled in as YAML (`check --defaults`), and as JSON without what came from
//! the environment (`/config`).

use std::fmt::Write;

use serde_json::Value;

use super::yaml::Scalar;
use super::{Config, Loaded, Path, Step};

/// Stands for a value that is not shown.
pub(super) const HIDDEN: &str = "***";

/// `config` as YAML, defaults included. Loads to the same configuration again. Values from the environment are in it.
pub fn render_defaults(config: &Config) -> String {
    let mut text = String::new();
    // Our types have only text for keys, so this cannot fail; an empty text would be noticed.
    if let Ok(value) = serde_json::to_value(config) {
        write_block(&mut text, &value, 0, false);
    }
    text
}

/// The running configuration for people to see: what came from the environment is `***`.
pub fn view(loaded: &Loaded) -> Value {
    let mut value = serde_json::to_value(&loaded.config).unwrap_or_default();
    for path in loaded.source.environment_values() {
        mask(&mut value, &path);
    }
    value
}

/// Masks the value at `path`, or what stands in its place: a short form of the file may be a map here.
fn mask(value: &mut Value, path: &Path) {
    let mut value = value;
    for step in &path.0 {
        let next = match (step, &*value) {
            (Step::Key(key), Value::Object(map)) if map.contains_key(key) => value.get_mut(key),
            (Step::Index(index), Value::Array(list)) if *index < list.len() => value.get_mut(*index),
            // The environment gave a key that did not make it into the configuration, or another form of it: hide the
            // nearest thing around it rather than nothing.
            _ => break,
        };
        let Some(next) = next else { return };
        value = next;
    }
    *value = Value::from(HIDDEN);
}

/// Lists and maps as blocks, one key a line. `in_item` says that the cursor stands behind a `- `.
fn write_block(out: &mut String, value: &Value, indent: usize, in_item: bool) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 || !in_item {
                    pad(out, indent);
                }
                out.push_str(&quoted_if_needed(key));
                out.push(':');
                write_behind(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || !in_item {
                    pad(out, indent);
                }
                out.push('-');
                if is_block(item) {
                    out.push(' ');
                    write_block(out, item, indent + 1, true);
                } else {
                    write_behind(out, item, indent);
                }
            }
        }
        _ => write_behind(out, value, indent),
    }
}

fn write_behind(out: &mut String, value: &Value, indent: usize) {
    if is_block(value) {
        out.push('\n');
        write_block(out, value, indent + 1, false);
        return;
    }
    out.push(' ');
    match value {
        Value::String(text) => out.push_str(&quoted_if_needed(text)),
        // Numbers, truth, and empty lists and maps look the same in JSON and YAML.
        other => out.push_str(&other.to_string()),
    }
    out.push('\n');
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn pad(out: &mut String, indent: usize) {
    for _ in 0..indent {
        out.push_str("  ");
    }
}

/// Plain where YAML could not read anything else into it, else in double quotes, whose escapes are those of JSON.
fn quoted_if_needed(text: &str) -> String {
    let scalar = Scalar { text: text.to_owned(), quoted: false, written: None };
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_./%-:".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.'));
    let other_type = scalar.is_null() || scalar.as_bool().is_some() || scalar.as_number().is_some();
    let plain = starts_well && !other_type && text.chars().all(harmless) && !text.ends_with(':');
    if plain && scalar.as_integer().is_none() {
        return text.to_owned();
    }
    // `${` would be looked up in the environment when this is read again. YAML 1.2's double quotes are JSON's, but for
    // three characters that JSON leaves as they are and YAML takes for the end of a line or refuses.
    let json = Value::from(text.replace("${", "$${")).to_string();
    let mut yaml = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(yaml, "\\u{:04x}", u32::from(c));
            }
            c => yaml.push(c),
        }
    }
    yaml
}

#[cfg(test)]
mod tests;
