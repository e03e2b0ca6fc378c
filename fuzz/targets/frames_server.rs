//! Whatever a client sends to our server, in whatever pieces, and whatever the server's owner does meanwhile: `support/frames.rs` has
//! what must hold, and how an input reads.
#![no_main]

#[path = "support/frames.rs"]
mod frames;

use libfuzzer_sys::fuzz_target;
use portunus::h2::Role;

fuzz_target!(|data: &[u8]| frames::run(Role::Server, data));
