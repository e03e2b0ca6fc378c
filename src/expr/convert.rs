//! Values made into others, and arithmetic. What does not fit is an error, never another number.

use super::failure::Failure;
use super::function::Function;
use super::time::{self, Moment};
use super::value::{List, Value};
use crate::schema::{Meter, Text};

/// `+ - * / %`.
///
/// # Errors
/// The values have none, or the result does not fit.
pub(super) fn arithmetic<'a>(
    function: Function,
    left: Value<'a>,
    right: Value<'a>,
    meter: &mut Meter,
) -> Result<Value<'a>, Failure> {
    use Function as F;
    Ok(match (function, left, right) {
        (F::Add, Value::Int(l), Value::Int(r)) => Value::Int(l.checked_add(r).ok_or(Failure::Overflow)?),
        (F::Subtract, Value::Int(l), Value::Int(r)) => Value::Int(l.checked_sub(r).ok_or(Failure::Overflow)?),
        (F::Multiply, Value::Int(l), Value::Int(r)) => Value::Int(l.checked_mul(r).ok_or(Failure::Overflow)?),
        (F::Divide | F::Modulo, Value::Int(_), Value::Int(0)) => return Err(Failure::DivideByZero),
        (F::Divide | F::Modulo, Value::Uint(_), Value::Uint(0)) => return Err(Failure::DivideByZero),
        (F::Divide, Value::Int(l), Value::Int(r)) => Value::Int(l.checked_div(r).ok_or(Failure::Overflow)?),
        (F::Modulo, Value::Int(l), Value::Int(r)) => Value::Int(l.checked_rem(r).ok_or(Failure::Overflow)?),
        (F::Add, Value::Uint(l), Value::Uint(r)) => Value::Uint(l.checked_add(r).ok_or(Failure::Overflow)?),
        (F::Subtract, Value::Uint(l), Value::Uint(r)) => Value::Uint(l.checked_sub(r).ok_or(Failure::Overflow)?),
        (F::Multiply, Value::Uint(l), Value::Uint(r)) => Value::Uint(l.checked_mul(r).ok_or(Failure::Overflow)?),
        (F::Divide, Value::Uint(l), Value::Uint(r)) => Value::Uint(l / r),
        (F::Modulo, Value::Uint(l), Value::Uint(r)) => Value::Uint(l % r),
        (F::Add, Value::Double(l), Value::Double(r)) => Value::Double(l + r),
        (F::Subtract, Value::Double(l), Value::Double(r)) => Value::Double(l - r),
        (F::Multiply, Value::Double(l), Value::Double(r)) => Value::Double(l * r),
        (F::Divide, Value::Double(l), Value::Double(r)) => Value::Double(l / r),
        (F::Add, Value::Text(l), Value::Text(r)) => {
            meter.spend_octets(l.len() + r.len())?;
            Value::Text(format!("{}{}", &*l, &*r).into())
        }
        (F::Add, Value::Bytes(l), Value::Bytes(r)) => {
            meter.spend_octets(l.len() + r.len())?;
            Value::Bytes([&*l, &*r].concat().into())
        }
        (F::Add, Value::List(l), Value::List(r)) => {
            meter.spend(l.len() + r.len())?;
            Value::list(items(&l).chain(items(&r)).collect())
        }
        (F::Add, Value::Duration(l), Value::Duration(r)) => Value::Duration(l.checked_add(r).ok_or(Failure::Overflow)?),
        (F::Subtract, Value::Duration(l), Value::Duration(r)) => {
            Value::Duration(l.checked_sub(r).ok_or(Failure::Overflow)?)
        }
        (F::Add, Value::Time(l), Value::Duration(r)) => Value::Time(l.plus(r)?),
        (F::Add, Value::Duration(l), Value::Time(r)) => Value::Time(r.plus(l)?),
        (F::Subtract, Value::Time(l), Value::Duration(r)) => {
            Value::Time(l.plus(r.checked_neg().ok_or(Failure::Overflow)?)?)
        }
        (F::Subtract, Value::Time(l), Value::Time(r)) => Value::Duration(l.since(r)?),
        _ => return Err(Failure::NoOverload(function.name())),
    })
}

