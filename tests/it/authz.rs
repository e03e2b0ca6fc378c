//! The filter `authz` in a whole proxy: rules over heads and over messages, under every definition that is in force.

use std::net::SocketAddr;

use prost::Message as _;

use crate::harness::{Ask, Caller, Manner, Reflecting, Setup, TestProxy, eventually, set};

/// A message of `t.S/M`.
#[derive(Clone, PartialEq, prost::Message)]
struct One {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(int32, tag = "2")]
    depth: i32,
}

fn proto(fields: &str) -> String {
    format!(
        "syntax = \"proto3\"; package t; message R {{ {fields} }}
service S {{ rpc M(R) returns (R); rpc Many(stream R) returns (stream R); rpc Other(R) returns (R); }}"
    )
}

fn first() -> String {
    proto("string tenant = 1; int32 depth = 2;")
}

fn one(tenant: &str, depth: i32) -> Vec<u8> {
    One { tenant: tenant.into(), depth }.encode_to_vec()
}

async fn proxy(instances: &[&Reflecting], filters: &str) -> TestProxy {
    let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address()).collect();
    let cluster = "balance: round_robin\nschema: {reflection: {refresh: 200ms}}";
    let route = format!("filters: [{filters}]");
    let proxy = TestProxy::with(&addresses, Setup { cluster, route: &route, ..Setup::default() }).await;
    eventually!({
        let shown = proxy.json("/schema").await[0]["instances"].clone();
        shown.as_array().unwrap().iter().filter(|one| one["digest"].is_string()).count() == instances.len()
    });
    proxy
}

#[tokio::test]
async fn who_may_is_told_by_heads() {
    let instance = Reflecting::with(&first()).await;
    let filters = r#"{authz: {rules: [
        {method: "t.S/M", allow: 'metadata["x-role"] == "operator"', deny: '"x-banned" in metadata'},
        {method: "t.S/Other", allow: 'cidr(peer.address, "127.0.0.0/8")'}]}}"#;
    let proxy = proxy(&[&instance], filters).await;
    let caller = proxy.caller().await;
    let denied = (7, "denied".to_owned());
    let operator = || Ask::path("/t.S/M").with("x-role", "operator");
    assert_eq!(caller.unary(operator(), &one("a", 1)).await.code(), Some(0));
    assert_eq!(caller.unary(operator().with("x-banned", "1"), &one("a", 1)).await.refusal(), denied);
    assert_eq!(caller.unary(Ask::path("/t.S/M").with("x-role", "guest"), &one("a", 1)).await.refusal(), denied);
    let without = caller.unary(Ask::path("/t.S/M"), &one("a", 1)).await;
    assert_eq!(without.refusal(), denied, "what it reads is not there: it fails, and denies");
    assert!(without.message().contains("could not be evaluated"), "{}", without.message());
    assert_eq!(caller.unary(Ask::path("/t.S/Other"), &one("a", 1)).await.code(), Some(0));
    assert_eq!(caller.unary(Ask::path("/t.S/Many"), &one("a", 1)).await.refusal(), denied, "no rule names it");
    assert_eq!(caller.unary(Ask::path("/t.Else/M"), &one("a", 1)).await.refusal(), denied, "nor this");
}

