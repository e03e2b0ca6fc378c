//! What is read as a `grpc-timeout` is written as one, and never as a shorter one.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portunus::wire::{format_timeout, parse_timeout};

/// What is written has nanoseconds of 64 bits, which is 584 years.
const LONGEST: Duration = Duration::from_nanos(u64::MAX);

fuzz_target!(|data: &[u8]| {
    let Some(read) = parse_timeout(data) else { return };
    assert!((2..=9).contains(&data.len()));
    let written = format_timeout(read);
    let again = parse_timeout(written.as_bytes());
    assert!(again.is_some_and(|again| again >= read.min(LONGEST)), "{read:?} was written as {written}");
});
