//! The filter `validate` in a whole proxy: rules that instances' descriptors carry, JSON Schema from files, and rollouts in which
//! instances do not agree.

use std::net::SocketAddr;

use prost::Message as _;
use serde_json::Value;
use tonic_types::pb;

use crate::harness::{Answer, Ask, Folder, Manner, Reflecting, Setup, TestProxy, eventually, set};

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    name: String,
}

/// A message of `t.S/M`.
#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, repeated, tag = "2")]
    items: Vec<Item>,
    #[prost(string, tag = "3")]
    input_json: String,
}

/// With at most so many characters in an order's id, and the JSON under this number.
fn proto(most: u32, json: u32) -> String {
    format!(
        r#"syntax = "proto3"; package t;
import "buf/validate/validate.proto";
service S {{ rpc M(Order) returns (Order); rpc Many(stream Order) returns (stream Order); rpc Bare(Bare) returns (Bare); }}
message Order {{
  string id = 1 [(buf.validate.field).string.max_len = {most}];
  repeated Item items = 2;
  string input_json = {json};
  option (buf.validate.message).cel = {{id: "not_both", message: "an id or items", expression: "this.id == '' || this.items.size() < 3"}};
}}
message Item {{ string name = 1 [(buf.validate.field).string.min_len = 1]; }}
message Bare {{ string id = 1; }}"#
    )
}

fn order(id: &str, items: &[&str], json: &str) -> Vec<u8> {
    let items = items.iter().map(|name| Item { name: (*name).into() }).collect();
    Order { id: id.into(), items, input_json: json.into() }.encode_to_vec()
}

/// The fields that an answer's `BadRequest` names.
fn bad_fields(answer: &Answer) -> Vec<(String, String)> {
    let status = answer.details().unwrap();
    let bad = status.details.iter().find(|any| any.type_url == "type.googleapis.com/google.rpc.BadRequest");
    let bad = pb::BadRequest::decode(&bad.unwrap().value[..]).unwrap();
    bad.field_violations.into_iter().map(|one| (one.field, one.description)).collect()
}

async fn proxy(instances: &[&Reflecting], route: &str) -> TestProxy {
    let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address()).collect();
    let cluster = "balance: round_robin\nschema: {reflection: {refresh: 200ms}}";
    let proxy = TestProxy::with(&addresses, Setup { cluster, route, ..Setup::default() }).await;
    eventually!(digests(&proxy).await.len() == instances.len());
    proxy
}

