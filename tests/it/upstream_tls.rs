//! TLS to instances: who must be there, by every way that leads there, and what becomes of whoever is not.

use std::net::SocketAddr;
use std::time::Duration;

use portunus::config::{self, snapshot};
use portunus::filters;
use portunus_agents::bindu;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use rustls::ServerConfig;
use serde_json::json;

use crate::agents::{ask, hello, said};
use crate::harness::{
    Ask, Authority, Folder, Front, Got, Reflecting, Setup, Shown, Signer, TestProxy, Upstream, chunk, claims, echo,
    eventually, head, silent_port,
};
use crate::registrar::registration;
use crate::tls::reload;

const H2: &[&str] = &["h2"];
const HERE: &[&str] = &["127.0.0.1"];
const HEALTH: &str = "health: {interval: 50ms, timeout: 1s, method: portunus.test.Echo/Unary}";

/// A proxy before one instance, with this `tls`, which asks it often whether it is well.
async fn proxy(instance: SocketAddr, tls: &str) -> TestProxy {
    let cluster = format!("{tls}\n{HEALTH}");
    TestProxy::with(&[instance], Setup { cluster: &cluster, ..Setup::default() }).await
}

/// Tells which scheme and authority it was asked for.
async fn telling() -> Upstream {
    Upstream::start(|mut got: Got| async move {
        let uri = got.head.uri.clone();
        let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority().unwrap().as_str());
        let told = [("x-scheme", scheme), ("x-authority", authority), ("grpc-status", "0")];
        got.reply.send_response(head(&told), true).unwrap();
    })
    .await
}

/// Why the last health check of the only instance failed.
async fn why(proxy: &TestProxy) -> String {
    let page = proxy.json("/instances").await;
    let list = page.as_array().or_else(|| page["instances"].as_array()).unwrap();
    list[0]["last_error"].as_str().unwrap_or_default().to_owned()
}

