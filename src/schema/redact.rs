//! Fields of messages hidden where they lie on the wire: what is named by a path is overwritten, in every occurrence, also in one that
//! decoders would drop; all other octets stay as they are, and in their order.

use std::collections::BTreeMap;

use super::meter::Meter;
use super::types::{EnumKind, Field, Kind, MessageType, Scalar, Shape};
use super::view::Unreadable;
use super::wire::{Payload, Reader, Writer};

/// The most names in a path.
const MOST_NAMES: usize = 32;

/// What to hide in messages of a type. Bound to numbers: whoever uses it sees to it that they are the message's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    fields: BTreeMap<u32, Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// It is overwritten.
    Mask(Mask),
    /// It is a message of which something is hidden.
    Within { of: Redaction, delimited: bool },
    /// It is a map, and something of each entry is hidden.
    Entries(Redaction),
}

/// What a field is overwritten with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mask {
    Text(Box<str>),
    Bytes,
    /// A number in a varint.
    Number(u64),
    Fixed32,
    Fixed64,
    Message {
        delimited: bool,
    },
    /// Nothing: it is taken out.
    Gone,
}

type Result<T> = std::result::Result<T, Unreadable>;

impl Redaction {
    /// What to hide in messages of a type: fields by their paths, through lists, and through the values of maps by `*`
    /// (`labels.*.token`). Texts become `mask`, numbers 0, messages and maps empty.
    ///
    /// # Errors
    /// A path leads nowhere, or into what has no fields that are known before.
    pub fn compile(message: MessageType<'_>, paths: &[String], mask: &str) -> std::result::Result<Self, String> {
        let mut redaction = Self::default();
        for path in paths {
            let names: Vec<&str> = path.split('.').collect();
            if names.len() > MOST_NAMES {
                return Err(format!("`{path}` has more than {MOST_NAMES} names"));
            }
            redaction.add(message, &names, mask).map_err(|why| format!("`{path}`: {why}"))?;
        }
        Ok(redaction)
    }

    /// Hides it. None where there is nothing to hide, or it is hidden already.
    ///
    /// # Errors
    /// The message is malformed, or takes too much work.
    pub fn apply(&self, body: &[u8], meter: &mut Meter) -> Result<Option<Vec<u8>>> {
        meter.spend_octets(body.len())?;
        let mut reader = Reader::new(body);
        let mut out: Option<Vec<u8>> = None;
        loop {
            let begin = reader.position();
            let Some((number, payload)) = reader.next()? else { return Ok(out) };
            meter.spend_field()?;
            let field = body.get(begin..reader.position()).unwrap_or_default();
            let hidden = match self.fields.get(&number) {
                Some(action) => action.hide(number, body, payload, meter)?.filter(|hidden| hidden != field),
                None => None,
            };
            match (&mut out, hidden) {
                (Some(out), Some(hidden)) => out.extend_from_slice(&hidden),
                (Some(out), None) => out.extend_from_slice(field),
                (None, Some(hidden)) => {
                    let mut begun = Vec::with_capacity(body.len());
                    begun.extend_from_slice(body.get(..begin).unwrap_or_default());
                    begun.extend_from_slice(&hidden);
                    out = Some(begun);
                }
                (None, None) => {}
            }
        }
    }

    fn add(&mut self, message: MessageType<'_>, names: &[&str], mask: &str) -> std::result::Result<(), String> {
        let [name, rest @ ..] = names else { return Ok(()) };
        let field = message.field(name).ok_or_else(|| message.lacks(name))?;
        let is_map = matches!(field.shape(), Shape::Map(_));
        let rest = match rest {
            ["*", rest @ ..] if is_map => Some(rest),
            ["*", ..] => return Err(format!("`{name}` is no map: `*` stands for the values of one")),
            [] => None,
            _ if is_map => return Err(format!("`{name}` is a map: write `{name}.*` for its values")),
            rest => Some(rest),
        };
        let action = match rest {
            None => Action::Mask(Mask::of(field, mask)),
            Some([]) => {
                let value = Mask::of_element(field, mask);
                Action::Entries(Self { fields: [(2, Action::Mask(value))].into() })
            }
            Some(rest) => {
                let Kind::Message(inner) = field.kind() else {
                    return Err(format!("`{name}` has no fields"));
                };
                if let "google.protobuf.Any" | "google.protobuf.Struct" | "google.protobuf.Value" = inner.name() {
                    return Err(format!("what is in `{name}` is not known before ({}): hide all of it", inner.name()));
                }
                let mut of = Self::default();
                of.add(inner, rest, mask)?;
                let within = Action::Within { of, delimited: field.is_delimited() };
                match is_map {
                    true => Action::Entries(Self { fields: [(2, within)].into() }),
                    false => within,
                }
            }
        };
        match self.fields.remove(&field.number()) {
            Some(have) => self.fields.insert(field.number(), have.and(action)),
            None => self.fields.insert(field.number(), action),
        };
        Ok(())
    }
}

