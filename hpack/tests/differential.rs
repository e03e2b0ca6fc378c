//! Second opinions: what we encode, two implementations that share no code with ours decode, and the other way round.

mod support;

use fluke_hpack::{Decoder as FlukeDecoder, Encoder as FlukeEncoder};
use hpack::{Decoder, Encoder};
use httlib_hpack::{Decoder as HttlibDecoder, Encoder as HttlibEncoder};
use support::{Owned, Rng, decode, list};

const CONNECTIONS: u64 = 60;
const BLOCKS: usize = 40;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(list: &[Owned]) -> Pairs {
    list.iter().map(|owned| (owned.name.clone(), owned.value.clone())).collect()
}

#[test]
fn both_read_what_we_write() {
    for seed in 0..CONNECTIONS {
        let mut rng = Rng(seed);
        let mut encoder = Encoder::default();
        let (mut fluke, mut httlib) = (FlukeDecoder::new(), HttlibDecoder::default());
        for _ in 0..BLOCKS {
            if rng.one_in(6) {
                encoder.set_peer_table_size(*rng.pick(&[0, 100, 500, 2000, 4096]));
            }
            // Fluke refuses a block that ends in an update, which is legal; so no list is empty here.
            let mut list = list(&mut rng);
            list.push(Owned::new(b":status", b"200"));
            let mut out = Vec::new();
            let mut block = encoder.block(&mut out);
            list.iter().for_each(|owned| block.push(owned.field()));
            assert_eq!(fluke.decode(&out).unwrap(), pairs(&list), "fluke, seed {seed}");
            let mut read = Vec::new();
            httlib.decode(&mut out, &mut read).unwrap();
            let read: Pairs = read.into_iter().map(|(name, value, _)| (name, value)).collect();
            assert_eq!(read, pairs(&list), "httlib, seed {seed}");
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
