//! What reads messages, in a whole proxy: by definitions of instances that echo, learnt by their reflection.

use std::net::SocketAddr;

use prost::Message as _;
use serde_json::Value;

use crate::harness::{Ask, Manner, Reflecting, Setup, TestProxy, eventually, set};

/// A message of `t.S/M`, as each version has it.
#[derive(Clone, PartialEq, prost::Message)]
struct One {
    #[prost(string, tag = "1")]
    secret: String,
    #[prost(string, tag = "2")]
    name: String,
}

fn proto(fields: &str) -> String {
    format!(
        "syntax = \"proto3\"; package t; service S {{ rpc M(R) returns (R); rpc Many(stream R) returns (stream R); }} message R {{ {fields} }}"
    )
}

fn first() -> String {
    proto("string secret = 1; string name = 2; int32 added = 9;")
}

/// What is secret has another number.
fn renumbered() -> String {
    proto("string secret = 3; string name = 2;")
}

fn one(secret: &str, name: &str) -> Vec<u8> {
    One { secret: secret.into(), name: name.into() }.encode_to_vec()
}

async fn proxy(instances: &[&Reflecting], cluster: &str, route: &str) -> TestProxy {
    let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address()).collect();
    let cluster = format!("schema: {{reflection: {{refresh: 200ms}}}}\n{cluster}");
    let proxy = TestProxy::with(&addresses, Setup { cluster: &cluster, route, ..Setup::default() }).await;
    eventually!(known(&proxy).await == instances.len());
    proxy
}

async fn schema(proxy: &TestProxy) -> Value {
    proxy.json("/schema").await[0].clone()
}

async fn known(proxy: &TestProxy) -> usize {
    let shown = schema(proxy).await;
    shown["instances"].as_array().unwrap().iter().filter(|one| one["digest"].is_string()).count()
}

#[tokio::test]
async fn what_is_redacted_is_hidden_in_both_directions() {
    let instance = Reflecting::with(&first()).await;
    let proxy = proxy(&[&instance], "", "filters: [{redact: {request: [secret]}}, {redact: {response: [name]}}]").await;
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), &one("s", "n")).await.code() == Some(0));
    let answer = caller.unary(Ask::path("/t.S/M"), &one("s", "n")).await;
    // The instance echoed what it got.
    assert_eq!(One::decode(&*answer.messages()[0]).unwrap(), One { secret: "***".into(), name: "***".into() });
    let torn = caller.unary(Ask::path("/t.S/M"), &[0x0a, 9]).await;
    assert_eq!(torn.refusal(), (3, "schema".into()), "{}", torn.message());
    // Nothing is known of a method that the schema does not have, and nothing goes through.
    let other = caller.unary(Ask::path("/t.S/Other"), &one("s", "n")).await;
    assert_eq!(other.refusal(), (14, "schema_unavailable".into()), "{}", other.message());
}

#[tokio::test]
async fn a_stream_is_redacted_message_by_message() {
    let instance = Reflecting::with(&first()).await;
    let proxy = proxy(&[&instance], "", "filters: [{redact: {request: [secret]}}]").await;
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), &one("s", "n")).await.code() == Some(0));
    let mut open = caller.open(Ask::path("/t.S/Many")).await;
    for n in 0..20 {
        open.send(&one("s", &n.to_string()));
    }
    open.finish(bytes::Bytes::new());
    let answer = open.answer().await;
    assert_eq!(answer.code(), Some(0), "{}", answer.message());
    let names: Vec<_> = answer.messages().iter().map(|message| One::decode(&**message).unwrap()).collect();
    let wanted: Vec<_> = (0..20).map(|n| One { secret: "***".into(), name: n.to_string() }).collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn the_first_message_chooses_the_route() {
    let (a, b) = (Reflecting::with(&first()).await, Reflecting::with(&first()).await);
    let text = format!(
        "workers: 1\nclusters:\n  a: {{endpoints: [{}], schema: {{}}}}\n  b: {{endpoints: [{}], schema: {{}}}}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{service: t.S, when: 'message.name == \"to a\"'}}, cluster: a, filters: [{{metadata: {{response: {{set: {{x-went: a}}}}}}}}]}}
      - {{match: {{service: t.S}}, cluster: b, filters: [{{metadata: {{response: {{set: {{x-went: b}}}}}}}}]}}\n",
        a.address(),
        b.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), &one("", "to a")).await.code() == Some(0));
    for (name, went) in [("to a", "a"), ("to b", "b"), ("", "b")] {
        let answer = caller.unary(Ask::path("/t.S/M"), &one("s", name)).await;
        assert_eq!((answer.code(), answer.field("x-went")), (Some(0), Some(went.into())), "{name}");
        assert_eq!(One::decode(&*answer.messages()[0]).unwrap().name, name, "it went on whole");
    }
    let torn = caller.unary(Ask::path("/t.S/M"), &[0x12, 9]).await;
    assert_eq!(torn.refusal(), (7, "route_undecided".into()), "and no other route gets it");
    // A stream has no first message to wait for.
    let stream = caller.unary(Ask::path("/t.S/Many"), &one("", "to a")).await;
    assert_eq!(stream.refusal(), (7, "route_undecided".into()));
}

