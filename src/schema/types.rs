//! Message types and their fields, as readers of messages ask for them. Handles that are copied, and ids that outlive them.

use buffa::editions::{EnumType, FieldPresence};
use buffa_descriptor::{
    DescriptorPool, EnumIndex, FieldDescriptor, FieldKind, MessageDescriptor, MessageIndex, ScalarType, SingularKind,
};

use super::definition::shape;
use super::set::Schema;

/// Names a message type within its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub(super) MessageIndex);

/// Names a field within its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldId {
    message: MessageIndex,
    at: usize,
}

/// A message type.
#[derive(Clone, Copy)]
pub struct MessageType<'s> {
    pub(super) pool: &'s DescriptorPool,
    pub(super) index: MessageIndex,
    pub(super) message: &'s MessageDescriptor,
}

/// A field of a message type.
#[derive(Clone, Copy)]
pub struct Field<'s> {
    pub(super) owner: MessageType<'s>,
    pub(super) field: &'s FieldDescriptor,
    at: usize,
}

/// How often a field is in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Once, or not at all.
    Single,
    /// Any number of times.
    List,
    /// Any number of times, with a key of this kind.
    Map(Scalar),
}

/// What a field, or an element of it, is.
#[derive(Clone, Copy)]
pub enum Kind<'s> {
    /// A number, a text, octets, a truth value.
    Scalar(Scalar),
    /// A number with names.
    Enum(EnumKind<'s>),
    /// A message.
    Message(MessageType<'s>),
}

/// Kinds of scalars by how they are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool,
    /// 32 bits in a varint.
    Int32,
    /// 64 bits in a varint.
    Int64,
    /// 32 bits in a varint, never negative.
    Uint32,
    /// 64 bits in a varint, never negative.
    Uint64,
    /// 32 bits in a varint, the sign last.
    Sint32,
    /// 64 bits in a varint, the sign last.
    Sint64,
    /// Four octets, never negative.
    Fixed32,
    /// Eight octets, never negative.
    Fixed64,
    /// Four octets.
    Sfixed32,
    /// Eight octets.
    Sfixed64,
    /// Four octets of IEEE 754.
    Float,
    /// Eight octets of IEEE 754.
    Double,
    /// UTF-8.
    String,
    /// Octets.
    Bytes,
}

/// An enum as a field has it.
#[derive(Clone, Copy)]
pub struct EnumKind<'s> {
    pool: &'s DescriptorPool,
    index: EnumIndex,
    /// Whether a number without a name is no value of it (proto2).
    closed: bool,
}

impl Schema {
    /// A message type by its full name.
    pub fn message_type(&self, name: &str) -> Option<MessageType<'_>> {
        self.pool().message_index(name).map(|index| MessageType::at(self.pool(), index))
    }

    /// The message type that an id of this schema names.
    pub fn type_at(&self, id: TypeId) -> MessageType<'_> {
        MessageType::at(self.pool(), id.0)
    }

    /// The field that an id of this schema names.
    pub fn field_at(&self, id: FieldId) -> Option<Field<'_>> {
        MessageType::at(self.pool(), id.message).nth(id.at)
    }

    /// The number that a full name of an enum's value, with or without the enum's own name in it, stands for.
    pub fn enum_value(&self, name: &str) -> Option<i32> {
        let (scope, value) = name.rsplit_once('.')?;
        let known = self.pool().enum_by_name(scope)?;
        known.value_by_name(value).map(|value| value.number())
    }

    /// Names of an enum's values; none where there is no such enum.
    pub fn enum_values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pool().enum_by_name(name).into_iter().flat_map(|known| known.values()).map(|value| value.name())
    }

    /// Whether there is an enum of this name.
    pub fn has_enum(&self, name: &str) -> bool {
        self.pool().enum_by_name(name).is_some()
    }
}

