//! Registered instances when another snapshot comes into force: those that would not be registered any more get no calls, and say why.

use std::time::Duration;

use portunus_agents::{bindu, core};
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{HeartbeatRequest, RegisterAgentResponse};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::agents::{ask, hello};
use crate::harness::{Authority, Folder, Shown, Signer, TestProxy, claims, eventually};
use crate::registrar::registration;
use crate::tls::reload;

/// Instances are withdrawn within this after a swap.
const SOON: Duration = Duration::from_secs(1);

/// A registry with a listener for SDKs and one for callers.
fn file(top: &str, registry: &str, sdk: &str, route: &str) -> String {
    format!(
        "workers: 1\nstate: memory\n{top}\nclusters:\n  agents:\n    registry: {{{registry}}}\n    schema: {{reflection: false}}\n    \
         health: {{interval: 100ms, timeout: 1s}}\nlisteners:\n  sdk:\n    address: 127.0.0.1:0\n    {sdk}\n    routes: [{{match: {{service: \
         bindu.grpc.BinduService}}, {route}}}]\n  edge: {{address: 127.0.0.1:0, routes: [{{cluster: agents}}]}}\n"
    )
}

const INTO: &str = "register_into: agents";

/// A program that is an agent's instance, and a client of the registrar for it.
struct Sdk {
    agent: bindu::Agent,
    client: BinduServiceClient<Channel>,
    name: &'static str,
}

impl Sdk {
    async fn over(channel: Channel, name: &'static str) -> Self {
        let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
        Self { agent, client: BinduServiceClient::new(channel), name }
    }

    async fn to(proxy: &TestProxy, name: &'static str) -> Self {
        let to = format!("http://{}", proxy.listener("sdk"));
        Self::over(Channel::from_shared(to).unwrap().connect().await.unwrap(), name).await
    }

    fn id(&self) -> String {
        core::agent_id("a@b.test", self.name)
    }

    async fn register(&mut self, token: &str) -> Result<RegisterAgentResponse, tonic::Status> {
        let request = with(token, registration(self.name, self.agent.address().port()));
        self.client.register_agent(request).await.map(tonic::Response::into_inner)
    }

    async fn is_acknowledged(&mut self, token: &str) -> bool {
        let request = with(token, HeartbeatRequest { agent_id: self.id(), timestamp: 1 });
        self.client.heartbeat(request).await.unwrap().into_inner().acknowledged
    }

    /// Whether it gets calls.
    async fn is_called(&self, proxy: &TestProxy) -> bool {
        let answer = proxy.caller().await.unary(ask().with("x-portunus-agent", self.id()), &hello()).await;
        answer.code() == Some(0)
    }

    async fn is_registered_and_called(&mut self, proxy: &TestProxy, token: &str) {
        let answer = self.register(token).await.unwrap();
        assert!(answer.success, "{answer:?}");
        eventually!(self.is_called(proxy).await);
    }

    /// It gets no calls, is still there, and why not.
    async fn is_withdrawn_since(&self, proxy: &TestProxy, begun: Instant, why: &str) {
        while self.is_called(proxy).await {
            assert!(begun.elapsed() < SOON, "it gets calls: {why}");
            sleep(Duration::from_millis(5)).await;
        }
        // And not for a moment only: it is well, and would be brought back by that.
        sleep(Duration::from_millis(300)).await;
        assert!(!self.is_called(proxy).await, "{why}");
        let port = format!(":{}", self.agent.address().port());
        let all = proxy.json("/instances").await;
        let own = all.as_array().unwrap().iter().find(|one| one["address"].as_str().unwrap().ends_with(&port));
        let own = own.expect("it is still listed");
        assert_eq!(own["state"], "unhealthy", "{own}");
        let error = own["last_error"].as_str().unwrap();
        assert!(error.contains("withdrawn") && error.contains(why), "{why}: {error}");
    }
}

fn with<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

#[tokio::test]
async fn whose_certificate_is_revoked_gets_no_calls_and_the_others_do() {
    let ca = Authority::new();
    let text = |more: &str| {
        let listener = ca.listener(&format!("mode: required, crl: {}", ca.path("crl.pem")));
        file("", "", &format!("{listener}{more}"), INTO)
    };
    let proxy = TestProxy::yaml(&text("")).await;
    let (bad, good) = (ca.workload("agents/bad"), ca.workload("agents/good"));
    let sdk = async |shown: &Shown, name| Sdk::over(ca.channel(proxy.listener("sdk"), Some(shown)).await, name).await;
    let (mut one, mut other) = (sdk(&bad, "one").await, sdk(&good, "other").await);
    one.is_registered_and_called(&proxy, "").await;
    other.is_registered_and_called(&proxy, "").await;
    for _ in 0..5 {
        reload(&proxy, &text("")).await;
    }
    sleep(Duration::from_millis(300)).await;
    assert!(one.is_called(&proxy).await && other.is_called(&proxy).await, "nothing has changed for anybody");
    ca.revoke(&[&bad]);
    let begun = Instant::now();
    reload(&proxy, &text("")).await;
    one.is_withdrawn_since(&proxy, begun, "certificate").await;
    assert!(other.is_called(&proxy).await);
    let begun = Instant::now();
    reload(&proxy, &text("\n    filters: [{peer: {spiffe: [\"spiffe://td/other/*\"]}}]")).await;
    other.is_withdrawn_since(&proxy, begun, "peer").await;
    assert!(other.register("").await.is_err());
    reload(&proxy, &text("")).await;
    sleep(Duration::from_millis(300)).await;
    assert!(!other.is_called(&proxy).await, "it has to register anew");
    other.is_registered_and_called(&proxy, "").await;
}

