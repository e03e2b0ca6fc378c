//! What protovalidate adds to CEL: the functions that its rules use. They are there only where [`Scope::validation`] says so.
//!
//! [`Scope::validation`]: super::check::Scope::validation

mod address;
mod format;
mod uri;

use std::collections::HashSet;

use super::failure::Failure;
use super::kind::Type;
use super::message;
use super::value::{List, Value};
use crate::schema::Meter;

/// One of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Nan,
    Infinite,
    Email,
    Hostname,
    Ip,
    IpPrefix,
    Uri,
    UriRef,
    HostAndPort,
    Unique,
    Format,
    FieldNamed,
    Contains,
    StartsWith,
    EndsWith,
}

/// Every one: its name, whether it is written `x.f()`, itself.
const CHECKS: [(&str, bool, Check); 15] = [
    ("isNan", true, Check::Nan),
    ("isInf", true, Check::Infinite),
    ("isEmail", true, Check::Email),
    ("isHostname", true, Check::Hostname),
    ("isIp", true, Check::Ip),
    ("isIpPrefix", true, Check::IpPrefix),
    ("isUri", true, Check::Uri),
    ("isUriRef", true, Check::UriRef),
    ("isHostAndPort", true, Check::HostAndPort),
    ("unique", true, Check::Unique),
    ("format", true, Check::Format),
    ("getField", false, Check::FieldNamed),
    // Those of CEL are for text; these are for octets too.
    ("contains", true, Check::Contains),
    ("startsWith", true, Check::StartsWith),
    ("endsWith", true, Check::EndsWith),
];

/// The function of a name.
pub(super) fn find(name: &str, member: bool) -> Option<Check> {
    CHECKS.iter().find(|(known, style, _)| *known == name && *style == member).map(|(_, _, check)| *check)
}