impl<'s> MessageType<'s> {
    pub(super) fn at(pool: &'s DescriptorPool, index: MessageIndex) -> Self {
        Self { pool, index, message: pool.message(index) }
    }

    /// Names it within its schema.
    pub fn id(self) -> TypeId {
        TypeId(self.index)
    }

    /// Its full name.
    pub fn name(self) -> &'s str {
        self.message.full_name()
    }

    /// Its fields, as they were declared.
    pub fn fields(self) -> impl Iterator<Item = Field<'s>> {
        self.message.fields().iter().enumerate().map(move |(at, field)| Field { owner: self, field, at })
    }

    /// A field by its name in the file.
    pub fn field(self, name: &str) -> Option<Field<'s>> {
        // The engine's look-up takes JSON names too, which are another field's here.
        self.fields().find(|field| field.name() == name)
    }

    /// A field by its number.
    pub fn numbered(self, number: u32) -> Option<Field<'s>> {
        self.fields().find(|field| field.number() == number)
    }

    /// Another type of the same schema.
    pub fn sibling(self, name: &str) -> Option<MessageType<'s>> {
        self.pool.message_index(name).map(|index| Self::at(self.pool, index))
    }

    /// What to say of a field that it does not have.
    pub fn lacks(self, name: &str) -> String {
        let (own, fields) = (self.name(), self.fields().map(|field| field.name()));
        if let Some(near) = nearest(name, fields) {
            return format!("{own} has no field `{name}`; did you mean `{near}`?");
        }
        let mut fields: Vec<_> = self.fields().map(|field| field.name()).take(10).collect();
        if self.fields().count() > fields.len() {
            fields.push("…");
        }
        match fields.is_empty() {
            true => format!("{own} has no field `{name}`: it has none"),
            false => format!("{own} has no field `{name}`; it has {}", fields.join(", ")),
        }
    }

    fn nth(self, at: usize) -> Option<Field<'s>> {
        self.message.fields().get(at).map(|field| Field { owner: self, field, at })
    }
}

/// The known name that somebody may have meant.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let scored = known.map(|known| (strsim::damerau_levenshtein(name, known), known));
    let most = (name.chars().count() / 3).max(1);
    scored.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

impl PartialEq for MessageType<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && std::ptr::eq(self.pool, other.pool)
    }
}

impl std::fmt::Debug for MessageType<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl<'s> Field<'s> {
    /// Names it within its schema.
    pub fn id(self) -> FieldId {
        FieldId { message: self.owner.index, at: self.at }
    }

