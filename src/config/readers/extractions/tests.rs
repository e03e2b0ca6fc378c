use std::sync::Arc;

use filter_api::{Extract as _, Extracted, Message, Unread};
use serde_json::{Value, json};

use super::{Calls, Extractions, Hiding};
use crate::config::policies::Policy as _;
use crate::schema::tests::compile;
use crate::schema::{Definition, Definitions, InForce, Life};

const BODY: &str = r#"
message R {
  string name = 1; bytes raw = 2; int64 n = 3; double d = 4; bool b = 5; E e = 6;
  In in = 7; repeated In items = 8; map<string, string> labels = 9; map<int32, In> numbered = 10; repeated int32 packed = 11;
}
message In { string secret = 1; string open = 2; In deeper = 3; }
enum E { ZERO = 0; ONE = 1; }
"#;

fn definitions() -> Definitions {
    Definitions::of(Arc::new(compile::with(BODY)))
}

fn extraction(definition: &Definition, paths: &[&str], hiding: Hiding) -> Result<Extractions, String> {
    let made = Extractions::new(paths.iter().map(|path| (*path).to_owned()).collect(), 100_000, Arc::new(hiding));
    made.bind("a.S", "M", definition).map(|()| made)
}

fn read(made: &Extractions, lives: &[&Arc<Life>], body: &[u8]) -> Result<Extracted, Unread> {
    let in_force = InForce(lives.iter().map(|life| Arc::clone(life)).collect());
    let message =
        Message { number: 1, size: 0, compressed: false, body: Some(body), types: Some(&in_force), request: None };
    made.request(&message)
}

fn read_json(paths: &[&str], message: &str) -> Value {
    let definitions = definitions();
    let definition = definitions.get("a.S", "M").unwrap();
    let wire = definition.schema.request_from_json(definition.method, message).unwrap();
    let made = extraction(definition, paths, Hiding::default()).unwrap();
    Value::Object(read(&made, &[&definition.life], &wire).unwrap().fields)
}

#[test]
fn what_is_named_is_read_and_nothing_else() {
    let message = r#"{"name": "ann", "raw": "AQID", "n": "-9007199254740993", "d": 1.5, "b": true, "e": "ONE", "in": {"open": "o",
        "deeper": {"secret": "s"}}, "items": [{"open": "a"}, {}, {"open": "b"}], "labels": {"k": "v", "l": "w"},
        "numbered": {"7": {"open": "x"}}, "packed": [1, 2]}"#;
    let table: [(&[&str], Value); 9] = [
        (&["name"], json!({"name": "ann"})),
        (
            &["raw", "n", "d", "b", "e"],
            json!({"raw": "AQID", "n": -9_007_199_254_740_993_i64, "d": 1.5, "b": true, "e": 1}),
        ),
        (&["in.open", "in.deeper.secret"], json!({"in.open": "o", "in.deeper.secret": "s"})),
        (&["in.secret"], json!({})),
        (&["items.open"], json!({"items.open": ["a", "b"]})),
        (&["labels.*"], json!({"labels.*": {"k": "v", "l": "w"}})),
        (&["numbered.*.open"], json!({"numbered.*.open": {"7": "x"}})),
        (&["packed"], json!({"packed": [1, 2]})),
        // A field of another method's message, on a listener.
        (&["tenant", "name"], json!({"name": "ann"})),
    ];
    for (paths, wanted) in table {
        assert_eq!(read_json(paths, message), wanted, "{paths:?}");
    }
}

#[test]
fn what_cannot_be_a_value_is_a_mistake() {
    let definitions = definitions();
    let definition = definitions.get("a.S", "M").unwrap();
    for (path, why) in [
        ("in", "`in`: `in` is a message (a.In): name a field in it"),
        ("name.x", "`name.x`: `name` has no fields"),
        ("labels", "`labels`: `labels` is a map: write `labels.*` for its values"),
        ("in.*", "`in.*`: `in` is no map: `*` stands for the values of one"),
        ("numbered.*", "`numbered.*`: `numbered` is a message (a.In): name a field in it"),
    ] {
        assert_eq!(extraction(definition, &[path], Hiding::default()).unwrap_err(), why);
    }
}

