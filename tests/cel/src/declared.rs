//! The declared type of a variable: from proto JSON of `cel.expr.Decl` to the text that CEL has for it.

use serde::Deserialize;

/// `cel.expr.Decl`, of a variable.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    ident: Ident,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ident {
    r#type: Type,
}

/// `cel.expr.Type`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names are those of cel.expr.Type")]
enum Type {
    Dyn {},
    Null(()),
    Primitive(String),
    Wrapper(String),
    WellKnown(String),
    #[serde(rename_all = "camelCase")]
    ListType {
        elem_type: Box<Self>,
    },
    #[serde(rename_all = "camelCase")]
    MapType {
        key_type: Box<Self>,
        value_type: Box<Self>,
    },
    MessageType(String),
}

impl Declaration {
    /// `int`, `list(string)`, `map(string, dyn)`, `null_type`, or the full name of a message, also of the well-known ones.
    pub(crate) fn into_text(self) -> Result<String, String> {
        self.ident.r#type.into_text()
    }
}

impl Type {
    fn into_text(self) -> Result<String, String> {
        let known: &str = match self {
            Self::MessageType(name) => return Ok(name),
            Self::ListType { elem_type } => return Ok(format!("list({})", elem_type.into_text()?)),
            Self::MapType { key_type, value_type } => {
                return Ok(format!("map({}, {})", key_type.into_text()?, value_type.into_text()?));
            }
            Self::Dyn {} => "dyn",
            Self::Null(()) => "null_type",
            Self::Primitive(kind) => of_primitive(&kind)?.0,
            Self::Wrapper(kind) => of_primitive(&kind)?.1,
            Self::WellKnown(kind) => match kind.as_str() {
                "ANY" => "google.protobuf.Any",
                "TIMESTAMP" => "google.protobuf.Timestamp",
                "DURATION" => "google.protobuf.Duration",
                _ => return Err(format!("{kind} is no well-known type of CEL")),
            },
        };
        Ok(known.to_owned())
    }
}

/// Its name, and that of its wrapper.
fn of_primitive(kind: &str) -> Result<(&'static str, &'static str), String> {
    Ok(match kind {
        "BOOL" => ("bool", "google.protobuf.BoolValue"),
        "INT64" => ("int", "google.protobuf.Int64Value"),
        "UINT64" => ("uint", "google.protobuf.UInt64Value"),
        "DOUBLE" => ("double", "google.protobuf.DoubleValue"),
        "STRING" => ("string", "google.protobuf.StringValue"),
        "BYTES" => ("bytes", "google.protobuf.BytesValue"),
        _ => return Err(format!("{kind} is no primitive type of CEL")),
    })
}

#[cfg(test)]
mod tests {
    use super::Declaration;

    fn text(written: &str) -> Result<String, String> {
        let declaration = format!(r#"{{"name":"x","ident":{{"type":{written}}}}}"#);
        serde_json::from_str::<Declaration>(&declaration).map_err(|error| error.to_string())?.into_text()
    }

    #[test]
    fn types_read_as_cel_writes_them() {
        for (written, wanted) in [
            (r#"{"primitive":"UINT64"}"#, "uint"),
            (r#"{"null":null}"#, "null_type"),
            (r#"{"dyn":{}}"#, "dyn"),
            (r#"{"wrapper":"INT64"}"#, "google.protobuf.Int64Value"),
            (r#"{"wellKnown":"ANY"}"#, "google.protobuf.Any"),
            (r#"{"messageType":"a.B"}"#, "a.B"),
            (
                r#"{"mapType":{"keyType":{"primitive":"STRING"},"valueType":{"listType":{"elemType":{"primitive":"BOOL"}}}}}"#,
                "map(string, list(bool))",
            ),
        ] {
            assert_eq!(text(written).as_deref(), Ok(wanted));
        }
        assert!(text(r#"{"primitive":"FLOAT"}"#).is_err() && text(r#"{"typeParam":"T"}"#).is_err());
    }
}