#[tokio::test]
async fn what_was_admitted_by_a_rule_goes_with_it() {
    let signer = Signer::new("EdDSA", "k");
    let top = |audience: &str| {
        format!("issuers: {{one: {{issuer: one, audiences: [{audience}], jwks: {{inline: '{}'}}}}}}", signer.set())
    };
    let admit = |rule: &str| format!("admit: '{rule}'");
    let jwt = "filters: [{jwt: {issuers: [one]}}]";
    let before = file(&top("test"), &admit("registration.author == claims.author"), jwt, INTO);
    let proxy = TestProxy::yaml(&before).await;
    let token = signer.token(&claims("one", "ann", json!({"author": "a@b.test", "team": "t"})));
    let mut sdk = Sdk::to(&proxy, "n").await;
    let rows = [
        (file(&top("other"), "", jwt, INTO), "audience"),
        (file(&top("test"), &admit("registration.author == claims.team"), jwt, INTO), "admit"),
        (file(&top("test"), &admit("registration.config.none == 1"), jwt, INTO), "cannot be told"),
        (
            file(&top("test"), "", &jwt.replace("]}}]", "]}}, {authz: {allow: 'claims.team == \"u\"'}}]"), INTO),
            "denied",
        ),
        (file(&top("test"), "", jwt, "cluster: agents"), "registers nobody"),
    ];
    for (after, why) in rows {
        reload(&proxy, &before).await;
        sdk.is_registered_and_called(&proxy, &token).await;
        reload(&proxy, &before).await;
        sleep(Duration::from_millis(200)).await;
        assert!(sdk.is_called(&proxy).await, "{why}");
        let begun = Instant::now();
        reload(&proxy, &after).await;
        sdk.is_withdrawn_since(&proxy, begun, why).await;
        reload(&proxy, &before).await;
        assert!(!sdk.is_acknowledged(&token).await, "so that it registers anew");
        assert!(!sdk.is_called(&proxy).await, "a heartbeat does not bring it back");
    }
    let shown = proxy.json("/instances").await.to_string();
    assert!(!shown.contains(&token) && !shown.contains(token.split('.').nth(2).unwrap()));
    // Where it may be is the registry's own matter.
    sdk.is_registered_and_called(&proxy, &token).await;
    let narrowed = format!("{}, allow: [10.0.0.0/8]", admit("registration.author == claims.author"));
    let begun = Instant::now();
    reload(&proxy, &file(&top("test"), &narrowed, jwt, INTO)).await;
    sdk.is_withdrawn_since(&proxy, begun, "allow").await;
}

/// Whoever goes on to say that he is there is known by the token that he says it with, not by the one that he came with.
#[tokio::test]
async fn keys_may_change_under_those_who_go_on_to_show_good_tokens() {
    let folder = Folder::new("withdrawn");
    let (old, new) = (Signer::new("EdDSA", "old"), Signer::new("EdDSA", "new"));
    let top = format!(
        "issuers: {{one: {{issuer: one, audiences: [test], jwks: {{file: {}}}}}}}",
        folder.at("keys").display()
    );
    let text = file(&top, "", "filters: [{jwt: {issuers: [one]}}]", INTO);
    let keys = |signers: &[&Signer]| {
        folder.write("keys", json!({"keys": signers.iter().map(|one| one.jwk()).collect::<Vec<_>>()}).to_string());
    };
    keys(&[&old, &new]);
    let proxy = TestProxy::yaml(&text).await;
    let token = |signer: &Signer, subject: &str| signer.token(&claims("one", subject, json!({})));
    let (mut ann, mut bob) = (Sdk::to(&proxy, "ann").await, Sdk::to(&proxy, "bob").await);
    ann.is_registered_and_called(&proxy, &token(&old, "ann")).await;
    bob.is_registered_and_called(&proxy, &token(&old, "bob")).await;
    assert!(ann.is_acknowledged(&token(&new, "ann")).await);
    keys(&[&new]);
    let begun = Instant::now();
    reload(&proxy, &text).await;
    bob.is_withdrawn_since(&proxy, begun, "token_key").await;
    assert!(ann.is_called(&proxy).await);
    bob.is_registered_and_called(&proxy, &token(&new, "bob")).await;
}
