//! Messages through a redaction: whatever comes, it ends without harm. Where it does not refuse the message, no occurrence of what is
//! named has anything but the mask afterwards, all else is what it was to the octet, and a decoder that could read it still can.
//!
//! The input is an octet for the type and the paths, and a message.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portunus::schema::{Meter, Redaction, Schema, from_protos};

#[path = "../../tests/expr/hidden.rs"]
mod hidden;
#[path = "../../tests/expr/oracle.rs"]
mod oracle;

/// Types, and what is hidden of them. The seeds name them by their places.
const HIDDEN: [(&str, &[&str]); 8] = [
    ("kinds.Plain", &["text", "inner.text", "inners.octets", "labels.*", "by_number.*.text", "word"]),
    ("kinds.Plain", &["truth", "i32", "s64", "f32", "sf64", "single", "wide", "colour", "inner.inner"]),
    ("kinds.Plain", &["truths", "i32s", "s64s", "f32s", "wides", "texts", "blobs", "colours", "inners"]),
    (
        "kinds.Plain",
        &["labels", "by_number.*.by_number.*.i32s", "by_truth.*", "by_large.*", "by_fixed.*", "part.part.raw"],
    ),
    (
        "kinds.Known",
        &["text.value", "at", "object", "json", "any", "i64s.value", "jsons.*", "times.*.nanos", "plain.text"],
    ),
    ("old.Old", &["text", "shade", "shades", "inside.a", "inside.many.b", "by_name.*", "onegroup", "inner.must"]),
    ("old.Old", &["inside.many", "packed_shades", "one_shade", "inside.deeper.inside", "inner.inner.text"]),
    ("old.Old", &["must", "number", "octets", "wide", "single", "large", "inside"]),
];
const MASK: &str = "***";

struct Case {
    name: &'static str,
    redaction: Redaction,
    named: hidden::Named,
}

static ALL: LazyLock<(Schema, oracle::Oracle, Vec<Case>)> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/expr");
    let schema = from_protos(&[root.join("kinds.proto"), root.join("old.proto")], &[root]);
    let schema = schema.unwrap_or_else(|error| panic!("the files of the tests: {error}"));
    let oracle = oracle::Oracle::of(&schema);
    let case = |(name, paths): (&'static str, &[&str])| {
        let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
        let kind = schema.message_type(name).unwrap_or_else(|| panic!("{name} is in the schema"));
        let redaction = Redaction::compile(kind, &paths, MASK).unwrap_or_else(|why| panic!("{name}: {why}"));
        Case { name, redaction, named: hidden::Named::by(&paths) }
    };
    let cases = HIDDEN.into_iter().map(case).collect();
    (schema, oracle, cases)
});

fuzz_target!(|data: &[u8]| {
    let Some((which, before)) = data.split_first() else { return };
    let (schema, oracle, cases) = &*ALL;
    let Case { name, redaction, named } = &cases[usize::from(*which) % cases.len()];
    let Ok(hidden) = redaction.apply(before, &mut Meter::new(100_000)) else { return };
    let after = hidden.as_deref().unwrap_or(before);
    assert!(hidden.is_none() || after != before, "what is as it was is not made anew");
    let Some(kind) = schema.message_type(name) else { panic!("{name} is in the schema") };
    named.judge(kind, MASK, before, after);
    assert_eq!(redaction.apply(after, &mut Meter::new(100_000)), Ok(None), "twice is once");
    assert!(
        oracle.decode(name, before).is_none() || oracle.decode(name, after).is_some(),
        "nobody can read it any more"
    );
});
