//! Messages off the wire: whatever comes, reading its fields one by one ends without harm, and where a decoder can make a message of
//! it, each field that can be read is what the decoder says that it is.
//!
//! The input is an octet for the type, and a message.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portunus::schema::{Meter, Octets, Schema, Shape, View, from_protos};

#[path = "../../tests/expr/oracle.rs"]
mod oracle;

static BOTH: LazyLock<(Schema, oracle::Oracle)> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/expr");
    let schema = from_protos(&[root.join("kinds.proto"), root.join("old.proto")], &[root]);
    let schema = schema.unwrap_or_else(|error| panic!("the files of the tests: {error}"));
    let oracle = oracle::Oracle::of(&schema);
    (schema, oracle)
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, wire)) = data.split_first() else { return };
    let (schema, oracle) = &*BOTH;
    let name = ["kinds.Plain", "kinds.Known", "old.Old"][usize::from(*kind % 3)];
    if let Some(decoded) = oracle.decode(name, wire) {
        oracle.compare(schema, name, wire, &decoded);
        return;
    }
    let Some(kind) = schema.message_type(name) else { panic!("{name} is in the schema") };
    let (view, mut meter) = (View::new(kind, Octets::Lent(wire)), Meter::new(100_000));
    for field in kind.fields() {
        drop(match field.shape() {
            Shape::Single => view.one(field, &mut meter).map(drop),
            _ => view.all(field, &mut meter, |_, _| Ok(())),
        });
    }
    drop(view.unknown(&mut meter));
});
