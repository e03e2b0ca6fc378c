//! Fields of request messages that filters want to have by their values, as the audit does: found for each definition that is in force, read
//! as a decoder would read them, bounded, and without what a redaction hides.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use filter_api::{Extracted, Message, Unread};
use parking_lot::RwLock;
use serde_json::{Map, Number, Value};

use super::held::{made, under, unread};
use crate::config::policies::{Calls, Policy};
use crate::schema::{
    Definition, FieldId, Item, Kind, Made, MessageType, Meter, Octets, Schema, Shape, Side, TypeId, Unreadable, View,
};

/// The most names in a path.
const MOST_NAMES: usize = 32;
/// The longest text, in octets; what is longer is cut.
const MOST_TEXT: usize = 1_024;
/// The most elements of a list or a map.
const MOST_ITEMS: usize = 64;
/// Octets of all values of a message together, about.
const MOST_OCTETS: usize = 8 * 1_024;

/// What redactions of a listener and its routes hide in requests. Filled while they are built, and read once all are.
#[derive(Debug, Default)]
pub(in crate::config) struct Hiding(RwLock<Vec<HiddenPath>>);

#[derive(Debug)]
struct HiddenPath {
    calls: Calls,
    path: String,
}

/// Reads fields, for each definition that is in force.
#[derive(Debug)]
pub(super) struct Extractions {
    paths: Vec<String>,
    max_cost: u64,
    hiding: Arc<Hiding>,
    bound: Made<Fields>,
    /// Which of the paths lead somewhere under some definition; none before there was one.
    met: RwLock<Option<BTreeSet<String>>>,
}

/// Where the fields are in messages of one definition.
#[derive(Debug)]
struct Fields {
    schema: Arc<Schema>,
    input: TypeId,
    found: Vec<(Box<str>, Vec<FieldId>)>,
    hidden: Vec<Arc<str>>,
    unknown: Vec<Arc<str>>,
}

impl Hiding {
    pub(super) fn add(&self, calls: &Calls, paths: &[String]) {
        let hidden = paths.iter().map(|path| HiddenPath { calls: calls.clone(), path: plain(path) });
        self.0.write().extend(hidden);
    }

    /// Whether something of the field is hidden, or of what it is in, in calls of a method.
    fn hides(&self, service: &str, method: &str, path: &str) -> bool {
        let path = plain(path);
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.read().iter().any(|hidden| {
            hidden.calls.are_of(service, method) && (within(&path, &hidden.path) || within(&hidden.path, &path))
        })
    }
}

/// A path without the stars that lead through values of maps: they lead nowhere else than the map does.
fn plain(path: &str) -> String {
    path.split('.').filter(|name| *name != "*").collect::<Vec<_>>().join(".")
}

impl Extractions {
    pub(super) fn new(paths: Vec<String>, max_cost: u64, hiding: Arc<Hiding>) -> Self {
        Self { paths, max_cost, hiding, bound: Made::default(), met: RwLock::default() }
    }

    fn find(&self, service: &str, method: &str, definition: &Definition) -> Result<Fields, String> {
        let (mut found, mut hidden, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for path in &self.paths {
            if self.hiding.hides(service, method, path) {
                hidden.push(Arc::from(path.as_str()));
                continue;
            }
            let steps = steps(definition.input(), path).map_err(|why| format!("`{path}`: {why}"))?;
            match steps {
                Some(steps) => found.push((Box::from(path.as_str()), steps)),
                None => unknown.push(Arc::from(path.as_str())),
            }
        }
        Ok(Fields { schema: Arc::clone(&definition.schema), input: definition.input().id(), found, hidden, unknown })
    }
}

impl Policy for Extractions {
    fn bind(&self, service: &str, method: &str, definition: &Definition) -> Result<(), String> {
        let found = self.find(service, method, definition);
        if let Ok(found) = &found {
            let unknown = |path: &&String| found.unknown.iter().any(|unknown| **unknown == ***path);
            let met = self.paths.iter().filter(|path| !unknown(path)).cloned();
            self.met.write().get_or_insert_default().extend(met);
        }
        self.bound.keep(definition, found)
    }

