//! Types, as they are known before anything is evaluated.

use crate::schema::Field;
use crate::schema::{Kind as FieldKind, MessageType, Scalar, Schema, Shape, TypeId};

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Not known before there is a value.
    Dyn,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number with a sign.
    Int,
    /// A number without a sign.
    Uint,
    /// A number with a fraction.
    Double,
    /// Text.
    Text,
    /// Octets.
    Bytes,
    /// A span of time.
    Duration,
    /// A moment.
    Time,
    /// A list of such.
    List(Box<Type>),
    /// A map from one to the other.
    Map(Box<(Type, Type)>),
    /// A message of the schema.
    Message(TypeId),
    /// One of the others, or `null` where the message does not have it (`google.protobuf.StringValue` and its like).
    OrNull(Box<Type>),
    /// A type.
    Type,
}

impl Type {
    /// A map from text to what is not known before.
    pub fn open_map() -> Self {
        Self::Map(Box::new((Self::Text, Self::Dyn)))
    }

    /// A list of such.
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// What a message of this type is to an expression.
    pub fn of_message(message: MessageType<'_>) -> Self {
        let or_null = |kind| Self::OrNull(Box::new(kind));
        match message.name().strip_prefix("google.protobuf.") {
            Some("BoolValue") => or_null(Self::Bool),
            Some("Int32Value" | "Int64Value") => or_null(Self::Int),
            Some("UInt32Value" | "UInt64Value") => or_null(Self::Uint),
            Some("FloatValue" | "DoubleValue") => or_null(Self::Double),
            Some("StringValue") => or_null(Self::Text),
            Some("BytesValue") => or_null(Self::Bytes),
            Some("Duration") => Self::Duration,
            Some("Timestamp") => Self::Time,
            Some("Struct") => Self::open_map(),
            Some("ListValue") => Self::list(Self::Dyn),
            Some("Value" | "Any") => Self::Dyn,
            _ => Self::Message(message.id()),
        }
    }

    /// What a field is to an expression.
    pub fn of_field(field: Field<'_>) -> Self {
        let one = Self::of_kind(field.kind());
        match field.shape() {
            Shape::Single => one,
            Shape::List => Self::list(one),
            Shape::Map(key) => Self::Map(Box::new((Self::of_scalar(key), one))),
        }
    }

    /// What one that is neither a list nor a map is to an expression.
    pub fn of_kind(kind: FieldKind<'_>) -> Self {
        match kind {
            FieldKind::Scalar(scalar) => Self::of_scalar(scalar),
            FieldKind::Enum(kind) if kind.name() == "google.protobuf.NullValue" => Self::Null,
            FieldKind::Enum(_) => Self::Int,
            FieldKind::Message(message) => Self::of_message(message),
        }
    }

    fn of_scalar(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool => Self::Bool,
            Scalar::Int32 | Scalar::Int64 | Scalar::Sint32 | Scalar::Sint64 | Scalar::Sfixed32 | Scalar::Sfixed64 => {
                Self::Int
            }
            Scalar::Uint32 | Scalar::Uint64 | Scalar::Fixed32 | Scalar::Fixed64 => Self::Uint,
            Scalar::Float | Scalar::Double => Self::Double,
            Scalar::String => Self::Text,
            Scalar::Bytes => Self::Bytes,
        }
    }

    /// Whether a value of this type can be where one of the other is wanted.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::OrNull(own), Self::OrNull(wanted)) => own.fits(wanted),
            (Self::OrNull(own), Self::Null) | (Self::Null, Self::OrNull(own)) => **own != Self::Null,
            (Self::OrNull(own), wanted) => own.fits(wanted),
            (own, Self::OrNull(wanted)) => own.fits(wanted),
            (Self::List(own), Self::List(wanted)) => own.fits(wanted),
            (Self::Map(own), Self::Map(wanted)) => own.0.fits(&wanted.0) && own.1.fits(&wanted.1),
            // A message that is not there equals null in no case, but may be compared with it.
            (Self::Message(_) | Self::Duration | Self::Time, Self::Null)
            | (Self::Null, Self::Message(_) | Self::Duration | Self::Time) => true,
            (own, wanted) => own == wanted,
        }
    }

    /// Both, if they are the same; otherwise what is not known before.
    pub(super) fn join(self, other: &Self) -> Self {
        match (self, other) {
            (one, other) if one == *other => one,
            (Self::Null, other @ Self::OrNull(_)) => other.clone(),
            (one @ Self::OrNull(_), Self::Null) => one,
            _ => Self::Dyn,
        }
    }

    /// As people write it.
    pub(super) fn name(&self, schema: Option<&Schema>) -> String {
        match self {
            Self::Dyn => "dyn".into(),
            Self::Null => "null".into(),
            Self::Bool => "bool".into(),
            Self::Int => "int".into(),
            Self::Uint => "uint".into(),
            Self::Double => "double".into(),
            Self::Text => "string".into(),
            Self::Bytes => "bytes".into(),
            Self::Duration => "duration".into(),
            Self::Time => "timestamp".into(),
            Self::List(of) => format!("list({})", of.name(schema)),
            Self::Map(of) => format!("map({}, {})", of.0.name(schema), of.1.name(schema)),
            Self::Message(id) => {
                schema.map_or_else(|| "message".into(), |schema| schema.type_at(*id).name().to_owned())
            }
            Self::OrNull(of) => format!("{} or null", of.name(schema)),
            Self::Type => "type".into(),
        }
    }
}
