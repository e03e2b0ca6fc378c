//! What a method is in one schema, so that two schemas can be compared a method at a time; and whether a field that somebody relies
//! on is still the same.

use std::sync::{Arc, LazyLock};

use buffa_descriptor::{DescriptorPool, FieldDescriptor, FieldKind, MessageIndex, SingularKind};
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::closure::ClosureDigest;
use super::made::Life;
use super::set::{Method, Schema};
use super::types::{MessageType, TypeId};

/// A method as one schema defines it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The schema that defines it. Two definitions with the same [`id`](Self::id) can be of two schemas, whose [`Method`]s then must
    /// not be mixed: keep a definition together with what is made of it.
    pub schema: Arc<Schema>,
    /// The method.
    pub method: Method,
    /// Of its request message.
    pub request: ClosureDigest,
    /// Of its response message.
    pub response: ClosureDigest,
    /// The same for definitions that mean the same, and in this process for no other.
    pub id: u64,
    /// Lasts as long as a definition with this number does.
    pub life: Arc<Life>,
}

/// The definitions that are in force for a message, by their lives, so that what was made for them is there for as long as they are
/// read by: what filters are handed as a message's types.
#[derive(Clone, Debug)]
pub struct InForce(pub SmallVec<[Arc<Life>; 2]>);

/// One of a method's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the caller sends.
    Request,
    /// What the server answers.
    Response,
}

/// All methods of a schema.
#[derive(Debug)]
pub struct Definitions {
    schema: Arc<Schema>,
    services: FxHashMap<Box<str>, FxHashMap<Box<str>, Definition>>,
}

impl Definitions {
    /// Those of a schema. Hashes all that it defines, so this is not for a thread on which others wait.
    pub fn of(schema: Arc<Schema>) -> Self {
        let mut services = FxHashMap::default();
        for service in schema.services() {
            let mut methods: FxHashMap<Box<str>, Definition> = FxHashMap::default();
            for name in schema.methods(service) {
                let Some(method) = schema.method(service, name) else { continue };
                let (Some(input), Some(output)) = (schema.closure(method.input), schema.closure(method.output)) else {
                    continue;
                };
                let id = id((service, name), (&input, &output), method);
                methods.insert(
                    name.into(),
                    Definition {
                        schema: Arc::clone(&schema),
                        method,
                        request: input,
                        response: output,
                        id,
                        life: Life::of(id),
                    },
                );
            }
            services.insert(Box::from(service), methods);
        }
        Self { schema, services }
    }

    /// The schema itself.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// A method, by the full name of its service and its own.
    pub fn get(&self, service: &str, method: &str) -> Option<&Definition> {
        self.services.get(service)?.get(method)
    }

    /// All of them: service, method, definition.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Definition)> {
        self.services.iter().flat_map(|(service, methods)| {
            methods.iter().map(move |(method, definition)| (&**service, &**method, definition))
        })
    }
}

/// Not to be foreseen: whoever could make two definitions with one name would have a policy read the one for the other.
fn id((service, method): (&str, &str), (input, output): (&ClosureDigest, &ClosureDigest), kind: Method) -> u64 {
    static SALT: LazyLock<[u8; 32]> = LazyLock::new(rand::random);
    let hash = Sha256::new()
        .chain_update(*SALT)
        .chain_update(service)
        .chain_update([0])
        .chain_update(method)
        .chain_update([0, u8::from(kind.client_streaming), u8::from(kind.server_streaming)])
        .chain_update(input.octets())
        .chain_update(output.octets())
        .finalize();
    hash.iter().take(8).fold(0, |id, octet| id << 8 | u64::from(*octet))
}

impl Definition {
    /// Whether a field that `accepted` has, named by its path (`a.b.c`, names as in `.proto` files, through lists and values of
    /// maps), is another one here: gone, under another number, or of another type. Says how. A path that `accepted` does not have
    /// conflicts with nothing.
    pub fn conflicts(&self, accepted: &Self, side: Side, path: &str) -> Option<String> {
        let (new, old) = (self.schema.pool(), accepted.schema.pool());
        let (mut here, mut there) = (self.message(side), accepted.message(side));
        let mut walked = String::new();
        for name in path.split('.') {
            walked = if walked.is_empty() { name.to_owned() } else { format!("{walked}.{name}") };
            let before = old.message(there).field_by_name(name).filter(|field| field.name() == name)?;
            let message = new.message(here);
            let Some(now) = message.field_by_name(name).filter(|field| field.name() == name) else {
                return Some(format!("{} has no field `{name}` ({walked})", message.full_name()));
            };
            if now.number() != before.number() {
                let (now, before) = (now.number(), before.number());
                return Some(format!("`{walked}` has the number {now}, and the accepted definition has {before}"));
            }
            let (now_is, before_is) = (shape(new, now), shape(old, before));
            if now_is != before_is {
                return Some(format!("`{walked}` is {now_is}, and in the accepted definition {before_is}"));
            }
            match (inner(now.kind()), inner(before.kind())) {
                (SingularKind::Message(now), SingularKind::Message(before)) => (here, there) = (now, before),
                _ => return None,
            }
        }
        None
    }

    /// What the method takes.
    pub fn input(&self) -> MessageType<'_> {
        self.schema.type_at(TypeId(self.method.input))
    }

    /// What it gives.
    pub fn output(&self) -> MessageType<'_> {
        self.schema.type_at(TypeId(self.method.output))
    }

    fn message(&self, side: Side) -> MessageIndex {
        match side {
            Side::Request => self.method.input,
            Side::Response => self.method.output,
        }
    }
}

/// A field's type in words, with all that decides how it is read.
pub(super) fn shape(pool: &DescriptorPool, field: &FieldDescriptor) -> String {
    let of = |kind| match kind {
        SingularKind::Scalar(scalar) => format!("{scalar:?}").to_lowercase(),
        SingularKind::Enum(index) => pool.enumeration(index).full_name().to_owned(),
        SingularKind::Message(index) if field.is_delimited() => format!("group {}", pool.message(index).full_name()),
        SingularKind::Message(index) => pool.message(index).full_name().to_owned(),
    };
    match field.kind() {
        FieldKind::Singular(kind) => of(kind),
        FieldKind::List(kind) => format!("repeated {}", of(kind)),
        FieldKind::Map { key, value } => format!("map<{}, {}>", of(SingularKind::Scalar(key)), of(value)),
    }
}

fn inner(kind: FieldKind) -> SingularKind {
    match kind {
        FieldKind::Singular(kind) | FieldKind::List(kind) | FieldKind::Map { value: kind, .. } => kind,
    }
}

#[cfg(test)]
mod tests;
