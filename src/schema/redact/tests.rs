//! Redactions by their JSON, before and after, and by their octets where JSON does not show what happens.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Redaction;
use crate::schema::tests::compile;
use crate::schema::{Meter, Schema, Unreadable, Writer};

const BODY: &str = r#"
message R {
  string name = 1; bytes raw = 2; int32 n = 3; sint64 z = 4; fixed32 f = 5; double d = 6; bool b = 7; E e = 8;
  In in = 9; repeated In items = 10; map<string, string> labels = 11; map<string, In> named = 12;
  repeated int32 packed = 13; repeated fixed64 wide = 14; repeated string texts = 15;
  oneof one { string left = 16; In right = 17; }
}
message In { string secret = 1; string open = 2; In deeper = 3; }
enum E { ZERO = 0; ONE = 1; }
"#;

fn schema() -> Schema {
    compile::with(BODY)
}

fn redaction(schema: &Schema, paths: &[&str]) -> Redaction {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    Redaction::compile(schema.message_type("a.R").unwrap(), &paths, "***").unwrap()
}

fn redacted(schema: &Schema, paths: &[&str], json: &str) -> String {
    let method = schema.method("a.S", "M").unwrap();
    let wire = schema.request_from_json(method, json).unwrap();
    let hidden = redaction(schema, paths).apply(&wire, &mut Meter::new(100_000)).unwrap();
    schema.response_to_json(method, &hidden.unwrap_or(wire)).unwrap()
}

