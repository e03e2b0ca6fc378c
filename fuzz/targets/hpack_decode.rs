//! Whatever blocks come, between whatever table sizes: no panic, no more memory than the table is worth, no list beyond its
//! bound; what is accepted is so by another implementation, with the same fields, and what is refused is so by a third.
//!
//! The input is an octet of choices, then steps: `ff` and two octets are a table size that the peer acknowledged, `fe` and two
//! octets the length of a block, less than that such a length in one octet; the block follows. It ends with the first error.
#![no_main]

#[path = "support/fluke.rs"]
mod fluke;
#[path = "support/hpack.rs"]
mod support;

use fluke::Fluke;
use fluke_hpack::decoder::DecoderError;
use hpack::{Bounds, Decoder, Error, FIELD_OVERHEAD, INITIAL_TABLE_SIZE, Outcome};
use libfuzzer_sys::fuzz_target;
use support::{Httlib, Input, Owned, owned};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let choices = input.octet();
    let bounds = bounds(choices);
    // One in eight: it takes ten times as long as all the others together.
    let fluke = (choices >> 5 == 7).then(Fluke::new);
    let mut connection =
        Connection { decoder: Decoder::new(), fluke, httlib: Httlib::new(), largest: INITIAL_TABLE_SIZE };
    while !input.is_empty() {
        let len = match input.octet() {
            0xff => {
                connection.set_table_size(input.number());
                continue;
            }
            0xfe => input.number(),
            len => usize::from(len),
        };
        if connection.decode(input.octets(len), bounds).is_err() {
            return;
        }
    }
});

/// 64 octets to 1 MiB, and one to four times that.
fn bounds(choices: u8) -> Bounds {
    let list = 64 << (2 * (choices & 7));
    Bounds { list, abort: list * (1 + usize::from(choices >> 3 & 3)) }
}

struct Connection {
    decoder: Decoder,
    fluke: Option<Fluke>,
    httlib: Httlib,
    /// The largest table that it was ever allowed.
    largest: usize,
}

impl Connection {
    fn set_table_size(&mut self, size: usize) {
        self.decoder.set_table_size(size);
        if let Some(fluke) = &mut self.fluke {
            fluke.set_table_size(size);
        }
        self.httlib.set_table_size(size);
        self.largest = self.largest.max(size);
    }

    fn decode(&mut self, block: &[u8], bounds: Bounds) -> Result<(), Error> {
        let mut list = Vec::new();
        let outcome = self.decoder.decode(block, bounds, |field| list.push(owned(field)));
        let given = size(&list);
        assert!(given <= bounds.list);
        match outcome {
            Ok(Outcome::Complete { size }) => assert_eq!(size, given),
            Ok(Outcome::TooLarge { size }) => assert!(size > bounds.list && size <= bounds.abort),
            Err(error) => {
                self.others_refuse(block, error);
                return Err(error);
            }
        }
        // Octets for two tables, and entries of half their overhead; a vector that grows may take twice that. And the scratch.
        let most = 5 * self.largest + 4096 + 128;
        assert!(self.decoder.allocated() <= most, "{} octets of {most}", self.decoder.allocated());
        self.others_read(block, &list, bounds, outcome?);
        Ok(())
    }

    fn others_read(&mut self, block: &[u8], list: &[Owned], bounds: Bounds, outcome: Outcome) {
        if let Some(read) = self.httlib.decode(block) {
            let read = read.unwrap_or_else(|error| panic!("httlib refuses: {error:?}"));
            assert_eq!(cut(&read, bounds.list), list);
            let (Outcome::Complete { size: ours } | Outcome::TooLarge { size: ours }) = outcome;
            assert_eq!(size(&read), ours);
        }
        if let Some(read) = self.ask_fluke(block) {
            let read = read.unwrap_or_else(|error| panic!("fluke refuses: {error:?}"));
            let read = cut(&read, bounds.list).iter().map(|(name, value, _)| (name, value));
            assert!(read.eq(list.iter().map(|(name, value, _)| (name, value))), "fluke reads other fields");
        }
    }

    /// Only Fluke, and only for what both check alike.
    fn others_refuse(&mut self, block: &[u8], error: Error) {
        match error {
            Error::Truncated
            | Error::IntegerOverflow
            | Error::HuffmanPadding
            | Error::HuffmanEndOfString
            | Error::IndexZero
            | Error::IndexOutOfRange
            | Error::UpdateTooLarge => {
                assert!(!matches!(self.ask_fluke(block), Some(Ok(_))), "fluke accepts what we refuse: {error}");
            }
            // Fluke knows nothing of an update that is owed or late, nor of bounds.
            Error::UpdateNotFirst | Error::UpdateMissing | Error::ListTooLarge => {}
        }
    }

    fn ask_fluke(&mut self, block: &[u8]) -> Option<Result<Vec<Owned>, DecoderError>> {
        self.fluke.as_mut()?.decode(block)
    }
}

fn size(list: &[Owned]) -> usize {
    list.iter().map(|(name, value, _)| name.len() + value.len() + FIELD_OVERHEAD).sum()
}

/// The first fields, as far as the bound allows.
fn cut(list: &[Owned], bound: usize) -> &[Owned] {
    let mut size = 0;
    let within = list.iter().take_while(|(name, value, _)| {
        size += name.len() + value.len() + FIELD_OVERHEAD;
        size <= bound
    });
    &list[..within.count()]
}