async fn state(proxy: &TestProxy) -> String {
    let page = proxy.json("/instances").await;
    let list = page.as_array().or_else(|| page["instances"].as_array()).unwrap();
    list.first().map(|one| one["state"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn calls_and_checks_go_by_tls_and_say_so() {
    let ca = Authority::new();
    let instance = telling().await;
    let front = Front::before(instance.address(), ca.serving(&ca.server(HERE), H2, false)).await;
    let proxy = proxy(front.address(), &ca.cluster("")).await;
    eventually!(front.handshakes() == 1, "the check comes by TLS");
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"").await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    assert_eq!(
        (answer.field("x-scheme").unwrap(), answer.field("x-authority").unwrap()),
        ("https".into(), "caller.test".into())
    );
    assert_eq!(front.handshakes(), 2, "one of the check, one of the call");
    for _ in 0..20 {
        assert_eq!(proxy.caller().await.unary(Ask::echo("Unary"), b"").await.code(), Some(0));
    }
    assert_eq!(front.handshakes(), 2, "connections are kept");
}

/// Nobody but who is expected gets as much as a word, and callers are not told why.
#[tokio::test]
async fn who_is_somebody_else_is_not_talked_to() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let good = ca.server(HERE);
    let cases: [(&str, ServerConfig, &str); 7] = [
        ("another CA", stranger.serving(&stranger.server(HERE), H2, false), "invalid peer certificate"),
        ("another name", ca.serving(&ca.server(&["other.test"]), H2, false), "not valid for name"),
        ("another address", ca.serving(&ca.server(&["127.0.0.2"]), H2, false), "not valid for name"),
        ("expired", ca.serving(&ca.server_for(HERE, Duration::ZERO), H2, false), "expired"),
        ("no ALPN", ca.serving(&good, &[], false), "ALPN"),
        ("HTTP/1.1", ca.serving(&good, &["http/1.1"], false), "ALPN"),
        ("asks for a certificate", ca.serving(&good, H2, true), "CertificateRequired"),
    ];
    for (what, config, words) in cases {
        let counting = Upstream::start(Got::echo).await;
        let front = Front::before(counting.address(), config).await;
        let proxy = proxy(front.address(), &ca.cluster("")).await;
        eventually!(state(&proxy).await == "unhealthy", "{what}: {}", why(&proxy).await);
        let text = why(&proxy).await;
        assert!(text.contains(words), "{what}: {text}");
        is_refused(&front.address(), &ca, what).await;
        assert_eq!(counting.calls(), 0, "{what}");
    }
    // And whoever knows no TLS at all gets nothing in the clear.
    let plain = Upstream::start(Got::echo).await;
    let proxy = proxy(plain.address(), &ca.cluster("")).await;
    eventually!(state(&proxy).await == "unhealthy");
    is_refused(&plain.address(), &ca, "plaintext").await;
    assert_eq!(plain.calls(), 0);
}

/// A call of a cluster that checks nobody's health, so that it is tried.
async fn is_refused(instance: &SocketAddr, ca: &Authority, what: &str) {
    let cluster = ca.cluster("");
    let proxy = TestProxy::with(&[*instance], Setup { cluster: &cluster, ..Setup::default() }).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"").await;
    assert_eq!(answer.refusal(), (14, "connect_failed".to_owned()), "{what}: {answer:?}");
    let message = answer.message();
    assert!(message.starts_with("no instance could be reached: no TLS connection could be made;"), "{what}: {message}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let ca = Authority::new();
    let own = ca.workload("proxy");
    let keys = format!("certificate: {}, key: {}", ca.write("own.pem", &own.pem), ca.write("own.key", &own.key_pem));
    let echo = echo("e").await;
    let front = Front::before(echo.address(), ca.serving(&ca.server(HERE), H2, true)).await;
    let proxy = proxy(front.address(), &ca.cluster(&keys)).await;
    assert_eq!(proxy.caller().await.echoed(Ask::echo("Unary")).await, "e");
}

#[tokio::test]
async fn a_name_may_be_given_and_that_of_dns_is_one() {
    let ca = Authority::new();
    let instance = telling().await;
    let named = Front::before(instance.address(), ca.serving(&ca.server(&["shannon.internal"]), H2, false)).await;
    let proxy = proxy(named.address(), &ca.cluster("server_name: Shannon.internal")).await;
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), b"").await;
    assert_eq!(answer.field("x-authority").unwrap(), "caller.test", "the call's own goes on");

    // With `dns` it is the name, not the address that it means.
    let by_dns = async |config: ServerConfig| {
        let front = Front::before(instance.address(), config).await;
        let text = format!(
            "clusters:\n  echo:\n    dns: {{name: localhost, port: {}}}\n    {}\n\
             listeners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: echo}}]}}}}\n",
            front.address().port(),
            ca.cluster("")
        );
        let proxy = TestProxy::yaml(&text).await;
        let caller = proxy.caller().await;
        eventually!(proxy.json("/clusters").await[0]["instances"]["healthy"].as_u64().unwrap_or_default() > 0);
        (caller.unary(Ask::echo("Unary"), b"").await, front)
    };
    let (answer, _front) = by_dns(ca.serving(&ca.server(&["localhost"]), H2, false)).await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    let (answer, _front) = by_dns(ca.serving(&ca.server(HERE), H2, false)).await;
    assert_eq!(answer.refusal(), (14, "connect_failed".to_owned()));
}