/// Nothing of a call gets to an instance before its first message is allowed, its head included; and each message is judged.
#[tokio::test]
async fn what_a_message_says_decides() {
    let instance = Reflecting::with(&first()).await;
    let filters = r#"{authz: {allow: 'message.tenant == metadata["x-tenant"]', deny: message.depth >= 5}}"#;
    let proxy = proxy(&[&instance], filters).await;
    let caller = proxy.caller().await;
    let ask = |path: &str| Ask::path(path).with("x-tenant", "a");
    eventually!(caller.unary(ask("/t.S/M"), &one("a", 4)).await.code() == Some(0));
    let address = instance.address().to_string();
    let went = async || proxy.metric("portunus_upstream_calls_total", &[("instance", &address)]).await;
    let before = went().await;
    let denied = (7, "denied".to_owned());
    for (path, message) in
        [("/t.S/M", one("b", 1)), ("/t.S/M", one("a", 5)), ("/t.S/Many", one("b", 1)), ("/t.S/M", one("", 0))]
    {
        let answer = caller.unary(ask(path), &message).await;
        assert_eq!(answer.refusal(), denied, "{path}: {}", answer.message());
    }
    let torn = caller.unary(ask("/t.S/M"), &[0x0a, 9]).await;
    assert_eq!(torn.refusal(), denied, "a rule that fails denies: {}", torn.message());
    let unknown = caller.unary(ask("/t.S/None"), &one("a", 1)).await;
    assert_eq!(unknown.refusal(), (14, "schema_unavailable".into()), "{}", unknown.message());
    let mut silent = caller.open(ask("/t.S/Many")).await;
    silent.finish(bytes::Bytes::new());
    let silent = silent.answer().await;
    assert_eq!(silent.refusal(), denied, "no message, nothing that allows it: {}", silent.message());
    assert!((went().await - before).abs() < 0.1, "none of them left a trace at the instance");
    let mut open = caller.open(ask("/t.S/Many")).await;
    for tenant in ["a", "a", "b", "a"] {
        open.send(&one(tenant, 1));
    }
    open.finish(bytes::Bytes::new());
    let answer = open.answer().await;
    assert_eq!(answer.refusal(), denied, "{}", answer.message());
    assert!(answer.messages().len() <= 2, "what came behind the refused one went nowhere");
}

/// Both versions call a field `depth`, under other numbers: the instance that differs gets no calls, and lets nothing through.
#[tokio::test]
async fn a_canary_lets_nothing_through_that_the_others_refuse() {
    let (old, new) = (Reflecting::with(&first()).await, Reflecting::with(&first()).await);
    let proxy = proxy(&[&old, &new], "{authz: {allow: 'message.depth < 5'}}").await;
    let caller = proxy.caller().await;
    eventually!(caller.unary(Ask::path("/t.S/M"), &one("a", 4)).await.code() == Some(0));
    new.turn(Manner::Honest(set(&proto("string tenant = 1; int32 depth = 3; int32 other = 2;"))));
    let incompatible = async || proxy.json("/schema").await[0]["incompatible"].as_array().unwrap().len();
    let (mut refused, mut rounds) = (0, 0);
    while incompatible().await < 3 || rounds < 50 {
        let answer = caller.unary(Ask::path("/t.S/M"), &one("a", 7)).await;
        assert_eq!(answer.refusal(), (7, "denied".into()), "{rounds}: {}", answer.message());
        refused += 1;
        let allowed = caller.unary(Ask::path("/t.S/M"), &one("a", 4)).await;
        assert_eq!(allowed.code(), Some(0), "{rounds}: {}", allowed.message());
        rounds += 1;
        assert!(rounds < 5_000, "the canary was never found out");
    }
    assert!(refused >= 50);
    assert_eq!(One::decode(&*caller.unary(Ask::path("/t.S/M"), &one("a", 4)).await.messages()[0]).unwrap().depth, 4);
}

/// The registrar shows its messages to nobody: a rule that reads them must not be passed over.
#[tokio::test]
async fn a_rule_over_messages_lets_nobody_register() {
    for (filter, wanted) in [
        ("authz: {allow: 'message.depth < 5'}", 7),
        ("validate: {protovalidate: true}", 7),
        ("rate_limit: {key: string(message.depth), rate: 1/s}", 7),
        ("authz: {allow: 'cidr(peer.address, \"127.0.0.0/8\")'}", 0),
    ] {
        let text = format!(
            "workers: 1\nstate: memory\nclusters:\n  agents: {{registry: {{callback: \"{{agent}}.localhost:3790\"}}}}
listeners:
  sdk: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents, filters: [{{{filter}}}]}}]}}\n"
        );
        let proxy = TestProxy::yaml(&text).await;
        let caller = Caller::connect(proxy.listener("sdk")).await;
        let answer = caller.unary(Ask::path("/bindu.grpc.BinduService/Heartbeat"), &[]).await;
        assert_eq!(answer.code(), Some(wanted), "{filter}: {}", answer.message());
        if wanted != 0 {
            assert_eq!(answer.refusal().1, "denied", "{filter}");
        }
    }
}
