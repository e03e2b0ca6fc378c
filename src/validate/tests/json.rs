//! JSON Schema, and texts of a message.

use std::sync::Arc;

use super::super::{JsonCheck, MOST_JSON, MOST_VIOLATIONS, Texts};
use super::{Built, STEPS};
use crate::schema::{Meter, from_octets};

const TOOL: &str = r##"{
  "type": "object",
  "required": ["query"],
  "additionalProperties": false,
  "properties": {
    "query": {"type": "string", "minLength": 1, "pattern": "^[a-z ]+$"},
    "limit": {"type": "integer", "maximum": 10},
    "mail": {"type": "string", "format": "email"},
    "next": {"$ref": "#"}
  }
}"##;

fn told(schema: &str, text: &str) -> Vec<String> {
    let misfits = JsonCheck::compile(schema).unwrap().check(text);
    misfits.iter().map(|misfit| format!("{}: {} [{}]", misfit.pointer, misfit.message, misfit.rule)).collect()
}

#[test]
fn what_fits_and_what_does_not() {
    let rows: &[(&str, &[&str])] = &[
        (r#"{"query": "a b", "limit": 10, "mail": "a@b.de", "next": {"query": "c"}}"#, &[]),
        ("{}", &[": \"query\" is a required property [json_schema.required]"]),
        (
            r#"{"query": ""}"#,
            &[
                "/query: value does not match \"^[a-z ]+$\" [json_schema.pattern]",
                "/query: value is shorter than 1 character [json_schema.minLength]",
            ],
        ),
        (r#"{"query": "a", "limit": 11}"#, &["/limit: value is greater than the maximum of 10 [json_schema.maximum]"]),
        (r#"{"query": "a", "mail": "x"}"#, &["/mail: value is not a \"email\" [json_schema.format]"]),
        (
            r#"{"query": "a", "next": {"query": 5}}"#,
            &["/next/query: value is not of type \"string\" [json_schema.type]"],
        ),
        ("[]", &[": value is not of type \"object\" [json_schema.type]"]),
        ("", &[": it is no JSON: EOF while parsing a value at line 1 column 0 [json_schema]"]),
        ("{} x", &[": it is no JSON: trailing characters at line 1 column 4 [json_schema]"]),
        (
            r#"{"query": "a", "query": ""}"#,
            &[": it is no JSON: the name `query` is there twice at line 1 column 27 [json_schema]"],
        ),
    ];
    for (text, wanted) in rows {
        let mut told = told(TOOL, text);
        told.sort();
        assert_eq!(told, *wanted, "{text}");
    }
    let extra = told(TOOL, r#"{"query": "a", "secret": 1}"#);
    assert!(extra.len() == 1 && extra[0].ends_with("[json_schema.additionalProperties]"), "{extra:?}");
}

#[test]
fn texts_have_a_bound_in_size_depth_and_what_is_told() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(told("{}", &deep(64)), [""; 0]);
    let [refused] = &told("{}", &deep(65))[..] else { panic!("one misfit") };
    assert!(refused.contains("nested deeper than 64 levels"), "{refused}");
    // As deep as the stack of a worker bears, if nothing bounded it.
    assert_eq!(told("{}", &deep(100_000)).len(), 1);
    let long = format!("\"{}\"", "a".repeat(MOST_JSON));
    assert!(told("{}", &long)[0].contains("is the most for JSON"), "{:?}", told("{}", &long));
    let many = format!("[{}1]", "1,".repeat(10_000));
    assert_eq!(told(r#"{"items": {"type": "string"}}"#, &many).len(), MOST_VIOLATIONS);
}

#[test]
fn schemas_that_cannot_be_used_are_errors() {
    let rows = [
        ("", "it is no JSON: "),
        ("[]", "a JSON Schema is an object"),
        (r#"{"type": "strng"}"#, "at /type: "),
        (r#"{"$ref": "https://example.com/x.json"}"#, ""),
        (r#"{"$ref": "file:///etc/passwd"}"#, ""),
        (r#"{"$ref": "other.json"}"#, ""),
        (r##"{"$ref": "#/$defs/nope"}"##, ""),
        (r#"{"pattern": "(?=a)b"}"#, ""),
        (r#"{"pattern": "(a)\\1"}"#, ""),
        (r#"{"format": "nope"}"#, ""),
        (r#"{"type": "object", "type": "string"}"#, "it is no JSON: the name `type` is there twice"),
    ];
    for (schema, why) in rows {
        let refused = JsonCheck::compile(schema).unwrap_err();
        assert!(refused.starts_with(why), "{schema}: {refused}");
    }
}

#[test]
fn a_schema_that_only_refers_to_itself_ends() {
    // Whether it is refused or takes everything: it must end.
    if let Ok(check) = JsonCheck::compile(r##"{"$ref": "#"}"##) {
        assert!(check.check("{}").len() <= MOST_VIOLATIONS);
    }
    let mutual = r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##;
    if let Ok(check) = JsonCheck::compile(mutual) {
        assert!(check.check("{}").len() <= MOST_VIOLATIONS);
    }
}

#[test]
fn a_pattern_takes_time_by_the_text() {
    let check = JsonCheck::compile(r#"{"pattern": "^(a+)+$"}"#).unwrap();
    let begin = std::time::SystemTime::now();
    assert_eq!(check.check(&format!("\"{}b\"", "a".repeat(100_000))).len(), 1);
    assert!(begin.elapsed().unwrap().as_secs() < 10);
}

#[test]
fn the_input_of_a_seal_workflow() {
    let schema = Arc::new(from_octets(portunus_proto::descriptors::SEAL).unwrap());
    let method = schema.method("aegis.seal_gateway.v1.GatewayInvocationService", "InvokeWorkflow").unwrap();
    let kind = schema.message_type("aegis.seal_gateway.v1.InvokeWorkflowRequest").unwrap().id();
    let texts = Texts::compile(&schema, kind, "input_json").unwrap();
    let check = JsonCheck::compile(TOOL).unwrap();
    let run = |json: &str| {
        let body = schema.request_from_json(method, json).unwrap();
        let found = texts.read(&body, &mut Meter::new(STEPS)).unwrap();
        let [(place, text)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(place, "input_json");
        check.check(text).len()
    };
    assert_eq!(run(r#"{"inputJson": "{\"query\": \"a\"}"}"#), 0);
    assert_eq!(run(r#"{"inputJson": "{\"query\": 5}"}"#), 1);
    // What is not sent is an empty text, which is no JSON.
    assert_eq!(run("{}"), 1);
}

#[test]
fn texts_are_found_through_messages_lists_and_maps() {
    let built = Built::of(
        "texts",
        r#"
message Step { string input_json = 1; optional string maybe = 2; repeated string more = 3; int32 n = 4; }
message M { repeated Step steps = 1; map<string, Step> named = 2; map<int32, string> plain = 3; Step one = 4; }
"#,
    );
    let kind = built.schema.message_type("t.M").unwrap().id();
    let read = |path: &str, json: &str| -> Vec<String> {
        let (texts, body) = (Texts::compile(&built.schema, kind, path).unwrap(), built.body("M", json));
        let found = texts.read(&body, &mut Meter::new(STEPS)).unwrap();
        found.iter().map(|(place, text)| format!("{place}={}", &**text)).collect()
    };
    let json = r#"{"steps": [{"inputJson": "a"}, {"maybe": "b", "more": ["c", "d"]}], "named": {"x": {"inputJson": "e"}},
        "plain": {"5": "f"}}"#;
    assert_eq!(read("steps.input_json", json), ["steps[0].input_json=a", "steps[1].input_json="]);
    assert_eq!(read("steps.maybe", json), ["steps[1].maybe=b"]);
    assert_eq!(read("steps.more", json), ["steps[1].more[0]=c", "steps[1].more[1]=d"]);
    assert_eq!(read("named.input_json", json), ["named[\"x\"].input_json=e"]);
    assert_eq!(read("plain", json), ["plain[5]=f"]);
    assert_eq!(read("one.input_json", json), [""; 0]);
    let refused = |path: &str| Texts::compile(&built.schema, kind, path).unwrap_err();
    assert_eq!(refused("steps.n"), "`steps.n` leads to what is no text (string)");
    assert_eq!(refused("steps"), "`steps` leads to what is no text (string)");
    assert_eq!(refused("plain.x"), "`plain.x`: `x` is asked of what is no message");
    assert_eq!(refused("step.n"), "`step.n`: t.M has no field `step`; it has steps, named, plain, one");
    let texts = Texts::compile(&built.schema, kind, "steps.input_json").unwrap();
    assert!(texts.read(&[0x0a, 0x00].repeat(1_000_000), &mut Meter::new(STEPS)).is_err());
}
