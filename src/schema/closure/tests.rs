use crate::schema::from_octets;
use crate::schema::tests::compile::{schema_of, set_of, with};

const BASE: &str = "message R { T t = 1; E e = 2; oneof o { string x = 3; string y = 4; } map<string, T> m = 5; }
    message T { int32 n = 1; repeated int32 many = 2; R back = 3; }
    enum E { E_ZERO = 0; E_ONE = 1; }
    message Else { string s = 1; }";

fn digest(body: &str, message: &str) -> String {
    with(body).closure_digest(message).unwrap().to_string()
}

#[test]
fn every_change_of_what_is_reachable_changes_it() {
    let base = digest(BASE, "a.R");
    assert_eq!(base, digest(BASE, "a.R"));
    assert_eq!(base.len(), 64);
    for (from, to) in [
        ("T t = 1", "T t = 11"),
        ("T t = 1", "T tt = 1"),
        ("T t = 1", "T t = 1 [json_name = \"other\"]"),
        ("T t = 1", "repeated T t = 1"),
        ("string x = 3; string y = 4; }", "string x = 3; } string y = 4;"),
        ("oneof o", "oneof p"),
        ("map<string, T>", "map<int32, T>"),
        ("int32 n = 1", "optional int32 n = 1"),
        ("int32 n = 1", "int64 n = 1"),
        ("repeated int32 many = 2", "repeated int32 many = 2 [packed = false]"),
        ("E_ONE = 1", "E_ONE = 2"),
        ("E_ONE = 1", "E_UNO = 1"),
        ("E_ONE = 1", "E_ONE = 1; E_TWO = 2"),
        ("R back = 3", "R back = 3; string more = 9"),
    ] {
        assert!(BASE.contains(from), "{from}");
        assert_ne!(base, digest(&BASE.replacen(from, to, 1), "a.R"), "{from} → {to}");
    }
}

#[test]
fn a_change_elsewhere_in_the_files_is_none() {
    let base = digest(BASE, "a.R");
    for (from, to) in [
        ("string s = 1", "bytes s = 2"),
        ("enum E {", "// What an E is.\n enum E {"),
        ("message Else", "message More { R r = 1; }\n message Else"),
        ("int32 n = 1", "int32 n = 1 [deprecated = true]"),
        ("repeated int32 many = 2", "repeated int32 many = 2 [packed = true]"),
    ] {
        assert_eq!(base, digest(&BASE.replacen(from, to, 1), "a.R"), "{from} → {to}");
    }
    // Nor is where it stands.
    let text = BASE.replace("message Else", "message Moved");
    let (first, second) = text.split_once("enum E").unwrap();
    let head = "syntax = \"proto3\"; package a;";
    let files = [
        ("x/e.proto", format!("{head} enum E{}", second.split_once("message").unwrap().0)),
        ("x/r.proto", format!("{head} import \"x/e.proto\"; service S {{ rpc M(R) returns (R); }} {first}")),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let moved = from_octets(&set_of(&files)).unwrap();
    assert_eq!(base, moved.closure_digest("a.R").unwrap().to_string());
}

#[test]
fn types_that_need_each_other_are_told_apart_and_share_what_they_are() {
    let schema = with(BASE);
    assert_ne!(schema.closure_digest("a.R"), schema.closure_digest("a.T"));
    assert_eq!(schema.closure_digest("a.Nobody"), None);
    // T needs R, so what changes R changes T.
    assert_ne!(digest(BASE, "a.T"), digest(&BASE.replace("E_ONE = 1", "E_ONE = 5"), "a.T"));
    // Two of one shape and different names, that are swapped.
    let pair = "message R { A a = 1; B b = 2; } message A { B b = 1; } message B { A a = 1; }";
    let swapped = "message R { B a = 1; A b = 2; } message A { B b = 1; } message B { A a = 1; }";
    assert_ne!(digest(pair, "a.R"), digest(swapped, "a.R"));
    assert_eq!(digest(pair, "a.A"), digest(swapped, "a.A"));
}

#[test]
fn rules_that_options_carry_and_extensions_are_part_of_it() {
    let text = |rule: &str, extension: &str| {
        format!(
            "syntax = \"proto2\"; package a; import \"google/protobuf/descriptor.proto\";
            extend google.protobuf.FieldOptions {{ optional string rule = 50001; }}
            service S {{ rpc M(R) returns (R); }}
            message R {{ optional string x = 1 [(rule) = \"{rule}\"]; extensions 100 to 200; }}
            {extension}"
        )
    };
    let digest = |rule: &str, extension: &str| schema_of(&text(rule, extension)).closure_digest("a.R").unwrap();
    assert_eq!(digest("one", ""), digest("one", ""));
    assert_ne!(digest("one", ""), digest("two", ""));
    assert_ne!(digest("one", ""), digest("one", "extend R { optional int32 more = 100; }"));
}

#[test]
fn a_long_chain_takes_no_stack_and_a_wide_one_no_time() {
    let mut body = "message R { T0 t = 1; }\n".to_owned();
    for n in 0..20_000 {
        body += &format!("message T{n} {{ T{} next = 1; T{} skip = 2; }}\n", (n + 1) % 20_000, n / 2);
    }
    let begun = tokio::time::Instant::now();
    let schema = with(&body);
    let linked = begun.elapsed();
    assert!(schema.closure_digest("a.R").is_some());
    assert!(
        begun.elapsed() < linked * 3 + std::time::Duration::from_secs(1),
        "hashing takes {:?}, linking {linked:?}",
        begun.elapsed() - linked
    );
}