impl Action {
    /// Both: what hides more wins.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (mask @ Self::Mask(_), _) | (_, mask @ Self::Mask(_)) => mask,
            (Self::Within { of, delimited }, Self::Within { of: other, .. }) => {
                Self::Within { of: of.and(other), delimited }
            }
            (Self::Entries(one), Self::Entries(other)) => Self::Entries(one.and(other)),
            (one, _) => one,
        }
    }

    /// The occurrence of a field as it goes on; none for as it is.
    fn hide(&self, number: u32, body: &[u8], payload: Payload, meter: &mut Meter) -> Result<Option<Vec<u8>>> {
        let mut writer = Writer::default();
        match (self, payload) {
            (Self::Mask(mask), payload) => mask.write(&mut writer, number, body, payload)?,
            (Self::Within { of, delimited: false } | Self::Entries(of), Payload::Length(range)) => {
                match of.apply(body.get(range).unwrap_or_default(), meter)? {
                    Some(hidden) => writer.octets(number, &hidden),
                    None => return Ok(None),
                }
            }
            (Self::Within { of, delimited: true }, Payload::Group(range)) => {
                match of.apply(body.get(range).unwrap_or_default(), meter)? {
                    Some(hidden) => writer.group(number, &hidden),
                    None => return Ok(None),
                }
            }
            (Self::Within { .. }, Payload::Length(_) | Payload::Group(_)) => return Err(OTHER_FORM),
            // Decoders take it for a field they do not know; it is named, and goes.
            (Self::Within { .. } | Self::Entries(_), _) => {}
        }
        Ok(Some(writer.finish()))
    }
}

impl Redaction {
    fn and(mut self, other: Self) -> Self {
        for (number, action) in other.fields {
            let both = match self.fields.remove(&number) {
                Some(have) => have.and(action),
                None => action,
            };
            self.fields.insert(number, both);
        }
        self
    }
}

const OTHER_FORM: Unreadable =
    Unreadable::Malformed("a message is written the other way than its type says (group, or with a length)");

impl Mask {
    fn of(field: Field<'_>, mask: &str) -> Self {
        match field.shape() {
            Shape::Map(_) => Self::Gone,
            Shape::Single | Shape::List => Self::of_element(field, mask),
        }
    }

    fn of_element(field: Field<'_>, mask: &str) -> Self {
        match field.kind() {
            Kind::Message(_) => Self::Message { delimited: field.is_delimited() },
            Kind::Enum(kind) => Self::Number(i64::from(EnumKind::default(&kind)).cast_unsigned()),
            Kind::Scalar(scalar) => match scalar {
                Scalar::String => Self::Text(mask.into()),
                Scalar::Bytes => Self::Bytes,
                Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float => Self::Fixed32,
                Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double => Self::Fixed64,
                _ => Self::Number(0),
            },
        }
    }

    /// An occurrence with another wire type than the field's is no value of it to most decoders, and is taken out.
    fn write(&self, writer: &mut Writer, number: u32, body: &[u8], payload: Payload) -> Result<()> {
        match (self, payload) {
            (Self::Text(mask), Payload::Length(_)) => writer.octets(number, mask.as_bytes()),
            (Self::Bytes, Payload::Length(_)) | (Self::Message { delimited: false }, Payload::Length(_)) => {
                writer.octets(number, &[]);
            }
            (Self::Message { delimited: true }, Payload::Group(_)) => writer.group(number, &[]),
            (Self::Message { .. }, Payload::Length(_) | Payload::Group(_)) => return Err(OTHER_FORM),
            (Self::Number(value), Payload::Varint(_)) => writer.varint(number, *value),
            (Self::Fixed32, Payload::Fixed32(_)) => writer.fixed32(number, 0),
            (Self::Fixed64, Payload::Fixed64(_)) => writer.fixed64(number, 0),
            // Several in one: as many as there were.
            (Self::Number(value), Payload::Length(range)) => {
                let mut reader = Reader::new(body.get(range.clone()).unwrap_or_default());
                let mut packed = Writer::default();
                while reader.position() < range.len() {
                    reader.varint()?;
                    packed.bare(*value);
                }
                writer.octets(number, &packed.finish());
            }
            (Self::Fixed32 | Self::Fixed64, Payload::Length(range)) => writer.octets(number, &vec![0; range.len()]),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
