//! Health checks by a method and an expression, in clusters with and without a registry: who gets calls, and what is shown.

use std::net::SocketAddr;
use std::time::Duration;

use portunus_proto::bindu::HealthCheckResponse;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use prost::Message as _;
use serde_json::Value;

use crate::harness::{Ask, Manner, Reflecting, Said, Setup, TestProxy, Upstream, eventually, refused_port, set};
use crate::registrar::registration;

const STANDARD: &str = "/grpc.health.v1.Health/Check";
const OWN: &str = "/t.S/State";

/// What the tests' own check answers.
#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(string, tag = "1")]
    state: String,
    #[prost(string, repeated, tag = "2")]
    parts: Vec<String>,
    /// Where a later version has the state.
    #[prost(string, tag = "7")]
    moved: String,
}

fn proto(fields: &str) -> Manner {
    Manner::Honest(set(&format!(
        "syntax = \"proto3\"; package t; message N {{}} message R {{ {fields} }}
        service S {{ rpc State(N) returns (R); rpc Watch(N) returns (stream R); rpc M(N) returns (N); }}"
    )))
}

fn first() -> Manner {
    proto("string state = 1; repeated string parts = 2;")
}

fn state(state: &str) -> Said {
    Said::Message(State { state: state.into(), ..State::default() }.encode_to_vec())
}

fn parts(parts: &[&str]) -> Said {
    let parts = parts.iter().map(|part| (*part).to_owned()).collect();
    Said::Message(State { parts, ..State::default() }.encode_to_vec())
}

fn serving(status: u8) -> Said {
    Said::Message(vec![8, status])
}

/// In front of instances that are asked often; `health` are more of its keys.
async fn proxy(instances: &[SocketAddr], health: &str) -> TestProxy {
    let cluster = format!(
        "balance: round_robin\nschema: {{reflection: {{refresh: 200ms}}}}\n\
         health: {{interval: 50ms, timeout: 500ms, unhealthy_after: 2, healthy_after: 1, {health}}}"
    );
    TestProxy::with(instances, Setup { cluster: &cluster, ..Setup::default() }).await
}

async fn instance(proxy: &TestProxy, address: SocketAddr) -> Value {
    let list = proxy.json("/instances").await;
    let found = list.as_array().unwrap().iter().find(|one| one["address"] == address.to_string());
    found.unwrap_or_else(|| panic!("{list}")).clone()
}

async fn is(proxy: &TestProxy, address: SocketAddr, state: &str) -> bool {
    instance(proxy, address).await["state"] == state
}

async fn why(proxy: &TestProxy, address: SocketAddr) -> String {
    instance(proxy, address).await["last_error"].as_str().unwrap_or_default().to_owned()
}

/// Calls that each of them gets of twenty.
async fn shares<const N: usize>(proxy: &TestProxy, instances: [SocketAddr; N]) -> [u64; N] {
    let counts = async || {
        let mut counts = [0; N];
        for (count, address) in counts.iter_mut().zip(instances) {
            let labels = [("instance", &*address.to_string()), ("code", "OK")];
            *count = proxy.metric("portunus_upstream_calls_total", &labels).await as u64;
        }
        counts
    };
    let before = counts().await;
    let caller = proxy.caller().await;
    for _ in 0..20 {
        assert_eq!(caller.unary(Ask::path("/t.S/M"), b"").await.code(), Some(0));
    }
    let after = counts().await;
    std::array::from_fn(|at| after[at] - before[at])
}

