//! Messages that an expression makes, written as they would be sent: what reads messages reads these too.

use super::failure::Failure;
use super::message;
use super::value::Value;
use crate::schema::{Field, FieldId, Kind, Meter, Octets, Scalar, Schema, Shape, TypeId, View, Writer};

type Result<T> = std::result::Result<T, Failure>;

/// A message with these fields set.
///
/// # Errors
/// A value does not fit its field.
pub(super) fn build<'a>(
    schema: &'a Schema,
    kind: TypeId,
    fields: &[(FieldId, Value<'a>)],
    meter: &mut Meter,
) -> Result<Value<'a>> {
    let mut writer = Writer::default();
    for (id, value) in fields {
        let field = schema.field_at(*id).ok_or(Failure::Unknown)?;
        set(&mut writer, field, value, meter)?;
    }
    message::message(View::new(schema.type_at(kind), writer.finish().into()), meter, 0)
}

fn set(writer: &mut Writer, field: Field<'_>, value: &Value<'_>, meter: &mut Meter) -> Result<()> {
    meter.spend(1)?;
    match (field.shape(), value) {
        (Shape::List, Value::List(list)) => {
            for at in 0..list.len() {
                if let Some(item) = list.at(at) {
                    one(writer, field.number(), field, &item, meter)?;
                }
            }
            Ok(())
        }
        (Shape::Map(key), Value::Map(map)) => {
            for name in map.keys() {
                let value = super::compare::entry(map, &name, meter)?.ok_or(Failure::NoSuchKey)?;
                let mut entry = Writer::default();
                scalar(&mut entry, 1, key, &name)?;
                one(&mut entry, 2, field, &value, meter)?;
                writer.octets(field.number(), &entry.finish());
            }
            Ok(())
        }
        (Shape::List | Shape::Map(_), _) => Err(Failure::Unconvertible("field")),
        // What is null is not set, but where null is a value.
        (Shape::Single, Value::Null) if !takes_null(field) => Ok(()),
        (Shape::Single, value) => {
            // A field without presence that has its default is not sent.
            if !field.has_presence() && is_zero(value) {
                return Ok(());
            }
            one(writer, field.number(), field, value, meter)
        }
    }
}

fn takes_null(field: Field<'_>) -> bool {
    match field.kind() {
        Kind::Message(message) => message.name() == "google.protobuf.Value",
        Kind::Enum(_) => true,
        Kind::Scalar(_) => false,
    }
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => value.to_bits() == 0,
        Value::Text(text) => text.is_empty(),
        Value::Bytes(octets) => octets.is_empty(),
        _ => false,
    }
}

/// One occurrence of a field.
fn one(writer: &mut Writer, number: u32, field: Field<'_>, value: &Value<'_>, meter: &mut Meter) -> Result<()> {
    // It is copied, and what it is made into may be doubled again and again.
    meter.spend_octets(match value {
        Value::Text(text) => text.len(),
        Value::Bytes(octets) => octets.len(),
        Value::Message(view) => view.parts().iter().map(|part| part.len()).sum(),
        _ => 0,
    })?;
    match field.kind() {
        Kind::Scalar(kind) => scalar(writer, number, kind, value),
        Kind::Enum(_) => match value {
            Value::Int(value) => {
                let value = i32::try_from(*value).map_err(|_| Failure::Overflow)?;
                writer.varint(number, i64::from(value).cast_unsigned());
                Ok(())
            }
            Value::Null => {
                writer.varint(number, 0);
                Ok(())
            }
            _ => Err(Failure::Unconvertible("enum")),
        },
        Kind::Message(kind) => {
            let octets = embedded(kind, value, meter)?;
            meter.spend_octets(octets.len())?;
            match field.is_delimited() {
                true => writer.group(number, &octets),
                false => writer.octets(number, &octets),
            }
            Ok(())
        }
    }
}

