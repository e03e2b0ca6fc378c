//! Second opinions: what we encode, two implementations that share no code with ours decode, and the other way round.

mod support;

use fluke_hpack::Encoder as FlukeEncoder;
use hpack::{Decoder, Encoder};
use httlib_hpack::Encoder as HttlibEncoder;
use support::others::{Others, pairs};
use support::{Owned, Rng, decode, encode, list};

const CONNECTIONS: u64 = 60;
const BLOCKS: usize = 40;

#[test]
fn both_read_what_we_write() {
    for seed in 0..CONNECTIONS {
        let mut rng = Rng(seed);
        let mut encoder = Encoder::default();
        let mut others = Others::new();
        for _ in 0..BLOCKS {
            if rng.one_in(6) {
                encoder.set_peer_table_size(*rng.pick(&[0, 100, 500, 2000, 4096]));
            }
            // No list is empty, so no block is nothing but an update.
            let mut list = list(&mut rng);
            list.push(Owned::new(b":status", b"200"));
            others.assert_read(&encode(&mut encoder, &list), &list, &format!("seed {seed}"));
        }
    }
}

#[test]
fn we_read_what_both_write() {
    for seed in 0..CONNECTIONS {
        let mut rng = Rng(seed);
        let (mut fluke, mut of_fluke) = (FlukeEncoder::new(), Decoder::new());
        let (mut httlib, mut of_httlib) = (HttlibEncoder::default(), Decoder::new());
        for _ in 0..BLOCKS {
            let list = list(&mut rng);
            let block = fluke.encode(list.iter().map(|owned| (owned.name.as_slice(), owned.value.as_slice())));
            assert_eq!(pairs(&decode(&mut of_fluke, &block).unwrap()), pairs(&list), "fluke, seed {seed}");
            let mut block = Vec::new();
            for owned in &list {
                let flags = if owned.never_indexed { HttlibEncoder::NEVER_INDEXED } else { form(&mut rng) };
                httlib.encode((owned.name.clone(), owned.value.clone(), flags), &mut block).unwrap();
            }
            assert_eq!(pairs(&decode(&mut of_httlib, &block).unwrap()), pairs(&list), "httlib, seed {seed}");
        }
    }
}

/// Every form that httlib can write, but for indices in literals of names that it may evict itself.
fn form(rng: &mut Rng) -> u8 {
    let mut flags = 0;
    for (flag, often) in [
        (HttlibEncoder::HUFFMAN_NAME, 2),
        (HttlibEncoder::HUFFMAN_VALUE, 2),
        (HttlibEncoder::WITH_INDEXING, 2),
        (HttlibEncoder::BEST_FORMAT, 2),
    ] {
        if rng.one_in(often) {
            flags |= flag;
        }
    }
    flags
}
