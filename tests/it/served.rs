//! What a listener serves itself, and to whom: reflection tells each caller of what he may call, and public health asks nobody who he is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portunus_proto::health::HealthCheckRequest;
use prost::Message as _;
use serde_json::json;
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::agents::sdk;
use crate::harness::{
    Ask, Authority, Caller, Got, Reflecting, Shown, Signer, TestProxy, Upstream, chunk, claims, eventually, framed,
    refused_port, soon,
};

/// Services of one file, and one of another that shares a type with it.
const PROTOS: &str = "syntax = \"proto3\"; package t; service Open { rpc M(R) returns (R); } service Shut { rpc M(R) returns (R); } \
    service Half { rpc Get(R) returns (R); rpc Set(R) returns (R); } message R { string tenant = 1; }";

async fn plain(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Who asks: over which connection, and with what metadata.
#[derive(Clone)]
struct Asker(Channel, Vec<(&'static str, String)>);

impl Asker {
    async fn new(address: SocketAddr, metadata: &[(&'static str, &str)]) -> Self {
        Self(plain(address).await, metadata.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    async fn ask(&self, questions: &[MessageRequest]) -> Result<Vec<MessageResponse>, Status> {
        let request =
            |one: &MessageRequest| ServerReflectionRequest { host: String::new(), message_request: Some(one.clone()) };
        let questions: Vec<_> = questions.iter().map(request).collect();
        let mut request = Request::new(tokio_stream::iter(questions));
        for (name, value) in &self.1 {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let mut answers =
            ServerReflectionClient::new(self.0.clone()).server_reflection_info(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(ServerReflectionResponse { message_response, .. }) = soon(answers.message()).await? {
            all.push(message_response.unwrap());
        }
        Ok(all)
    }

    /// The services that are listed, but for those of reflection and health.
    async fn listed(&self) -> Result<BTreeSet<String>, Status> {
        match self.ask(&[MessageRequest::ListServices(String::new())]).await?.remove(0) {
            MessageResponse::ListServicesResponse(list) => {
                let names = list.service.into_iter().map(|service| service.name);
                Ok(names.filter(|name| !name.starts_with("grpc.")).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The services in the file of a symbol; none if there is none for this caller.
    async fn beside(&self, symbol: &str) -> Option<Vec<String>> {
        match self.ask(&[MessageRequest::FileContainingSymbol(symbol.into())]).await.unwrap().remove(0) {
            MessageResponse::FileDescriptorResponse(files) => {
                let file = prost_types::FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
                Some(file.service.iter().map(|service| service.name().to_owned()).collect())
            }
            MessageResponse::ErrorResponse(error) if error.error_code == 5 => None,
            other => panic!("{other:?}"),
        }
    }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// A cluster whose instance serves [`PROTOS`], and a listener.
async fn proxy(instance: SocketAddr, top: &str, listener: &str, routes: &[&str]) -> TestProxy {
    let routes: String = routes.iter().map(|route| format!("      - {route}\n")).collect();
    TestProxy::yaml(&format!(
        "{top}\nstate: memory\nclusters:\n  one: {{endpoints: [{instance}], schema: {{reflection: {{refresh: 100ms}}}}}}\n  \
         agents: {{registry: {{}}}}\nlisteners:\n  sdk:\n    address: 127.0.0.1:0\n    routes: [{{match: {{service: bindu.grpc.BinduService}}, \
         register_into: agents}}]\n  edge:\n    address: 127.0.0.1:0\n    {listener}\n    routes:\n{routes}"
    ))
    .await
}

#[tokio::test]
async fn each_caller_is_told_of_what_he_may_call() {
    let one = Reflecting::with(PROTOS).await;
    let role = |role: &str| format!("filters: [{{authz: {{allow: 'metadata[\"x-role\"] == \"{role}\"'}}}}]");
    let routes = [
        format!("{{match: {{service: t.Shut}}, cluster: one, {}}}", role("boss")),
        // Of this one everybody may call one method.
        "{match: {service: t.Half, method: Set}, cluster: one, filters: [{authz: {allow: 'false'}}]}".to_owned(),
        "{match: {service: t.Half}, cluster: one, filters: [{authz: {rules: [{method: \"*/Set\", allow: 'true'}, \
         {method: \"*/Get\", allow: 'message.tenant == \"a\"'}]}}]}"
            .to_owned(),
        "{cluster: one}".to_owned(),
    ];
    let routes: Vec<_> = routes.iter().map(String::as_str).collect();
    let proxy = proxy(one.address(), "", "serve: [reflection]", &routes).await;
    let (anybody, boss) =
        (Asker::new(proxy.address(), &[]).await, Asker::new(proxy.address(), &[("x-role", "boss")]).await);
    eventually!(!boss.listed().await.unwrap().is_empty());
    assert_eq!(boss.listed().await.unwrap(), names(["t.Half", "t.Open", "t.Shut"]));
    assert_eq!(anybody.listed().await.unwrap(), names(["t.Half", "t.Open"]));
    // All stand in one file, of which each is given what is for him.
    assert_eq!(boss.beside("t.R").await.unwrap(), ["Open", "Shut", "Half"]);
    assert_eq!(anybody.beside("t.R").await.unwrap(), ["Open", "Half"]);
    for hidden in ["t.Shut", "t.Shut.M"] {
        assert_eq!(anybody.beside(hidden).await, None, "{hidden}");
        assert!(boss.beside(hidden).await.is_some(), "{hidden}");
    }
    // A number that somebody sends himself is taken off.
    for forged in ["x-portunus-visitor", "x_portunus_visitor"] {
        let forger = Asker::new(proxy.address(), &[(forged, "1")]).await;
        assert_eq!(forger.listed().await.unwrap(), names(["t.Half", "t.Open"]), "{forged}");
    }
}

#[tokio::test]
async fn what_no_rule_allows_and_what_asks_for_nobody() {
    let one = Reflecting::with(PROTOS).await;
    let routes = [
        // A condition that fails refuses, one that does not hold passes the call on, and one that another head may meet may admit.
        "{match: {service: t.Open, when: 'claims.sub == \"x\"'}, cluster: one}",
        "{match: {service: t.Shut, when: 'metadata[\"x-go\"] == \"1\"'}, cluster: one, filters: [{authz: {allow: 'false'}}]}",
        "{match: {service: t.Shut}, cluster: one}",
        "{match: {service: t.Half, headers: {x-never: \"1\"}}, cluster: one}",
        "{match: {service: t.Half}, cluster: one, filters: [{authz: {allow: 'false'}}]}",
    ];
    let proxy = proxy(one.address(), "", "serve: [reflection]", &routes).await;
    let asker = Asker::new(proxy.address(), &[("x-go", "0")]).await;
    eventually!(!asker.listed().await.unwrap().is_empty());
    assert_eq!(asker.listed().await.unwrap(), names(["t.Half", "t.Shut"]));
}

#[tokio::test]
async fn tokens_and_rules_of_listener_and_route_count() {
    let one = Reflecting::with(PROTOS).await;
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers:\n  idp: {{issuer: idp, audiences: [test], jwks: {{inline: '{}'}}}}\n", signer.set());
    let token = |roles: &[&str]| format!("Bearer {}", signer.token(&claims("idp", "ann", json!({"roles": roles}))));
    let routes = [
        "{match: {service: t.Open}, cluster: one}",
        "{match: {service: t.Shut}, cluster: one, filters: [{authz: {allow: '\"boss\" in claims.roles'}}]}",
        "{match: {service: t.Half}, cluster: one, filters: [{jwt: {issuers: [idp]}}]}",
    ];
    // On the listener: nobody gets in without a token. `forward`, so that the route's own finds it.
    let listener = "serve: [reflection]\n    filters: [{jwt: {issuers: [idp], forward: true}}, {authz: {rules: [{method: \"*/*\", allow: 'true', \
         deny: '\"out\" in claims.roles'}, {method: \"grpc.reflection.*/*\", allow: 'true'}]}}]";
    let guarded = proxy(one.address(), &top, listener, &routes).await;
    let ask = async |to: &TestProxy, roles: Option<&[&str]>| {
        let token = roles.map(token).unwrap_or_default();
        let metadata = [("authorization", token.as_str())];
        Asker::new(to.address(), &metadata[..usize::from(roles.is_some())]).await
    };
    assert_eq!(ask(&guarded, None).await.listed().await.unwrap_err().code(), tonic::Code::Unauthenticated);
    let boss = ask(&guarded, Some(&["boss"])).await;
    eventually!(!boss.listed().await.unwrap().is_empty());
    assert_eq!(boss.listed().await.unwrap(), names(["t.Half", "t.Open", "t.Shut"]));
    assert_eq!(ask(&guarded, Some(&[])).await.listed().await.unwrap(), names(["t.Half", "t.Open"]));
    assert_eq!(ask(&guarded, Some(&["out"])).await.listed().await.unwrap_err().code(), tonic::Code::PermissionDenied);
    // On a route: what it guards is for those with a token, and nobody else is told of it.
    let open = proxy(one.address(), &top, "serve: [reflection]", &routes).await;
    eventually!(!ask(&open, None).await.listed().await.unwrap().is_empty());
    assert_eq!(
        ask(&open, None).await.listed().await.unwrap(),
        names(["t.Open"]),
        "and claims that nobody has allow nothing"
    );
    assert_eq!(ask(&open, Some(&[])).await.listed().await.unwrap(), names(["t.Half", "t.Open"]));
}

async fn by_tls(ca: &Authority, to: SocketAddr, shown: Option<&Shown>) -> Channel {
    let roots = Certificate::from_pem(std::fs::read(ca.path("ca.pem")).unwrap());
    let tls = ClientTlsConfig::new().ca_certificate(roots).domain_name("localhost");
    let tls = match shown {
        Some(shown) => tls.identity(Identity::from_pem(&shown.pem, &shown.key_pem)),
        None => tls,
    };
    let endpoint = Endpoint::from_shared(format!("https://localhost:{}", to.port())).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn certificates_count_and_so_does_the_agent_that_a_call_is_for() {
    let (ca, one) = (Authority::new(), Reflecting::with(PROTOS).await);
    let routes = [
        "{match: {service: t.Shut}, cluster: one, filters: [{peer: {spiffe: [\"spiffe://td/ops/*\"]}}]}",
        "{match: {service: bindu.grpc.AgentHandler}, cluster: agents, filters: [{authz: {allow: 'agent.name == \"a\"'}}]}",
        "{match: {service: t.Open}, cluster: one}",
    ];
    let listener = format!("serve: [reflection]\n    {}", ca.listener("mode: optional"));
    let proxy = proxy(one.address(), "", &listener, &routes).await;
    let asker = async |shown: Option<&Shown>| Asker(by_tls(&ca, proxy.address(), shown).await, Vec::new());
    let (ops, dev) = (asker(Some(&ca.workload("ops/ann"))).await, asker(Some(&ca.workload("dev/bob"))).await);
    eventually!(dev.listed().await.unwrap() == names(["t.Open"]), "{:?}", dev.listed().await);
    assert_eq!(ops.listed().await.unwrap(), names(["t.Open", "t.Shut"]));
    assert_eq!(asker(None).await.listed().await.unwrap(), names(["t.Open"]));
    // The only agent there is: a call with this head would be for it.
    let _agent = sdk(&proxy, "a", "1").await;
    let agent = "bindu.grpc.AgentHandler";
    eventually!(dev.listed().await.unwrap() == names([agent, "t.Open"]), "{:?}", dev.listed().await);
    let other = Asker(dev.0.clone(), vec![("x-portunus-agent", "b".to_owned())]);
    assert_eq!(other.listed().await.unwrap(), names(["t.Open"]));
}

async fn health(caller: &Caller, method: &'static str, service: &str) -> (u32, usize) {
    let question = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let path = format!("/grpc.health.v1.Health/{method}");
    let mut open = caller.open(Ask::path(&path)).await;
    open.finish(framed(&question));
    let answer = soon(open.answer()).await;
    (answer.code().unwrap_or(99), answer.messages().len())
}

#[tokio::test]
async fn public_health_asks_nobody_who_he_is_and_tells_of_the_listener_only() {
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers:\n  idp: {{issuer: idp, audiences: [test], jwks: {{inline: '{}'}}}}\n", signer.set());
    let listener = "serve: [{health: {public: true}}, reflection]\n    filters: [{jwt: {issuers: [idp]}}]";
    let proxy = proxy(refused_port(), &top, listener, &["{match: {service: t.Open}, cluster: one}"]).await;
    let caller = proxy.caller().await;
    assert_eq!(health(&caller, "Check", "").await, (0, 1));
    for (method, service) in [("Check", "t.Open"), ("Check", "nobody"), ("Watch", "t.Open"), ("List", "")] {
        assert_eq!(health(&caller, method, service).await, (16, 0), "{method} {service}");
    }
    assert_eq!(caller.unary(Ask::path("/t.Open/M"), b"").await.code(), Some(16));
    // As octets: the empty name written out, and one behind it.
    for (message, code) in [(&[0x0a, 0][..], 0), (&[0x0a, 0, 0x0a, 1, b't'], 16), (&[0x10, 1], 16)] {
        assert_eq!(
            caller.unary(Ask::path("/grpc.health.v1.Health/Check"), message).await.code(),
            Some(code),
            "{message:?}"
        );
    }
    let mut watch = caller.open(Ask::path("/grpc.health.v1.Health/Watch")).await;
    watch.finish(framed(b""));
    let (head, mut body, _) = soon(watch.head()).await.unwrap();
    assert!(!head.headers.contains_key("grpc-status"), "{head:?}");
    assert_eq!(soon(body.data()).await.unwrap().unwrap().as_ref(), &framed(&[0x08, 1])[..], "SERVING");
    let good = signer.token(&claims("idp", "ann", json!({})));
    let known = Ask::path("/grpc.health.v1.Health/Check").with("authorization", format!("Bearer {good}"));
    let question = HealthCheckRequest { service: "t.Open".into() }.encode_to_vec();
    assert_eq!(caller.unary(known, &question).await.code(), Some(0));
    assert_eq!(health(&caller, "Check", &"x".repeat(100_000)).await, (16, 0));
    // What is announced to be longer, or is compressed, is decided about before it is there: a stranger holds none of it.
    for begins in [[0, 0, 0, 0, 1], [0, 0, 0, 0, 3], [0, 0, 15, 0, 0], [1, 0, 0, 0, 2]] {
        let mut open = caller.open(Ask::path("/grpc.health.v1.Health/Check")).await;
        open.up.send_data(begins.to_vec().into(), false).unwrap();
        let begun = Instant::now();
        assert_eq!(soon(open.answer()).await.code(), Some(16), "{begins:?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{begins:?}: `limits.handshake` was waited for");
    }
}

#[tokio::test]
async fn a_route_for_health_is_guarded_and_so_is_health_that_is_not_public() {
    let called = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&called);
    let upstream = Upstream::start(move |mut got: Got| {
        // It is asked for its schema, too.
        counted.fetch_add(usize::from(got.head.uri.path().contains("health")), Ordering::Relaxed);
        async move { got.succeed(&[chunk(b"upstream")]) }
    })
    .await;
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers:\n  idp: {{issuer: idp, audiences: [test], jwks: {{inline: '{}'}}}}\n", signer.set());
    for (health_, route) in [
        ("{health: {public: true}}", "{match: {service: grpc.health.v1.Health}, cluster: one}"),
        ("{health: {public: true}}", "{match: {service: grpc.health.v1.Health, when: 'true'}, cluster: one}"),
        ("{health: {public: false}}", "{match: {service: t.Open}, cluster: one}"),
        ("health", "{match: {service: t.Open}, cluster: one}"),
    ] {
        let listener = format!("serve: [{health_}]\n    filters: [{{jwt: {{issuers: [idp]}}}}]");
        let proxy = proxy(upstream.address(), &top, &listener, &[route]).await;
        assert_eq!(health(&proxy.caller().await, "Check", "").await, (16, 0), "{health_} {route}");
    }
    assert_eq!(called.load(Ordering::Relaxed), 0);
}

/// Who says nothing, and is not known, is not waited for long.
#[tokio::test]
async fn a_stranger_who_keeps_his_question_to_himself_is_gone_with_his_time() {
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers:\n  idp: {{issuer: idp, audiences: [test], jwks: {{inline: '{}'}}}}\n", signer.set());
    let listener =
        "serve: [{health: {public: true}}]\n    limits: {handshake: 300ms}\n    filters: [{jwt: {issuers: [idp]}}]";
    let proxy = proxy(refused_port(), &top, listener, &["{match: {service: t.Open}, cluster: one}"]).await;
    let caller = proxy.caller().await;
    let open = caller.open(Ask::path("/grpc.health.v1.Health/Check")).await;
    assert_eq!(soon(open.answer()).await.code(), Some(4));
}

/// Questions that never end, and watches of strangers, take nobody the places of what the listener serves itself.
#[tokio::test]
async fn strangers_do_not_use_up_what_is_served() {
    let signer = Signer::new("ES256", "k");
    let top = format!("issuers:\n  idp: {{issuer: idp, audiences: [test], jwks: {{inline: '{}'}}}}\n", signer.set());
    let listener = "serve: [{health: {public: true}}, reflection]\n    limits: {handshake: 6s, streams: 2000}\n    \
                    filters: [{jwt: {issuers: [idp]}}]";
    let proxy = proxy(refused_port(), &top, listener, &["{match: {service: t.Open}, cluster: one}"]).await;
    let (stranger, caller) = (proxy.caller().await, proxy.caller().await);
    let token = format!("Bearer {}", signer.token(&claims("idp", "ann", json!({}))));
    let mut endless = Vec::new();
    for at in 0..1_100 {
        let method = if at % 2 == 0 { "Check" } else { "Watch" };
        let mut open = stranger.open(Ask::path(&format!("/grpc.health.v1.Health/{method}"))).await;
        open.send(b"");
        endless.push(open);
    }
    assert_eq!(health(&stranger, "Check", "").await, (0, 1), "behind all of them");
    assert_eq!(health(&caller, "Check", "").await, (0, 1));
    let asker = Asker::new(proxy.address(), &[("authorization", &token)]).await;
    asker.listed().await.unwrap();
    // They have the time of a handshake for the rest, and no more.
    for open in endless {
        assert_eq!(soon(open.answer()).await.code(), Some(4));
    }

    let watch = async |ask: Ask| {
        let mut open = stranger.open(ask).await;
        open.finish(framed(b""));
        soon(open.head()).await.unwrap()
    };
    let path = || Ask::path("/grpc.health.v1.Health/Watch");
    let mut watches = Vec::new();
    for at in 0..64 {
        let watch = watch(path()).await;
        assert!(!watch.0.headers.contains_key("grpc-status"), "{at}: {:?}", watch.0);
        watches.push(watch);
    }
    assert_eq!(watch(path()).await.0.headers["grpc-status"], "8");
    // Those who are known have others.
    let mut known = stranger.open(path().with("authorization", &token)).await;
    known.finish(framed(&HealthCheckRequest { service: "t.Open".into() }.encode_to_vec()));
    assert!(!soon(known.head()).await.unwrap().0.headers.contains_key("grpc-status"));
    assert_eq!(health(&caller, "Check", "").await, (0, 1));
    // One that ends makes room.
    watches.clear();
    eventually!(!watch(path()).await.0.headers.contains_key("grpc-status"));
}
