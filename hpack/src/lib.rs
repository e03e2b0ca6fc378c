//! HPACK (RFC 7541) in both directions, for a proxy that decodes every head and encodes it again for the other side.
//!
//! The HTTP/2 engine owns one [`Decoder`] and one [`Encoder`] a connection. This crate sees whole header blocks, already
//! joined from HEADERS and CONTINUATION; it knows no frame, no stream and no rule on which fields a head may have.

mod codes;
mod decode;
mod encode;
mod error;
mod hash;
mod huffman;
mod index;
mod integer;
mod known;
mod static_table;
mod table;

pub use decode::{Bounds, Decoder, Judge, Outcome};
pub use encode::{Block, DEFAULT_CAP, Encoder};
pub use error::Error;

/// The size of a dynamic table before any setting says otherwise (RFC 9113 §6.5.2, SETTINGS_HEADER_TABLE_SIZE).
pub const INITIAL_TABLE_SIZE: usize = 4096;

/// What a field costs beyond its bytes, in a dynamic table (RFC 7541 §4.1) and in a list (RFC 9113 §10.5.1).
pub const FIELD_OVERHEAD: usize = 32;

/// One field of a head, as it is handed out by a decoder and taken by an encoder.
///
/// `Debug` shows no value: values hold tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, in whatever form the peer sent it: whether it is a lower-case token is the engine's to check.
    pub name: &'a [u8],
    /// The value, unchecked like the name.
    pub value: &'a [u8],
    /// The sender asked that no hop ever puts this field into a table (RFC 7541 §6.2.3); whoever forwards it must keep this.
    pub never_indexed: bool,
    /// What the decoder's [`Judge`] said of it; encoders do not look.
    pub mark: u8,
}

impl<'a> Field<'a> {
    /// A field that the encoder may index if its policy likes to.
    pub fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name, value, never_indexed: false, mark: 0 }
    }

    /// A field that no hop may index.
    pub fn never_indexed(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name, value, never_indexed: true, mark: 0 }
    }

    /// What the field counts for in a list, in bytes (RFC 9113 §10.5.1).
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len() + FIELD_OVERHEAD
    }
}

impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field")
            .field("name", &String::from_utf8_lossy(self.name))
            .field("value_len", &self.value.len())
            .field("never_indexed", &self.never_indexed)
            .finish()
    }
}
