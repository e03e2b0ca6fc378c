//! The configurations that come along for SEAL and Open Astra, as they are in `config/`: every method passes for the right caller, and is
//! refused for each kind of wrong one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::encoding::{int32, string};
use serde_json::{Value, json};

use crate::harness::{Ask, Authority, Folder, Got, Shown, Signer, TestProxy, Upstream, claims, now};

/// What an instance was told of identities in a call.
type Told = Arc<Mutex<Vec<(String, Vec<String>)>>>;

/// Answers every call, and keeps who was said to call.
async fn backend() -> (Upstream, Told) {
    let told = Told::default();
    let into = Arc::clone(&told);
    let upstream = Upstream::start(move |mut got: Got| {
        let named = |name: &str| ["user", "tenant", "forwarded"].iter().any(|part| name.contains(part));
        let fields = got.head.headers.iter().filter(|(name, _)| named(name.as_str()));
        let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
        into.lock().push((got.head.uri.path().to_owned(), fields));
        async move {
            got.read().await.ok();
            got.succeed(&[Vec::new()]);
        }
    })
    .await;
    (upstream, told)
}

/// The file of `config/`, with where things are on this machine.
async fn proxy(file: &str, changes: &[(&str, String)]) -> TestProxy {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(root.join("config").join(file)).unwrap();
    text = text.replace("access_log: {file: stderr}", "");
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    TestProxy::yaml(&text).await
}

/// Who calls: with which certificate, and which token.
struct Who<'a> {
    what: &'static str,
    shown: Option<&'a Shown>,
    token: Option<String>,
}

/// What comes of it.
type Wanted = Result<(), (u32, &'static str)>;

async fn call(proxy: &TestProxy, ca: &Authority, path: &str, who: &Who<'_>, message: &[u8]) -> Wanted {
    let caller = ca.caller(proxy.address(), who.shown).await.unwrap();
    let mut ask = Ask::path(path);
    if let Some(token) = &who.token {
        ask = ask.with("authorization", format!("Bearer {token}"));
    }
    // What is said of identities in a call is ours to say, in whatever form.
    for name in ["x-user-id", "x-user-id-bin", "x_user_id", "x-tenant-id", "x-forwarded-client-cert", "X-Forwarded-For"]
    {
        ask = ask.with(&name.to_lowercase(), "mallory");
    }
    let answer = caller.unary(ask, message).await;
    let text = format!("{answer:?}");
    assert!(who.token.as_ref().is_none_or(|token| !text.contains(token.as_str())), "{text}");
    if answer.code() == Some(0) { Ok(()) } else { Err(known(answer.refusal())) }
}

fn known((code, reason): (u32, String)) -> (u32, &'static str) {
    let words = [
        "token_missing",
        "token_expired",
        "token_signature",
        "token_key",
        "token_issuer",
        "audience",
        "denied",
        "peer",
        "no_route",
        "certificate",
    ];
    (code, words.into_iter().find(|word| *word == reason).unwrap_or("another"))
}

/// Tokens of this issuer: good ones, and those that are wrong in one way each.
struct Tokens {
    issuer: &'static str,
    audience: &'static str,
    signer: Signer,
    other: Signer,
}

impl Tokens {
    fn new(issuer: &'static str, audience: &'static str) -> Self {
        Self { issuer, audience, signer: Signer::new("RS256", "k"), other: Signer::new("RS256", "k") }
    }

    fn claims(&self, changed: Value) -> Value {
        let mut claims = claims(self.issuer, "ann", json!({"aud": self.audience, "tenant": "blue"}));
        claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        claims
    }

    fn good(&self, changed: Value) -> Option<String> {
        Some(self.signer.token(&self.claims(changed)))
    }

    /// What each gets where a token is asked for.
    fn wrong(&self, changed: &Value) -> Vec<(&'static str, Option<String>, (u32, &'static str))> {
        let with = |more: Value| {
            let mut changed = changed.clone();
            changed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.good(changed)
        };
        vec![
            ("no token", None, (16, "token_missing")),
            ("expired", with(json!({"exp": now() - 600})), (16, "token_expired")),
            ("of another's key", Some(self.other.token(&self.claims(changed.clone()))), (16, "token_signature")),
            ("of another issuer", with(json!({"iss": "somebody"})), (16, "token_issuer")),
            ("for another audience", with(json!({"aud": "others"})), (7, "audience")),
        ]
    }
}

