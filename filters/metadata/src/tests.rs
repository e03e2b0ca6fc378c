use fields::Fields;
use filter_testkit::{Bench, TestCall};
use serde_json::json;

use super::Metadata;

fn shown(fields: &Fields) -> String {
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
    pairs.join(" ")
}

fn call(config: serde_json::Value, metadata: &[(&str, &str)]) -> TestCall {
    Bench::build::<Metadata>(config).unwrap().call(metadata).unwrap()
}

#[test]
fn removes_then_renames_then_sets() {
    let config = json!({"set": {"x-b": "set"}, "remove": ["x-a"], "rename": {"x-old": "x-new"}});
    let call = call(
        config,
        &[("x-a", "1"), ("x-b", "2"), ("x-b", "3"), ("x-old", "4"), ("x-old", "5"), ("x-new", "6"), ("k", "7")],
    );
    assert_eq!(shown(&call.head.fields), "k=7 x-new=4 x-new=5 x-b=set");
    assert!(!call.is_followed());
}

#[test]
fn a_name_that_is_absent_is_not_renamed() {
    let call = call(json!({"rename": {"x-old": "x-new"}}), &[("x-new", "6")]);
    assert_eq!(shown(&call.head.fields), "x-new=6");
}

#[test]
fn the_answer_is_edited_too() {
    let mut call = call(json!({"response": {"set": {"x-gen": "1"}, "remove": ["server"]}}), &[("server", "kept")]);
    assert_eq!(shown(&call.head.fields), "server=kept");
    let mut metadata = Fields::default();
    metadata.push("server", b"x");
    metadata.push("k", b"v");
    call.response_head(&mut metadata).unwrap();
    assert_eq!(shown(&metadata), "k=v x-gen=1");
}

#[test]
fn what_is_not_ours_to_write_is_refused() {
    for name in [
        "grpc-timeout",
        "te",
        "host",
        "content-type",
        "authorization",
        "x-portunus-agent",
        ":path",
        "X-Upper",
        "",
        "a b",
    ] {
        for config in
            [json!({"set": {name: "v"}}), json!({"rename": {"x-a": name}}), json!({"response": {"set": {name: "v"}}})]
        {
            assert!(Bench::build::<Metadata>(config.clone()).is_err(), "{config}");
        }
    }
    let error = Bench::build::<Metadata>(json!({"response": {"set": {"te": "v"}}})).err().unwrap();
    assert_eq!(error.path, ["response", "set", "te"]);
    assert!(Bench::build::<Metadata>(json!({"remove": ["authorization"]})).is_ok());
    assert!(Bench::build::<Metadata>(json!({"set": {"x-a": " v"}})).is_err());
    assert!(Bench::build::<Metadata>(json!({"set": {"x-a": "line\nbreak"}})).is_err());
    assert!(Bench::build::<Metadata>(json!({})).is_err());
}