/// Whoever takes the connection and never shakes hands is given up as one that is silent, and the call goes elsewhere.
#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let ca = Authority::new();
    let (_held, silent) = silent_port();
    let echo = echo("e").await;
    let front = Front::before(echo.address(), ca.serving(&ca.server(HERE), H2, false)).await;
    let cluster = format!("{}\nbalance: round_robin", ca.cluster(""));
    let proxy = TestProxy::with(&[silent, front.address()], Setup { cluster: &cluster, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    for _ in 0..2 {
        assert_eq!(caller.echoed(Ask::echo("Unary")).await, "e");
    }
    let retries = proxy.metric("portunus_retries_total", &[("cluster", "echo"), ("why", "connect_failed")]).await;
    assert_eq!(retries, 1.0);
}

#[tokio::test]
async fn a_connection_that_broke_is_made_again_by_a_handshake_of_its_own() {
    let ca = Authority::new();
    let echo = echo("e").await;
    let config = || ca.serving(&ca.server(HERE), H2, false);
    let front = Front::before(echo.address(), config()).await;
    let cluster = ca.cluster("");
    let proxy = TestProxy::with(&[front.address()], Setup { cluster: &cluster, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    assert_eq!(caller.echoed(Ask::echo("Unary")).await, "e");
    front.hang_up();
    eventually!(caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code() == Some(0));
    assert_eq!(front.handshakes(), 2);
    // What was good once is judged anew.
    let stranger = Authority::new();
    front.turn(stranger.serving(&stranger.server(HERE), H2, false));
    front.hang_up();
    eventually!(caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code() == Some(14));
    assert_eq!(caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.refusal().1, "connect_failed");
    front.turn(config());
    eventually!(caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code() == Some(0));
}

#[tokio::test]
async fn large_messages_pass_both_ways() {
    let ca = Authority::new();
    let echo = echo("e").await;
    let front = Front::before(echo.address(), ca.serving(&ca.server(HERE), H2, false)).await;
    let cluster = ca.cluster("");
    let setup = Setup { cluster: &cluster, listener: "limits: {message: 64MiB}", ..Setup::default() };
    let proxy = TestProxy::with(&[front.address()], setup).await;
    let large = chunk(&vec![7; 9 << 20]);
    let answer = proxy.caller().await.unary(Ask::echo("Unary"), &large).await;
    assert_eq!((answer.code(), answer.messages() == [large]), (Some(0), true));
}

#[tokio::test]
async fn schemas_are_asked_for_by_tls() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let schema = "syntax = \"proto3\"; package t; service S { rpc M(R) returns (R); } message R { string name = 1; }";
    let instance = Reflecting::with(schema).await;
    let asked = async |config: ServerConfig| {
        let front = Front::before(instance.address(), config).await;
        let cluster = format!("{}\nschema: {{reflection: true}}", ca.cluster(""));
        let proxy = TestProxy::with(&[front.address()], Setup { cluster: &cluster, ..Setup::default() }).await;
        let told = async || {
            let page = proxy.json("/schema").await;
            let list = page.as_array().or_else(|| page["clusters"].as_array()).unwrap_or_else(|| panic!("{page}"));
            list[0]["instances"][0].clone()
        };
        eventually!(told().await["digest"].is_string() || told().await["error"].is_string());
        told().await
    };
    let known = asked(ca.serving(&ca.server(HERE), H2, false)).await;
    assert_eq!((&known["services"][0], known["error"].is_null()), (&json!("t.S"), true), "{known}");
    let calls = instance.calls();
    let unknown = asked(stranger.serving(&stranger.server(HERE), H2, false)).await;
    assert!(unknown["error"].as_str().unwrap().contains("invalid peer certificate"), "{unknown}");
    assert_eq!((unknown["digest"].is_null(), instance.calls()), (true, calls));
}

/// The command that looks before a start.
#[tokio::test]
async fn check_online_goes_by_tls() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let schema = "syntax = \"proto3\"; package t; service S { rpc M(R) returns (R); } message R { string name = 1; }";
    let instance = Reflecting::with(schema).await;
    let front = Front::before(instance.address(), ca.serving(&ca.server(HERE), H2, false)).await;
    for (ca, code, words) in [(&ca, 0, "schema sha256:"), (&stranger, 2, "invalid peer certificate")] {
        let text = format!(
            "clusters: {{echo: {{endpoints: [\"{}\"], {}}}}}\n\
             listeners: {{edge: {{address: \"127.0.0.1:1\", routes: [{{cluster: echo}}]}}}}\n",
            front.address(),
            ca.cluster("")
        );
        let file = ca.write("online.yaml", &text);
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_portunus"));
        let output = command.args(["check", "--online", "-c", &file]).output().await.unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(code) && said.contains(words), "{:?}: {said}", output.status.code());
    }
}

