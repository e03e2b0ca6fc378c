//! Whatever a server sends to our client, in whatever pieces, and whatever the client's owner does meanwhile: `support/frames.rs` has
//! what must hold, and how an input reads.
#![no_main]

#[path = "support/frames.rs"]
mod frames;

use libfuzzer_sys::fuzz_target;
use portunus::h2::Role;

fuzz_target!(|data: &[u8]| frames::run(Role::Client, data));