#[tokio::test]
async fn listed_instances_are_asked_by_the_standard_method() {
    let (a, b) = (Reflecting::start(Manner::None).await, Reflecting::start(Manner::None).await);
    a.say(STANDARD, serving(1));
    b.say(STANDARD, serving(2));
    let proxy = proxy(&[a.address(), b.address()], "").await;
    eventually!(is(&proxy, a.address(), "healthy").await && is(&proxy, b.address(), "unhealthy").await);
    assert_eq!(why(&proxy, b.address()).await, "it answers NOT_SERVING");
    assert!(instance(&proxy, a.address()).await["last_probe"].is_string());
    assert_eq!(shares(&proxy, [a.address(), b.address()]).await, [20, 0]);
    let count = async |state| proxy.metric("portunus_instances", &[("cluster", "echo"), ("state", state)]).await;
    assert_eq!((count("healthy").await, count("unhealthy").await), (1.0, 1.0));
    assert_eq!(proxy.json("/clusters").await[0]["instances"]["unhealthy"], 1);
    // Nobody is well: no call is let through in the hope that it may be all right.
    a.say(STANDARD, Said::Status("12"));
    eventually!(is(&proxy, a.address(), "unhealthy").await);
    assert!(why(&proxy, a.address()).await.contains("does not serve grpc.health.v1"));
    let caller = proxy.caller().await;
    assert_eq!(caller.unary(Ask::path("/t.S/M"), b"").await.refusal(), (14, "no_instance".into()));
    b.say(STANDARD, serving(1));
    eventually!(caller.unary(Ask::path("/t.S/M"), b"").await.code() == Some(0));
    assert_eq!(shares(&proxy, [a.address(), b.address()]).await, [0, 20]);
    assert!(proxy.metric("portunus_health_checks_total", &[("cluster", "echo"), ("result", "unhealthy")]).await > 1.0);
}

#[tokio::test]
async fn without_the_key_nobody_is_asked() {
    let echo = Upstream::start(|got| got.echo()).await;
    let proxy = TestProxy::before(&[echo.address()]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is(&proxy, echo.address(), "healthy").await);
    assert_eq!((echo.calls(), echo.connections()), (0, 0));
}

#[tokio::test]
async fn who_hangs_or_is_not_there_gets_no_calls() {
    let (good, hangs, nobody) =
        (Reflecting::start(Manner::None).await, Reflecting::start(Manner::None).await, refused_port());
    good.say(STANDARD, serving(1));
    hangs.say(STANDARD, Said::Hangs);
    let proxy = proxy(&[good.address(), hangs.address(), nobody], "").await;
    eventually!(is(&proxy, hangs.address(), "unhealthy").await && is(&proxy, nobody, "unhealthy").await);
    assert_eq!(why(&proxy, hangs.address()).await, "no answer to Check within 500ms");
    assert_eq!(shares(&proxy, [good.address(), hangs.address()]).await, [20, 0]);
    hangs.say(STANDARD, serving(1));
    eventually!(is(&proxy, hangs.address(), "healthy").await);
    // One that was well and hangs is out after as many failures as the file says, and no call waits for it before.
    hangs.say(STANDARD, Said::Hangs);
    eventually!(is(&proxy, hangs.address(), "unhealthy").await);
}

#[tokio::test]
async fn of_another_method_the_status_is_enough() {
    let instance = Reflecting::start(Manner::None).await;
    instance.say(OWN, Said::Message(Vec::new()));
    let proxy = proxy(&[instance.address()], "method: t.S/State").await;
    eventually!(is(&proxy, instance.address(), "healthy").await);
    instance.say(OWN, Said::Status("9"));
    eventually!(is(&proxy, instance.address(), "unhealthy").await);
    assert!(why(&proxy, instance.address()).await.starts_with("State answered FailedPrecondition"));
}

#[tokio::test]
async fn an_expression_over_the_answer_decides() {
    let (a, b) = (Reflecting::start(first()).await, Reflecting::start(first()).await);
    a.say(OWN, state("ok"));
    b.say(OWN, state("starting"));
    let proxy = proxy(&[a.address(), b.address()], "method: t.S/State, expect: 'response.state == \"ok\"'").await;
    eventually!(is(&proxy, a.address(), "healthy").await && is(&proxy, b.address(), "unhealthy").await);
    eventually!(why(&proxy, b.address()).await == "`expect` does not hold for its answer to State");
    assert_eq!(shares(&proxy, [a.address(), b.address()]).await, [20, 0]);
    b.say(OWN, state("ok"));
    eventually!(is(&proxy, b.address(), "healthy").await);
    // A status is no answer, and neither is what cannot be read.
    a.say(OWN, Said::Status("14"));
    b.say(OWN, Said::Message(vec![0x0a, 9]));
    eventually!(is(&proxy, a.address(), "unhealthy").await && is(&proxy, b.address(), "unhealthy").await);
    assert!(why(&proxy, a.address()).await.starts_with("State answered with the status 14"));
    assert!(why(&proxy, b.address()).await.contains("malformed"), "{}", why(&proxy, b.address()).await);
}

