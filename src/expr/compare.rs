//! Which values are equal, and which is less. Numbers of different kinds are compared by what they are; other kinds are not equal.

use std::cmp::Ordering;

use super::failure::Failure;
use super::message;
use super::value::{List, Map, Value};
use crate::schema::Meter;

/// Whether two values are equal.
///
/// # Errors
/// It takes too many steps, or a message is malformed.
pub(super) fn equal<'a>(left: &Value<'a>, right: &Value<'a>, meter: &mut Meter) -> Result<bool, Failure> {
    equal_within(left, right, meter, 0)
}

/// The same for what is so many messages deep: they may be nested as deep as a sender likes, and this recurses.
pub(super) fn equal_within<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    meter: &mut Meter,
    depth: usize,
) -> Result<bool, Failure> {
    meter.spend(1)?;
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => {
            meter.spend_octets(left.len().min(right.len()))?;
            **left == **right
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.spend_octets(left.len().min(right.len()))?;
            **left == **right
        }
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Time(left), Value::Time(right)) => left == right,
        (Value::Type(left), Value::Type(right)) => **left == **right,
        (Value::List(left), Value::List(right)) => lists(left, right, meter, depth)?,
        (Value::Map(left), Value::Map(right)) => maps(left, right, meter, depth)?,
        (Value::Message(left), Value::Message(right)) => message::equal(left, right, meter, depth)?,
        _ => numbers(left, right) == Some(Ordering::Equal),
    })
}

fn lists<'a>(left: &List<'a>, right: &List<'a>, meter: &mut Meter, depth: usize) -> Result<bool, Failure> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for at in 0..left.len() {
        let (Some(left), Some(right)) = (left.at(at), right.at(at)) else { return Ok(false) };
        if !equal_within(&left, &right, meter, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps<'a>(left: &Map<'a>, right: &Map<'a>, meter: &mut Meter, depth: usize) -> Result<bool, Failure> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for key in left.keys() {
        let (Some(left), Some(right)) = (entry(left, &key, meter)?, entry(right, &key, meter)?) else {
            return Ok(false);
        };
        if !equal_within(&left, &right, meter, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a map has under a key.
///
/// # Errors
/// It takes too many steps.
pub(super) fn entry<'a>(map: &Map<'a>, key: &Value<'a>, meter: &mut Meter) -> Result<Option<Value<'a>>, Failure> {
    if let Value::Text(name) = key {
        meter.spend(match map {
            Map::Made(entries) => entries.len(),
            Map::Json(_) | Map::Empty => 1,
            Map::Metadata(fields) => fields.len() / 8 + 1,
        })?;
        let found = map.named(name)?;
        if let (Map::Metadata(_), Some(Value::Text(text))) = (map, &found) {
            // Of several values a new text is made.
            meter.spend_octets(text.len())?;
        }
        return Ok(found);
    }
    let Map::Made(entries) = map else { return Ok(None) };
    for (own, value) in entries.iter() {
        if equal(own, key, meter)? {
            return Ok(Some(value.clone()));
        }
    }
    Ok(None)
}

/// Which of two values is less; none where one of them is not a number.
///
/// # Errors
/// They have no order.
pub(super) fn order(
    left: &Value<'_>,
    right: &Value<'_>,
    operator: &'static str,
    meter: &mut Meter,
) -> Result<Option<Ordering>, Failure> {
    Ok(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => {
            meter.spend_octets(left.len().min(right.len()))?;
            Some((**left).cmp(&**right))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.spend_octets(left.len().min(right.len()))?;
            Some((**left).cmp(&**right))
        }
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
            numbers(left, right)
        }
        _ => return Err(Failure::NoOverload(operator)),
    })
}

/// Numbers by what they are. A whole number and one with a fraction meet as the latter, as everywhere with CEL.
fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Uint(left), Value::Uint(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Uint(right)) => {
            Some(u64::try_from(*left).map_or(Ordering::Less, |left| left.cmp(right)))
        }
        (Value::Uint(_), Value::Int(_)) => numbers(right, left).map(Ordering::reverse),
        (Value::Int(left), Value::Double(right)) => (*left as f64).partial_cmp(right),
        (Value::Uint(left), Value::Double(right)) => (*left as f64).partial_cmp(right),
        (Value::Double(_), Value::Int(_) | Value::Uint(_)) => numbers(right, left).map(Ordering::reverse),
        _ => None,
    }
}
