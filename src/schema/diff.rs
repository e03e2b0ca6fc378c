//! What differs between two schemas, for people: each change with whether it breaks what is on the wire.

use std::collections::{BTreeMap, BTreeSet};

use super::closure::oneof;
use super::definition::shape;
use super::set::Schema;
use buffa::editions::FieldPresence;
use buffa_descriptor::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FieldKind, MessageDescriptor, MethodDescriptor, ScalarType,
    ServiceDescriptor, SingularKind,
};

/// What happened to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// A field or value has another name under the same number.
    Renamed,
    /// It has another number.
    Renumbered,
    /// It has another type.
    Retyped,
    /// One became many, many one, or a call's number of messages changed.
    Cardinality,
    /// It is there or absent by other rules.
    Presence,
    /// It moved into a oneof, or out of one.
    Oneof,
}

impl What {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Renumbered => "renumbered",
            Self::Retyped => "retyped",
            Self::Cardinality => "cardinality",
            Self::Presence => "presence",
            Self::Oneof => "oneof",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `service`, `method`, `field` or `value`.
    pub kind: &'static str,
    /// Its full name: `pkg.Service`, `pkg.Service/Method`, `pkg.Message.field`, `pkg.Enum.VALUE`.
    pub name: String,
    /// What happened to it.
    pub what: What,
    /// From what to what, in words; empty where that is clear.
    pub detail: String,
    /// Whether a reader of the one misreads a writer of the other, or calls fail.
    pub breaking: bool,
}

/// All differences, as far as there is room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order of names.
    pub changes: Vec<Change>,
    /// How many more there are.
    pub left_off: usize,
}

/// From `before` to `after`, at most `most` differences. Takes as long as both schemas are large.
pub fn diff(before: &Schema, after: &Schema, most: usize) -> Diff {
    let mut comparison = Comparison { before: before.pool(), after: after.pool(), found: Vec::new() };
    comparison.services();
    comparison.messages();
    comparison.enums();
    let mut changes = comparison.found;
    // What breaks must not be what is left off.
    changes.sort_by(|a, b| b.breaking.cmp(&a.breaking).then_with(|| a.name.cmp(&b.name)));
    let left_off = changes.len().saturating_sub(most);
    changes.truncate(most);
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    Diff { changes, left_off }
}

struct Comparison<'a> {
    before: &'a DescriptorPool,
    after: &'a DescriptorPool,
    found: Vec<Change>,
}

