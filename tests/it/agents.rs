//! Which agent a call means, asked over the wire, and what its instance sees.

use std::ops::RangeInclusive;

use portunus_agents::bindu;
use portunus_proto::bindu::{ChatMessage, HandleRequest, HandleResponse};
use prost::Message as _;

use crate::harness::{Ask, Caller, Got, TestProxy, Upstream, eventually, framed, soon};

/// A registry with listeners for both sides; `registry` are more of its keys.
pub(crate) async fn proxy_with(registry: &str) -> TestProxy {
    TestProxy::yaml(&text(&format!("callback: \"{{agent}}.localhost:3790\"\n      {registry}"), "127.0.0.1:0")).await
}

/// The same with more keys of the route that calls take.
pub(crate) async fn proxy_with_route(route: &str) -> TestProxy {
    let text = text("callback: \"{agent}.localhost:3790\"", "127.0.0.1:0");
    TestProxy::yaml(&format!("{}\n        {route}\n", text.trim_end())).await
}

/// The same where each agent has a port, out of those that come with it.
pub(crate) async fn with_ports(registry: &str) -> (TestProxy, RangeInclusive<u16>) {
    let ports = free_ports();
    let range = format!("{}-{}", ports.start(), ports.end());
    let callback = format!("callback: {{host: 127.0.0.1, ports: {range}}}\n      {registry}");
    (TestProxy::yaml(&text(&callback, &format!("127.0.0.1:{range}"))).await, ports)
}

