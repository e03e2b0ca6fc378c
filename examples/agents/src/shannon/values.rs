//! JSON as google.protobuf.Struct and Value.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::Value as Json;

/// A JSON object; anything else becomes an empty one.
pub(super) fn object(json: Json) -> Struct {
    match json {
        Json::Object(map) => Struct { fields: map.into_iter().map(|(name, json)| (name, value(json))).collect() },
        _ => Struct::default(),
    }
}

pub(super) fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(value).collect() }),
        Json::Object(map) => Kind::StructValue(object(Json::Object(map))),
    };
    Value { kind: Some(kind) }
}

/// Writes `updates` over `into`; a null takes a name out.
pub(super) fn merge(into: &mut Struct, updates: Struct) {
    for (name, value) in updates.fields {
        if matches!(value.kind, None | Some(Kind::NullValue(_))) {
            into.fields.remove(&name);
        } else {
            into.fields.insert(name, value);
        }
    }
}