impl Comparison<'_> {
    fn tell(&mut self, kind: &'static str, name: String, what: What, detail: impl Into<String>, breaking: bool) {
        self.found.push(Change { kind, name, what, detail: detail.into(), breaking });
    }

    fn services(&mut self) {
        let of = |pool: &DescriptorPool| pool.services().iter().map(|one| one.full_name().to_owned()).collect();
        let (before, after): (BTreeSet<String>, BTreeSet<String>) = (of(self.before), of(self.after));
        for name in after.difference(&before) {
            self.tell("service", name.clone(), What::Added, "", false);
        }
        for name in before.difference(&after) {
            self.tell("service", name.clone(), What::Removed, "", true);
        }
        for name in before.intersection(&after) {
            if let (Some(old), Some(new)) = (self.before.service_by_name(name), self.after.service_by_name(name)) {
                self.methods(old, new);
            }
        }
    }

    fn methods(&mut self, old: &ServiceDescriptor, new: &ServiceDescriptor) {
        let full = |method: &MethodDescriptor| format!("{}/{}", old.full_name(), method.name());
        for added in new.methods().iter().filter(|method| old.method(method.name()).is_none()) {
            self.tell("method", full(added), What::Added, "", false);
        }
        for was in old.methods() {
            let Some(is) = new.method(was.name()) else {
                self.tell("method", full(was), What::Removed, "", true);
                continue;
            };
            let types = |pool: &DescriptorPool, method: &MethodDescriptor| {
                let name = |index| pool.message(index).full_name().to_owned();
                format!("({}) → {}", name(method.input()), name(method.output()))
            };
            let (was_of, is_of) = (types(self.before, was), types(self.after, is));
            if was_of != is_of {
                self.tell("method", full(was), What::Retyped, format!("{was_of}, now {is_of}"), true);
            }
            let (was_kind, is_kind) = (kind_of_call(was), kind_of_call(is));
            if was_kind != is_kind {
                self.tell("method", full(was), What::Cardinality, format!("{was_kind}, now {is_kind}"), true);
            }
        }
    }

    fn messages(&mut self) {
        // The entries of maps are told of as the maps.
        let is_entry =
            |message: &MessageDescriptor| message.options().is_some_and(|options| options.map_entry == Some(true));
        for old in self.before.messages().iter().filter(|old| !is_entry(old)) {
            if let Some(new) = self.after.message_by_name(old.full_name()) {
                self.fields(old, new);
            }
        }
    }

    fn fields(&mut self, old: &MessageDescriptor, new: &MessageDescriptor) {
        let names = |message: &MessageDescriptor| -> BTreeMap<String, usize> {
            message.fields().iter().enumerate().map(|(at, field)| (field.name().to_owned(), at)).collect()
        };
        let (was, is) = (names(old), names(new));
        let full = |name: &str| format!("{}.{name}", old.full_name());
        let required = |field: &FieldDescriptor| field.presence() == FieldPresence::LegacyRequired;
        for was in old.fields() {
            if let Some(now) = is.get(was.name()).and_then(|at| new.fields().get(*at)) {
                self.field(&full(was.name()), (old, was), (new, now));
                continue;
            }
            match new.field(was.number()).filter(|now| !names_has(old, now.name())) {
                Some(now) => {
                    let detail = format!("now `{}`, both number {}", now.name(), was.number());
                    let breaking = !same_on_the_wire(was.kind(), now.kind());
                    self.tell("field", full(was.name()), What::Renamed, detail, breaking);
                }
                None => {
                    let detail = format!("number {}", was.number());
                    self.tell("field", full(was.name()), What::Removed, detail, required(was));
                }
            }
        }
        for now in new.fields().iter().filter(|now| !was.contains_key(now.name())) {
            let renamed = old.field(now.number()).is_some_and(|was| !is.contains_key(was.name()));
            if !renamed {
                let detail = format!("number {}, {}", now.number(), shape(self.after, now));
                // Under the number of one that moved away, readers of the old take it for that one.
                let taken = old.field(now.number()).is_some();
                self.tell("field", full(now.name()), What::Added, detail, taken || required(now));
            }
        }
    }

    fn field(
        &mut self,
        name: &str,
        (old, was): (&MessageDescriptor, &FieldDescriptor),
        (new, now): (&MessageDescriptor, &FieldDescriptor),
    ) {
        let mut tell = |what, detail, breaking| {
            self.found.push(Change { kind: "field", name: name.to_owned(), what, detail, breaking })
        };
        if was.number() != now.number() {
            tell(What::Renumbered, format!("{}, now {}", was.number(), now.number()), true);
        }
        let (was_is, now_is) = (shape(self.before, was), shape(self.after, now));
        if how_many(was.kind()) != how_many(now.kind()) {
            tell(What::Cardinality, format!("{was_is}, now {now_is}"), true);
        } else if was_is != now_is {
            let breaking = was.is_delimited() != now.is_delimited() || !same_on_the_wire(was.kind(), now.kind());
            tell(What::Retyped, format!("{was_is}, now {now_is}"), breaking);
        }
        if was.presence() != now.presence() && how_many(was.kind()) == how_many(now.kind()) {
            let breaking = [was, now].iter().any(|field| field.presence() == FieldPresence::LegacyRequired);
            tell(What::Presence, format!("{}, now {}", presence(was), presence(now)), breaking);
        }
        let (was_in, now_in) = (oneof(old, was), oneof(new, now));
        if was_in != now_in {
            let word = |oneof: Option<&str>| oneof.map_or("none".to_owned(), |name| format!("`{name}`"));
            tell(What::Oneof, format!("{}, now {}", word(was_in), word(now_in)), true);
        }
    }

    fn enums(&mut self) {
        for old in self.before.enums() {
            if let Some(new) = self.after.enum_by_name(old.full_name()) {
                self.values(old, new);
            }
        }
    }

    fn values(&mut self, old: &EnumDescriptor, new: &EnumDescriptor) {
        let full = |name: &str| format!("{}.{name}", old.full_name());
        for was in old.values() {
            match (new.value_by_name(was.name()), new.value(was.number())) {
                (Some(now), _) if now.number() != was.number() => {
                    let detail = format!("{}, now {}", was.number(), now.number());
                    self.tell("value", full(was.name()), What::Renumbered, detail, true);
                }
                (Some(_), _) => {}
                (None, Some(now)) if old.value_by_name(now.name()).is_none() => {
                    let detail = format!("now `{}`, both number {}", now.name(), was.number());
                    self.tell("value", full(was.name()), What::Renamed, detail, false);
                }
                (None, _) => {
                    self.tell("value", full(was.name()), What::Removed, format!("number {}", was.number()), false);
                }
            }
        }
        for now in new.values().iter().filter(|now| old.value_by_name(now.name()).is_none()) {
            let renamed = old.value(now.number()).is_some_and(|was| new.value_by_name(was.name()).is_none());
            if !renamed {
                self.tell("value", full(now.name()), What::Added, format!("number {}", now.number()), false);
            }
        }
    }
}

