//! What services and messages are: descriptors from server reflection, from `.proto` files and from descriptor sets, put right where
//! they are incomplete, bounded because strangers send them, and immutable once they are a [`Schema`]. Knows no cluster, no call and
//! no socket: who asks a server hands in a [`Reflection`].

mod bounds;
mod catalog;
mod closure;
mod collection;
mod definition;
mod diff;
mod extent;
mod files;
mod made;
mod meter;
mod octets;
mod options;
mod redact;
mod reflect;
mod repair;
mod set;
mod types;
mod view;
mod wire;

pub use bounds::{Bounds, SchemaError};
pub use catalog::{Catalog, CatalogBounds, Excerpt, Part};
pub use closure::ClosureDigest;
pub use collection::{Collection, Fingerprint};
pub use definition::{Definition, Definitions, InForce, Side};
pub use diff::{Change, Diff, What, diff};
pub use files::{from_files, from_octets, from_protos, from_set};
pub use made::{Life, Made};
pub use meter::{Meter, Spent};
pub use octets::{Octets, Text};
pub use options::Oneof;
pub use redact::Redaction;
pub use reflect::{Answer, Question, Reflection, fetch, gather, link};
pub use set::{Method, Schema};
pub use types::{EnumKind, Field, FieldId, Kind, MessageType, Scalar, Shape, TypeId, nearest};
pub use view::{Item, Unreadable, View, default};
pub use wire::Writer;

#[cfg(test)]
pub(crate) mod tests;