fn text(number: u32, text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    string::encode(number, &text.to_owned(), &mut octets);
    octets
}

fn addressed(upstream: SocketAddr, from: &'static str) -> (&'static str, String) {
    (from, upstream.to_string())
}

/// The method, the number of its tenant, whether it wants a certificate, a token, the role.
fn seal_methods() -> Vec<(String, Option<u32>, bool, bool, bool)> {
    let workflows = "/aegis.seal_gateway.v1.ToolWorkflowService/";
    let invocations = "/aegis.seal_gateway.v1.GatewayInvocationService/";
    let mut methods = vec![
        (format!("{invocations}ExploreApi"), Some(7), false, true, true),
        (format!("{invocations}InvokeWorkflow"), Some(5), true, true, false),
        (format!("{invocations}InvokeCli"), Some(6), true, true, false),
        (format!("{invocations}ListTools"), None, true, false, false),
    ];
    for name in ["CreateWorkflow", "GetWorkflow", "ListWorkflows", "UpdateWorkflow", "DeleteWorkflow"] {
        methods.push((format!("{workflows}{name}"), None, false, true, true));
    }
    methods
}

fn assert_is_audited(lines: &str) {
    for method in ["UpdateWorkflow", "DeleteWorkflow"] {
        let begun = lines.lines().filter(|line| line.contains(method) && line.contains("\"begin\"")).count();
        assert_eq!(begun, 7, "the right one, and six wrong ones: {lines}");
    }
    assert_eq!(lines.matches("\"event\":\"end\"").count(), 14, "{lines}");
    assert!(!lines.contains("CreateWorkflow") && !lines.contains("eyJ"), "no token is written down: {lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn seal_is_for_operators_and_orchestrators() {
    let (upstream, told) = backend().await;
    let ca = Authority::new();
    ca.write("clients-ca.pem", &fs::read_to_string(ca.path("ca.pem")).unwrap());
    let (orchestrator, stranger) = (ca.workload("orchestrator"), ca.workload("stranger"));
    let tokens = Tokens::new("aegis-keycloak", "aegis-seal-gateway");
    let folder = Folder::new("seal");
    let audit = folder.at("audit.jsonl");
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/protos/aegis/seal_gateway/v1/seal_gateway.proto");
    let keys = r#"jwks: {url: "https://keycloak.internal/realms/aegis/protocol/openid-connect/certs", ca: tls/keycloak-ca.pem}"#;
    let proxy = proxy(
        "seal.yaml",
        &[
            addressed(upstream.address(), "127.0.0.1:50055"),
            ("0.0.0.0:8443", "127.0.0.1:0".into()),
            ("tls/edge.pem", ca.path("server.pem")),
            ("tls/edge.key", ca.path("server.key")),
            ("tls/clients-ca.pem", ca.path("clients-ca.pem")),
            ("spiffe://aegis.internal/", "spiffe://td/".into()),
            ("audit.jsonl", audit.display().to_string()),
            ("protos/seal_gateway.proto", proto.into()),
            (keys, format!("jwks: {{inline: '{}'}}", tokens.signer.set())),
        ],
    )
    .await;
    let (operator, guest) =
        (json!({"realm_access": {"roles": ["operator"]}}), json!({"realm_access": {"roles": ["guest"]}}));
    for (path, tenant, certificate, token, role) in seal_methods() {
        let message = tenant.map(|number| text(number, "blue")).unwrap_or_default();
        let shown = certificate.then_some(&orchestrator);
        let claims = if role { operator.clone() } else { guest.clone() };
        let right = Who { what: "right", shown, token: tokens.good(claims.clone()).filter(|_| token) };
        assert_eq!(call(&proxy, &ca, &path, &right, &message).await, Ok(()), "{path}");
        let (asked, identities) = told.lock().last().cloned().unwrap();
        assert_eq!(asked, path);
        let wanted: &[&str] = if token { &["x-user-id: ann", "x-tenant-id: blue"] } else { &[] };
        assert_eq!(identities, wanted, "{path}: what the caller said of himself is gone");

        let before = told.lock().len();
        let mut wrong = Vec::new();
        if token {
            let bad = tokens.wrong(&claims).into_iter();
            wrong.extend(bad.map(|(what, token, wanted)| (Who { what, shown, token }, message.clone(), wanted)));
        }
        let good = || tokens.good(claims.clone()).filter(|_| token);
        if role {
            let token = tokens.good(guest.clone());
            wrong.push((Who { what: "another role", shown, token }, message.clone(), (7, "denied")));
        }
        if let Some(number) = tenant {
            wrong.push((Who { what: "another tenant", shown, token: good() }, text(number, "red"), (7, "denied")));
            wrong.push((Who { what: "no tenant", shown, token: good() }, Vec::new(), (7, "denied")));
        }
        if certificate {
            wrong.push((
                Who { what: "a stranger", shown: Some(&stranger), token: good() },
                message.clone(),
                (7, "peer"),
            ));
            wrong.push((Who { what: "no certificate", shown: None, token: good() }, message.clone(), (7, "peer")));
        }
        for (who, message, wanted) in wrong {
            assert_eq!(call(&proxy, &ca, &path, &who, &message).await, Err(wanted), "{path}: {}", who.what);
        }
        assert_eq!(told.lock().len(), before, "{path}: nothing of these reached the gateway");
    }
    proxy.drain(Duration::from_secs(5)).await;
    assert_is_audited(&fs::read_to_string(&audit).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn astra_is_for_those_with_a_token_and_spawns_no_deeper_than_five() {
    let (upstream, told) = backend().await;
    let ca = Authority::new();
    let tokens = Tokens::new("https://id.example.com", "open-astra");
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/protos/openastra/agent.proto");
    let proxy = proxy(
        "astra.yaml",
        &[
            addressed(upstream.address(), "127.0.0.1:50051"),
            ("0.0.0.0:8443", "127.0.0.1:0".into()),
            ("tls/edge.pem", ca.path("server.pem")),
            ("tls/edge.key", ca.path("server.key")),
            ("protos/agent.proto", proto.into()),
            (
                r#"jwks: {url: "https://id.example.com/.well-known/jwks.json"}"#,
                format!("jwks: {{inline: '{}'}}", tokens.signer.set()),
            ),
        ],
    )
    .await;
    let depth = |depth: i32| {
        let mut octets = Vec::new();
        int32::encode(5, &depth, &mut octets);
        octets
    };
    for name in ["RunAgentLoop", "RunAgentLoopStream", "SpawnAgent", "HealthCheck"] {
        let path = format!("/openastra.AgentService/{name}");
        let right = Who { what: "right", shown: None, token: tokens.good(json!({})) };
        assert_eq!(call(&proxy, &ca, &path, &right, &[]).await, Ok(()), "{path}");
        let (asked, identities) = told.lock().last().cloned().unwrap();
        assert_eq!(asked, path);
        // What the file names is ours to say; other names are the caller's.
        let users: Vec<_> = identities.iter().filter(|field| !field.starts_with("x-tenant")).collect();
        assert_eq!(users, ["x-user-id: ann"]);
        let before = told.lock().len();
        for (what, token, wanted) in tokens.wrong(&json!({})) {
            let who = Who { what, shown: None, token };
            assert_eq!(call(&proxy, &ca, &path, &who, &[]).await, Err(wanted), "{path}: {}", who.what);
        }
        assert_eq!(told.lock().len(), before, "{path}");
        if name == "SpawnAgent" {
            assert_eq!(call(&proxy, &ca, &path, &right, &depth(4)).await, Ok(()));
            let before = told.lock().len();
            for deep in [5, 6, i32::MAX] {
                assert_eq!(call(&proxy, &ca, &path, &right, &depth(deep)).await, Err((7, "denied")), "{deep}");
            }
            assert_eq!(told.lock().len(), before);
        }
    }
}
