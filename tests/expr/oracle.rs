//! A second opinion on what a message has: a decoder that builds all of it. The fuzz target `wire_walk` uses this file too.

use std::collections::BTreeMap;
use std::sync::Arc;

use buffa_descriptor::reflect::{DynamicMessage, MapKey, ReflectMessage as _, Value};
use buffa_descriptor::{DescriptorPool, FieldDescriptor};
use portunus::schema::{Field, Item, Kind, Meter, Octets, Schema, Shape, Unreadable, View, default};

/// What decodes.
pub(crate) struct Oracle {
    pub(crate) pool: Arc<DescriptorPool>,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Fields that had something.
    pub(crate) set: usize,
    /// Fields that could not be read.
    pub(crate) unreadable: usize,
}

impl Oracle {
    pub(crate) fn of(schema: &Schema) -> Self {
        Self { pool: Arc::new(DescriptorPool::decode(&schema.to_set()).expect("a schema's own files link")) }
    }

    /// None where it cannot be decoded.
    pub(crate) fn decode(&self, kind: &str, wire: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(Arc::clone(&self.pool), self.pool.message_index(kind)?, wire).ok()
    }

    /// Reads every field of a message, and of those in it, both ways.
    ///
    /// Panics where they are read differently. Where the view cannot read one that the decoder has, that is only counted: a message
    /// that is written the other way than its type says (as a group, or not), and an entry whose key has another wire type than its
    /// own, are refused by it, as not all decoders agree.
    pub(crate) fn compare(&self, schema: &Schema, kind: &str, wire: &[u8], decoded: &DynamicMessage) -> Compared {
        let kind = schema.message_type(kind).expect("a type of the schema");
        let mut compared = Compared::default();
        self.messages(&View::new(kind, Octets::Lent(wire)), decoded, &mut compared);
        compared
    }

    fn messages(&self, view: &View<'_>, decoded: &DynamicMessage, compared: &mut Compared) {
        let message = self.pool.message(decoded.message_index());
        assert_eq!(view.kind().name(), message.full_name());
        for field in view.kind().fields() {
            let other = message.field(field.number()).expect("the same field");
            match self.field(view, field, decoded, other, compared) {
                Ok(()) => {}
                Err(Unreadable::Malformed(_)) => compared.unreadable += 1,
                Err(Unreadable::Spent) => panic!("{field:?}: there is work enough"),
            }
        }
        if let Ok(unknown) = view.unknown(&mut meter()) {
            let unknown: Vec<u32> = unknown.into_keys().collect();
            let numbers = decoded.unknown_fields().iter().map(|field| field.number);
            // Numbers that it does know are there for another wire type, or for what a closed enum does not know.
            let mut numbers: Vec<u32> = numbers.filter(|number| view.kind().numbered(*number).is_none()).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(unknown, numbers, "unknown fields of {}", view.kind().name());
        }
    }

    fn field(
        &self,
        view: &View<'_>,
        field: Field<'_>,
        decoded: &DynamicMessage,
        other: &FieldDescriptor,
        compared: &mut Compared,
    ) -> Result<(), Unreadable> {
        let field = view.kind().numbered(field.number()).expect("its own field");
        let value = decoded.field_by_number(field.number());
        assert_eq!(view.has(field, &mut meter())?, decoded.has(other), "has({field:?})");
        match field.shape() {
            Shape::Single => match (view.one(field, &mut meter())?, value) {
                (None, None) => {}
                (Some(item), Some(value)) => self.items(field, &item, value, compared),
                (item, value) => panic!("{field:?}: {item:?} is read, and {value:?} is decoded"),
            },
            Shape::List => {
                let mut found = Vec::new();
                view.all(field, &mut meter(), |key, item| {
                    assert!(key.is_none());
                    found.push(item);
                    Ok(())
                })?;
                let none = Vec::new();
                let values = match value {
                    Some(Value::List(values)) => values,
                    None => &none,
                    other => panic!("{field:?}: {other:?}"),
                };
                assert_eq!(found.len(), values.len(), "{field:?}: {found:?} is read, and {values:?} is decoded");
                found.iter().zip(values).for_each(|(item, value)| self.items(field, item, value, compared));
            }
            Shape::Map(_) => {
                let mut found = BTreeMap::new();
                view.all(field, &mut meter(), |key, item| {
                    found.insert(key_of(&key.expect("an entry has a key")), item);
                    Ok(())
                })?;
                let mut entries = BTreeMap::new();
                if let Some(Value::Map(map)) = value {
                    entries.extend(map.iter().map(|(key, value)| (decoded_key(key), value)));
                }
                assert!(found.keys().eq(entries.keys()), "{field:?}: {found:?} is read, and {entries:?} is decoded");
                found.values().zip(entries.values()).for_each(|(item, value)| self.items(field, item, value, compared));
            }
        }
        Ok(())
    }

    fn items(&self, field: Field<'_>, item: &Item<'_>, value: &Value, compared: &mut Compared) {
        compared.set += 1;
        let same = match (item, value) {
            (Item::Bool(item), Value::Bool(value)) => item == value,
            (Item::Int(item), Value::I32(value)) => *item == i64::from(*value),
            (Item::Int(item), Value::I64(value)) => item == value,
            (Item::Uint(item), Value::U32(value)) => *item == u64::from(*value),
            (Item::Uint(item), Value::U64(value)) => item == value,
            (Item::Double(item), Value::F32(value)) => item.to_bits() == f64::from(*value).to_bits(),
            (Item::Double(item), Value::F64(value)) => item.to_bits() == value.to_bits(),
            (Item::Text(item), Value::String(value)) => **item == **value,
            (Item::Bytes(item), Value::Bytes(value)) => **item == **value,
            // A value that is missing in a map's entry is the first of a closed enum, as everywhere. This decoder takes 0.
            (Item::Enum(item), Value::EnumNumber(0)) if is_map_of_others_than_zero(field) => {
                matches!(default(field.kind()), Item::Enum(first) if first == *item)
            }
            (Item::Enum(item), Value::EnumNumber(value)) => item == value,
            (Item::Message(view), Value::Message(message)) => {
                self.messages(view, message, compared);
                true
            }
            _ => false,
        };
        assert!(same, "{field:?}: {item:?} is read, and {value:?} is decoded");
    }
}

fn is_map_of_others_than_zero(field: Field<'_>) -> bool {
    matches!(field.shape(), Shape::Map(_)) && matches!(field.kind(), Kind::Enum(known) if !known.takes(0))
}

fn meter() -> Meter {
    Meter::new(u64::MAX)
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i128),
    Text(String),
}

fn key_of(item: &Item<'_>) -> Key {
    match item {
        Item::Bool(key) => Key::Number((*key).into()),
        Item::Int(key) => Key::Number((*key).into()),
        Item::Uint(key) => Key::Number((*key).into()),
        Item::Text(key) => Key::Text(key.to_string()),
        other => panic!("{other:?} is a key"),
    }
}

fn decoded_key(key: &MapKey) -> Key {
    match key {
        MapKey::Bool(key) => Key::Number((*key).into()),
        MapKey::I32(key) => Key::Number((*key).into()),
        MapKey::I64(key) => Key::Number((*key).into()),
        MapKey::U32(key) => Key::Number((*key).into()),
        MapKey::U64(key) => Key::Number((*key).into()),
        MapKey::String(key) => Key::Text(key.to_string()),
    }
}
