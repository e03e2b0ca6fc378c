//! Values that are text in the file and a type of their own in the program. Each is checked by the same code when the
//! schema is walked (`formats`) and when it is read. Used by `net` and `names`; durations and sizes are filter-api's, as
//! filters have them too.

/// A kind of text in the configuration: what `"format": name` in a JSON Schema stands for.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    pub name: &'static str,
    /// In a sentence: "must be {what} such as `{example}`".
    pub what: &'static str,
    pub example: &'static str,
    /// The error continues a sentence that starts with the value: "takes a unit, for example `30s`".
    pub check: fn(&str) -> Result<(), String>,
}

/// Makes a type that is text in the file out of its `FromStr` and `Display`: serde, JSON Schema, and an entry for
/// [`formats`](super::formats::FORMATS). `FORMAT` names the check in the schema.
macro_rules! text_type {
    ($type:ident, $format:literal, $what:literal, $example:literal $(, pattern: $pattern:literal)?) => {
        impl $type {
            /// The JSON Schema `format` of this type.
            pub const FORMAT: $crate::config::text::Format = $crate::config::text::Format {
                name: $format,
                what: $what,
                example: $example,
                check: |text| text.parse::<$type>().map(drop),
            };
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|message| serde::de::Error::custom(format!("`{text}` {message}")))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($type)).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": $format,
                    "description": $what,
                    "examples": [$example],
                    $("pattern": $pattern,)?
                })
            }
        }
    };
}
pub(crate) use text_type;