fn names_has(message: &MessageDescriptor, name: &str) -> bool {
    message.field_by_name(name).is_some_and(|field| field.name() == name)
}

fn kind_of_call(method: &MethodDescriptor) -> &'static str {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => "unary",
        (true, false) => "client streaming",
        (false, true) => "server streaming",
        (true, true) => "bidi streaming",
    }
}

fn presence(field: &FieldDescriptor) -> &'static str {
    match field.presence() {
        FieldPresence::Implicit => "implicit",
        FieldPresence::LegacyRequired => "required",
        _ => "optional",
    }
}

fn how_many(kind: FieldKind) -> u8 {
    match kind {
        FieldKind::Singular(_) => 1,
        FieldKind::List(_) => 2,
        FieldKind::Map { .. } => 3,
    }
}

/// Whether what is written as the one is read as the other, if its value fits (protobuf's "Updating A Message Type").
fn same_on_the_wire(was: FieldKind, now: FieldKind) -> bool {
    let same = |was: SingularKind, now: SingularKind| match (was, now) {
        (SingularKind::Message(_), _) | (_, SingularKind::Message(_)) => false,
        (was, now) => group(was) == group(now),
    };
    match (was, now) {
        (FieldKind::Singular(was), FieldKind::Singular(now)) | (FieldKind::List(was), FieldKind::List(now)) => {
            same(was, now)
        }
        (FieldKind::Map { key: was_key, value: was }, FieldKind::Map { key: now_key, value: now }) => {
            let key = |key| group(SingularKind::Scalar(key));
            key(was_key) == key(now_key) && same(was, now)
        }
        _ => false,
    }
}

fn group(kind: SingularKind) -> u8 {
    use ScalarType::{
        Bool, Bytes, Double, Fixed32, Fixed64, Float, Int32, Int64, Sfixed32, Sfixed64, Sint32, Sint64, String, Uint32,
        Uint64,
    };
    match kind {
        SingularKind::Enum(_) | SingularKind::Scalar(Int32 | Int64 | Uint32 | Uint64 | Bool) => 0,
        SingularKind::Scalar(Sint32 | Sint64) => 1,
        SingularKind::Scalar(Fixed32 | Sfixed32) => 2,
        SingularKind::Scalar(Fixed64 | Sfixed64) => 3,
        SingularKind::Scalar(String | Bytes) => 4,
        SingularKind::Scalar(Float) => 5,
        SingularKind::Scalar(Double) => 6,
        SingularKind::Message(_) => 7,
    }
}

#[cfg(test)]
mod tests;
