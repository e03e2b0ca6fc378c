//! What the HPACK targets share: how an input is cut up, and the implementation that reads after ours.

use hpack::Field;
use httlib_hpack::{Decoder, DecoderError};

/// A field that owns its octets: name, value, never-indexed.
pub(crate) type Owned = (Vec<u8>, Vec<u8>, bool);

pub(crate) fn owned(field: Field<'_>) -> Owned {
    (field.name.to_vec(), field.value.to_vec(), field.never_indexed)
}

/// An input that is used up from its front. Where it ends, it goes on with zeros and empty strings.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn octet(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Two octets, the high one first.
    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.octet()) << 8 | usize::from(self.octet())
    }

    /// `len` octets, or what is left.
    pub(crate) fn octets(&mut self, len: usize) -> &'a [u8] {
        let (octets, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        octets
    }
}

/// Another decoder on the same connection, which knows of never-indexed fields as well.
pub(crate) struct Httlib {
    decoder: Decoder<'static>,
    /// A block met a limit of this decoder's own, so it does not follow the connection any more.
    lost: bool,
}

impl Httlib {
    pub(crate) fn new() -> Self {
        Self { decoder: Decoder::default(), lost: false }
    }

    pub(crate) fn set_table_size(&mut self, size: usize) {
        self.decoder.set_max_dynamic_size(size as u32);
    }

    /// Only for blocks that ours accepted: it panics at many others. `None` if it is lost.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Option<Result<Vec<Owned>, DecoderError>> {
        if self.lost {
            return None;
        }
        let mut list = Vec::new();
        let outcome = self.decoder.decode(&mut block.to_vec(), &mut list);
        // It follows integers through four octets after the first, we through five.
        self.lost = matches!(outcome, Err(DecoderError::IntegerOverflow));
        if self.lost {
            return None;
        }
        let own = |(name, value, flags)| (name, value, flags & Decoder::NEVER_INDEXED != 0);
        Some(outcome.map(|_| list.into_iter().map(own).collect()))
    }
}
