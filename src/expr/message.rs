//! Messages as values: fields are read where they lie on the wire, and those messages that have a form of their own in CEL (wrappers,
//! times, JSON, `Any`) get it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::compare;
use super::failure::Failure;
use super::node::Constant;
use super::time::Moment;
use super::value::Value;
use crate::schema::{Field, Item, Kind, Meter, Octets, Scalar, Shape, View, default as default_item};

/// How deep JSON in a message (`google.protobuf.Value`), and messages that are compared, may be nested.
const MOST_DEPTH: usize = 64;

type Result<T> = std::result::Result<T, Failure>;

/// What a field has; none if it is not there.
///
/// # Errors
/// The value is no such message, or it is malformed.
pub(super) fn field<'a>(of: &Value<'a>, field: Field<'a>, meter: &mut Meter) -> Result<Option<Value<'a>>> {
    let Value::Message(view) = of else { return Err(Failure::NoOverload(".")) };
    field_of(view, field, meter)
}

/// What a field of a message has, or what its type has where it is not there.
///
/// # Errors
/// It is malformed, or it takes too many steps.
pub fn field_value<'a>(view: &View<'a>, field: Field<'a>, meter: &mut Meter) -> Result<Value<'a>> {
    match field_of(view, field, meter)? {
        Some(value) => Ok(value),
        None => default(field, meter),
    }
}

/// What an element or an entry of a field of this kind has.
///
/// # Errors
/// It is malformed, or it takes too many steps.
pub fn item_value<'a>(item: Item<'a>, kind: Kind<'a>, meter: &mut Meter) -> Result<Value<'a>> {
    value(item, kind, meter)
}

/// A message as an expression has it.
///
/// # Errors
/// It is malformed, or it takes too many steps.
pub fn message_value<'a>(view: View<'a>, meter: &mut Meter) -> Result<Value<'a>> {
    message(view, meter, 0)
}

fn field_of<'a>(view: &View<'a>, field: Field<'a>, meter: &mut Meter) -> Result<Option<Value<'a>>> {
    match field.shape() {
        Shape::Single => match view.one(field, meter)? {
            Some(item) => value(item, field.kind(), meter).map(Some),
            None => Ok(None),
        },
        Shape::List => items(view, field, meter).map(|items| Some(Value::list(items))),
        Shape::Map(_) => entries(view, field, meter).map(|entries| Some(Value::map(entries))),
    }
}

/// Whether a field is there.
///
/// # Errors
/// As [`field`].
pub(super) fn has<'a>(of: &Value<'a>, field: Field<'a>, meter: &mut Meter) -> Result<bool> {
    let Value::Message(view) = of else { return Err(Failure::NoOverload("has")) };
    Ok(view.has(field, meter)?)
}

/// What a field has that is not there.
///
/// # Errors
/// None but what reading the empty message of its type may have.
pub(super) fn default<'a>(field: Field<'a>, meter: &mut Meter) -> Result<Value<'a>> {
    match field.kind() {
        // One that is not there is null, not its type's zero.
        Kind::Message(message) if is_wrapper(message.name()) => Ok(Value::Null),
        kind => value(default_item(kind), kind, meter),
    }
}

/// What a declaration gives a field that is not there (proto2).
pub(super) fn declared_default(field: Field<'_>) -> Option<Constant> {
    let text = field.declared_default()?;
    let float = |text: &str| match text {
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        text => text.parse().ok(),
    };
    match field.kind() {
        Kind::Scalar(Scalar::Bool) => Some(Constant::Bool(text == "true")),
        Kind::Scalar(Scalar::String) => Some(Constant::Text(text.into())),
        Kind::Scalar(Scalar::Bytes) => Some(Constant::Bytes(unescaped(text).into())),
        Kind::Scalar(Scalar::Float) => float(text).map(|value| Constant::Double(f64::from(value as f32))),
        Kind::Scalar(Scalar::Double) => float(text).map(Constant::Double),
        Kind::Scalar(Scalar::Uint32 | Scalar::Uint64 | Scalar::Fixed32 | Scalar::Fixed64) => {
            text.parse().ok().map(Constant::Uint)
        }
        Kind::Scalar(_) => text.parse().ok().map(Constant::Int),
        Kind::Enum(kind) => kind.number(text).map(|number| Constant::Int(number.into())),
        Kind::Message(_) => None,
    }
}

