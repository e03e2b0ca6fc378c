//! Values as the cases have them: what is bound to a name, and what must come out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

/// A value of CEL. Ints, uints and doubles are different values.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) enum Wanted {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    /// In the order in which it is written.
    Map(Vec<(Self, Self)>),
    /// A message by its full name, encoded.
    Message {
        name: String,
        wire: Vec<u8>,
    },
    Duration {
        seconds: i64,
        nanos: i32,
    },
    Timestamp {
        seconds: i64,
        nanos: i32,
    },
    Type(String),
}

/// Proto JSON of `cel.expr.Value`, but for messages: see `tests/peers/cel/export.js`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names are those of cel.expr.Value")]
enum Written {
    NullValue(()),
    BoolValue(bool),
    Int64Value(String),
    Uint64Value(String),
    DoubleValue(Double),
    StringValue(String),
    BytesValue(String),
    EnumValue { value: i64 },
    ListValue { values: Vec<Wanted> },
    MapValue { entries: Vec<Entry> },
    MessageValue { r#type: String, wire: String },
    DurationValue { seconds: String, nanos: i32 },
    TimestampValue { seconds: String, nanos: i32 },
    TypeValue(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Double {
    Number(f64),
    /// `NaN`, `Infinity`, `-Infinity` and `-0`, for which JSON has no number.
    Word(String),
}

#[derive(Deserialize)]
struct Entry {
    key: Wanted,
    value: Wanted,
}

impl TryFrom<Written> for Wanted {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        Ok(match written {
            Written::NullValue(()) => Self::Null,
            Written::BoolValue(value) => Self::Bool(value),
            Written::Int64Value(digits) => Self::Int(number(&digits)?),
            Written::Uint64Value(digits) => Self::Uint(number(&digits)?),
            Written::DoubleValue(Double::Number(value)) => Self::Double(value),
            Written::DoubleValue(Double::Word(word)) => Self::Double(number(&word)?),
            Written::StringValue(text) => Self::String(text),
            Written::BytesValue(text) => Self::Bytes(octets(&text)?),
            Written::EnumValue { value } => Self::Int(value),
            Written::ListValue { values } => Self::List(values),
            Written::MapValue { entries } => {
                Self::Map(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
            }
            Written::MessageValue { r#type, wire } => Self::Message { name: r#type, wire: octets(&wire)? },
            Written::DurationValue { seconds, nanos } => Self::Duration { seconds: number(&seconds)?, nanos },
            Written::TimestampValue { seconds, nanos } => Self::Timestamp { seconds: number(&seconds)?, nanos },
            Written::TypeValue(name) => Self::Type(name),
        })
    }
}

fn number<T: std::str::FromStr>(digits: &str) -> Result<T, String> {
    digits.parse().map_err(|_| format!("{digits} is no number of its type"))
}

fn octets(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|error| format!("{text} is no base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    fn read(text: &str) -> String {
        serde_json::from_str::<Wanted>(text).map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
    }

    #[test]
    fn every_kind_is_read() {
        for (text, wanted) in [
            (r#"{"nullValue":null}"#, "Null"),
            (r#"{"boolValue":true}"#, "Bool(true)"),
            (r#"{"int64Value":"-9223372036854775808"}"#, "Int(-9223372036854775808)"),
            (r#"{"uint64Value":"18446744073709551615"}"#, "Uint(18446744073709551615)"),
            (r#"{"doubleValue":0}"#, "Double(0.0)"),
            (r#"{"doubleValue":"-0"}"#, "Double(-0.0)"),
            (r#"{"doubleValue":"NaN"}"#, "Double(NaN)"),
            (r#"{"doubleValue":"-Infinity"}"#, "Double(-inf)"),
            (r#"{"stringValue":"a"}"#, r#"String("a")"#),
            (r#"{"bytesValue":"AP8="}"#, "Bytes([0, 255])"),
            (r#"{"enumValue":{"type":"a.E","value":2}}"#, "Int(2)"),
            (r#"{"listValue":{"values":[{"nullValue":null}]}}"#, "List([Null])"),
            (
                r#"{"mapValue":{"entries":[{"key":{"int64Value":"1"},"value":{"boolValue":false}}]}}"#,
                "Map([(Int(1), Bool(false))])",
            ),
            (r#"{"messageValue":{"type":"a.B","wire":"CAE="}}"#, r#"Message { name: "a.B", wire: [8, 1] }"#),
            (r#"{"durationValue":{"seconds":"-1","nanos":-5}}"#, "Duration { seconds: -1, nanos: -5 }"),
            (r#"{"timestampValue":{"seconds":"1","nanos":5}}"#, "Timestamp { seconds: 1, nanos: 5 }"),
            (r#"{"typeValue":"int"}"#, r#"Type("int")"#),
        ] {
            assert_eq!(read(text), wanted);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(read(r#"{"uint64Value":"-1"}"#).starts_with("-1 is no number of its type"));
        assert!(read(r#"{"bytesValue":"!"}"#).starts_with("! is no base64"));
        assert!(read(r#"{"objectValue":{}}"#).starts_with("unknown variant `objectValue`"));
    }
}