#[tokio::test]
async fn an_expression_that_fails_or_reads_the_status() {
    let a = Reflecting::start(first()).await;
    a.say(OWN, parts(&["ready"]));
    let expect = "expect: 'response.parts[0] == \"ready\" || status.code == 8'";
    let proxy = proxy(&[a.address()], &format!("method: t.S/State, {expect}")).await;
    eventually!(is(&proxy, a.address(), "healthy").await);
    a.say(OWN, parts(&[]));
    eventually!(is(&proxy, a.address(), "unhealthy").await);
    assert_eq!(why(&proxy, a.address()).await, "`expect` fails for its answer to State: no such key");
    // There is no message then, and the other half holds.
    a.say(OWN, Said::Status("8"));
    eventually!(is(&proxy, a.address(), "healthy").await);
    a.say(OWN, Said::Status("13"));
    eventually!(is(&proxy, a.address(), "unhealthy").await);
}

#[tokio::test]
async fn without_a_schema_nobody_is_well_and_with_it_soon() {
    let a = Reflecting::start(Manner::None).await;
    a.say(OWN, state("ok"));
    let proxy = proxy(&[a.address()], "method: t.S/State, expect: 'response.state == \"ok\"'").await;
    eventually!(is(&proxy, a.address(), "unhealthy").await);
    assert!(
        why(&proxy, a.address()).await.contains("schema of State is not known"),
        "{}",
        why(&proxy, a.address()).await
    );
    let caller = proxy.caller().await;
    assert_eq!(caller.unary(Ask::path("/t.S/M"), b"").await.refusal(), (14, "no_instance".into()));
    // One that is not well is not asked for its schema otherwise.
    a.turn(first());
    eventually!(is(&proxy, a.address(), "healthy").await);
    assert_eq!(caller.unary(Ask::path("/t.S/M"), b"").await.code(), Some(0));
}

#[tokio::test]
async fn a_method_with_streams_never_says_that_one_is_well() {
    let a = Reflecting::start(first()).await;
    a.say("/t.S/Watch", state("ok"));
    let proxy = proxy(&[a.address()], "method: t.S/Watch, expect: 'response.state == \"ok\"'").await;
    eventually!(why(&proxy, a.address()).await.starts_with("Watch is a method with streams"));
    assert!(is(&proxy, a.address(), "unhealthy").await);
}

#[tokio::test]
async fn each_instance_of_a_rollout_is_judged_by_its_own_definition() {
    let old = Reflecting::start(first()).await;
    let (renumbered, renamed) = (Reflecting::start(first()).await, Reflecting::start(first()).await);
    let all = [old.address(), renumbered.address(), renamed.address()];
    for one in [&old, &renumbered, &renamed] {
        one.say(OWN, state("ok"));
    }
    let proxy = proxy(&all, "method: t.S/State, expect: 'response.state == \"ok\"'").await;
    for address in all {
        eventually!(is(&proxy, address, "healthy").await);
    }
    // The next version has the field elsewhere: by the old number it says something else.
    let moved = State { state: "not this".into(), moved: "ok".into(), ..State::default() };
    renumbered.turn(proto("string state = 7; string old = 1;"));
    renamed.turn(proto("string condition = 1; repeated string parts = 2;"));
    eventually!(is(&proxy, renamed.address(), "unhealthy").await);
    let said = why(&proxy, renamed.address()).await;
    assert!(said.contains("does not fit its schema") && said.contains("state"), "{said}");
    renumbered.say(OWN, Said::Message(moved.encode_to_vec()));
    eventually!(is(&proxy, renumbered.address(), "healthy").await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is(&proxy, renumbered.address(), "healthy").await, "{}", why(&proxy, renumbered.address()).await);
    assert_eq!(shares(&proxy, all).await, [10, 10, 0]);
    // A health check says nothing about calls of its method.
    assert_eq!(instance(&proxy, renumbered.address()).await["schema_incompatible"], serde_json::json!([]));
    assert_eq!(proxy.caller().await.unary(Ask::path(OWN), b"").await.code(), Some(0));
    // It comes back with the definition that fits.
    renamed.turn(first());
    eventually!(is(&proxy, renamed.address(), "healthy").await);
}