/// Octets as descriptors write them: C escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let (octets, mut at, mut out) = (text.as_bytes(), 0, Vec::new());
    while let Some(&octet) = octets.get(at) {
        at += 1;
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        let digits = octets.iter().skip(at).take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
        if digits > 0 {
            let number =
                octets.iter().skip(at).take(digits).fold(0u32, |number, digit| number * 8 + u32::from(digit - b'0'));
            out.push((number & 0xff) as u8);
            at += digits;
            continue;
        }
        out.push(match octets.get(at) {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(other) => *other,
            None => b'\\',
        });
        at += 1;
    }
    out
}

fn items<'a>(view: &View<'a>, field: Field<'a>, meter: &mut Meter) -> Result<Vec<Value<'a>>> {
    let mut found = Vec::new();
    view.all(field, meter, |_, item| {
        found.push(item);
        Ok(())
    })?;
    found.into_iter().map(|item| value(item, field.kind(), meter)).collect()
}

fn entries<'a>(view: &View<'a>, field: Field<'a>, meter: &mut Meter) -> Result<Vec<(Value<'a>, Value<'a>)>> {
    let mut found = Vec::new();
    view.all(field, meter, |key, item| {
        found.push((key, item));
        Ok(())
    })?;
    // The last of one key is its entry.
    let mut places: HashMap<Place, usize> = HashMap::with_capacity(found.len());
    let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(found.len());
    for (key, item) in found {
        let Some(key) = key else { continue };
        let item = value(item, field.kind(), meter)?;
        match places.entry(place_of(&key)) {
            Entry::Occupied(place) => {
                if let Some(entry) = entries.get_mut(*place.get()) {
                    entry.1 = item;
                }
            }
            Entry::Vacant(place) => {
                place.insert(entries.len());
                entries.push((scalar(key), item));
            }
        }
    }
    Ok(entries)
}

/// A key, so that it can be looked up.
fn place_of(key: &Item<'_>) -> Place {
    match key {
        Item::Bool(key) => Place::Number((*key).into()),
        Item::Int(key) => Place::Number((*key).into()),
        Item::Uint(key) => Place::Number((*key).into()),
        Item::Text(key) => Place::Text((**key).into()),
        Item::Enum(_) | Item::Double(_) | Item::Bytes(_) | Item::Message(_) => Place::Number(0),
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Place {
    Number(i128),
    Text(Arc<str>),
}

/// What a field has, as an expression has it.
fn value<'a>(item: Item<'a>, kind: Kind<'a>, meter: &mut Meter) -> Result<Value<'a>> {
    match (item, kind) {
        (Item::Message(view), _) => message(view, meter, 0),
        (Item::Enum(_), Kind::Enum(kind)) if kind.name() == "google.protobuf.NullValue" => Ok(Value::Null),
        (item, _) => Ok(scalar(item)),
    }
}

fn scalar(item: Item<'_>) -> Value<'_> {
    match item {
        Item::Bool(value) => Value::Bool(value),
        Item::Int(value) => Value::Int(value),
        Item::Uint(value) => Value::Uint(value),
        Item::Double(value) => Value::Double(value),
        Item::Text(text) => Value::Text(text),
        Item::Bytes(octets) => Value::Bytes(octets),
        Item::Enum(number) => Value::Int(number.into()),
        Item::Message(view) => Value::Message(view),
    }
}

fn is_wrapper(name: &str) -> bool {
    let names = [
        "BoolValue",
        "Int32Value",
        "Int64Value",
        "UInt32Value",
        "UInt64Value",
        "FloatValue",
        "DoubleValue",
        "StringValue",
        "BytesValue",
    ];
    name.strip_prefix("google.protobuf.").is_some_and(|name| names.contains(&name))
}

/// A message as an expression has it.
///
/// # Errors
/// It is malformed.
pub(super) fn message<'a>(view: View<'a>, meter: &mut Meter, depth: usize) -> Result<Value<'a>> {
    let Some(name) = view.kind().name().strip_prefix("google.protobuf.") else { return Ok(Value::Message(view)) };
    if depth > MOST_DEPTH {
        return Err(Failure::Malformed("it is nested too deep"));
    }
    meter.spend(1)?;
    match name {
        "Duration" | "Timestamp" => {
            let (seconds, nanos) = (number(&view, "seconds", meter)?, number(&view, "nanos", meter)?);
            if name == "Timestamp" {
                return Moment::new(seconds, nanos).map(Value::Time);
            }
            let nanos = seconds.checked_mul(1_000_000_000).and_then(|seconds| seconds.checked_add(nanos));
            nanos.map(Value::Duration).ok_or(Failure::Overflow)
        }
        "Struct" => json_object(&view, meter, depth),
        "ListValue" => json_list(&view, meter, depth),
        "Value" => json(&view, meter, depth),
        "Any" => match unpacked(&view, meter)? {
            Some(inner) => message(inner, meter, depth + 1),
            None => Ok(Value::Message(view)),
        },
        _ if is_wrapper(view.kind().name()) => {
            let field = view.kind().field("value").ok_or(Failure::NoSuchField)?;
            match field_of(&view, field, meter)? {
                Some(value) => Ok(value),
                None => value(default_item(field.kind()), field.kind(), meter),
            }
        }
        _ => Ok(Value::Message(view)),
    }
}

fn number<'a>(view: &View<'a>, name: &str, meter: &mut Meter) -> Result<i64> {
    let field = view.kind().field(name).ok_or(Failure::NoSuchField)?;
    match view.one(field, meter)? {
        Some(Item::Int(number)) => Ok(number),
        _ => Ok(0),
    }
}