/// A registry by TLS on all sides; `tls` are more keys of the cluster's, `sdk` of the registrar's listener, `top` of the file.
fn registry(ca: &Authority, tls: &str, (auth, filters): (&str, &str), top: &str) -> String {
    format!(
        "workers: 1\n{top}\nclusters:\n  agents:\n    registry: {{}}\n    {}\n    health: {{interval: 50ms, timeout: 1s}}\n\
         listeners:\n  sdk:\n    address: 127.0.0.1:0\n    {}\n    {filters}\n    routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]\n  \
         edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: agents}}]}}\n",
        ca.cluster(tls),
        ca.listener(auth),
    )
}

/// An agent that knows no TLS; what is in front of it is registered.
async fn agent() -> bindu::Agent {
    bindu::Agent::start(bindu::Options::default()).await.unwrap()
}

async fn register(proxy: &TestProxy, ca: &Authority, shown: Option<&Shown>, front: &Front) {
    let mut client = BinduServiceClient::new(ca.channel(proxy.listener("sdk"), shown).await);
    let answer = client.register_agent(registration("n", front.address().port())).await.unwrap().into_inner();
    assert!(answer.success, "{answer:?}");
}

async fn is_unreachable(proxy: &TestProxy) -> bool {
    let answer = proxy.caller().await.unary(ask(), &hello()).await;
    answer.code() == Some(14)
}

#[tokio::test]
async fn an_instance_has_the_identity_that_registered_it() {
    let ca = Authority::new();
    let agent = agent().await;
    let serving = |name: &str| ca.serving(&ca.workload(name), H2, false);
    let front = Front::before(agent.address(), serving("sdk/one")).await;
    let proxy = TestProxy::yaml(&registry(&ca, "", ("mode: required", ""), "state: memory")).await;
    register(&proxy, &ca, Some(&ca.workload("sdk/one")), &front).await;
    eventually!(state(&proxy).await == "healthy", "{}", why(&proxy).await);
    assert_eq!(said(&proxy.caller().await, ask()).await, "one");
    // Another workload of the same CA takes its place: nothing goes there.
    front.turn(serving("sdk/two"));
    front.hang_up();
    eventually!(why(&proxy).await.contains("somebody else"), "{}", why(&proxy).await);
    assert!(is_unreachable(&proxy).await);
    // A certificate with the right name, and no SPIFFE ID.
    front.turn(ca.serving(&ca.server(&["localhost"]), H2, false));
    eventually!(front.handshakes() > 0 && state(&proxy).await == "unhealthy");
    front.turn(serving("sdk/one"));
    eventually!(state(&proxy).await == "healthy", "{}", why(&proxy).await);
}

#[tokio::test]
async fn without_a_spiffe_id_it_has_the_subject_of_the_same_issuer() {
    let ca = Authority::new();
    let agent = agent().await;
    let own = ca.server(&["somewhere.test"]);
    let front = Front::before(agent.address(), ca.serving(&own, H2, false)).await;
    let proxy = TestProxy::yaml(&registry(&ca, "", ("mode: required", ""), "state: memory")).await;
    register(&proxy, &ca, Some(&own), &front).await;
    eventually!(state(&proxy).await == "healthy", "{}", why(&proxy).await);
    front.turn(ca.serving(&ca.workload("server"), H2, false));
    front.hang_up();
    eventually!(
        why(&proxy).await.contains("somebody else"),
        "the same common name, and a SPIFFE ID: {}",
        why(&proxy).await
    );
}

