//! `format`: values in a text, as CEL's extension for strings has them.

use std::fmt::Write as _;

use super::super::failure::Failure;
use super::super::time;
use super::super::value::{List, Map, Value};
use crate::schema::Meter;

type Result<T> = std::result::Result<T, Failure>;

const BAD: Failure = Failure::Unconvertible("format");
/// How deep lists and maps may be nested.
const MOST_DEPTH: usize = 32;
/// The most digits after a point.
const MOST_DIGITS: usize = 100;

/// The text with the list's values in place of `%s`, `%d`, `%f`, `%e`, `%x`, `%X`, `%o` and `%b`.
pub(super) fn format(text: &str, values: &List<'_>, meter: &mut Meter) -> Result<String> {
    let (mut out, mut at, mut rest) = (String::new(), 0, text);
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (digits, after) = precision(after)?;
        let mut chars = after.chars();
        let verb = chars.next().ok_or(BAD)?;
        rest = chars.as_str();
        let value = values.at(at).ok_or(BAD)?;
        at += 1;
        let begin = out.len();
        write(&mut out, verb, digits, &value)?;
        meter.spend(1)?;
        meter.spend_octets(out.len() - begin)?;
    }
    out.push_str(rest);
    Ok(out)
}

fn precision(text: &str) -> Result<(Option<usize>, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Ok((None, text)) };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = rest.strip_suffix(after).and_then(|digits| digits.parse().ok());
    Ok((Some(digits.filter(|digits| *digits <= MOST_DIGITS).ok_or(BAD)?), after))
}

fn write(out: &mut String, verb: char, digits: Option<usize>, value: &Value<'_>) -> Result<()> {
    let digits = digits.unwrap_or(6);
    let written = match (verb, value) {
        ('s', value) => return plain(out, value, 0),
        ('d', Value::Int(value)) => write!(out, "{value}"),
        ('d', Value::Uint(value)) => write!(out, "{value}"),
        ('f', value) => write!(out, "{:.digits$}", number(value)?),
        ('e', value) => {
            let text = format!("{:.digits$e}", number(value)?);
            // As C has it: a sign, and two digits at least.
            let (mantissa, exponent) = text.split_once('e').ok_or(BAD)?;
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            write!(out, "{mantissa}e{sign}{exponent:0>2}")
        }
        ('x', Value::Text(text)) => text.bytes().try_for_each(|octet| write!(out, "{octet:02x}")),
        ('X', Value::Text(text)) => text.bytes().try_for_each(|octet| write!(out, "{octet:02X}")),
        ('x', Value::Bytes(octets)) => octets.iter().try_for_each(|octet| write!(out, "{octet:02x}")),
        ('X', Value::Bytes(octets)) => octets.iter().try_for_each(|octet| write!(out, "{octet:02X}")),
        ('b', Value::Bool(value)) => write!(out, "{}", u8::from(*value)),
        ('x' | 'X' | 'o' | 'b', Value::Int(value)) => {
            if *value < 0 {
                out.push('-');
            }
            based(out, verb, value.unsigned_abs())
        }
        ('x' | 'X' | 'o' | 'b', Value::Uint(value)) => based(out, verb, *value),
        _ => return Err(BAD),
    };
    written.map_err(|_| BAD)
}

fn based(out: &mut String, verb: char, value: u64) -> std::fmt::Result {
    match verb {
        'x' => write!(out, "{value:x}"),
        'X' => write!(out, "{value:X}"),
        'o' => write!(out, "{value:o}"),
        _ => write!(out, "{value:b}"),
    }
}

fn number(value: &Value<'_>) -> Result<f64> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Uint(value) => Ok(*value as f64),
        _ => Err(BAD),
    }
}

/// `%s`.
fn plain(out: &mut String, value: &Value<'_>, depth: usize) -> Result<()> {
    if depth > MOST_DEPTH {
        return Err(BAD);
    }
    let written = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}"),
        Value::Double(value) if value.is_infinite() => {
            write!(out, "{}Infinity", if *value < 0.0 { "-" } else { "" })
        }
        Value::Double(value) => write!(out, "{value}"),
        Value::Text(text) => write!(out, "{}", &**text),
        Value::Bytes(octets) => write!(out, "{}", String::from_utf8_lossy(octets)),
        Value::Duration(nanos) => write!(out, "{}", time::format_span(*nanos)),
        Value::Time(moment) => write!(out, "{}", moment.format()?),
        Value::Type(name) => write!(out, "{}", &**name),
        Value::List(list) => {
            out.push('[');
            for at in 0..list.len() {
                out.push_str(if at == 0 { "" } else { ", " });
                plain(out, &list.at(at).ok_or(BAD)?, depth + 1)?;
            }
            write!(out, "]")
        }
        Value::Map(Map::Made(entries)) => {
            let mut texts = Vec::with_capacity(entries.len());
            for (key, value) in entries.iter() {
                let mut text = String::new();
                plain(&mut text, key, depth + 1)?;
                text.push_str(": ");
                plain(&mut text, value, depth + 1)?;
                texts.push(text);
            }
            texts.sort();
            write!(out, "{{{}}}", texts.join(", "))
        }
        Value::Map(_) | Value::Message(_) => return Err(BAD),
    };
    written.map_err(|_| BAD)
}