async fn digests(proxy: &TestProxy) -> Vec<String> {
    let shown = proxy.json("/schema").await[0].clone();
    let digests = shown["instances"].as_array().unwrap().iter().map(|one| one["digest"].clone());
    digests.filter_map(|digest| digest.as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn messages_that_break_a_rule_go_nowhere() {
    let instance = Reflecting::with(&proto(5, 3)).await;
    let proxy = proxy(&[&instance], "filters: [{validate: {protovalidate: true}}]").await;
    let caller = proxy.caller().await;
    let fits = order("12345", &["a"], "");
    eventually!(caller.unary(Ask::path("/t.S/M"), &fits).await.code() == Some(0));
    let address = instance.address().to_string();
    let went = async || proxy.metric("portunus_upstream_calls_total", &[("instance", &address), ("code", "OK")]).await;
    let before = went().await;
    let answer = caller.unary(Ask::path("/t.S/M"), &order("123456", &["a", ""], "")).await;
    assert_eq!(answer.refusal(), (3, "schema".into()), "{}", answer.message());
    let fields: Vec<_> = bad_fields(&answer).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["id", "items[1].name"]);
    assert!(answer.message().starts_with("the message is not as it must be: id: "), "{}", answer.message());
    let whole = caller.unary(Ask::path("/t.S/M"), &order("1", &["a", "b", "c"], "")).await;
    assert_eq!(bad_fields(&whole), [(String::new(), "an id or items (not_both)".to_owned())]);
    let torn = caller.unary(Ask::path("/t.S/M"), &[0x0a, 9]).await;
    assert_eq!(torn.refusal(), (3, "schema".into()), "{}", torn.message());
    let bare = caller.unary(Ask::path("/t.S/Bare"), &order("much longer than five", &[], "")).await;
    assert_eq!(bare.code(), Some(0), "a message without rules fits");
    let unknown = caller.unary(Ask::path("/t.S/Other"), &fits).await;
    assert_eq!(unknown.refusal(), (14, "schema_unavailable".into()), "{}", unknown.message());
    assert!((went().await - before - 1.0).abs() < 0.1, "what was refused was not answered upstream");
}

#[tokio::test]
async fn a_stream_ends_at_the_message_that_does_not_fit() {
    let instance = Reflecting::with(&proto(5, 3)).await;
    let proxy = proxy(&[&instance], "filters: [{validate: {protovalidate: true}}]").await;
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), &order("1", &[], "")).await.code() == Some(0));
    let mut open = caller.open(Ask::path("/t.S/Many")).await;
    for id in ["1", "12", "123456", "1234"] {
        open.send(&order(id, &[], ""));
    }
    open.finish(bytes::Bytes::new());
    let answer = open.answer().await;
    assert_eq!(answer.refusal(), (3, "schema".into()), "{}", answer.message());
    assert!(answer.message().starts_with("message 3 is not as it must be: id: "), "{}", answer.message());
    assert!(answer.messages().len() <= 2, "what came behind it went nowhere");
}

/// The instance is not chosen yet when a message is judged: it must fit for each that could get it.
#[tokio::test]
async fn a_rollout_lets_through_what_fits_both_versions() {
    let (old, new) = (Reflecting::with(&proto(5, 3)).await, Reflecting::with(&proto(3, 3)).await);
    let proxy = proxy(&[&old, &new], "filters: [{validate: {protovalidate: true}}]").await;
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), &order("123", &[], "")).await.code() == Some(0));
    for n in 0..20 {
        let answer = caller.unary(Ask::path("/t.S/M"), &order("1234", &[], "")).await;
        assert_eq!(answer.refusal(), (3, "schema".into()), "{n}: the new version refuses it");
    }
    // The other way round, an old rule holds for as long as an instance has it.
    new.turn(Manner::Honest(set(&proto(9, 3))));
    eventually!(caller.unary(Ask::path("/t.S/M"), &order("12345", &[], "")).await.code() == Some(0));
    for n in 0..20 {
        let answer = caller.unary(Ask::path("/t.S/M"), &order("123456", &[], "")).await;
        assert_eq!(answer.refusal(), (3, "schema".into()), "{n}: the old version refuses it");
    }
    old.turn(Manner::Honest(set(&proto(9, 3))));
    eventually!(caller.unary(Ask::path("/t.S/M"), &order("123456", &[], "")).await.code() == Some(0));
}

/// Rules that cannot be checked are not passed over: that instance gets no calls of the method, and the other does.
#[tokio::test]
async fn an_instance_whose_rules_cannot_be_checked_gets_no_calls() {
    let broken = proto(5, 3).replace("string.max_len = 5", "string.pattern = \"(\"");
    let (good, bad) = (Reflecting::with(&proto(5, 3)).await, Reflecting::with(&broken).await);
    let proxy = proxy(&[&good, &bad], "filters: [{validate: {protovalidate: true}}]").await;
    let refused = || async { proxy.json("/schema").await[0]["incompatible"].clone() };
    eventually!(refused().await.as_array().unwrap().len() == 2, "M and Many");
    let why = refused().await[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("listeners.edge.routes[0].filters[0].validate: "), "{why}");
    let caller = proxy.caller().await;
    let before = (good.calls(), bad.calls());
    for n in 0..20 {
        let answer = caller.unary(Ask::path("/t.S/M"), &order("12345", &[], "")).await;
        assert_eq!(answer.code(), Some(0), "{n}: {}", answer.message());
    }
    assert!(good.calls() >= before.0 + 20, "the good one answered them all");
}

