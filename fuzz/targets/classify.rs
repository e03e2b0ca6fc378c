//! What passes as a call has one reading: POST, one content type, a path of two names and nothing else.
//!
//! The input is lines: path, authority, then `name: value`.
#![no_main]

use fields::{Method, RequestHead, is_name, is_value};
use libfuzzer_sys::fuzz_target;
use portunus::wire::{authority_host, classify, method_of, strip_identity};

fuzz_target!(|data: &str| {
    let mut lines = data.split('\n');
    let path = lines.next().unwrap_or_default();
    let authority = lines.next().unwrap_or_default();
    let mut head = RequestHead::new(Method::Post, path, authority, (8, 256));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        // HTTP/2 lets no other fields through.
        if is_name(name) && is_value(value.as_bytes()) {
            head.fields.push(name, value.as_bytes());
        }
    }
    assert!(authority_host(authority).len() <= authority.len());
    if let (Ok(_), Ok((service, method))) = (classify(&head), method_of(&head)) {
        assert_eq!(path, format!("/{service}/{method}"));
        assert!(!service.contains(['/', '?', '%']) && !method.contains(['/', '?', '%']));
        assert_eq!(head.fields.get_all("content-type").count(), 1);
    }
    strip_identity(&mut head.fields, &["x-user-id".to_owned()], false);
    assert!(
        head.fields.iter().all(|(name, _)| !name.starts_with("x-forwarded-") && !name.starts_with("x-user-id-bin"))
    );
});
