//! Makes docs/configuration.md of the JSON Schema, and checks that what is committed is what it makes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use portunus::{config, filters};
use serde_json::{Map, Value};

const HEAD: &str = "# Configuration

One YAML file. Made of the configuration's types by a test, so that no key is missing and none is made up; `REGENERATE=1 cargo test
-p portunus --test docs` writes it anew. `portunus check -c FILE` names every error with line, column, key and what to write
instead; `portunus check --defaults -c FILE` prints the file with every default filled in; `portunus schema` prints the schema for editors.

- An unknown key is an error. So is a key without a value.
- A duration has a unit (`250ms`, `30s`, `5m`, `1h`), and so has a size (`512B`, `64KiB`, `4MiB`).
- `${NAME}` and `${NAME:-default}` in a value are replaced from the environment; a name that is not set and has no default is an
  error, and `$${` is a literal `${`.
- A relative path is relative to the file that the proxy is started with, in the files that it includes too.
- NAME stands for a name of your choice, and [] for each entry of a list.
";

/// `REGENERATE=1` writes it anew.
#[test]
fn the_page_of_all_keys_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = Page::of(&config::compose(filters::ALL));
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == page, "docs/configuration.md is not what the schema says: run with REGENERATE=1");
}

#[test]
fn every_key_of_the_schema_is_on_the_page() {
    let schema = config::compose(filters::ALL);
    let page = Page::of(&schema);
    let definitions = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    let objects = definitions.filter(|schema| schema["x-portunus-noun"].is_null());
    let keys = objects.filter_map(|schema| schema["properties"].as_object()).flat_map(Map::keys);
    let mut seen = 0;
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")), "{key} is missing");
        seen += 1;
    }
    assert!(seen > 50, "only {seen} keys");
}

/// Definitions that stand at several places, and the one at which they are described.
const TOLD: [(&str, &str); 1] = [("ListenerTls", "listeners.NAME.tls")];

/// The page while it is made.
struct Page<'a> {
    definitions: &'a Map<String, Value>,
    text: String,
    /// Definitions with keys, and where they stand; each is a section.
    queue: Vec<(String, &'a Value)>,
    known: BTreeSet<String>,
}

impl<'a> Page<'a> {
    fn of(schema: &'a Value) -> String {
        let mut page = Page {
            definitions: schema["$defs"].as_object().unwrap(),
            text: HEAD.to_owned(),
            queue: Vec::new(),
            known: BTreeSet::new(),
        };
        page.section("The file", "", schema);
        page.sections_below();
        page.text.push_str("\n## Filters\n\n`filters` of a listener and of a route is a list of these. The phase says when one runs: see\n");
        page.text.push_str("[request-path.md](request-path.md#the-phase-chart).\n");
        for known in filters::ALL {
            let schema = &page.definitions[&format!("filter.{}", known.name)];
            page.section(&format!("`{}` ({})", known.name, known.phase.as_str()), known.name, schema);
            page.sections_below();
        }
        page.text
    }

    /// Each before those of its neighbours that come later.
    fn sections_below(&mut self) {
        let mut stack: Vec<_> = self.queue.drain(..).rev().collect();
        while let Some((place, schema)) = stack.pop() {
            self.section(&format!("`{place}`"), &place, schema);
            stack.extend(self.queue.drain(..).rev());
        }
    }

    fn section(&mut self, title: &str, place: &str, schema: &'a Value) {
        let level = if title == "The file" { "##" } else { "###" };
        let description = text_of(schema);
        write!(self.text, "\n{level} {title}\n\n{description}\n\n").unwrap();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.text.push_str("| key | takes | default | |\n| --- | --- | --- | --- |\n");
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            let takes = self.takes(value, &inner);
            let default = match &value["default"] {
                _ if required.contains(&key.as_str()) => "must be there".to_owned(),
                Value::Null => String::new(),
                Value::Object(map) if map.is_empty() => "none".to_owned(),
                Value::Object(_) => "as there".to_owned(),
                Value::Array(list) if list.is_empty() => "none".to_owned(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            writeln!(self.text, "| `{key}` | {takes} | {default} | {} |", text_of(value)).unwrap();
        }
        for option in schema["oneOf"].as_array().into_iter().flatten() {
            for (key, value) in option["properties"].as_object().into_iter().flatten() {
                let takes = self.takes(value, &format!("{place}.{key}"));
                writeln!(self.text, "| `{key}` | {takes} | | {} Alone. |", text_of(option)).unwrap();
            }
        }
    }

    /// What a key takes, in words; what has keys of its own becomes a section.
    fn takes(&mut self, schema: &'a Value, place: &str) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
            let target = &self.definitions[name];
            if name == "FilterUse" {
                return "a [filter](#filters)".to_owned();
            }
            let has_keys = target["properties"].is_object() || target["oneOf"][0]["properties"].is_object();
            if has_keys {
                let at = TOLD.iter().find(|(known, _)| *known == name).map_or(place, |(_, at)| at);
                if at == place && self.known.insert(name.to_owned()) {
                    self.queue.push((place.to_owned(), target));
                }
                let anchor = at.replace(['.', '[', ']'], "").to_lowercase();
                return format!("[keys](#{anchor})");
            }
            return self.takes(target, place);
        }
        if let Some(options) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
            let words: Vec<String> = options.iter().map(|option| self.option(option, place)).collect();
            return words.join(", or ");
        }
        match schema["type"].as_str().unwrap_or_default() {
            "array" => format!("a list: {}", self.takes(&schema["items"], &format!("{place}[]"))),
            "object" => {
                format!("for each NAME {}", self.takes(&schema["additionalProperties"], &format!("{place}.NAME")))
            }
            "string" => string(schema),
            "integer" => integer(schema),
            "boolean" if schema["const"].is_boolean() => format!("`{}`", schema["const"]),
            "boolean" => "`true` or `false`".to_owned(),
            other => other.to_owned(),
        }
    }

    fn option(&mut self, option: &'a Value, place: &str) -> String {
        match option["const"].as_str() {
            Some(word) => format!("`{word}` ({})", text_of(option).trim_end_matches('.')),
            None => self.takes(option, place),
        }
    }
}

fn string(schema: &Value) -> String {
    if let Some(word) = schema["const"].as_str() {
        return format!("`{word}`");
    }
    let named = match schema["format"].as_str() {
        Some("duration") => "a duration".to_owned(),
        Some("size") => "a size".to_owned(),
        Some("percent") => "a share, such as `10%`".to_owned(),
        Some(_) => text_of(schema),
        None => "text".to_owned(),
    };
    match schema["examples"][0].as_str() {
        Some(example) => format!("{named}, such as `{example}`"),
        None => named,
    }
}

fn integer(schema: &Value) -> String {
    match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("a number from {least} on"),
        _ => "a number".to_owned(),
    }
}

/// A description on one line.
fn text_of(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