fn text(registry: &str, edge: &str) -> String {
    format!(
        "workers: 2
state: memory
clusters:
  agents:
    registry:
      {registry}
    balance: round_robin
    health: {{interval: 100ms, timeout: 1s, unhealthy_after: 2, healthy_after: 1}}
listeners:
  sdk:
    address: 127.0.0.1:0
    routes:
      - {{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}
  edge:
    address: {edge}
    routes:
      - cluster: agents
"
    )
}

/// Four ports in a row that nobody has, below those that the system gives out by itself.
fn free_ports() -> RangeInclusive<u16> {
    let mine = u16::try_from(std::process::id() % 400).unwrap() * 10;
    let starts = (0..200).map(|n| 20_000 + (mine + n * 40) % 10_000);
    let free = |first: &u16| (*first..first + 4).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    starts.into_iter().find(free).map(|first| first..=first + 3).expect("four free ports in a row")
}

/// An agent that registers with the proxy, and is known to be well.
pub(crate) async fn sdk(proxy: &TestProxy, name: &str, instance: &str) -> bindu::Agent {
    let options = bindu::Options {
        name: name.to_owned(),
        instance: instance.to_owned(),
        registrar: Some(proxy.listener("sdk").to_string()),
        ..bindu::Options::default()
    };
    let agent = bindu::Agent::start(options).await.unwrap();
    let address = format!("localhost:{}", agent.address().port());
    eventually!(state_of(proxy, &address).await.as_deref() == Some("healthy"), "{name} {instance} is not healthy");
    agent
}

async fn list(proxy: &TestProxy) -> Vec<serde_json::Value> {
    let page = proxy.json("/instances").await;
    page.as_array().or_else(|| page["instances"].as_array()).unwrap_or_else(|| panic!("{page}")).clone()
}

async fn state_of(proxy: &TestProxy, address: &str) -> Option<String> {
    let list = list(proxy).await;
    let found = list.iter().find(|instance| instance["address"] == address)?;
    found["state"].as_str().map(str::to_owned)
}

/// Instances that are registered.
pub(crate) async fn instances(proxy: &TestProxy) -> usize {
    list(proxy).await.len()
}

/// HandleMessages.
pub(crate) fn ask() -> Ask {
    Ask::path("/bindu.grpc.AgentHandler/HandleMessages")
}

/// A conversation.
pub(crate) fn hello() -> Vec<u8> {
    let message = ChatMessage { role: "user".into(), content: "2 + 3".into() };
    HandleRequest { messages: vec![message], ..HandleRequest::default() }.encode_to_vec()
}

/// Which instance answered.
pub(crate) async fn said(caller: &Caller, ask: Ask) -> String {
    let answer = caller.unary(ask, &hello()).await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    let mut response = HandleResponse::decode(&answer.messages()[0][..]).unwrap();
    response.metadata.remove("instance").unwrap()
}

#[tokio::test]
async fn an_agent_is_named_by_authority_or_metadata() {
    let proxy = proxy_with("authorities: [\"*.agents.example.test\"]").await;
    let (alpha, _beta) = (sdk(&proxy, "alpha", "a").await, sdk(&proxy, "Beta Two", "b").await);
    let alpha = alpha.registration().unwrap().clone();
    let caller = proxy.caller().await;
    let by = |name: &str| ask().with("x-portunus-agent", name);
    let at = |host: &str| ask().authority(host);
    for ask in [
        at(&format!("{}.localhost:3790", alpha.agent_id)),
        at(&format!("{}.LOCALHOST", alpha.agent_id.to_uppercase())),
        at("alpha.agents.example.test"),
        by(&alpha.agent_id),
        by(&alpha.did),
        by("alpha"),
        by("alpha").authority(&format!("{}.localhost", alpha.agent_id)),
        by("alpha").authority("anything.test"),
    ] {
        assert_eq!(said(&caller, ask.clone()).await, "a", "{ask:?}");
    }
    assert_eq!(said(&caller, by("Beta Two")).await, "b");
    let unknown = uuid::Uuid::nil();
    let refused = [
        (ask(), 3, "agent_unnamed"),
        (at("127.0.0.1:3790"), 3, "agent_unnamed"),
        (at("localhost"), 3, "agent_unnamed"),
        (by("Beta Two").authority(&format!("{}.localhost", alpha.agent_id)), 3, "agent_conflict"),
        (by("nobody"), 5, "agent_unknown"),
        (at(&format!("{unknown}.localhost:3790")), 5, "agent_unknown"),
        (by("Alpha"), 5, "agent_unknown"),
    ];
    for (ask, code, reason) in refused {
        let answer = caller.unary(ask.clone(), &hello()).await;
        assert_eq!(answer.refusal(), (code, reason.into()), "{ask:?}: {}", answer.message());
    }
}

#[tokio::test]
async fn a_name_that_two_share_is_ambiguous() {
    let proxy = proxy_with("").await;
    let start = |author: &str, instance: &str| bindu::Options {
        author: author.into(),
        name: "twin".into(),
        instance: instance.into(),
        registrar: Some(proxy.listener("sdk").to_string()),
        ..bindu::Options::default()
    };
    let one = bindu::Agent::start(start("one@a.test", "1")).await.unwrap();
    let two = bindu::Agent::start(start("two@a.test", "2")).await.unwrap();
    let caller = proxy.caller().await;
    let answer = caller.unary(ask().with("x-portunus-agent", "twin"), &hello()).await;
    assert_eq!(answer.refusal(), (3, "agent_ambiguous".into()));
    for (agent, instance) in [(one, "1"), (two, "2")] {
        let id = agent.registration().unwrap().agent_id.clone();
        assert_eq!(said(&caller, ask().with("x-portunus-agent", &id)).await, instance);
    }
}

#[tokio::test]
async fn who_names_nobody_gets_the_only_agent_or_the_default() {
    let proxy = proxy_with("default_agent: beta").await;
    let caller = proxy.caller().await;
    assert_eq!(caller.unary(ask(), &hello()).await.refusal(), (5, "agent_unknown".into()));
    let _alpha = sdk(&proxy, "alpha", "a").await;
    let _beta = sdk(&proxy, "beta", "b").await;
    assert_eq!(said(&caller, ask()).await, "b");
    let lone = proxy_with("").await;
    let _only = sdk(&lone, "only", "o").await;
    assert_eq!(said(&lone.caller().await, ask()).await, "o");
}

#[tokio::test]
async fn the_instance_sees_its_own_address_and_the_callers_host() {
    let upstream = Upstream::start(|mut got: Got| async move {
        let text = |name: &str| got.field(name).unwrap_or("-").to_owned();
        let authority = got.head.uri.authority().map(ToString::to_string).unwrap_or_default();
        let seen = [authority, text("x-forwarded-host"), text("x-portunus-agent")].join(" ");
        got.succeed(&[seen.into_bytes()]);
    })
    .await;
    let proxy = proxy_with("").await;
    let register = Ask::path("/bindu.grpc.BinduService/RegisterAgent");
    let request = portunus_proto::bindu::RegisterAgentRequest {
        config_json: r#"{"author": "a", "name": "n", "deployment": {"url": "http://localhost:1", "expose": true}}"#
            .into(),
        skills: Vec::new(),
        grpc_callback_address: format!("localhost:{}", upstream.address().port()),
    };
    let registrar = Caller::connect(proxy.listener("sdk")).await;
    assert_eq!(registrar.unary(register, &request.encode_to_vec()).await.code(), Some(0));
    let spoofed = ask().authority("Some.Host:77").with("x-forwarded-host", "evil").with("x-portunus-agent", "n");
    let mut open = proxy.caller().await.open(spoofed).await;
    open.finish(framed(&hello()));
    let answer = soon(open.answer()).await;
    let seen = String::from_utf8(answer.messages().remove(0)).unwrap();
    let address = format!("localhost:{}", upstream.address().port());
    assert_eq!(seen, format!("{address} Some.Host:77 -"), "{answer:?}");
}

#[tokio::test]
async fn an_agent_without_a_usable_instance_is_unavailable() {
    let proxy = proxy_with("").await;
    let agent = sdk(&proxy, "alpha", "a").await;
    agent.handle().set_healthy(false);
    let caller = proxy.caller().await;
    eventually!(caller.unary(ask(), &hello()).await.code() != Some(0));
    assert_eq!(caller.unary(ask(), &hello()).await.refusal(), (14, "no_instance".into()));
    // A call for an agent goes only where that agent lives.
    let _other = sdk(&proxy, "beta", "b").await;
    let answer = caller.unary(ask().with("x-portunus-agent", "alpha"), &hello()).await;
    assert_eq!(answer.refusal(), (14, "no_instance".into()));
}
