//! Two other implementations, which share no code with ours, as one reader of what we write.

use super::Owned;
use fluke_hpack::Decoder as FlukeDecoder;
use httlib_hpack::Decoder as HttlibDecoder;

pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What every implementation knows of a list: neither of the others tells whether a field must stay out of tables.
pub(crate) fn pairs(list: &[Owned]) -> Pairs {
    list.iter().map(|owned| (owned.name.clone(), owned.value.clone())).collect()
}

/// Both of them at the other end of one connection.
pub(crate) struct Others {
    fluke: FlukeDecoder<'static>,
    httlib: HttlibDecoder<'static>,
}

impl Others {
    pub(crate) fn new() -> Self {
        Self { fluke: FlukeDecoder::new(), httlib: HttlibDecoder::default() }
    }

    /// Fails the test unless both read `list` in the next block. No block may end in an update of the table's size: that is
    /// legal, and Fluke refuses it.
    pub(crate) fn assert_read(&mut self, block: &[u8], list: &[Owned], of: &str) {
        assert_eq!(self.fluke.decode(block), Ok(pairs(list)), "fluke, {of}");
        let mut read = Vec::new();
        let outcome = self.httlib.decode(&mut block.to_vec(), &mut read);
        assert!(outcome.is_ok(), "httlib, {of}: {outcome:?}");
        let read: Pairs = read.into_iter().map(|(name, value, _)| (name, value)).collect();
        assert_eq!(read, pairs(list), "httlib, {of}");
    }
}
