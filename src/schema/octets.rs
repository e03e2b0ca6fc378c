//! Octets and text that are lent where they can be, and shared where they were made on the way.

use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

/// Octets of a message.
#[derive(Clone, Debug)]
pub enum Octets<'a> {
    /// Of somebody who outlives the reader.
    Lent(&'a [u8]),
    /// Made on the way.
    Shared(Bytes),
}

/// Text of a message.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Of somebody who outlives the reader.
    Lent(&'a str),
    /// Made on the way.
    Shared(Arc<str>),
}

impl<'a> Octets<'a> {
    /// A part of them.
    pub fn part(&self, range: Range<usize>) -> Octets<'a> {
        match self {
            Self::Lent(all) => Self::Lent(all.get(range).unwrap_or_default()),
            Self::Shared(all) if range.start <= range.end && range.end <= all.len() => Self::Shared(all.slice(range)),
            Self::Shared(_) => Self::Lent(&[]),
        }
    }

    /// As text, if it is UTF-8.
    pub fn text(&self) -> Option<Text<'a>> {
        match self {
            Self::Lent(all) => std::str::from_utf8(all).ok().map(Text::Lent),
            Self::Shared(all) => std::str::from_utf8(all).ok().map(|text| Text::Shared(text.into())),
        }
    }
}

impl Deref for Octets<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(all) => all,
            Self::Shared(all) => all,
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Vec<u8>> for Octets<'_> {
    fn from(octets: Vec<u8>) -> Self {
        Self::Shared(octets.into())
    }
}
