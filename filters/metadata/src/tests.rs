use fields::Fields;
use filter_api::{Code, Reason};
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

#[test]
fn computed_values_take_the_place_of_what_came() {
    let call = call(
        json!({"set_expr": {"x-a": "'a b'", "x-b": "null", "x-c": "true"}}),
        &[("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("k", "4")],
    );
    assert_eq!(shown(&call.head.fields), "k=4 x-a=a b x-c=true");
    assert!(!call.is_followed());
}

#[test]
fn a_value_that_cannot_be_made_refuses_and_says_which() {
    let long = format!("'{}'", "x".repeat(1_025));
    for text in ["fails", "''", "' x'", "'x '", "'t\u{e4}m'", "'a\nb'", &long] {
        let bench = Bench::build::<Metadata>(json!({"set_expr": {"x-a": text}})).unwrap();
        let refusal = bench.call(&[("x-a", "theirs")]).err().unwrap();
        assert_eq!((refusal.code, refusal.reason), (Code::PermissionDenied, Reason::Denied), "{text}");
        assert!(refusal.message.contains("`x-a`"), "{text}: {}", refusal.message);
    }
    let most = format!("'{}'", "x".repeat(1_024));
    assert!(Bench::build::<Metadata>(json!({"set_expr": {"x-a": most}})).unwrap().call(&[]).is_ok());
}

#[test]
fn values_of_an_answer_are_put_where_its_head_comes() {
    let mut call =
        call(json!({"response": {"set_expr": {"x-a": "'a'", "x-b": "null"}, "set": {"x-c": "c"}}}), &[("x-a", "kept")]);
    assert!(call.is_followed());
    assert_eq!(shown(&call.head.fields), "x-a=kept");
    let mut metadata = Fields::default();
    for (name, value) in [("x-a", "theirs"), ("x-b", "theirs"), ("k", "v")] {
        metadata.push(name, value.as_bytes());
    }
    call.response_head(&mut metadata).unwrap();
    assert_eq!(shown(&metadata), "k=v x-c=c x-a=a");
}

#[test]
fn a_value_of_an_answer_that_cannot_be_made_refuses() {
    let bench = Bench::build::<Metadata>(json!({"response": {"set_expr": {"x-a": "fails"}}})).unwrap();
    let refused = match bench.call(&[]) {
        Err(refusal) => refusal,
        Ok(mut call) => call.response_head(&mut Fields::default()).unwrap_err(),
    };
    assert_eq!((refused.code, refused.reason), (Code::PermissionDenied, Reason::Denied));
}

#[test]
fn what_is_wrong_with_an_expression_or_its_name_is_said_at_its_key() {
    for (config, path) in [
        (json!({"set_expr": {"x-a": "nonsense"}}), &["set_expr", "x-a"][..]),
        (json!({"set_expr": {"te": "'v'"}}), &["set_expr", "te"]),
        (json!({"set_expr": {"x-portunus-agent": "'v'"}}), &["set_expr", "x-portunus-agent"]),
        (json!({"response": {"set_expr": {"x-a": "nonsense"}}}), &["response", "set_expr", "x-a"]),
        (json!({"response": {"set_expr": {"grpc-status": "'0'"}}}), &["response", "set_expr", "grpc-status"]),
    ] {
        let error = Bench::build::<Metadata>(config.clone()).err().unwrap();
        assert_eq!(error.path, path, "{config}");
    }
}