/// A filter that holds the JSON to the schema of [`steps`].
fn in_steps(folder: &Folder) -> String {
    let file = folder.write("steps.json", steps().to_string());
    format!("filters: [{{validate: {{json_schema: {{input_json: {}}}}}}}]", file.display())
}

fn steps() -> Value {
    serde_json::json!({"type": "object", "required": ["steps"], "additionalProperties": false, "properties":
        {"steps": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}}})
}

#[tokio::test]
async fn json_in_a_text_is_held_to_a_schema() {
    let folder = Folder::new("validate-json");
    let instance = Reflecting::with(&proto(5, 3)).await;
    let proxy = proxy(&[&instance], &in_steps(&folder)).await;
    // `Bare` has no such field, so no policy that fits it: its calls have no instance.
    let caller = proxy.caller().await;
    let fits = order("much longer than five", &[], r#"{"steps": [{"name": "abc"}]}"#);
    eventually!(caller.unary(Ask::path("/t.S/M"), &fits).await.code() == Some(0));
    for (json, field, said) in [
        (r#"{"steps": [{"name": "abc"}, {"name": "abcd"}]}"#, "input_json#/steps/1/name", "json_schema.maxLength"),
        (r#"{"steps": [], "more": 1}"#, "input_json", "json_schema.additionalProperties"),
        ("{}", "input_json", "json_schema.required"),
        ("", "input_json", "it is no JSON"),
        (r#"{"steps": [], "steps": [1]}"#, "input_json", "the name `steps` is there twice"),
    ] {
        let answer = caller.unary(Ask::path("/t.S/M"), &order("1", &[], json)).await;
        assert_eq!(answer.refusal(), (3, "schema".into()), "{json}: {}", answer.message());
        let fields = bad_fields(&answer);
        assert_eq!(fields[0].0, field, "{json}");
        assert!(fields[0].1.contains(said), "{json}: {fields:?}");
        assert!(!answer.message().contains("abcd"), "the value is not quoted");
    }
    let bare = caller.unary(Ask::path("/t.S/Bare"), &order("1", &[], "")).await;
    assert_eq!(bare.code(), Some(14), "{}", bare.message());
}

/// A text under another number is another text: that instance gets no calls, whichever way its messages would be judged.
#[tokio::test]
async fn a_canary_with_the_json_elsewhere_gets_no_calls() {
    let folder = Folder::new("validate-canary");
    let mut instances = vec![];
    for json in [3, 3, 4] {
        instances.push(Reflecting::with(&proto(5, json)).await);
    }
    let all: Vec<&Reflecting> = instances.iter().collect();
    let proxy = proxy(&all, &in_steps(&folder)).await;
    let refused = || async { proxy.json("/schema").await[0]["incompatible"].clone() };
    let moved = |all: &Value| {
        let whys = all.as_array().unwrap().iter().filter_map(|one| one["why"].as_str());
        whys.filter(|why| why.contains("`input_json` has the number 4, and the accepted definition has 3")).count()
    };
    eventually!(moved(&refused().await) == 2, "M and Many");
    let caller = proxy.caller().await;
    let before = instances[2].calls();
    for n in 0..30 {
        let answer = caller.unary(Ask::path("/t.S/M"), &order("1", &[], r#"{"steps": []}"#)).await;
        assert_eq!(answer.code(), Some(0), "{n}: {}", answer.message());
    }
    // Only what reflection asked of it meanwhile.
    assert!(instances[2].calls() - before < 20, "{}", instances[2].calls() - before);
    let refused = caller.unary(Ask::path("/t.S/M"), &order("1", &[], "{}")).await;
    assert_eq!(refused.refusal(), (3, "schema".into()));
}