    fn nowhere(&self) -> Vec<String> {
        let met = self.met.read();
        let unmet = |met: &BTreeSet<String>| self.paths.iter().filter(|path| !met.contains(*path)).cloned().collect();
        met.as_ref().map(unmet).unwrap_or_default()
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        self.paths.iter().find_map(|path| definition.conflicts(accepted, Side::Request, &plain(path)))
    }
}

impl filter_api::Extract for Extractions {
    /// Where several definitions are in force, all must find the same.
    fn request(&self, message: &Message<'_>) -> Result<Extracted, Unread> {
        let (body, ids) = under(message)?;
        let mut meter = Meter::new(self.max_cost);
        let mut extracted: Option<Extracted> = None;
        for id in ids {
            let one = made(&self.bound, id)?.read(body, &mut meter).map_err(unread)?;
            if extracted.as_ref().is_some_and(|other| *other != one) {
                return Err(Unread::NoSchema);
            }
            extracted = Some(one);
        }
        extracted.ok_or(Unread::NoSchema)
    }
}

/// The way to a field; none where the type does not have it.
fn steps(mut message: MessageType<'_>, path: &str) -> Result<Option<Vec<FieldId>>, String> {
    let names: Vec<&str> = path.split('.').collect();
    if names.len() > MOST_NAMES {
        return Err(format!("it has more than {MOST_NAMES} names"));
    }
    let mut steps = Vec::new();
    let mut names = names.into_iter().peekable();
    while let Some(name) = names.next() {
        let Some(field) = message.field(name) else { return Ok(None) };
        let through = names.next_if_eq(&"*").is_some();
        match field.shape() {
            Shape::Map(_) if !through => return Err(format!("`{name}` is a map: write `{name}.*` for its values")),
            Shape::Single | Shape::List if through => {
                return Err(format!("`{name}` is no map: `*` stands for the values of one"));
            }
            _ => {}
        }
        steps.push(field.id());
        match (field.kind(), names.peek()) {
            (Kind::Message(inner), Some(_)) => message = inner,
            (Kind::Message(inner), None) => {
                return Err(format!("`{name}` is a message ({}): name a field in it", inner.name()));
            }
            (_, Some(_)) => return Err(format!("`{name}` has no fields")),
            (_, None) => {}
        }
    }
    Ok(Some(steps))
}

type Result<T, E = Unreadable> = std::result::Result<T, E>;

impl Fields {
    fn read(&self, body: &[u8], meter: &mut Meter) -> Result<Extracted> {
        let mut fields = Map::new();
        let mut left = MOST_OCTETS;
        for (path, steps) in &self.found {
            let message = View::new(self.schema.type_at(self.input), Octets::Lent(body));
            if let Some(value) = self.follow(&message, steps, &mut left, meter)? {
                fields.insert(path.to_string(), value);
            }
        }
        Ok(Extracted { fields, hidden: self.hidden.clone(), unknown: self.unknown.clone() })
    }

    /// What is at the end of the way; none where it is not there.
    fn follow(
        &self,
        message: &View<'_>,
        steps: &[FieldId],
        left: &mut usize,
        meter: &mut Meter,
    ) -> Result<Option<Value>> {
        let Some((step, rest)) = steps.split_first() else { return Ok(None) };
        let Some(field) = self.schema.field_at(*step) else { return Ok(None) };
        if field.shape() == Shape::Single {
            return match message.one(field, meter)? {
                None => Ok(None),
                Some(item) => self.value(&item, rest, left, meter),
            };
        }
        let mut items = Vec::new();
        let mut more = false;
        message.all(field, meter, |key, item| {
            if items.len() < MOST_ITEMS {
                items.push((key, item))
            } else {
                more = true
            }
            Ok(())
        })?;
        let (mut list, mut map) = (Vec::new(), Map::new());
        for (key, item) in items {
            let Some(value) = self.value(&item, rest, left, meter)? else { continue };
            match key {
                Some(key) => drop(map.insert(text_of(&scalar(&key, left)), value)),
                None => list.push(value),
            }
        }
        if more {
            match field.shape() {
                Shape::Map(_) => drop(map.insert("…".to_owned(), Value::Null)),
                _ => list.push(Value::from("…")),
            }
        }
        Ok(match (map.is_empty(), list.is_empty()) {
            (true, true) => None,
            (false, _) => Some(Value::Object(map)),
            _ => Some(Value::Array(list)),
        })
    }

    fn value(&self, item: &Item<'_>, rest: &[FieldId], left: &mut usize, meter: &mut Meter) -> Result<Option<Value>> {
        match item {
            Item::Message(inner) => self.follow(inner, rest, left, meter),
            item => Ok(Some(scalar(item, left))),
        }
    }
}

/// A value as JSON has it: octets in base64, numbers as they are, an enum's by its number.
fn scalar(item: &Item<'_>, left: &mut usize) -> Value {
    let value = match item {
        Item::Bool(value) => Value::Bool(*value),
        Item::Int(value) => Value::from(*value),
        Item::Uint(value) => Value::from(*value),
        Item::Enum(value) => Value::from(*value),
        Item::Double(value) => Number::from_f64(*value).map_or_else(|| Value::from(value.to_string()), Value::Number),
        Item::Text(text) => Value::from(cut(text, *left)),
        Item::Bytes(octets) => {
            let most = MOST_TEXT.min(*left);
            let end = if octets.len() > most { "…" } else { "" };
            Value::from(STANDARD.encode(octets.get(..most).unwrap_or(octets)) + end)
        }
        // It is followed, never shown.
        Item::Message(_) => Value::Null,
    };
    // Numbers and brackets count too: a message may have very many.
    *left = left.saturating_sub(value.as_str().map_or(8, |text| text.len() + 8));
    value
}

fn cut(text: &str, left: usize) -> String {
    let most = MOST_TEXT.min(left);
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= most).last().unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned() + "…"
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
