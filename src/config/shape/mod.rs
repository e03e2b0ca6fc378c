//! Checks the tree of a file against the JSON Schema of the configuration, and makes a JSON value of what is right.
//!
//! serde stops at the first error; this walk goes on, so that people see everything that is wrong with a file at once.
//! It is driven by the schema and not by our types, so a filter's configuration gets the same messages as ours without
//! this layer knowing it. It understands what `schemars` derives; what it does not understand it lets pass: reading the
//! value into its type comes after it and has the last word.
//!
//! What is wrong is left out of the value (a *gap*), as far up as needed for the rest to be readable. So the rules,
//! which run on the types, also see a file that has other errors; `Checked::gaps` tells them where not to look.

mod expect;
mod scalar;
mod union;

use serde_json::{Map, Value};

use super::formats;
use super::schema::NOUN;
use super::source::hide;
use super::suggest;
use super::yaml::{Entries, Entry, Kind, Node, Scalar};
use super::{Path, Position, Problem, Step};

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The file without what is wrong; `None` if too little is left.
    pub(super) value: Option<Value>,
    pub(super) problems: Vec<Problem>,
    /// Maps and lists of which something was left out.
    pub(super) gaps: Vec<Path>,
}

/// Unions in unions of a recursive schema could take exponential time; past this many steps things pass unchecked.
const MOST_STEPS: usize = 20_000_000;
/// References to references; only a schema that refers to itself in a circle has more.
const MOST_REFERENCES: usize = 16;

/// Checks `root` against `schema`, to which its `$ref`s are relative.
pub(super) fn check(root: &Node, schema: &Value) -> Checked {
    let mut walk = Walk { definitions: schema, path: Path::default(), found: Checked::default(), steps: 0 };
    walk.found.value = walk.value(root, schema, root.at);
    walk.found
}

struct Walk<'a> {
    definitions: &'a Value,
    path: Path,
    found: Checked,
    steps: usize,
}