/// The octets of a message field's value.
fn embedded(kind: crate::schema::MessageType<'_>, value: &Value<'_>, meter: &mut Meter) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    let set_field = |name: &str, value: &Value<'_>, writer: &mut Writer, meter: &mut Meter| {
        let field = kind.field(name).ok_or(Failure::NoSuchField)?;
        set(writer, field, value, meter)
    };
    match (kind.name(), value) {
        ("google.protobuf.Any", Value::Message(view)) if view.kind().name() != "google.protobuf.Any" => {
            let url = format!("type.googleapis.com/{}", view.kind().name());
            set_field("type_url", &Value::Text(url.into()), &mut writer, meter)?;
            set_field("value", &Value::Bytes(Octets::from(view.to_octets())), &mut writer, meter)?;
        }
        (name, Value::Message(view)) if view.kind().name() == name => return Ok(view.to_octets()),
        ("google.protobuf.Duration", Value::Duration(nanos)) => {
            set_field("seconds", &Value::Int(nanos / 1_000_000_000), &mut writer, meter)?;
            set_field("nanos", &Value::Int(nanos % 1_000_000_000), &mut writer, meter)?;
        }
        ("google.protobuf.Timestamp", Value::Time(moment)) => {
            set_field("seconds", &Value::Int(moment.seconds()), &mut writer, meter)?;
            set_field("nanos", &Value::Int(moment.nanos().into()), &mut writer, meter)?;
        }
        ("google.protobuf.Value", value) => json(kind, value, &mut writer, meter)?,
        ("google.protobuf.Struct", value @ Value::Map(_)) => set_field("fields", value, &mut writer, meter)?,
        ("google.protobuf.ListValue", value @ Value::List(_)) => set_field("values", value, &mut writer, meter)?,
        (name, value) if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
            set_field("value", value, &mut writer, meter)?;
        }
        _ => return Err(Failure::Unconvertible("message")),
    }
    Ok(writer.finish())
}

fn json(kind: crate::schema::MessageType<'_>, value: &Value<'_>, writer: &mut Writer, meter: &mut Meter) -> Result<()> {
    let name = match value {
        Value::Null => "null_value",
        Value::Bool(_) => "bool_value",
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => "number_value",
        Value::Text(_) => "string_value",
        Value::Map(_) => "struct_value",
        Value::List(_) => "list_value",
        _ => return Err(Failure::Unconvertible("JSON value")),
    };
    let number = match value {
        Value::Int(value) => Some(Value::Double(*value as f64)),
        Value::Uint(value) => Some(Value::Double(*value as f64)),
        _ => None,
    };
    let field = kind.field(name).ok_or(Failure::NoSuchField)?;
    one(writer, field.number(), field, number.as_ref().unwrap_or(value), meter)
}

fn scalar(writer: &mut Writer, number: u32, kind: Scalar, value: &Value<'_>) -> Result<()> {
    let bad = Failure::Unconvertible("field");
    match (kind, value) {
        (Scalar::String, Value::Text(text)) => writer.octets(number, text.as_bytes()),
        (Scalar::Bytes, Value::Bytes(octets)) => writer.octets(number, octets),
        (Scalar::Bool, Value::Bool(value)) => writer.varint(number, u64::from(*value)),
        (Scalar::Float, value) => writer.fixed32(number, (fraction(value).ok_or(bad)? as f32).to_bits()),
        (Scalar::Double, value) => writer.fixed64(number, fraction(value).ok_or(bad)?.to_bits()),
        (Scalar::Uint32 | Scalar::Fixed32, Value::Uint(value)) => {
            let value = u32::try_from(*value).map_err(|_| Failure::Overflow)?;
            match kind {
                Scalar::Uint32 => writer.varint(number, value.into()),
                _ => writer.fixed32(number, value),
            }
        }
        (Scalar::Uint64, Value::Uint(value)) => writer.varint(number, *value),
        (Scalar::Fixed64, Value::Uint(value)) => writer.fixed64(number, *value),
        (Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32, Value::Int(value)) => {
            let value = i32::try_from(*value).map_err(|_| Failure::Overflow)?;
            match kind {
                Scalar::Int32 => writer.varint(number, i64::from(value).cast_unsigned()),
                Scalar::Sint32 => writer.varint(number, ((value << 1) ^ (value >> 31)).cast_unsigned().into()),
                _ => writer.fixed32(number, value.cast_unsigned()),
            }
        }
        (Scalar::Int64, Value::Int(value)) => writer.varint(number, value.cast_unsigned()),
        (Scalar::Sint64, Value::Int(value)) => writer.varint(number, ((value << 1) ^ (value >> 63)).cast_unsigned()),
        (Scalar::Sfixed64, Value::Int(value)) => writer.fixed64(number, value.cast_unsigned()),
        _ => return Err(bad),
    }
    Ok(())
}

fn fraction(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        _ => None,
    }
}
