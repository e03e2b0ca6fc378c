//! The registrar behind a balancer or a proxy: who owns what, and which instance is meant, where the other end of the connection is not
//! who calls.

use std::net::SocketAddr;

use portunus_proto::bindu::{HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse};
use portunus_proto::bindu::{UnregisterAgentRequest, UnregisterAgentResponse};
use prost::Message;
use rustls::pki_types::ServerName;
use serde_json::json;

use crate::harness::{Answer, Ask, Authority, Caller, Shown, Signer, TestProxy, claims};
use crate::origin::{BALANCED, RELAYED, begin, binary, caller, line};
use crate::registrar::registration;

async fn registrar(top: &str, listener: &str, route: &str) -> TestProxy {
    TestProxy::yaml(&format!(
        "{top}\nstate: memory\nclusters:\n  agents: {{registry: {{callback: \"{{agent}}.localhost:3790\"}}}}\nlisteners:\n  edge:\n    \
         address: 127.0.0.1:0\n    {listener}\n    routes:\n      - {{match: {{service: bindu.grpc.BinduService}}, register_into: agents{route}}}\n"
    ))
    .await
}

/// As whom a call says that it comes, to a trusted proxy: from where, and with which token.
#[derive(Clone, Copy, Default)]
struct As<'a> {
    hops: Option<&'a str>,
    token: Option<&'a str>,
}

/// A call of the registrar.
async fn ask(caller: &Caller, method: &str, who: As<'_>, message: &impl Message) -> Answer {
    let mut ask = Ask::path(&format!("/bindu.grpc.BinduService/{method}"));
    if let Some(hops) = who.hops {
        ask = ask.with("x-forwarded-for", hops);
    }
    if let Some(token) = who.token {
        ask = ask.with("authorization", format!("Bearer {token}"));
    }
    caller.unary(ask, &message.encode_to_vec()).await
}

fn of(name: &str) -> RegisterAgentRequest {
    registration(name, 5_000 + u16::from(name.as_bytes()[0]))
}

/// Registers an agent; what the registrar answers.
async fn register(caller: &Caller, name: &str, hops: Option<&str>) -> Answer {
    ask(caller, "RegisterAgent", As { hops, token: None }, &of(name)).await
}

fn answered<M: Message + Default>(answer: &Answer) -> M {
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    M::decode(&*answer.messages()[0]).unwrap()
}

fn succeeds(answer: &Answer) -> bool {
    answered::<RegisterAgentResponse>(answer).success
}

async fn owner(proxy: &TestProxy, name: &str) -> String {
    let page = proxy.json("/agents").await;
    let list = page.as_array().or_else(|| page["agents"].as_array()).unwrap_or_else(|| panic!("{page}"));
    let agent = list.iter().find(|agent| agent["name"] == name).unwrap_or_else(|| panic!("{page}"));
    agent["owner"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned()
}

/// By TLS as this client, from this address of this machine, behind this header.
async fn secured(ca: &Authority, shown: &Shown, (from, to): (&str, SocketAddr), header: &[u8]) -> Caller {
    let stream = begin(from, to, header).await;
    let stream = ca.client(Some(shown), &["h2"]).connect(ServerName::try_from("localhost").unwrap(), stream).await;
    Caller::over(stream.unwrap(), h2::client::Builder::new()).await.unwrap()
}

fn denied() -> (u32, String) {
    (7, "denied".to_owned())
}

/// An address of this machine owns agents only where the connection itself is from there: no header makes it so. Nor does a certificate
/// that names nobody, and a balancer that cannot say whose a connection is does not lend it its own address.
#[tokio::test]
async fn no_header_makes_anybody_a_peer_on_loopback() {
    let ca = Authority::new();
    let balanced = registrar("", &format!("{}\n    {BALANCED}", ca.listener("mode: required")), "").await;
    let (to, nobody, workload) = (balanced.address(), ca.nameless(), ca.workload("agents/a"));
    let stranger = secured(&ca, &nobody, ("127.0.0.1", to), &line("203.0.113.9")).await;
    for hops in [None, Some("127.0.0.1")] {
        assert_eq!(register(&stranger, "a", hops).await.refusal(), denied(), "{hops:?}");
    }
    for unknown in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x21, 0, b""), binary(0x21, 0x31, &[0; 216])] {
        let unnamed = secured(&ca, &nobody, ("127.0.0.1", to), &unknown).await;
        assert_eq!(register(&unnamed, "a", None).await.refusal(), denied(), "{}", unknown.escape_ascii());
        // Who it is shows, and where it is does not.
        let unnamed = secured(&ca, &workload, ("127.0.0.1", to), &unknown).await;
        assert!(!succeeds(&register(&unnamed, "a", None).await), "{}", unknown.escape_ascii());
    }
    let balancer = secured(&ca, &nobody, ("127.0.0.1", to), &binary(0x20, 0, b"")).await;
    assert!(succeeds(&register(&balancer, "a", Some("127.0.0.7")).await));
    let beside = secured(&ca, &nobody, ("127.0.0.1", to), &line("127.0.0.9")).await;
    assert!(succeeds(&register(&beside, "b", None).await), "beside us, says who is beside us");
    let owners = (owner(&balanced, "a").await, owner(&balanced, "b").await);
    assert_eq!(owners, ("127.0.0.1".to_owned(), "127.0.0.9".to_owned()));

    // Where anybody may register, a proxy beside us makes nobody's addresses those of this machine.
    let open = registrar("", RELAYED, ", open_registration: true").await;
    let trusted = caller("127.0.0.1", open.address(), b"").await;
    for hops in [None, Some("127.0.0.1"), Some("203.0.113.9"), Some("::1")] {
        let answer = register(&trusted, "a", hops).await;
        assert_eq!(succeeds(&answer), hops == Some("203.0.113.9"), "{hops:?}: {answer:?}");
    }
}