impl Walk<'_> {
    /// `node` as `schema` wants it, or `None` after reporting why it cannot be. `key_at` is where a problem with a list
    /// or map as a whole is shown.
    fn value(&mut self, node: &Node, schema: &Value, key_at: Position) -> Option<Value> {
        self.steps += 1;
        let Some(schema) = expect::resolve(schema, self.definitions).as_object().filter(|_| self.steps < MOST_STEPS)
        else {
            return Some(scalar::untyped(node));
        };
        if let (Some(options), None) = (union::options(schema), schema.get("properties")) {
            return self.union(node, options, key_at);
        }
        if let Some(words) = expect::words(schema) {
            return self.word(node, &words, key_at);
        }
        if let Some(Value::Array(parts)) = schema.get("allOf")
            && let [part] = parts.as_slice()
        {
            return self.value(node, part, key_at);
        }
        match (expect::types(schema).as_slice(), &node.kind) {
            ([], _) => Some(scalar::untyped(node)),
            (types, Kind::Map(entries)) if types.contains(&"object") => self.map(entries, schema, key_at),
            (types, Kind::List(items)) if types.contains(&"array") => self.list(items, schema, key_at),
            (types, Kind::Scalar(scalar)) => self.scalar(node, scalar, types, schema),
            (_, kind) => {
                let found = if matches!(kind, Kind::Map(_)) { "a map" } else { "a list" };
                let expected = expect::of(schema, self.definitions);
                self.report(key_at, format!("must be {expected}, not {found}"));
                None
            }
        }
    }

    fn map(&mut self, entries: &Entries, schema: &Map<String, Value>, key_at: Position) -> Option<Value> {
        let mut map = Map::new();
        let mut whole = self.count_keys(entries, schema, key_at);
        for entry in entries.iter() {
            let Entry { key, key_at, value } = entry;
            self.check_name(entry, schema);
            let Some(schema) = property(schema, key) else {
                self.unknown_key(entry, schema);
                continue;
            };
            self.path.0.push(Step::from(key));
            let checked = self.value(value, schema, *key_at);
            self.path.0.pop();
            match checked {
                Some(value) => drop(map.insert(key.clone(), value)),
                None => self.gap(),
            }
        }
        for name in expect::required(schema) {
            if !map.contains_key(name) {
                whole = false;
                // One that is there and wrong has been reported already.
                if entries.find(name).is_none() {
                    self.missing_key(name, schema, key_at);
                }
            }
        }
        whole.then_some(Value::Object(map))
    }

    fn list(&mut self, items: &[Node], schema: &Map<String, Value>, key_at: Position) -> Option<Value> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let length = items.len() as u64;
        let of = schema.get("items").unwrap_or(&Value::Bool(true));
        if length < least {
            let expected = expect::of_value(of, self.definitions);
            let message = match least {
                1 => format!("is empty: give at least one ({expected}), or leave the key out if it is optional"),
                _ => format!("is too short: give at least {least}"),
            };
            self.report(key_at, message);
            return None;
        }
        if length > most {
            self.report(key_at, format!("is too long: give at most {most}"));
            return None;
        }
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.0.push(Step::Index(index));
            list.extend(self.value(item, of, item.at));
            self.path.0.pop();
        }
        // Without one item, the places of the others would be wrong: the list goes as a whole.
        (list.len() == items.len()).then_some(Value::Array(list))
    }

    /// `minProperties` and `maxProperties`; mostly maps that take exactly one key, like an entry of `filters`.
    fn count_keys(&mut self, entries: &Entries, schema: &Map<String, Value>, key_at: Position) -> bool {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let least = bound("minProperties").unwrap_or(0);
        let most = bound("maxProperties").unwrap_or(u64::MAX);
        if (entries.len() as u64) < least {
            let message = match expect::of(schema, self.definitions) {
                expected if expected == "a map" => "is empty: give at least one entry".to_owned(),
                expected => format!("is empty: must be {expected}"),
            };
            self.report(key_at, message);
            return false;
        }
        match entries.iter().nth(usize::try_from(most).unwrap_or(usize::MAX)) {
            None => true,
            Some(first_too_many) => {
                let Entry { key, key_at, .. } = first_too_many;
                let message = match schema.get(NOUN).and_then(Value::as_str) {
                    Some(noun) => format!("`{key}` is a second {noun} in one entry: start a new entry with `- {key}:`"),
                    None => format!("takes one key, and `{key}` is one too many: leave one out"),
                };
                self.report(*key_at, message);
                false
            }
        }
    }

    /// `propertyNames`: for maps whose keys are names that people choose.
    fn check_name(&mut self, entry: &Entry, schema: &Map<String, Value>) {
        let names = schema.get("propertyNames").map(|names| expect::resolve(names, self.definitions));
        let Some(Value::String(format)) = names.and_then(|names| names.get("format")) else { return };
        if let Some(Err(message)) = formats::find(format).map(|format| (format.check)(&entry.key)) {
            self.report(entry.key_at, format!("`{}` {message}", shorten(&entry.key)));
        }
    }

    fn unknown_key(&mut self, entry: &Entry, schema: &Map<String, Value>) {
        let known = property_names(schema);
        let noun = schema.get(NOUN).and_then(Value::as_str).unwrap_or("key");
        let key = shorten(&entry.key);
        let hint = suggest::hint(&entry.key, &known);
        self.report(entry.key_at, format!("unknown {noun} `{key}`{hint}"));
        self.gap();
    }

    fn missing_key(&mut self, name: &str, schema: &Map<String, Value>, key_at: Position) {
        let expected = property(schema, name).map(|schema| expect::of_value(schema, self.definitions));
        let expected = expected.unwrap_or_else(|| "a value".to_owned());
        self.report(key_at, format!("missing key `{name}`: give {expected}"));
        self.gap();
    }

    fn gap(&mut self) {
        self.found.gaps.push(self.path.clone());
    }

    fn report(&mut self, at: Position, message: String) {
        self.found.problems.push(Problem { at, path: self.path.clone(), message });
    }

    /// A problem with a value, which the message may quote; what came from the environment is not shown.
    fn report_value(&mut self, node: &Node, scalar: &Scalar, message: String) {
        self.report(node.at, hide(message, scalar));
    }
}

/// The schema of the value under `key`, or `None` if there must be no such key.
fn property<'a>(schema: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    static ANY: Value = Value::Bool(true);
    if let Some(schema) = schema.get("properties").and_then(|properties| properties.get(key)) {
        return Some(schema);
    }
    for (pattern, schema) in schema.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
        if regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(key)) {
            return Some(schema);
        }
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => None,
        Some(schema) => Some(schema),
        None => Some(&ANY),
    }
}

fn property_names(schema: &Map<String, Value>) -> Vec<&str> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

/// As much of a text as fits into a message, without the name and password that a URL may have.
fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    // Where a password ends is told by the last of them: it may hold whatever ends the host of a good URL.
    let secret = text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
    let open = secret.map(|(scheme, behind)| format!("{scheme}://***@{behind}"));
    let text = open.as_deref().unwrap_or(text);
    match text.char_indices().nth(MOST) {
        None => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
    }
}