#[tokio::test]
async fn addresses_of_a_name_are_asked() {
    let instance = Reflecting::start(Manner::None).await;
    instance.say(STANDARD, serving(2));
    let text = format!(
        "workers: 1\nclusters:\n  named:\n    dns: {{name: localhost, port: {}, refresh: 100ms}}\n    health: {{interval: 50ms, timeout: 500ms}}
listeners:\n  edge: {{address: 127.0.0.1:0, routes: [{{cluster: named}}]}}\n",
        instance.address().port()
    );
    let proxy = TestProxy::yaml(&text).await;
    eventually!({
        let list = proxy.json("/instances").await;
        let list = list.as_array().unwrap();
        !list.is_empty() && list.iter().all(|one| one["state"] == "unhealthy")
    });
    instance.say(STANDARD, serving(1));
    eventually!(is(&proxy, instance.address(), "healthy").await);
    assert_eq!(proxy.caller().await.unary(Ask::path("/t.S/M"), b"").await.code(), Some(0));
}

/// Registers two instances of one agent, and answers them with the proxy.
async fn registered(health: &str) -> (TestProxy, [Reflecting; 2]) {
    let text = format!(
        "workers: 1\nstate: memory\nclusters:\n  agents:\n    registry: {{callback: \"{{agent}}.localhost:3790\"}}\n    balance: round_robin
    schema: {{reflection: {{refresh: 200ms}}}}\n    health: {{interval: 50ms, timeout: 500ms, {health}}}
listeners:
  sdk: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]}}
  edge: {{address: 127.0.0.1:0, routes: [{{cluster: agents}}]}}\n"
    );
    let proxy = TestProxy::yaml(&text).await;
    let both = [Reflecting::start(first()).await, Reflecting::start(first()).await];
    let sdk = BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap();
    for one in &both {
        let answer = sdk.clone().register_agent(registration("n", one.address().port())).await.unwrap().into_inner();
        assert!(answer.success, "{answer:?}");
    }
    // The connection stays, and with it what has registered.
    tokio::spawn(async move {
        let _sdk = sdk;
        std::future::pending::<()>().await;
    });
    (proxy, both)
}

async fn states(proxy: &TestProxy, of: &[Reflecting; 2]) -> [String; 2] {
    let list = proxy.json("/instances").await;
    let one = |at: &Reflecting| {
        let address = format!("localhost:{}", at.address().port());
        let found =
            list.as_array().unwrap().iter().find(|one| one["address"] == address).unwrap_or_else(|| panic!("{list}"));
        found["state"].as_str().unwrap().to_owned()
    };
    [one(&of[0]), one(&of[1])]
}

#[tokio::test]
async fn a_registry_can_ask_by_another_method() {
    let (proxy, both) = registered("method: t.S/State, expect: 'response.state == \"ok\"'").await;
    both[0].say(OWN, state("ok"));
    both[1].say(OWN, state("warming up"));
    eventually!(states(&proxy, &both).await == ["healthy", "new"]);
    both[1].say(OWN, state("ok"));
    eventually!(states(&proxy, &both).await == ["healthy", "healthy"]);
    both[0].say(OWN, state("no"));
    eventually!(states(&proxy, &both).await == ["unhealthy", "healthy"]);
}

#[tokio::test]
async fn a_registry_can_expect_more_of_its_own_method() {
    let (proxy, both) = registered("expect: 'response.healthy && response.message != \"degraded\"'").await;
    let say = |at: usize, healthy, message: &str| {
        let message = HealthCheckResponse { healthy, message: message.into() }.encode_to_vec();
        both[at].say("/bindu.grpc.AgentHandler/HealthCheck", Said::Message(message));
    };
    // Theirs have no reflection: the contract that comes along describes the answer.
    for one in &both {
        one.turn(Manner::None);
    }
    say(0, true, "");
    say(1, true, "");
    eventually!(states(&proxy, &both).await == ["healthy", "healthy"]);
    say(0, true, "degraded");
    eventually!(states(&proxy, &both).await == ["unhealthy", "healthy"]);
    say(0, true, "");
    say(1, false, "");
    eventually!(states(&proxy, &both).await == ["healthy", "unhealthy"]);
}