#[tokio::test]
async fn calls_with_the_same_field_go_to_the_same_instance() {
    let instances =
        [Reflecting::with(&first()).await, Reflecting::with(&first()).await, Reflecting::with(&first()).await];
    let all: Vec<&Reflecting> = instances.iter().collect();
    let cluster = "balance: ring_hash\nhash_by: {\"t.S/M\": message.name, default: 'metadata[\"x-key\"]'}";
    let proxy = proxy(&all, cluster, "").await;
    let caller = proxy.caller().await;
    let keyless = async || proxy.metric("portunus_hash_without_key_total", &[("cluster", "echo")]).await;
    eventually!({
        let before = keyless().await;
        caller.unary(Ask::path("/t.S/M"), &one("", "k")).await;
        keyless().await == before
    });
    let before = keyless().await;
    let mut counts = std::collections::BTreeMap::new();
    for n in 0..60 {
        let answer = caller.unary(Ask::path("/t.S/M"), &one(&n.to_string(), &format!("key {}", n % 12))).await;
        assert_eq!(answer.code(), Some(0));
    }
    for instance in proxy.json("/instances").await.as_array().unwrap() {
        let address = instance["address"].as_str().unwrap().to_owned();
        let calls = proxy.metric("portunus_upstream_calls_total", &[("instance", &address), ("code", "OK")]).await;
        counts.insert(address, calls as u64);
    }
    assert_eq!(keyless().await, before, "every call had its key");
    assert!(counts.values().filter(|calls| **calls >= 5).count() >= 2, "twelve keys are spread: {counts:?}");
    let by = caller.unary(Ask::path("/t.S/Many").with("x-key", "7"), &one("", "")).await;
    assert_eq!((by.code(), keyless().await), (Some(0), before));
}

/// A canary that numbers a field otherwise gets no calls of a method whose policy reads that field; the others go on as they were, and
/// hide the right one.
#[tokio::test]
async fn one_canary_of_ten_costs_no_call() {
    let mut instances = Vec::new();
    for _ in 0..9 {
        instances.push(Reflecting::with(&first()).await);
    }
    instances.push(Reflecting::with(&renumbered()).await);
    let all: Vec<&Reflecting> = instances.iter().collect();
    let proxy = proxy(&all, "balance: round_robin", "filters: [{redact: {request: [secret]}}]").await;
    eventually!(schema(&proxy).await["incompatible"].as_array().unwrap().len() == 2, "M and Many");
    let refused = schema(&proxy).await["incompatible"][0].clone();
    assert!(
        refused["why"].as_str().unwrap().contains("`secret` has the number 3, and the accepted definition has 1"),
        "{refused}"
    );
    let caller = proxy.caller().await;
    for n in 0..100 {
        let answer = caller.unary(Ask::path("/t.S/M"), &one("s", &n.to_string())).await;
        assert_eq!(answer.code(), Some(0), "{n}: {}", answer.message());
        assert_eq!(One::decode(&*answer.messages()[0]).unwrap().secret, "***", "{n}");
    }
    // It becomes the majority: it stays out until somebody says so.
    for instance in instances.iter().take(8) {
        instance.turn(Manner::Honest(set(&renumbered())));
    }
    eventually!(schema(&proxy).await["incompatible"].as_array().unwrap().iter().any(|one| one["instances"] == 9));
    for n in 0..20 {
        let answer = caller.unary(Ask::path("/t.S/M"), &one("s", &n.to_string())).await;
        assert_eq!(
            (answer.code(), One::decode(&*answer.messages()[0]).unwrap().secret),
            (Some(0), "***".into()),
            "{n}"
        );
    }
}