fn items<'l, 'a>(list: &'l List<'a>) -> impl Iterator<Item = Value<'a>> + 'l {
    (0..list.len()).filter_map(|at| list.at(at))
}

/// `int`, `uint`, `double`, `string`, `bytes`, `bool`, `timestamp`, `duration`.
///
/// # Errors
/// The value cannot be made into one.
pub(super) fn convert<'a>(function: Function, value: Value<'a>, meter: &mut Meter) -> Result<Value<'a>, Failure> {
    use Function as F;
    if let Value::Text(text) = &value {
        meter.spend_octets(text.len())?;
    }
    Ok(match (function, value) {
        (F::ToInt, value) => Value::Int(int(value)?),
        (F::ToUint, value) => Value::Uint(uint(value)?),
        (F::ToDouble, value) => Value::Double(double(value)?),
        (F::ToText, value) => Value::Text(text(value)?),
        (F::ToBytes, bytes @ Value::Bytes(_)) => bytes,
        (F::ToBytes, Value::Text(Text::Lent(text))) => Value::Bytes(crate::schema::Octets::Lent(text.as_bytes())),
        (F::ToBytes, Value::Text(text)) => Value::Bytes(text.as_bytes().to_vec().into()),
        (F::ToBool, value @ Value::Bool(_)) => value,
        (F::ToBool, Value::Text(text)) => Value::Bool(match &*text {
            "true" | "True" | "TRUE" | "t" | "1" => true,
            "false" | "False" | "FALSE" | "f" | "0" => false,
            _ => return Err(Failure::Unconvertible("bool")),
        }),
        (F::ToTime, value @ Value::Time(_)) => value,
        (F::ToTime, Value::Int(seconds)) => Value::Time(Moment::new(seconds, 0)?),
        (F::ToTime, Value::Text(text)) => Value::Time(Moment::parse(&text)?),
        (F::ToDuration, value @ Value::Duration(_)) => value,
        (F::ToDuration, Value::Text(text)) => Value::Duration(time::parse_span(&text)?),
        _ => return Err(Failure::NoOverload(function.name())),
    })
}

fn int(value: Value<'_>) -> Result<i64, Failure> {
    match value {
        Value::Int(value) => Ok(value),
        Value::Uint(value) => i64::try_from(value).map_err(|_| Failure::Overflow),
        // 2^63 is the first that does not fit, and -2^63 would, but not exactly by the rules of CEL.
        Value::Double(value) if value > -9_223_372_036_854_775_808.0 && value < 9_223_372_036_854_775_808.0 => {
            Ok(value as i64)
        }
        Value::Double(_) => Err(Failure::Overflow),
        Value::Text(text) => text.parse().map_err(|_| Failure::Unconvertible("int")),
        Value::Time(moment) => Ok(moment.seconds()),
        _ => Err(Failure::NoOverload("int")),
    }
}

fn uint(value: Value<'_>) -> Result<u64, Failure> {
    match value {
        Value::Uint(value) => Ok(value),
        Value::Int(value) => u64::try_from(value).map_err(|_| Failure::Overflow),
        Value::Double(value) if (0.0..18_446_744_073_709_551_616.0).contains(&value) => Ok(value as u64),
        Value::Double(_) => Err(Failure::Overflow),
        Value::Text(text) => text.parse().map_err(|_| Failure::Unconvertible("uint")),
        _ => Err(Failure::NoOverload("uint")),
    }
}

fn double(value: Value<'_>) -> Result<f64, Failure> {
    match value {
        Value::Double(value) => Ok(value),
        Value::Int(value) => Ok(value as f64),
        Value::Uint(value) => Ok(value as f64),
        Value::Text(text) => text.parse().map_err(|_| Failure::Unconvertible("double")),
        _ => Err(Failure::NoOverload("double")),
    }
}

fn text(value: Value<'_>) -> Result<Text<'_>, Failure> {
    let made = match value {
        Value::Text(text) => return Ok(text),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Bytes(octets) => return octets.text().ok_or(Failure::Unconvertible("string")),
        Value::Time(moment) => moment.format()?,
        Value::Duration(nanos) => time::format_span(nanos),
        _ => return Err(Failure::NoOverload("string")),
    };
    Ok(made.into())
}
