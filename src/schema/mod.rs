//! What services and messages are: descriptors from server reflection, from `.proto` files and from descriptor sets, put right where
//! they are incomplete, bounded because strangers send them, and immutable once they are a [`Schema`]. Knows no cluster, no call and
//! no socket: who asks a server hands in a [`Reflection`].

mod bounds;
mod collection;
mod extent;
mod files;
mod meter;
mod octets;
mod options;
mod reflect;
mod repair;
mod set;
mod types;
mod view;
mod wire;

pub use bounds::{Bounds, SchemaError};
pub use collection::Collection;
pub use files::{from_octets, from_protos, from_set};
pub use meter::{Meter, Spent};
pub use octets::{Octets, Text};
pub use options::Oneof;
pub use reflect::{Answer, Question, Reflection, fetch};
pub use set::{Method, Schema};
pub use types::{EnumKind, Field, FieldId, Kind, MessageType, Scalar, Shape, TypeId};
pub use view::{Item, Unreadable, View, default};
pub use wire::Writer;

#[cfg(test)]
mod tests;
