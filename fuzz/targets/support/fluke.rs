//! A third opinion, which can also be asked for what ours refuses.

use crate::support::Owned;
use fluke_hpack::Decoder;
use fluke_hpack::decoder::{DecoderError, IntegerDecodingError};

/// Another decoder on the same connection. It tells no field from one that is never indexed.
pub(crate) struct Fluke {
    decoder: Decoder<'static>,
    /// A block met a limit of this decoder's own, so it does not follow the connection any more.
    lost: bool,
}

impl Fluke {
    pub(crate) fn new() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(hpack::INITIAL_TABLE_SIZE);
        Self { decoder, lost: false }
    }

    pub(crate) fn set_table_size(&mut self, size: usize) {
        self.decoder.set_max_allowed_table_size(size);
    }

    /// `None` if it is lost.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Option<Result<Vec<Owned>, DecoderError>> {
        self.lost |= has_update_that_panics(block);
        if self.lost {
            return None;
        }
        let mut list = Vec::new();
        let outcome =
            self.decoder.decode_with_cb(block, |name, value| list.push((name.to_vec(), value.to_vec(), false)));
        // It follows integers through four octets after the first, we through five.
        self.lost = matches!(outcome, Err(DecoderError::IntegerDecodingError(IntegerDecodingError::TooManyOctets)));
        if self.lost {
            return None;
        }
        // An update at the end of a block is legal, and done by then.
        let done = matches!(outcome, Ok(()) | Err(DecoderError::SizeUpdateAtEnd));
        Some(if done { Ok(list) } else { outcome.map(|()| list) })
    }
}

/// Fluke unwraps the integer of an update, which may end early or take more octets than Fluke reads.
fn has_update_that_panics(block: &[u8]) -> bool {
    let mut rest = block;
    while let [first @ 0x20..0x40, tail @ ..] = rest {
        rest = tail;
        if *first == 0x3f {
            let more = tail.iter().take_while(|octet| **octet >= 0x80).count();
            let Some(after) = tail.get(more + 1..) else { return true };
            if more >= 4 {
                return true;
            }
            rest = after;
        }
    }
    false
}
