//! Expressions and the wire view from outside: a table of what is evaluated and of what is refused in which words, random messages read
//! by field walk and by decoding, and bounds of time and stack. Random tests have fixed seeds; `PORTUNUS_ROUNDS=n` makes them `n`
//! times as long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bounds;
mod fit;
mod generate;
mod hidden;
mod oracle;
mod recipes;
mod redacted;
mod refused;
mod same;
mod stack;
mod support;
mod table;

/// How many times a random test is repeated, with other seeds each time.
fn rounds(usually: u64) -> u64 {
    std::env::var("PORTUNUS_ROUNDS")
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .map_or(usually, |times| usually * times)
}
