//! What is read as an address of an instance is written so that it reads as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portunus::registry::Target;

fuzz_target!(|text: &str| {
    let Some(target) = Target::parse(text) else { return };
    assert_eq!(Target::parse(&target.to_string()).as_ref(), Some(&target), "{text}");
    if let Some(addresses) = target.known_addresses() {
        assert!(!addresses.is_empty() && addresses.iter().all(|address| address.port() != 0));
    }
});
