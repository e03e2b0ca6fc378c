//! Values of expressions. What a call or a message has is lent, not copied.

use std::sync::Arc;

use fields::Fields;
use serde_json::Value as Json;

use super::failure::Failure;
use super::node::Constant;
use super::time::Moment;
use crate::schema::{Octets, Text, View};

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number with a sign.
    Int(i64),
    /// A number without a sign.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// Text.
    Text(Text<'a>),
    /// Octets.
    Bytes(Octets<'a>),
    /// A span of time, in nanoseconds.
    Duration(i64),
    /// A moment.
    Time(Moment),
    /// A list.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// A message that is none of those which have a form of their own (wrappers, times, JSON).
    Message(View<'a>),
    /// A type, by its name.
    Type(Text<'a>),
}

/// A list, wherever it lies.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Made on the way.
    Made(Arc<Vec<Value<'a>>>),
    /// In JSON, such as a token's claims.
    Json(&'a [Json]),
    /// Names, such as those of a certificate.
    Names(&'a [Arc<str>]),
    /// In the expression.
    Constants(&'a [Constant]),
}

/// A map, wherever it lies.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Made on the way.
    Made(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// In JSON, such as a token's claims.
    Json(&'a serde_json::Map<String, Json>),
    /// The metadata of a call.
    Metadata(&'a Fields),
    /// Nothing, such as the claims of a caller without a token.
    Empty,
}

impl<'a> Value<'a> {
    /// A text that is lent.
    pub fn text(text: &'a str) -> Self {
        Self::Text(Text::Lent(text))
    }

    /// What JSON has.
    pub fn json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Uint(value),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(entries) => Self::Map(Map::Json(entries)),
        }
    }

    /// A list of these.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }

    /// A map of these; no key is there twice.
    pub fn map(entries: Vec<(Value<'a>, Value<'a>)>) -> Self {
        Self::Map(Map::Made(Arc::new(entries)))
    }

    /// The name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Message(view) => view.kind().name(),
            Self::Type(_) => "type",
        }
    }
}

impl<'a> List<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Made(items) => items.len(),
            Self::Json(items) => items.len(),
            Self::Names(names) => names.len(),
            Self::Constants(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One by its place, from 0.
    pub fn at(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Made(items) => items.get(at).cloned(),
            Self::Json(items) => items.get(at).map(Value::json),
            Self::Names(names) => names.get(at).map(|name| Value::text(name)),
            Self::Constants(items) => items.get(at).map(Constant::value),
        }
    }
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Made(entries) => entries.len(),
            Self::Json(entries) => entries.len(),
            Self::Metadata(fields) => names_of(fields).len(),
            Self::Empty => 0,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Steps that counting or listing its keys takes.
    pub(super) fn work(&self) -> usize {
        match self {
            Self::Made(entries) => entries.len(),
            Self::Json(entries) => entries.len(),
            // Those that are there twice are found by putting them in order.
            Self::Metadata(fields) => fields.len().saturating_mul(4),
            Self::Empty => 0,
        }
    }

    /// What a name has.
    ///
    /// # Errors
    /// The metadata under it is no text.
    pub(super) fn named(&self, name: &str) -> Result<Option<Value<'a>>, Failure> {
        match self {
            Self::Made(entries) => {
                let named = entries.iter().find(|(key, _)| matches!(key, Value::Text(key) if **key == *name));
                Ok(named.map(|(_, value)| value.clone()))
            }
            Self::Json(entries) => Ok(entries.get(name).map(Value::json)),
            Self::Metadata(fields) => metadata(fields, name),
            Self::Empty => Ok(None),
        }
    }

    /// Its keys.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Made(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Json(entries) => entries.keys().map(|key| Value::text(key)).collect(),
            Self::Metadata(fields) => names_of(fields).into_iter().map(Value::text).collect(),
            Self::Empty => Vec::new(),
        }
    }
}

fn names_of(fields: &Fields) -> Vec<&str> {
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the metadata has under a name. Of several values all, with commas between them, as HTTP has it: whoever compares them to
/// one value must not be told of one and have the instance read another.
fn metadata<'a>(fields: &'a Fields, name: &str) -> Result<Option<Value<'a>>, Failure> {
    let mut values = fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| value);
    let Some(first) = values.next() else { return Ok(None) };
    let text = |value: &'a [u8]| std::str::from_utf8(value).map_err(|_| Failure::Malformed("metadata is no text"));
    let first = text(first)?;
    let mut joined: Option<String> = None;
    for value in values {
        let joined = joined.get_or_insert_with(|| first.to_owned());
        joined.push(',');
        joined.push_str(text(value)?);
    }
    Ok(Some(joined.map_or(Value::text(first), |joined| Value::Text(joined.into()))))
}
