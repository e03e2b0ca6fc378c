//! Why a header block could not be decoded. Every one of these ends the connection.

use std::fmt::{Display, Formatter};

/// A block that cannot be decoded. The dynamic table is no longer the peer's after any of these, so the connection must end:
/// with COMPRESSION_ERROR (RFC 9113 §4.3), but for [`Error::ListTooLarge`], which is ENHANCE_YOUR_CALM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The block ends inside an integer or a string (RFC 7541 §5.1, §5.2).
    Truncated,
    /// An integer takes more than five octets after its prefix or exceeds 32 bits (RFC 7541 §5.1, §7.4).
    IntegerOverflow,
    /// A Huffman string ends in more than seven bits of padding, or in bits that are not the start of EOS (RFC 7541 §5.2).
    HuffmanPadding,
    /// A Huffman string contains the EOS symbol (RFC 7541 §5.2).
    HuffmanEndOfString,
    /// Index 0 stands where a field is referred to (RFC 7541 §6.1).
    IndexZero,
    /// An index beyond both tables (RFC 7541 §2.3.3).
    IndexOutOfRange,
    /// A dynamic table size update after the first field of a block (RFC 7541 §4.2).
    UpdateNotFirst,
    /// A dynamic table size update to more than our SETTINGS_HEADER_TABLE_SIZE (RFC 7541 §6.3).
    UpdateTooLarge,
    /// We lowered SETTINGS_HEADER_TABLE_SIZE below the peer's table, the peer acknowledged it, and the next block does not begin
    /// with an update that follows (RFC 7541 §4.2).
    UpdateMissing,
    /// The list of fields exceeds [`Bounds::abort`](crate::Bounds::abort): the peer ignores SETTINGS_MAX_HEADER_LIST_SIZE by so
    /// much that reading on only to keep the table right is not worth it (RFC 9113 §10.5.1).
    ListTooLarge,
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "header block ends inside an integer or a string",
            Self::IntegerOverflow => "integer in a header block exceeds 32 bits",
            Self::HuffmanPadding => "Huffman string is not padded with up to seven bits of EOS",
            Self::HuffmanEndOfString => "Huffman string contains EOS",
            Self::IndexZero => "header block refers to index 0",
            Self::IndexOutOfRange => "header block refers to an index beyond both tables",
            Self::UpdateNotFirst => "dynamic table size update after a field",
            Self::UpdateTooLarge => "dynamic table size update beyond SETTINGS_HEADER_TABLE_SIZE",
            Self::UpdateMissing => "no dynamic table size update after SETTINGS_HEADER_TABLE_SIZE was lowered",
            Self::ListTooLarge => "header list is far beyond SETTINGS_MAX_HEADER_LIST_SIZE",
        })
    }
}

impl std::error::Error for Error {}
