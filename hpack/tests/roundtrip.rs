//! Random lists from our encoder to our decoder, and random damage to blocks. Seeds are fixed: what fails once fails always.

mod support;

use hpack::{Bounds, Decoder, Encoder, Outcome};
use support::{Owned, Rng, decode, list};

const SECRETS: [&[u8]; 4] = [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"];

/// What a list reads as at the other end: credentials come never-indexed, whatever they went as.
fn wanted(mut list: Vec<Owned>) -> Vec<Owned> {
    for owned in &mut list {
        owned.never_indexed |= SECRETS.contains(&owned.name.as_slice());
    }
    list
}

#[test]
fn what_is_encoded_decodes_the_same_through_any_table_sizes() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let cap = *rng.pick(&[0, 64, 300, 4096, 4096, 65_536]);
        let mut encoder = Encoder::new(cap);
        let mut decoder = Decoder::new();
        for turn in 0..60 {
            if rng.one_in(8) {
                // SETTINGS and their acknowledgement between two blocks, one or more.
                for _ in 0..=rng.below(3) {
                    let size = *rng.pick(&[0, 32, 33, 100, 1000, 4096, 10_000, 65_536]);
                    decoder.set_table_size(size);
                    encoder.set_peer_table_size(size);
                }
            }
            let list = list(&mut rng);
            let mut out = Vec::new();
            let mut block = encoder.block(&mut out);
            list.iter().for_each(|owned| block.push(owned.field()));
            let read = decode(&mut decoder, &out).unwrap_or_else(|error| panic!("seed {seed}, turn {turn}: {error}"));
            assert_eq!(read, wanted(list), "seed {seed}, turn {turn}");
            assert!(encoder.allocated() <= 5 * cap + 16_384, "seed {seed}: {}", encoder.allocated());
        }
    }
}

/// Blocks of one connection, valid, in a row.
fn blocks(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::default();
    (0..6)
        .map(|_| {
            if rng.one_in(3) {
                encoder.set_peer_table_size(rng.below(5000));
            }
            let mut out = Vec::new();
            let mut block = encoder.block(&mut out);
            list(rng).iter().filter(|owned| owned.value.len() < 300).for_each(|owned| block.push(owned.field()));
            out
        })
        .collect()
}

#[test]
fn damage_never_panics_and_never_exceeds_a_bound() {
    const BOUNDS: Bounds = Bounds { list: 600, abort: 6000 };
    let (mut refused, mut cut) = (0_u32, 0_u32);
    let mut rng = Rng(7);
    for case in 0..100_000 {
        // A new connection now and then; between, damage upon damage, as far as the decoder goes along.
        let blocks = if case % 4 == 0 { blocks(&mut rng) } else { vec![noise(&mut rng)] };
        let mut decoder = Decoder::new();
        for mut block in blocks {
            match rng.below(4) {
                0 => block.truncate(rng.below(block.len() + 1)),
                1 | 2 if !block.is_empty() => {
                    let at = rng.below(block.len());
                    block[at] ^= 1 << rng.below(8);
                }
                _ => {}
            }
            let mut given = 0;
            let outcome = decoder.decode(&block, BOUNDS, |field| given += field.size());
            assert!(given <= BOUNDS.list);
            assert!(decoder.allocated() <= 4 * 4096 + 4096 + 128 * 16, "{}", decoder.allocated());
            match outcome {
                Ok(Outcome::Complete { size }) => assert_eq!(size, given),
                Ok(Outcome::TooLarge { size }) => {
                    cut += 1;
                    assert!(size > BOUNDS.list && size <= BOUNDS.abort);
                }
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
        }
    }
    assert!(refused > 10_000 && cut > 1000, "the damage was real: {refused} refused, {cut} cut");
}

/// Octets that no encoder made, weighted to what changes the table.
fn noise(rng: &mut Rng) -> Vec<u8> {
    let len = rng.below(120);
    let mut block: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
    for octet in &mut block {
        if rng.one_in(5) {
            *octet = *rng.pick(&[0x40, 0x00, 0x10, 0x20, 0x3f, 0x41, 0x7f, 0x81, 0x82, 0xbe, 0xbf, 0xff, 0x01]);
        }
    }
    block
}

#[test]
fn a_large_string_leaves_no_room_behind() {
    let mut decoder = Decoder::new();
    // A literal, its name plain, its value coded: eight times `a`, which is 00011, in five octets.
    let mut block = b"\x00\x07x-large\xff\xfd\xa3\x02".to_vec();
    block.extend([0x18, 0xc6, 0x31, 0x8c, 0x63].repeat(7_500));
    assert_eq!(decode(&mut decoder, &block), Ok(vec![Owned::new(b"x-large", &[b'a'; 60_000])]));
    assert!(decoder.allocated() < 8192, "{}", decoder.allocated());
}