#[tokio::test]
async fn one_that_registered_by_a_token_needs_the_name() {
    let ca = Authority::new();
    let signer = Signer::new("EdDSA", "k");
    let top = format!(
        "state: memory\nissuers: {{one: {{issuer: one, audiences: [test], jwks: {{inline: '{}'}}}}}}",
        signer.set()
    );
    let instance = agent().await;
    let by_token = async |tls: &str, names: &[&str]| {
        let front = Front::before(instance.address(), ca.serving(&ca.server(names), H2, false)).await;
        let proxy = TestProxy::yaml(&registry(&ca, tls, ("", "filters: [{jwt: {issuers: [one]}}]"), &top)).await;
        let mut client = BinduServiceClient::new(ca.channel(proxy.listener("sdk"), None).await);
        let mut request = tonic::Request::new(registration("n", front.address().port()));
        let token = signer.token(&claims("one", "ann", json!({})));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let answer = client.register_agent(request).await.unwrap().into_inner();
        assert!(answer.success, "{answer:?}");
        (proxy, front)
    };
    let (proxy, _front) = by_token("server_name: agents.internal", &["agents.internal"]).await;
    eventually!(state(&proxy).await == "healthy", "{}", why(&proxy).await);
    let (proxy, _front) = by_token("server_name: agents.internal", &["localhost"]).await;
    eventually!(why(&proxy).await.contains("not valid for name"), "{}", why(&proxy).await);
    assert!(is_unreachable(&proxy).await);
    // Its address is not enough.
    let (proxy, front) = by_token("", &["localhost"]).await;
    eventually!(why(&proxy).await.contains("`server_name` is not set"), "{}", why(&proxy).await);
    assert!(is_unreachable(&proxy).await);
    assert_eq!(front.handshakes(), 0);
}

/// Who has shown nothing is who its address says; and is called by it, or by the name that it has to prove.
#[tokio::test]
async fn one_that_registered_openly_is_who_its_address_says() {
    let ca = Authority::new();
    let instance = Upstream::start(|mut got: Got| async move {
        let authority = got.head.uri.authority().unwrap().to_string();
        got.reply.send_response(head(&[("x-authority", &authority), ("grpc-status", "12")]), true).unwrap();
    })
    .await;
    for (tls, names, authority) in
        [("", "localhost", None), ("server_name: agents.internal", "agents.internal", Some("agents.internal"))]
    {
        let front = Front::before(instance.address(), ca.serving(&ca.server(&[names]), H2, false)).await;
        let proxy = TestProxy::yaml(&registry(&ca, tls, ("", ""), "state: memory")).await;
        register(&proxy, &ca, None, &front).await;
        let local = front.local();
        let told = async || proxy.caller().await.unary(ask(), &hello()).await.field("x-authority");
        eventually!(told().await.as_deref() == Some(authority.unwrap_or(&local)));
    }
}

#[tokio::test]
async fn who_registered_is_remembered_over_a_restart() {
    let ca = Authority::new();
    let folder = Folder::new("upstream-tls-state");
    let agent = agent().await;
    let serving = |name: &str| ca.serving(&ca.workload(name), H2, false);
    let front = Front::before(agent.address(), serving("sdk/one")).await;
    let text = registry(&ca, "", ("mode: required", ""), &format!("state: {{dir: {}}}", folder.path().display()));
    let proxy = TestProxy::yaml(&text).await;
    register(&proxy, &ca, Some(&ca.workload("sdk/one")), &front).await;
    eventually!(state(&proxy).await == "healthy", "{}", why(&proxy).await);
    proxy.drain(Duration::from_secs(1)).await;

    front.turn(serving("sdk/two"));
    let proxy = TestProxy::yaml(&text).await;
    assert!(is_unreachable(&proxy).await, "a restored one gets calls at once, and this is somebody else");
    eventually!(why(&proxy).await.contains("somebody else"), "{}", why(&proxy).await);
    front.turn(serving("sdk/one"));
    eventually!(state(&proxy).await == "healthy", "{}", why(&proxy).await);
    assert_eq!(said(&proxy.caller().await, ask()).await, "one");
}