    /// Its name.
    pub fn name(self) -> &'s str {
        self.field.name()
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.field.number()
    }

    /// How often it is there.
    pub fn shape(self) -> Shape {
        match self.field.kind() {
            FieldKind::Singular(_) => Shape::Single,
            FieldKind::List(_) => Shape::List,
            FieldKind::Map { key, .. } => Shape::Map(key.into()),
        }
    }

    /// What it, an element of it, or a value of it is.
    pub fn kind(self) -> Kind<'s> {
        let (FieldKind::Singular(kind) | FieldKind::List(kind) | FieldKind::Map { value: kind, .. }) =
            self.field.kind();
        match kind {
            SingularKind::Scalar(scalar) => Kind::Scalar(scalar.into()),
            SingularKind::Message(index) => Kind::Message(MessageType::at(self.owner.pool, index)),
            SingularKind::Enum(index) => {
                let closed = self.field.enum_type() == Some(EnumType::Closed);
                Kind::Enum(EnumKind { pool: self.owner.pool, index, closed })
            }
        }
    }

    /// Whether it can be set to its default value, which is then not the same as not set.
    pub fn has_presence(self) -> bool {
        self.shape() == Shape::Single && self.field.presence() != FieldPresence::Implicit
    }

    /// Whether its message is written as a group. Values of maps never are, whatever the features of their file say.
    pub fn is_delimited(self) -> bool {
        self.field.is_delimited() && !matches!(self.field.kind(), FieldKind::Map { .. })
    }

    /// Whether setting one of the two unsets the other: both are of one `oneof`.
    pub fn excludes(self, other: Field<'_>) -> bool {
        self.at != other.at
            && self.field.oneof_index().is_some()
            && self.field.oneof_index() == other.field.oneof_index()
    }

    /// Whether another schema has a message and a field of these names, and the field has another number or type there. Says how.
    pub fn conflicts(self, other: &Schema) -> Option<String> {
        let there = other.message_type(self.owner.name())?.field(self.name())?;
        if self.number() != there.number() {
            let (now, before) = (self.number(), there.number());
            return Some(format!("{self:?} has the number {now}, and the accepted definition has {before}"));
        }
        let (now, before) = (shape(self.owner.pool, self.field), shape(there.owner.pool, there.field));
        (now != before).then(|| format!("{self:?} is {now}, and in the accepted definition {before}"))
    }

    /// The default that its declaration gives it (proto2), as it stands there.
    pub fn declared_default(self) -> Option<&'s str> {
        let mut names = self.owner.name();
        let file = self.owner.pool.file_containing_symbol(names)?;
        if let Some(package) = file.package.as_deref().filter(|package| !package.is_empty()) {
            names = names.strip_prefix(package)?.strip_prefix('.')?;
        }
        let mut messages = &file.message_type;
        let mut message = None;
        for name in names.split('.') {
            let found = messages.iter().find(|message| message.name.as_deref() == Some(name))?;
            messages = &found.nested_type;
            message = Some(found);
        }
        let number = i32::try_from(self.number()).ok();
        message?.field.iter().find(|field| field.number == number)?.default_value.as_deref()
    }

    /// Whether it is of a `oneof`.
    pub(super) fn is_of_oneof(self) -> bool {
        self.field.oneof_index().is_some()
    }
}

impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.owner.name(), self.name())
    }
}

impl EnumKind<'_> {
    /// Its full name.
    pub fn name(&self) -> &str {
        self.pool.enumeration(self.index).full_name()
    }

    /// The number of one of its values.
    pub fn number(&self, value: &str) -> Option<i32> {
        self.pool.enumeration(self.index).value_by_name(value).map(|value| value.number())
    }

    /// Whether a field of it can have this number; another is an unknown field.
    pub fn takes(&self, number: i32) -> bool {
        !self.closed || self.pool.enumeration(self.index).value(number).is_some()
    }

    /// Whether one of its values has this number.
    pub fn defines(&self, number: i32) -> bool {
        self.pool.enumeration(self.index).value(number).is_some()
    }

    /// The number of its first value.
    pub fn first(&self) -> i32 {
        self.pool.enumeration(self.index).values().first().map_or(0, |value| value.number())
    }

    /// What a field of it has that is not there.
    pub fn default(&self) -> i32 {
        match self.closed {
            true => self.first(),
            false => 0,
        }
    }
}

impl From<ScalarType> for Scalar {
    fn from(scalar: ScalarType) -> Self {
        match scalar {
            ScalarType::Double => Self::Double,
            ScalarType::Float => Self::Float,
            ScalarType::Int64 => Self::Int64,
            ScalarType::Uint64 => Self::Uint64,
            ScalarType::Int32 => Self::Int32,
            ScalarType::Fixed64 => Self::Fixed64,
            ScalarType::Fixed32 => Self::Fixed32,
            ScalarType::Bool => Self::Bool,
            ScalarType::String => Self::String,
            ScalarType::Bytes => Self::Bytes,
            ScalarType::Uint32 => Self::Uint32,
            ScalarType::Sfixed32 => Self::Sfixed32,
            ScalarType::Sfixed64 => Self::Sfixed64,
            ScalarType::Sint32 => Self::Sint32,
            ScalarType::Sint64 => Self::Sint64,
        }
    }
}