fn json_object<'a>(view: &View<'a>, meter: &mut Meter, depth: usize) -> Result<Value<'a>> {
    let field = view.kind().field("fields").ok_or(Failure::NoSuchField)?;
    nested(depth)?;
    let mut found = Vec::new();
    view.all(field, meter, |key, item| {
        found.push((key, item));
        Ok(())
    })?;
    let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(found.len());
    // The last of one key is its entry.
    let mut seen = HashSet::with_capacity(found.len());
    for (key, item) in found.into_iter().rev() {
        if let (Some(key), Item::Message(inner)) = (key, item)
            && seen.insert(place_of(&key))
        {
            entries.push((scalar(key), message(inner, meter, depth + 1)?));
        }
    }
    entries.reverse();
    Ok(Value::map(entries))
}

fn json_list<'a>(view: &View<'a>, meter: &mut Meter, depth: usize) -> Result<Value<'a>> {
    let field = view.kind().field("values").ok_or(Failure::NoSuchField)?;
    nested(depth)?;
    let mut found = Vec::new();
    view.all(field, meter, |_, item| {
        found.push(item);
        Ok(())
    })?;
    let values = found.into_iter().map(|item| match item {
        Item::Message(inner) => message(inner, meter, depth + 1),
        item => Ok(scalar(item)),
    });
    values.collect::<Result<_>>().map(Value::list)
}

fn json<'a>(view: &View<'a>, meter: &mut Meter, depth: usize) -> Result<Value<'a>> {
    for field in view.kind().fields() {
        if let Some(item) = view.one(field, meter)? {
            return match item {
                Item::Message(inner) => message(inner, meter, depth + 1),
                Item::Enum(_) => Ok(Value::Null),
                item => Ok(scalar(item)),
            };
        }
    }
    Ok(Value::Null)
}

fn nested(depth: usize) -> Result<()> {
    if depth > MOST_DEPTH { Err(Failure::Malformed("it is nested too deep")) } else { Ok(()) }
}

/// What is in an `Any`, where its type is known.
fn unpacked<'a>(view: &View<'a>, meter: &mut Meter) -> Result<Option<View<'a>>> {
    let (Some(url), Some(octets)) = (view.kind().field("type_url"), view.kind().field("value")) else {
        return Ok(None);
    };
    let Some(Item::Text(url)) = view.one(url, meter)? else { return Ok(None) };
    let Some(kind) = url.rsplit_once('/').and_then(|(_, name)| view.kind().sibling(name)) else { return Ok(None) };
    let octets = match view.one(octets, meter)? {
        Some(Item::Bytes(octets)) => octets,
        _ => Octets::Lent(&[]),
    };
    Ok(Some(View::new(kind, octets)))
}

/// Whether two messages are: of one type, with the same in every field, and the same in what their type does not know.
///
/// # Errors
/// One of them is malformed, or they take too long to compare.
pub(super) fn equal<'a>(left: &View<'a>, right: &View<'a>, meter: &mut Meter, depth: usize) -> Result<bool> {
    nested(depth)?;
    if left.kind().name() != right.kind().name() {
        return Ok(false);
    }
    for field in left.kind().fields() {
        meter.spend(1)?;
        let Some(other) = right.kind().numbered(field.number()) else { return Ok(false) };
        if field.shape() == Shape::Single && left.has(field, meter)? != right.has(other, meter)? {
            return Ok(false);
        }
        match (field_of(left, field, meter)?, field_of(right, other, meter)?) {
            (Some(left), Some(right)) if !compare::equal_within(&left, &right, meter, depth + 1)? => return Ok(false),
            _ => {}
        }
    }
    Ok(left.unknown(meter)? == right.unknown(meter)?)
}
