//! A message as it lies on the wire. What is asked for is read by its number, as a decoder would have it: the last of several
//! wins, messages are merged, a member of a `oneof` goes when another comes, a number that a closed enum does not know is no value.
//! What is not asked for is passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::meter::{Meter, Spent};
use super::octets::{Octets, Text};
use super::types::{Field, Kind, MessageType, Scalar, Shape};
use super::wire::{Malformed, Payload, Reader};

/// A message of a type.
#[derive(Clone, Debug)]
pub struct View<'a> {
    kind: MessageType<'a>,
    parts: Parts<'a>,
}

/// What a message was sent in. A copy of it costs nothing, however many they are.
#[derive(Clone, Debug)]
enum Parts<'a> {
    One(Octets<'a>),
    /// Decoders merge these.
    Many(Arc<Vec<Octets<'a>>>),
}

/// What a field has.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A number with a sign.
    Int(i64),
    /// A number without a sign.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// UTF-8.
    Text(Text<'a>),
    /// Octets.
    Bytes(Octets<'a>),
    /// The number of an enum's value.
    Enum(i32),
    /// A message.
    Message(View<'a>),
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not what its type says.
    Malformed(&'static str),
    /// It takes more work than there may be.
    Spent,
}

impl From<Malformed> for Unreadable {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl From<Spent> for Unreadable {
    fn from(Spent: Spent) -> Self {
        Self::Spent
    }
}

impl<'a> View<'a> {
    /// A message of this type.
    pub fn new(kind: MessageType<'a>, wire: Octets<'a>) -> Self {
        Self { kind, parts: Parts::One(wire) }
    }

    /// Its type.
    pub fn kind(&self) -> MessageType<'a> {
        self.kind
    }

    /// Its octets; those of its parts one after the other.
    pub fn parts(&self) -> &[Octets<'a>] {
        match &self.parts {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Many(parts) => parts,
        }
    }

    /// Its octets.
    pub fn to_octets(&self) -> Vec<u8> {
        self.parts().iter().flat_map(|part| part.iter().copied()).collect()
    }

    /// Adds what came in another part. A million of two octets each is a message that somebody may send: each is paid for.
    fn merge(&mut self, more: &Self, meter: &mut Meter) -> Result<(), Spent> {
        for part in more.parts().iter().filter(|part| !part.is_empty()) {
            meter.spend(1)?;
            match &mut self.parts {
                Parts::One(first) if first.is_empty() => *first = part.clone(),
                Parts::One(first) => self.parts = Parts::Many(Arc::new(vec![first.clone(), part.clone()])),
                Parts::Many(parts) => Arc::make_mut(parts).push(part.clone()),
            }
        }
        Ok(())
    }

    /// What a field has that is there at most once; none if it is not there.
    ///
    /// # Errors
    /// The message, or the field, is malformed, or reading it takes too much work.
    pub fn one(&self, field: Field<'a>, meter: &mut Meter) -> Result<Option<Item<'a>>, Unreadable> {
        let mut found = None;
        self.walk(meter, |part, number, payload, meter| {
            if number == field.number() {
                // There may be a million of them, and the last is the one.
                meter.spend_field()?;
                match (single(field, part, payload, meter)?, &mut found) {
                    // Parts of one message, which together are it.
                    (Some(Item::Message(more)), Some(Item::Message(have))) => have.merge(&more, meter)?,
                    (Some(item), found) => *found = Some(item),
                    (None, _) => {}
                }
            } else if field.is_of_oneof()
                && let Some(other) = self.kind.numbered(number).filter(|other| field.excludes(*other))
                && single(other, part, payload, meter)?.is_some()
            {
                found = None;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Whether a field that is there at most once is there. One without presence is if it is not its default.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub fn has(&self, field: Field<'a>, meter: &mut Meter) -> Result<bool, Unreadable> {
        if field.shape() != Shape::Single {
            let mut any = false;
            self.each(field, meter, |_, _, _| {
                any = true;
                Ok(())
            })?;
            return Ok(any);
        }
        let found = self.one(field, meter)?;
        Ok(found.is_some_and(|item| field.has_presence() || !item.is_default()))
    }

    /// What a repeated field has, one after the other; of a map the keys too. Each takes steps, as who gets it mostly keeps it.
    ///
    /// # Errors
    /// As [`one`](Self::one), or the receiver's own.
    pub fn all(
        &self,
        field: Field<'a>,
        meter: &mut Meter,
        mut each: impl FnMut(Option<Item<'a>>, Item<'a>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.each(field, meter, |key, item, meter| {
            meter.spend(if key.is_some() { 4 } else { 2 })?;
            each(key, item)
        })
    }

    fn each(
        &self,
        field: Field<'a>,
        meter: &mut Meter,
        mut each: impl FnMut(Option<Item<'a>>, Item<'a>, &mut Meter) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.walk(meter, |part, number, payload, meter| {
            if number != field.number() {
                return Ok(());
            }
            let Shape::Map(key) = field.shape() else {
                return elements(field, part, payload, meter, |item, meter| each(None, item, meter));
            };
            let Payload::Length(range) = payload else { return Ok(()) };
            match entry(field, key, &part.part(range), meter)? {
                Some((key, value)) => each(Some(key), value, meter),
                None => Ok(()),
            }
        })
    }

    /// Fields that its type does not know: their numbers, and all octets of each, in order of the numbers.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub fn unknown(&self, meter: &mut Meter) -> Result<BTreeMap<u32, Vec<u8>>, Unreadable> {
        let mut unknown: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for part in self.parts() {
            meter.spend_field()?;
            let mut reader = Reader::new(part);
            loop {
                let begin = reader.position();
                let Some((number, payload)) = reader.next()? else { break };
                pass(&payload, meter)?;
                if self.kind.numbered(number).is_none() {
                    let octets = part.get(begin..reader.position()).unwrap_or_default();
                    meter.spend_octets(octets.len())?;
                    unknown.entry(number).or_default().extend_from_slice(octets);
                }
            }
        }
        Ok(unknown)
    }

    fn walk(
        &self,
        meter: &mut Meter,
        mut each: impl FnMut(&Octets<'a>, u32, Payload, &mut Meter) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        for part in self.parts() {
            meter.spend_field()?;
            let mut reader = Reader::new(part);
            while let Some((number, payload)) = reader.next()? {
                pass(&payload, meter)?;
                each(part, number, payload, meter)?;
            }
        }
        Ok(())
    }
}

/// Pays for a field that was read past. The end of a group is found by going through it.
pub(super) fn pass(payload: &Payload, meter: &mut Meter) -> Result<(), Spent> {
    meter.spend_field()?;
    match payload {
        Payload::Group(range) => meter.spend_octets(range.len().saturating_mul(4)),
        _ => Ok(()),
    }
}

impl Item<'_> {
    /// Whether it is what a field without presence has that is not there.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => value.to_bits() == 0,
            Self::Text(value) => value.is_empty(),
            Self::Bytes(value) => value.is_empty(),
            Self::Enum(value) => *value == 0,
            Self::Message(_) => false,
        }
    }
}

/// What an occurrence of a field has; none where it has another wire type, or a number that the enum does not know: decoders take
/// that for a field they do not know.
fn single<'a>(
    field: Field<'a>,
    part: &Octets<'a>,
    payload: Payload,
    meter: &mut Meter,
) -> Result<Option<Item<'a>>, Unreadable> {
    if field.shape() != Shape::Single {
        // Nothing of a oneof is repeated.
        return Ok(None);
    }
    item((field.kind(), field.is_delimited()), part, payload, meter)
}

/// One item of a kind, which is written as a group or not.
fn item<'a>(
    (kind, delimited): (Kind<'a>, bool),
    part: &Octets<'a>,
    payload: Payload,
    meter: &mut Meter,
) -> Result<Option<Item<'a>>, Unreadable> {
    match (kind, payload) {
        (Kind::Scalar(scalar), payload) => scalar_of(scalar, part, payload, meter),
        (Kind::Enum(known), Payload::Varint(value)) => {
            let number = low(value).cast_signed();
            Ok(known.takes(number).then_some(Item::Enum(number)))
        }
        (Kind::Message(kind), Payload::Length(range)) if !delimited => {
            Ok(Some(Item::Message(View::new(kind, part.part(range)))))
        }
        (Kind::Message(kind), Payload::Group(range)) if delimited => {
            Ok(Some(Item::Message(View::new(kind, part.part(range)))))
        }
        // Some decoders read it, others do not: whoever decides by it must not have to guess which.
        (Kind::Message(_), Payload::Length(_) | Payload::Group(_)) => Err(Unreadable::Malformed(
            "a message is written the other way than its type says (group, or with a length)",
        )),
        _ => Ok(None),
    }
}

fn scalar_of<'a>(
    scalar: Scalar,
    part: &Octets<'a>,
    payload: Payload,
    meter: &mut Meter,
) -> Result<Option<Item<'a>>, Unreadable> {
    let item = match (scalar, payload) {
        (Scalar::String, Payload::Length(range)) => {
            meter.spend_octets(range.len())?;
            let text = part.part(range).text().ok_or(Unreadable::Malformed("a text is not UTF-8"))?;
            Item::Text(text)
        }
        (Scalar::Bytes, Payload::Length(range)) => Item::Bytes(part.part(range)),
        (Scalar::String | Scalar::Bytes, _) => return Ok(None),
        (scalar, Payload::Varint(value)) => return Ok(varint(scalar, value)),
        (scalar, Payload::Fixed32(value)) => return Ok(fixed32(scalar, value)),
        (scalar, Payload::Fixed64(value)) => return Ok(fixed64(scalar, value)),
        (_, Payload::Length(_) | Payload::Group(_)) => return Ok(None),
    };
    Ok(Some(item))
}

fn varint<'a>(scalar: Scalar, value: u64) -> Option<Item<'a>> {
    Some(match scalar {
        Scalar::Bool => Item::Bool(value != 0),
        Scalar::Int32 => Item::Int(low(value).cast_signed().into()),
        Scalar::Int64 => Item::Int(value.cast_signed()),
        Scalar::Uint32 => Item::Uint(low(value).into()),
        Scalar::Uint64 => Item::Uint(value),
        Scalar::Sint32 => {
            let value = low(value);
            Item::Int(((value >> 1).cast_signed() ^ -(value & 1).cast_signed()).into())
        }
        Scalar::Sint64 => Item::Int((value >> 1).cast_signed() ^ -(value & 1).cast_signed()),
        _ => return None,
    })
}

fn fixed32<'a>(scalar: Scalar, value: u32) -> Option<Item<'a>> {
    Some(match scalar {
        Scalar::Fixed32 => Item::Uint(value.into()),
        Scalar::Sfixed32 => Item::Int(value.cast_signed().into()),
        Scalar::Float => Item::Double(f32::from_bits(value).into()),
        _ => return None,
    })
}

fn fixed64<'a>(scalar: Scalar, value: u64) -> Option<Item<'a>> {
    Some(match scalar {
        Scalar::Fixed64 => Item::Uint(value),
        Scalar::Sfixed64 => Item::Int(value.cast_signed()),
        Scalar::Double => Item::Double(f64::from_bits(value)),
        _ => return None,
    })
}

/// A 32-bit number in a varint is its low half.
fn low(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

/// Elements of a repeated field: one, or several packed into one occurrence, whatever its declaration says.
fn elements<'a>(
    field: Field<'a>,
    part: &Octets<'a>,
    payload: Payload,
    meter: &mut Meter,
    mut each: impl FnMut(Item<'a>, &mut Meter) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let kind = field.kind();
    let packed = match (&payload, kind) {
        (Payload::Length(range), Kind::Scalar(scalar)) if !matches!(scalar, Scalar::String | Scalar::Bytes) => {
            Some((range.clone(), form(scalar)))
        }
        (Payload::Length(range), Kind::Enum(_)) => Some((range.clone(), Form::Varint)),
        _ => None,
    };
    let Some((range, form)) = packed else {
        return match item((kind, field.is_delimited()), part, payload, meter)? {
            Some(item) => each(item, meter),
            None => Ok(()),
        };
    };
    let octets = part.part(range);
    let mut reader = Reader::new(&octets);
    while reader.position() < octets.len() {
        meter.spend_field()?;
        let payload = match form {
            Form::Varint => Payload::Varint(reader.varint()?),
            Form::Fixed32 => Payload::Fixed32(reader.fixed32()?),
            Form::Fixed64 => Payload::Fixed64(reader.fixed64()?),
        };
        if let Some(item) = item((kind, false), &octets, payload, meter)? {
            each(item, meter)?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Form {
    Varint,
    Fixed32,
    Fixed64,
}

fn form(scalar: Scalar) -> Form {
    match scalar {
        Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float => Form::Fixed32,
        Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double => Form::Fixed64,
        _ => Form::Varint,
    }
}

/// Some decoders refuse it, others pass over it, and some read it as if it had the right one.
pub(super) const OTHER_TYPE: Unreadable =
    Unreadable::Malformed("a key or a value of a map has another wire type than its own");

/// An entry of a map: of each of the two the last, and its default where it is not there. None where the last value is one that
/// its closed enum does not know.
fn entry<'a>(
    field: Field<'a>,
    key: Scalar,
    entry: &Octets<'a>,
    meter: &mut Meter,
) -> Result<Option<(Item<'a>, Item<'a>)>, Unreadable> {
    let (mut has_key, mut has_value, mut unknown) = (None, None, false);
    let mut reader = Reader::new(entry);
    while let Some((number, payload)) = reader.next()? {
        pass(&payload, meter)?;
        match number {
            1 => has_key = Some(scalar_of(key, entry, payload, meter)?.ok_or(OTHER_TYPE)?),
            2 => {
                let varint = matches!((field.kind(), &payload), (Kind::Enum(_), Payload::Varint(_)));
                match (item((field.kind(), field.is_delimited()), entry, payload, meter)?, &mut has_value) {
                    (Some(Item::Message(more)), Some(Item::Message(have))) => have.merge(&more, meter)?,
                    (Some(item), value) => (*value, unknown) = (Some(item), false),
                    (None, _) if varint => unknown = true,
                    (None, _) => return Err(OTHER_TYPE),
                }
            }
            _ => {}
        }
    }
    if unknown {
        return Ok(None);
    }
    let key = has_key.unwrap_or_else(|| default(Kind::Scalar(key)));
    Ok(Some((key, has_value.unwrap_or_else(|| default(field.kind())))))
}

/// What a field of this kind has that is not there.
pub fn default(kind: Kind<'_>) -> Item<'_> {
    match kind {
        Kind::Message(kind) => Item::Message(View::new(kind, Octets::Lent(&[]))),
        Kind::Enum(known) => Item::Enum(known.default()),
        Kind::Scalar(scalar) => match scalar {
            Scalar::Bool => Item::Bool(false),
            Scalar::String => Item::Text(Text::Lent("")),
            Scalar::Bytes => Item::Bytes(Octets::Lent(&[])),
            Scalar::Float | Scalar::Double => Item::Double(0.0),
            Scalar::Uint32 | Scalar::Uint64 | Scalar::Fixed32 | Scalar::Fixed64 => Item::Uint(0),
            Scalar::Int32 | Scalar::Int64 | Scalar::Sint32 | Scalar::Sint64 | Scalar::Sfixed32 | Scalar::Sfixed64 => {
                Item::Int(0)
            }
        },
    }
}