/// A file with another CA, or without TLS: what was opened by the one before takes no more calls.
#[tokio::test]
async fn a_reload_is_felt_by_connections_that_are_open() {
    let (ca, other) = (Authority::new(), Authority::new());
    let echo = echo("e").await;
    let front = Front::before(echo.address(), ca.serving(&ca.server(HERE), H2, false)).await;
    let text = |ca: &Authority, more: &str| {
        format!(
            "clusters: {{echo: {{endpoints: [\"{}\"], schema: {{reflection: false}}, {}}}}}\n\
             listeners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: echo}}]}}}}\n",
            front.address(),
            ca.cluster(more)
        )
    };
    let proxy = TestProxy::yaml(&text(&ca, "")).await;
    let caller = proxy.caller().await;
    let code = async || caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code();
    assert_eq!((code().await, front.handshakes()), (Some(0), 1));
    // A certificate of our own more: whom we trust is the same, and so is the connection.
    let own = ca.workload("proxy");
    let keys = format!("certificate: {}, key: {}", ca.write("own.pem", &own.pem), ca.write("own.key", &own.key_pem));
    reload(&proxy, &text(&ca, &keys)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((code().await, front.handshakes()), (Some(0), 1));
    reload(&proxy, &text(&other, "")).await;
    eventually!(code().await == Some(14));
    reload(&proxy, &text(&ca, "")).await;
    eventually!(code().await == Some(0));
    assert_eq!(front.handshakes(), 2);
    // Without TLS it is in the clear, which this one does not take.
    let plain = text(&ca, "").replace(&format!(", {}", ca.cluster("")), "");
    let security = std::sync::Arc::clone(&proxy.cluster("echo").security);
    let era = security.era();
    reload(&proxy, &plain).await;
    assert_eq!(security.era(), era + 1);
    eventually!(code().await == Some(14));
}

#[test]
fn what_is_wrong_with_files_is_said_at_its_place() {
    let (ca, other) = (Authority::new(), Authority::new());
    let built = |tls: &str| {
        let text = format!(
            "clusters: {{c: {{endpoints: [\"127.0.0.1:1\"], tls: {tls}}}}}\n\
             listeners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: c}}]}}}}\n"
        );
        let loaded = config::load_str(&text, std::path::Path::new("it.yaml"), &|_| None, filters::ALL).unwrap();
        snapshot::build(&loaded, filters::ALL, 1).map(drop).map_err(|errors| errors.to_string())
    };
    let own = ca.workload("proxy");
    let old = ca.workload_for("proxy", Duration::ZERO);
    let (pem, key) = (ca.write("own.pem", &own.pem), ca.write("own.key", &own.key_pem));
    let (old_pem, old_key) = (ca.write("old.pem", &old.pem), ca.write("old.key", &old.key_pem));
    let with = |pem: &str, key: &str| format!("{{ca: {}, certificate: {pem}, key: {key}}}", ca.path("ca.pem"));
    built(&with(&pem, &key)).unwrap();
    let says = |tls: String, place: &str, words: &str| {
        let said = built(&tls).unwrap_err();
        assert!(said.contains(place) && said.contains(words), "{said}");
    };
    says(with(&pem, &other.path("server.key")), "clusters.c.tls.key: ", "is not the key");
    says(with(&old_pem, &old_key), "clusters.c.tls.certificate: ", "expired");
    says(with(&ca.path("server.pem"), &ca.path("server.key")), "clusters.c.tls.certificate: ", "lacks clientAuth");
    says("{ca: nowhere.pem}".into(), "clusters.c.tls.ca: ", "cannot be read");
    says(format!("{{ca: {}}}", ca.path("server.pem")), "clusters.c.tls.ca: ", "no CA's");
}