#[test]
fn what_is_named_is_hidden_and_nothing_else() {
    let schema = schema();
    let table: [(&[&str], &str, &str); 16] = [
        (&["name"], r#"{"name":"ann","n":1}"#, r#"{"name":"***","n":1}"#),
        (&["raw"], r#"{"raw":"AQID","n":1}"#, r#"{"n":1}"#),
        (&["n", "z", "f", "d", "b", "e"], r#"{"n":-1,"z":"-7","f":3,"d":1.5,"b":true,"e":"ONE"}"#, "{}"),
        (&["in"], r#"{"in":{"secret":"s","open":"o"}}"#, r#"{"in":{}}"#),
        (&["in.secret"], r#"{"in":{"secret":"s","open":"o"}}"#, r#"{"in":{"secret":"***","open":"o"}}"#),
        (
            &["in.deeper.secret"],
            r#"{"in":{"deeper":{"secret":"s"},"secret":"t"}}"#,
            r#"{"in":{"secret":"t","deeper":{"secret":"***"}}}"#,
        ),
        (
            &["items.secret"],
            r#"{"items":[{"secret":"a"},{},{"secret":"b","open":"c"}]}"#,
            r#"{"items":[{"secret":"***"},{},{"secret":"***","open":"c"}]}"#,
        ),
        (&["items"], r#"{"items":[{"secret":"a"},{}]}"#, r#"{"items":[{},{}]}"#),
        (&["labels"], r#"{"labels":{"a":"b"},"n":2}"#, r#"{"n":2}"#),
        (&["labels.*"], r#"{"labels":{"a":"b"}}"#, r#"{"labels":{"a":"***"}}"#),
        (
            &["named.*.secret"],
            r#"{"named":{"k":{"secret":"s","open":"o"}}}"#,
            r#"{"named":{"k":{"secret":"***","open":"o"}}}"#,
        ),
        (&["packed"], r#"{"packed":[1,300,-1]}"#, r#"{"packed":[0,0,0]}"#),
        (&["wide"], r#"{"wide":["1","2"]}"#, r#"{"wide":["0","0"]}"#),
        (&["texts"], r#"{"texts":["a","bb"]}"#, r#"{"texts":["***","***"]}"#),
        (&["left"], r#"{"left":"l"}"#, r#"{"left":"***"}"#),
        (&["in.secret", "in", "in.open"], r#"{"in":{"secret":"s","open":"o"}}"#, r#"{"in":{}}"#),
    ];
    for (paths, before, after) in table {
        assert_eq!(redacted(&schema, paths, before), after, "{paths:?} of {before}");
    }
}

#[test]
fn paths_that_lead_nowhere_are_refused() {
    let schema = compile::with(&format!(
        "import \"google/protobuf/any.proto\";\nimport \"google/protobuf/struct.proto\";\n{}",
        BODY.replace("message In {", "message In { google.protobuf.Any any = 4; google.protobuf.Struct json = 5;")
    ));
    let refused =
        |path: &str| Redaction::compile(schema.message_type("a.R").unwrap(), &[path.to_owned()], "***").unwrap_err();
    for (path, why) in [
        ("nam", "`nam`: a.R has no field `nam`; did you mean `name`?"),
        ("in.secrets", "`in.secrets`: a.In has no field `secrets`; did you mean `secret`?"),
        ("name.x", "`name.x`: `name` has no fields"),
        ("labels.x", "`labels.x`: `labels` is a map: write `labels.*` for its values"),
        ("in.*", "`in.*`: `in` is no map: `*` stands for the values of one"),
        ("labels.*.x", "`labels.*.x`: `labels` has no fields"),
        ("in.any.value", "`in.any.value`: what is in `any` is not known before (google.protobuf.Any): hide all of it"),
        (
            "in.json.fields",
            "`in.json.fields`: what is in `json` is not known before (google.protobuf.Struct): hide all of it",
        ),
    ] {
        assert_eq!(refused(path), why);
    }
}

/// Decoders take the last, or merge: what they drop must not get out either.
#[test]
fn every_occurrence_is_hidden() {
    let schema = schema();
    let mut wire = Writer::default();
    let part = |secret: &str| {
        let mut part = Writer::default();
        part.octets(1, secret.as_bytes());
        part.finish()
    };
    wire.octets(1, b"first");
    wire.octets(99, b"unknown");
    wire.varint(1, 7);
    wire.octets(9, &part("one"));
    wire.octets(16, b"left of a oneof");
    wire.octets(17, &part("right"));
    wire.octets(9, &part("two"));
    wire.octets(1, b"last");
    let body = wire.finish();
    let hidden =
        redaction(&schema, &["name", "in.secret", "left"]).apply(&body, &mut Meter::new(1_000)).unwrap().unwrap();
    let mut wanted = Writer::default();
    wanted.octets(1, b"***");
    wanted.octets(99, b"unknown");
    wanted.octets(9, &part("***"));
    wanted.octets(16, b"***");
    wanted.octets(17, &part("right"));
    wanted.octets(9, &part("***"));
    wanted.octets(1, b"***");
    assert_eq!(hidden, wanted.finish());
}

#[test]
fn what_is_malformed_or_takes_too_much_is_refused() {
    let schema = schema();
    let redaction = redaction(&schema, &["in.secret"]);
    let apply = |body: &[u8], steps| redaction.apply(body, &mut Meter::new(steps));
    assert!(matches!(apply(&[0x4a, 5, 1], 100), Err(Unreadable::Malformed(_))));
    assert!(matches!(apply(&[0x4a, 2, 0x0a, 5], 100), Err(Unreadable::Malformed(_))), "within");
    let mut group = Writer::default();
    group.group(9, &[0x0a, 1, b's']);
    assert!(matches!(apply(&group.finish(), 100), Err(Unreadable::Malformed(_))), "written the other way");
    let many: Vec<u8> = [0x18, 1].repeat(100_000);
    assert_eq!(apply(&many, 100), Err(Unreadable::Spent));
    assert_eq!(apply(&[], 100), Ok(None));
}

/// A message in which nothing has to be hidden goes on as it is, and so does one in which all is hidden already: unknown fields, odd
/// orders and odd encodings survive.
#[test]
fn ten_thousand_messages_survive_to_the_octet() {
    let schema = schema();
    let all =
        redaction(&schema, &["name", "in.secret", "items.secret", "labels.*", "named.*.secret", "packed", "left"]);
    let mut random = SmallRng::seed_from_u64(7);
    for _ in 0..10_000 {
        let body = message(&mut random, 0);
        let mut meter = Meter::new(1_000_000);
        let hidden = all.apply(&body, &mut meter).unwrap().unwrap_or_else(|| body.clone());
        assert_eq!(all.apply(&hidden, &mut meter).unwrap(), None, "twice is once");
        assert_eq!(
            redaction(&schema, &["d"]).apply(&body, &mut meter).unwrap(),
            None,
            "nothing is named that is there"
        );
        assert!(!hidden.windows(6).any(|octets| octets == b"SECRET"), "{hidden:?}");
        let rest = |body: &[u8]| body.windows(4).filter(|octets| *octets == b"open").count();
        assert_eq!(rest(&hidden), rest(&body));
    }
}

/// Octets of an `a.R`, or of an `a.In` below it: secrets say SECRET, what must stay says open.
fn message(random: &mut SmallRng, depth: usize) -> Vec<u8> {
    let mut wire = Writer::default();
    for _ in 0..random.random_range(0..8) {
        match random.random_range(0..10) {
            0 => wire.octets(1, b"SECRET"),
            1 if depth == 0 => wire.octets(9, &message(random, 1)),
            2 if depth == 0 => wire.octets(10, &message(random, 1)),
            3 if depth == 0 => {
                let mut entry = Writer::default();
                entry.octets(2, b"SECRET");
                entry.octets(1, b"open");
                wire.octets(11, &entry.finish());
            }
            4 if depth == 0 => {
                let mut entry = Writer::default();
                entry.octets(1, b"open");
                entry.octets(2, &message(random, 1));
                wire.octets(12, &entry.finish());
            }
            5 if depth == 0 => wire.octets(13, &[1, 0xac, 2, 0]),
            6 if depth == 0 => wire.octets(16, b"SECRET"),
            7 => wire.octets(2, b"open"),
            8 => wire.group(1_000, &[0x08, 1]),
            _ => wire.fixed64(500 + random.random_range(0..3), random.random()),
        }
    }
    wire.finish()
}
