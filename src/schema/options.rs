//! Options of messages, fields and oneofs that this program does not know by name: extensions of `google.protobuf.*Options`, by number.

use buffa::{UnknownFieldData, UnknownFields};
use buffa_descriptor::OneofDescriptor;

use super::types::{Field, MessageType};

/// A `oneof` of a message type.
#[derive(Clone, Copy)]
pub struct Oneof<'s> {
    owner: MessageType<'s>,
    oneof: &'s OneofDescriptor,
    at: usize,
}

impl<'s> MessageType<'s> {
    /// The octets of an option of it that is a message; none if it does not have it.
    pub fn option(self, number: u32) -> Option<Vec<u8>> {
        message(&self.message.options()?.__buffa_unknown_fields, number)
    }

    /// Its oneofs.
    pub fn oneofs(self) -> impl Iterator<Item = Oneof<'s>> {
        self.message.oneofs().iter().enumerate().map(move |(at, oneof)| Oneof { owner: self, oneof, at })
    }
}

impl<'s> Field<'s> {
    /// The octets of an option of it that is a message; none if it does not have it.
    pub fn option(self, number: u32) -> Option<Vec<u8>> {
        message(&self.field.options()?.__buffa_unknown_fields, number)
    }
}

impl<'s> Oneof<'s> {
    /// Its name.
    pub fn name(self) -> &'s str {
        self.oneof.name()
    }

    /// The octets of an option of it that is a message; none if it does not have it.
    pub fn option(self, number: u32) -> Option<Vec<u8>> {
        message(&self.oneof.options()?.__buffa_unknown_fields, number)
    }

    /// Its members.
    pub fn fields(self) -> impl Iterator<Item = Field<'s>> {
        self.owner.fields().filter(move |field| field.field.oneof_index().map(usize::from) == Some(self.at))
    }
}

/// Several of one number are parts of one message.
fn message(unknown: &UnknownFields, number: u32) -> Option<Vec<u8>> {
    let mut found: Option<Vec<u8>> = None;
    for field in unknown.iter().filter(|field| field.number == number) {
        if let UnknownFieldData::LengthDelimited(octets) = &field.data {
            found.get_or_insert_default().extend_from_slice(octets);
        }
    }
    found
}
