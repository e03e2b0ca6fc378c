//! Our HTTP/2 engine from outside: against itself, against a table of RFC 9113's rules, against the `h2` crate, and against hostile
//! peers. Random tests have fixed seeds; `PORTUNUS_ROUNDS=n` makes them `n` times as long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The one place that says where the engine is.
use portunus::h2 as engine;

mod answered;
mod attacks;
mod audit;
mod bounds;
mod calls;
mod chain;
mod differential;
mod found;
mod generate;
mod link;
mod model;
mod oracle;
mod pace;
mod proxy;
mod rules;
mod rules_heads;
mod rules_states;
mod script;
mod splits;
mod wire;

/// How many times a random test is repeated, with other seeds each time.
fn rounds(usually: u64) -> u64 {
    std::env::var("PORTUNUS_ROUNDS")
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .map_or(usually, |times| usually * times)
}
