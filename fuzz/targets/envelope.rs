//! However a stream of bytes is cut, the scanner finds the same messages, and the same errors.
//!
//! All targets: `cargo build` here compiles them on stable Rust. Over files: `target/debug/envelope FILE…`, as `.ci/run` does with
//! the seeds. To search, with cargo-fuzz, on stable too (what is new goes into the first folder): `mkdir -p fuzz/corpus/envelope &&
//! cargo fuzz run -s none envelope fuzz/corpus/envelope fuzz/seeds/envelope -- -max_total_time=600`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portunus::wire::{FramingError, Prefix, Scanner};

type Found = (Vec<(u64, Prefix)>, Result<bool, FramingError>);

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = scan(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(whole, scan(&pieces));
    let numbers = whole.0.iter().map(|(number, _)| *number);
    assert!(numbers.eq(1..=whole.0.len() as u64));
});

fn scan(pieces: &[&[u8]]) -> Found {
    let mut scanner = Scanner::default();
    let mut messages = Vec::new();
    for piece in pieces {
        let scanned = scanner.scan(piece, |number, prefix| {
            messages.push((number, prefix));
            Ok(())
        });
        if let Err(error) = scanned {
            return (messages, Err(error));
        }
    }
    (messages, Ok(scanner.is_between_messages()))
}