#[test]
fn what_a_redaction_hides_is_left_out() {
    let definitions = definitions();
    let definition = definitions.get("a.S", "M").unwrap();
    let wire = definition
        .schema
        .request_from_json(
            definition.method,
            r#"{"name": "n", "labels": {"k": "v"}, "in": {"secret": "s", "open": "o"}}"#,
        )
        .unwrap();
    let others = Calls { service: None, method: Some("Other".into()) };
    let table: [(&[&str], &[&str], Value); 5] = [
        (&["name"], &["name"], json!({"in.secret": "s", "in.open": "o", "labels.*": {"k": "v"}})),
        (&["in"], &["in.secret", "in.open"], json!({"name": "n", "labels.*": {"k": "v"}})),
        (&["in.secret"], &["in.secret"], json!({"name": "n", "in.open": "o", "labels.*": {"k": "v"}})),
        (&["labels"], &["labels.*"], json!({"name": "n", "in.secret": "s", "in.open": "o"})),
        (&["nam", "in.sec"], &[], json!({"name": "n", "in.secret": "s", "in.open": "o", "labels.*": {"k": "v"}})),
    ];
    for (hidden, told, wanted) in table {
        let hiding = Hiding::default();
        hiding.add(&Calls::default(), &hidden.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        hiding.add(&others, &["name".to_owned(), "in".to_owned(), "labels".to_owned()]);
        let made = extraction(definition, &["name", "in.secret", "in.open", "labels.*"], hiding).unwrap();
        let found = read(&made, &[&definition.life], &wire).unwrap();
        assert_eq!(Value::Object(found.fields), wanted, "{hidden:?}");
        assert_eq!(found.hidden.iter().map(|path| &**path).collect::<Vec<_>>(), told);
    }
}

#[test]
fn what_is_long_is_cut() {
    let long = format!(r#"{{"name": "{}", "packed": [{}]}}"#, "ä".repeat(600), vec!["5"; 70].join(","));
    let found = read_json(&["name", "packed"], &long);
    assert_eq!(found["name"], json!("ä".repeat(512) + "…"));
    let packed = found["packed"].as_array().unwrap();
    assert_eq!((packed.len(), &packed[63], &packed[64]), (65, &json!(5), &json!("…")));
    let items = vec![format!(r#"{{"open": "{}"}}"#, "x".repeat(1_000)); 60].join(",");
    let found = read_json(&["items.open"], &format!(r#"{{"items": [{items}]}}"#));
    assert!(found.to_string().len() < 10_000, "{}", found.to_string().len());
}

#[test]
fn what_is_not_known_or_torn_is_told() {
    let definitions = definitions();
    let definition = definitions.get("a.S", "M").unwrap();
    let made = extraction(definition, &["name"], Hiding::default()).unwrap();
    assert_eq!(read(&made, &[], b""), Err(Unread::NoSchema));
    let other = Definitions::of(Arc::new(compile::with("message R { string name = 2; }")));
    assert_eq!(read(&made, &[&other.get("a.S", "M").unwrap().life], b""), Err(Unread::NoSchema));
    let typo = extraction(definition, &["nam", "in.opem"], Hiding::default()).unwrap();
    assert_eq!(read(&typo, &[&definition.life], b"").unwrap().unknown, ["nam".into(), "in.opem".into()]);
    assert!(matches!(read(&made, &[&definition.life], &[10, 9]), Err(Unread::Malformed(_))));
}

/// Two instances mean different things by the name: nobody can tell which one the call is on.
#[test]
fn definitions_that_disagree_about_a_message_tell_nothing() {
    let (one, two) = (definitions(), Definitions::of(Arc::new(compile::with(&BODY.replace("name = 1", "name = 12")))));
    let (one, two) = (one.get("a.S", "M").unwrap(), two.get("a.S", "M").unwrap());
    let made = extraction(one, &["name"], Hiding::default()).unwrap();
    made.bind("a.S", "M", two).unwrap();
    let wire = one.schema.request_from_json(one.method, r#"{"name": "n"}"#).unwrap();
    assert_eq!(read(&made, &[&one.life, &two.life], &wire), Err(Unread::NoSchema));
    assert_eq!(read(&made, &[&one.life, &two.life], &[]).unwrap(), Extracted::default());
    assert!(made.conflicts(two, one).unwrap().contains("number 12"));
}
