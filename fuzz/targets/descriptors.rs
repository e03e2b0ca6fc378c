//! Descriptors off the wire: whatever comes, there is an error, or a schema that reads what comes over the wire without harm, and that
//! is the same once it was written down. The first octets say how much of the input is a descriptor set; the rest is a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portunus::schema::{Bounds, Collection};

/// Small enough for every bound to be met now and then.
const BOUNDS: Bounds = Bounds { bytes: 64 << 10, files: 20, elements: 500, memory: 16 << 20, ..Bounds::REMOTE };

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (set, message) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    let mut collection = Collection::new(BOUNDS);
    if collection.add_set(set).is_err() {
        return;
    }
    let Ok(schema) = collection.finish() else { return };
    let services: Vec<String> = schema.services().map(str::to_owned).collect();
    for service in &services {
        for name in schema.methods(service) {
            let Some(method) = schema.method(service, name) else { panic!("{service}/{name} is listed") };
            // Only a message without unknown fields comes back from JSON as it was, so this looks for panics.
            if let Ok(json) = schema.response_to_json(method, message) {
                drop(schema.request_from_json(method, &json));
            }
        }
    }
    let mut again = Collection::new(Bounds::LOCAL);
    again.add_set(&schema.to_set()).unwrap_or_else(|error| panic!("what was written cannot be read: {error}"));
    let again = again.finish().unwrap_or_else(|error| panic!("what was written does not link: {error}"));
    assert_eq!(again.digest(), schema.digest());
});