/// A connection whose source the balancer does not know is nobody's whom `forwarded` trusts, though the balancer is.
#[tokio::test]
async fn whom_a_balancer_cannot_name_is_no_trusted_proxy() {
    let both = registrar("", &format!("{BALANCED}\n    {RELAYED}"), ", open_registration: true").await;
    let unnamed = caller("127.0.0.1", both.address(), b"PROXY UNKNOWN\r\n").await;
    assert!(!succeeds(&register(&unnamed, "a", Some("203.0.113.9")).await));
    let balancer = caller("127.0.0.1", both.address(), &binary(0x20, 0, b"")).await;
    assert!(succeeds(&register(&balancer, "a", Some("203.0.113.9")).await));
}

/// The top of a file with an issuer, and a listener by TLS behind trusted proxies, with a filter for its tokens.
fn tokens(ca: &Authority, signer: &Signer) -> (String, String) {
    let top = format!("issuers:\n  idp: {{issuer: idp, audiences: [test], jwks: {{inline: '{}'}}}}", signer.set());
    let tls = ca.listener("mode: required");
    (top, format!("{tls}\n    {RELAYED}\n    filters: [{{jwt: {{issuers: [idp]}}}}]"))
}

/// The certificate that a proxy shows is the proxy's: those for whom it speaks are told apart by their tokens.
#[tokio::test]
async fn two_tenants_behind_one_proxy_are_two_owners() {
    let (ca, signer) = (Authority::new(), Signer::new("ES256", "k"));
    let (top, listener) = tokens(&ca, &signer);
    let proxy = registrar(&top, &listener, "").await;
    let relay = secured(&ca, &ca.workload("relay"), ("127.0.0.1", proxy.address()), b"").await;
    let [ann, bob] = ["ann", "bob"].map(|name| signer.token(&claims("idp", name, json!({}))));
    let from = |hops, token| As { hops: Some(hops), token: Some(token) };
    let (ann, bob) = (from("203.0.113.1", &*ann), from("203.0.113.2", &*bob));
    assert!(succeeds(&ask(&relay, "RegisterAgent", ann, &of("a")).await));
    assert_eq!(owner(&proxy, "a").await, "idp ann");
    assert!(!succeeds(&ask(&relay, "RegisterAgent", bob, &of("a")).await));
    let id = portunus_agents::core::agent_id("a@b.test", "a");
    let beat = HeartbeatRequest { agent_id: id.clone(), timestamp: 1 };
    assert!(!answered::<HeartbeatResponse>(&ask(&relay, "Heartbeat", bob, &beat).await).acknowledged);
    let leave = UnregisterAgentRequest { agent_id: id };
    assert!(!answered::<UnregisterAgentResponse>(&ask(&relay, "UnregisterAgent", bob, &leave).await).success);
    // Who comes himself is who his certificate says, whatever his token.
    let direct = secured(&ca, &ca.workload("agents/b"), ("127.0.0.2", proxy.address()), b"").await;
    let token = As { hops: None, ..ann };
    assert!(succeeds(&ask(&direct, "RegisterAgent", token, &of("b")).await));
    assert_eq!(owner(&proxy, "b").await, "spiffe://td/agents/b");
}

/// Calls of many come over one connection of a proxy: which instance is meant goes by the address that it says, and by nothing else.
#[tokio::test]
async fn a_proxys_connection_names_no_instance() {
    let (ca, signer) = (Authority::new(), Signer::new("ES256", "k"));
    let (top, listener) = tokens(&ca, &signer);
    let proxy = registrar(&top, &listener, "").await;
    let relay = secured(&ca, &ca.workload("relay"), ("127.0.0.1", proxy.address()), b"").await;
    let token = signer.token(&claims("idp", "ann", json!({})));
    let at = |hops| As { hops: Some(hops), token: Some(&*token) };
    for hops in ["203.0.113.1", "203.0.113.2"] {
        assert!(succeeds(&ask(&relay, "RegisterAgent", at(hops), &of("a")).await));
    }
    let connected = proxy.json("/instances").await;
    let connected: Vec<_> = connected.as_array().unwrap().iter().map(|one| one["connected"].clone()).collect();
    assert_eq!(connected, [false, false], "that the proxy is there says nothing of them");
    let leave = UnregisterAgentRequest { agent_id: portunus_agents::core::agent_id("a@b.test", "a") };
    let left = ask(&relay, "UnregisterAgent", at("203.0.113.9"), &leave).await;
    assert!(!answered::<UnregisterAgentResponse>(&left).success, "no instance is there");
    let left = ask(&relay, "UnregisterAgent", at("203.0.113.1"), &leave).await;
    assert!(answered::<UnregisterAgentResponse>(&left).success);
    let instances = proxy.json("/instances").await;
    let left: Vec<_> = instances.as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap()).collect();
    assert_eq!(left, ["203.0.113.2:5097"]);
}