impl Check {
    /// As people write it.
    pub(super) fn name(self) -> &'static str {
        CHECKS.iter().find(|(_, _, check)| *check == self).map_or("", |(name, _, _)| *name)
    }

    /// What it gives for arguments of these types; none if it does not take them.
    pub(super) fn gives(self, arguments: &[Type]) -> Option<Type> {
        let takes: &[&[Type]] = match self {
            Self::Nan => &[&[Type::Double]],
            Self::Infinite => &[&[Type::Double], &[Type::Double, Type::Int]],
            Self::Email | Self::Hostname | Self::Uri | Self::UriRef => &[&[Type::Text]],
            Self::Ip => &[&[Type::Text], &[Type::Text, Type::Int]],
            Self::IpPrefix => &[
                &[Type::Text],
                &[Type::Text, Type::Int],
                &[Type::Text, Type::Bool],
                &[Type::Text, Type::Int, Type::Bool],
            ],
            Self::HostAndPort => &[&[Type::Text, Type::Bool]],
            Self::FieldNamed => &[&[Type::Dyn, Type::Text]],
            Self::Contains | Self::StartsWith | Self::EndsWith => {
                &[&[Type::Text, Type::Text], &[Type::Bytes, Type::Bytes]]
            }
            Self::Unique => return matches!(arguments, [Type::List(_) | Type::Dyn]).then_some(Type::Bool),
            Self::Format => {
                return matches!(arguments, [Type::Text | Type::Dyn, Type::List(_) | Type::Dyn]).then_some(Type::Text);
            }
        };
        let fits = |wanted: &&&[Type]| {
            wanted.len() == arguments.len() && arguments.iter().zip(**wanted).all(|(own, wanted)| own.fits(wanted))
        };
        takes.iter().find(fits)?;
        Some(if self == Self::FieldNamed { Type::Dyn } else { Type::Bool })
    }

    /// Calls it.
    ///
    /// # Errors
    /// It does not take such values, or it takes too many steps.
    pub(super) fn call<'a>(self, arguments: &[Value<'a>], meter: &mut Meter) -> Result<Value<'a>, Failure> {
        for argument in arguments {
            match argument {
                Value::Text(text) => meter.spend_octets(text.len())?,
                Value::Bytes(octets) => meter.spend_octets(octets.len())?,
                _ => {}
            }
        }
        match (self, arguments) {
            (Self::Format, [Value::Text(text), Value::List(list)]) => {
                format::format(text, list, meter).map(|text| Value::Text(text.into()))
            }
            (Self::FieldNamed, [of @ Value::Message(view), Value::Text(name)]) => {
                let field = view.kind().field(name).ok_or(Failure::NoSuchField)?;
                match message::field(of, field, meter)? {
                    Some(value) => Ok(value),
                    None => message::default(field, meter),
                }
            }
            (Self::Unique, [Value::List(list)]) => is_unique(list, meter).map(Value::Bool),
            _ => self.holds(arguments).map(Value::Bool),
        }
    }

    fn holds(self, arguments: &[Value<'_>]) -> Result<bool, Failure> {
        let version = |version: i64| u8::try_from(version).unwrap_or(u8::MAX);
        Ok(match (self, arguments) {
            (Self::Nan, [Value::Double(value)]) => value.is_nan(),
            (Self::Infinite, [Value::Double(value)]) => value.is_infinite(),
            (Self::Infinite, [Value::Double(value), Value::Int(sign)]) => match sign {
                0 => value.is_infinite(),
                1.. => *value == f64::INFINITY,
                _ => *value == f64::NEG_INFINITY,
            },
            (Self::Email, [Value::Text(text)]) => address::is_email(text),
            (Self::Hostname, [Value::Text(text)]) => address::is_hostname(text),
            (Self::Ip, [Value::Text(text)]) => address::is_ip(text, 0),
            (Self::Ip, [Value::Text(text), Value::Int(of)]) => address::is_ip(text, version(*of)),
            (Self::IpPrefix, [Value::Text(text)]) => address::is_prefix(text, 0, false),
            (Self::IpPrefix, [Value::Text(text), Value::Int(of)]) => address::is_prefix(text, version(*of), false),
            (Self::IpPrefix, [Value::Text(text), Value::Bool(strict)]) => address::is_prefix(text, 0, *strict),
            (Self::IpPrefix, [Value::Text(text), Value::Int(of), Value::Bool(strict)]) => {
                address::is_prefix(text, version(*of), *strict)
            }
            (Self::HostAndPort, [Value::Text(text), Value::Bool(port)]) => address::is_host_and_port(text, *port),
            (Self::Uri, [Value::Text(text)]) => uri::is_uri(text),
            (Self::UriRef, [Value::Text(text)]) => uri::is_reference(text),
            (Self::Contains, [Value::Text(text), Value::Text(part)]) => text.contains(&**part),
            (Self::StartsWith, [Value::Text(text), Value::Text(part)]) => text.starts_with(&**part),
            (Self::EndsWith, [Value::Text(text), Value::Text(part)]) => text.ends_with(&**part),
            (Self::Contains, [Value::Bytes(octets), Value::Bytes(part)]) => is_within(part, octets),
            (Self::StartsWith, [Value::Bytes(octets), Value::Bytes(part)]) => octets.starts_with(part),
            (Self::EndsWith, [Value::Bytes(octets), Value::Bytes(part)]) => octets.ends_with(part),
            _ => return Err(Failure::NoOverload(self.name())),
        })
    }
}

/// Whether octets are a part of others, in time by the sum of both.
fn is_within(part: &[u8], all: &[u8]) -> bool {
    let text = |octets: &[u8]| octets.iter().map(|octet| char::from(*octet)).collect::<String>();
    // Each octet as a character of its own: searching in text is linear, and there is no such search for octets.
    part.is_empty() || text(all).contains(&text(part))
}

/// Whether no two items are the same. Those that are no number are all different.
fn is_unique(list: &List<'_>, meter: &mut Meter) -> Result<bool, Failure> {
    #[derive(PartialEq, Eq, Hash)]
    enum Key {
        Number(i128),
        Fraction(u64),
        Text(String),
        Octets(Vec<u8>),
    }
    let mut seen = HashSet::with_capacity(list.len());
    for at in 0..list.len() {
        meter.spend(1)?;
        let key = match list.at(at) {
            Some(Value::Bool(value)) => Key::Number(value.into()),
            Some(Value::Int(value)) => Key::Number(value.into()),
            Some(Value::Uint(value)) => Key::Number(value.into()),
            Some(Value::Double(value)) if value.is_nan() => continue,
            // Both zeros are one.
            Some(Value::Double(value)) => Key::Fraction((value + 0.0).to_bits()),
            Some(Value::Text(text)) => {
                meter.spend_octets(text.len())?;
                Key::Text(text.to_string())
            }
            Some(Value::Bytes(octets)) => {
                meter.spend_octets(octets.len())?;
                Key::Octets(octets.to_vec())
            }
            _ => return Err(Failure::NoOverload("unique")),
        };
        if !seen.insert(key) {
            return Ok(false);
        }
    }
    Ok(true)
}
