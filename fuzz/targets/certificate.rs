//! A certificate, as a peer may show it: who it names is said in words that can be read in one way, whatever is in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portunus_tls::{Identity, is_spiffe_id};

fuzz_target!(|data: &[u8]| {
    let Ok(identity) = Identity::of(data) else { return };
    assert!(identity.spiffe.as_deref().is_none_or(is_spiffe_id));
    assert!(identity.fingerprint.len() == 64 && identity.fingerprint.bytes().all(|c| c.is_ascii_hexdigit()));
    for name in &identity.dns {
        assert!(name.len() <= 253 && name.bytes().all(|c| !c.is_ascii_uppercase() && c.is_ascii_graphic()), "{name}");
    }
    for name in [&identity.subject, &identity.issuer] {
        assert!(!name.chars().any(char::is_control), "{name:?}");
    }
    // The same again: nothing but the octets decides.
    assert_eq!(Identity::of(data).as_ref(), Ok(&identity));
});
