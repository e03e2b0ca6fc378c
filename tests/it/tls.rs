//! Listeners by TLS: who gets in, who they are to everything behind, and when they have to go.

use std::time::Duration;

use portunus::config::{self, snapshot};
use portunus::filters;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{HeartbeatRequest, UnregisterAgentRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{
    Ask, Authority, Caller, Got, Setup, Shown, TestProxy, Upstream, chunk, echo, eventually, framed, head, soon,
};
use crate::registrar::registration;

const REQUIRED: &str = "mode: required";

async fn proxy_before(ca: &Authority, instance: std::net::SocketAddr, auth: &str, more: &str) -> TestProxy {
    let listener = format!("{}\n{more}", ca.listener(auth));
    TestProxy::with(&[instance], Setup { listener: &listener, ..Setup::default() }).await
}

/// Answers with what it was told of the caller's certificate.
async fn telling() -> Upstream {
    Upstream::start(|mut got: Got| async move {
        let all = got.head.headers.get_all("x-forwarded-client-cert").iter();
        let told = all.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(" & ");
        let seen = got.field("x-seen").unwrap_or_default().to_owned();
        got.reply.send_response(head(&[("x-told", &told), ("x-was-seen", &seen), ("grpc-status", "0")]), true).unwrap();
    })
    .await
}

#[tokio::test]
async fn a_caller_is_who_its_certificate_says() {
    let ca = Authority::new();
    let instance = telling().await;
    let rules = "filters:\n  - peer: {spiffe: [\"spiffe://td/agents/*\"]}\n  - metadata: {set_expr: {x-seen: 'peer.spiffe + \" \" + peer.subject + \" \" + \
                 peer.issuer + \" \" + string(peer.verified) + \" \" + string(size(peer.dns))'}}";
    let proxy = proxy_before(&ca, instance.address(), REQUIRED, rules).await;
    let caller = ca.caller(proxy.address(), Some(&ca.workload("agents/a"))).await.unwrap();
    let forged = Ask::echo("Unary")
        .with("x-forwarded-client-cert", "URI=spiffe://td/admin")
        .with("x_forwarded_client_cert", "x");
    let answer = caller.unary(forged, b"").await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    assert_eq!(answer.field("x-was-seen").unwrap(), "spiffe://td/agents/a CN=agents/a CN=test ca true 0");
    let told = answer.field("x-told").unwrap();
    assert!(told.starts_with("Hash=") && told.ends_with(";Subject=\"CN=agents/a\";URI=spiffe://td/agents/a"), "{told}");
    let stranger = ca.caller(proxy.address(), Some(&ca.workload("others/a"))).await.unwrap();
    assert_eq!(stranger.unary(Ask::echo("Unary"), b"").await.refusal(), (7, "peer".to_owned()));
    assert_eq!(instance.calls(), 1);
}

/// In the clear, and without a certificate: nobody has an identity, and what asks for one refuses.
#[tokio::test]
async fn who_shows_nothing_is_nobody() {
    let ca = Authority::new();
    let instance = telling().await;
    let routes = "routes:\n  - {match: {method: Peer}, cluster: echo, filters: [{peer: {dns: [a.test]}}]}\n  \
                  - {match: {method: Not, when: 'peer.spiffe != \"spiffe://td/bad\"'}, cluster: echo}\n  \
                  - {match: {method: Has, when: '!peer.verified && !has(peer.subject)'}, cluster: echo}";
    for tls in [String::new(), ca.listener("mode: optional")] {
        let text = format!(
            "clusters: {{echo: {{endpoints: [\"{}\"]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    {tls}\n    {}\n",
            instance.address(),
            routes.replace('\n', "\n    "),
        );
        let proxy = TestProxy::yaml(&text).await;
        let caller = match tls.is_empty() {
            true => proxy.caller().await,
            false => ca.caller(proxy.address(), None).await.unwrap(),
        };
        let answer = async |method| caller.unary(Ask::echo(method), b"").await;
        assert_eq!(answer("Peer").await.refusal(), (7, "peer".to_owned()));
        assert_eq!(
            answer("Not").await.refusal(),
            (7, "route_undecided".to_owned()),
            "what is not there is not unequal"
        );
        let passed = answer("Has").await;
        assert_eq!((passed.code(), passed.field("x-told").as_deref()), (Some(0), Some("")));
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_that_is_good() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let echo = echo("e").await;
    let proxy = proxy_before(&ca, echo.address(), REQUIRED, "").await;
    let mut refused = 0.0;
    for shown in [None, Some(stranger.workload("a")), Some(ca.workload_for("a", Duration::ZERO))] {
        assert!(is_refused(ca.caller(proxy.address(), shown.as_ref()).await).await);
        refused += 1.0;
        let labels = [("reason", "certificate"), ("listener", "edge")];
        eventually!(proxy.metric("portunus_refused_total", &labels).await.total_cmp(&refused).is_ge());
    }
    // In the clear there is nothing to talk about.
    assert!(is_refused(Caller::connect_from("127.0.0.1", proxy.address()).await).await);
    let good = ca.caller(proxy.address(), Some(&ca.workload("a"))).await.unwrap();
    assert_eq!(good.echoed(Ask::echo("Unary")).await, "e");
}

/// TLS 1.3 tells a client only after its handshake that it is refused.
async fn is_refused(connected: Result<Caller, h2::Error>) -> bool {
    match connected {
        Ok(caller) => caller.ended().await.is_err(),
        Err(_) => true,
    }
}

/// The status of a call.
async fn code(caller: &Caller) -> Option<u32> {
    caller.unary(Ask::echo("Unary"), b"x").await.code()
}

#[tokio::test]
async fn large_messages_and_many_small_ones_pass_by_tls() {
    let ca = Authority::new();
    let echo = echo("e").await;
    let proxy = proxy_before(&ca, echo.address(), "", "limits: {message: 64MiB}").await;
    let caller = ca.caller(proxy.address(), None).await.unwrap();
    let large = chunk(&vec![7; 9 << 20]);
    let answer = caller.unary(Ask::echo("Unary"), &large).await;
    assert_eq!((answer.code(), answer.messages() == [large]), (Some(0), true));
    for _ in 0..300 {
        assert_eq!(caller.echoed(Ask::echo("Unary")).await, "e");
    }
    let mut stream = caller.open(Ask::echo("ServerStream").with("x-count", "500")).await;
    stream.finish(framed(&chunk(&[1; 3_000])));
    assert_eq!(soon(stream.answer()).await.messages().len(), 500);
}

#[tokio::test]
async fn who_speaks_http1_is_told_so() {
    let ca = Authority::new();
    let proxy = proxy_before(&ca, crate::harness::refused_port(), "", "").await;
    let mut stream = ca.connect(proxy.address(), None, &["http/1.1"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains("`h2`"), "{answer}");
    assert!(ca.connect(proxy.address(), None, &["h3"]).await.is_err(), "no protocol in common");
}

/// Puts what the file says now in force.
pub(crate) async fn reload(proxy: &TestProxy, text: &str) {
    proxy.reload(text).await.unwrap();
}

async fn held() -> Upstream {
    Upstream::start(|got: Got| async move {
        if got.field("x-hold").is_none() { got.echo().await } else { std::future::pending().await }
    })
    .await
}

pub(crate) fn file(ca: &Authority, instance: std::net::SocketAddr, auth: &str) -> String {
    format!(
        "clusters: {{echo: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    \
         {}\n    routes: [{{cluster: echo}}]\n",
        ca.listener(auth)
    )
}

#[tokio::test]
async fn who_is_revoked_has_to_go_at_once_and_the_others_stay() {
    let ca = Authority::new();
    let instance = held().await;
    let text = file(&ca, instance.address(), &format!("{REQUIRED}, crl: {}", ca.path("crl.pem")));
    let proxy = TestProxy::yaml(&text).await;
    let (bad, good) = (ca.workload("bad"), ca.workload("good"));
    let revoked = ca.caller(proxy.address(), Some(&bad)).await.unwrap();
    let other = ca.caller(proxy.address(), Some(&good)).await.unwrap();
    let hold = || Ask::echo("Unary").with("x-hold", "1");
    let (open, stays) = (revoked.open(hold()).await, other.open(hold()).await);
    eventually!(instance.calls() == 2);
    for _ in 0..20 {
        reload(&proxy, &text).await;
    }
    assert_eq!(code(&other).await, Some(0), "nothing has changed for anybody");
    assert_eq!(code(&revoked).await, Some(0));
    ca.revoke(&[&bad]);
    let begun = Instant::now();
    reload(&proxy, &text).await;
    let answer = soon(open.answer()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(answer.refusal(), (16, "certificate".to_owned()));
    assert_eq!(answer.field("www-authenticate").as_deref(), Some("Bearer"), "no token is at fault");
    assert!(revoked.ended().await.is_ok(), "GOAWAY without an error");
    assert!(is_refused(ca.caller(proxy.address(), Some(&bad)).await).await);
    assert_eq!(code(&other).await, Some(0));
    stays.cancel();
    // And one whose CA is no longer there.
    let new = Authority::new();
    std::fs::copy(new.path("ca.pem"), ca.path("ca.pem")).unwrap();
    std::fs::copy(new.path("crl.pem"), ca.path("crl.pem")).unwrap();
    reload(&proxy, &text).await;
    assert!(other.ended().await.is_ok());
}

/// Connections on which nothing happens, and one change right after the other: the last one is seen by all.
#[tokio::test]
async fn of_many_changes_in_a_row_the_last_is_seen_by_all_who_are_idle() {
    let (ca, instance) = (Authority::new(), held().await);
    let text = file(&ca, instance.address(), &format!("{REQUIRED}, crl: {}", ca.path("crl.pem")));
    let proxy = TestProxy::yaml(&text).await;
    let shown = ca.workload("a");
    let mut callers = Vec::new();
    for _ in 0..20 {
        callers.push(ca.caller(proxy.address(), Some(&shown)).await.unwrap());
        assert_eq!(code(callers.last().unwrap()).await, Some(0));
    }
    for _ in 0..50 {
        reload(&proxy, &text).await;
    }
    ca.revoke(&[&shown]);
    reload(&proxy, &text).await;
    let begun = Instant::now();
    for caller in callers {
        assert!(caller.ended().await.is_ok());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_has_shown_nothing_goes_once_a_certificate_is_required() {
    let ca = Authority::new();
    let instance = held().await;
    let proxy = TestProxy::yaml(&file(&ca, instance.address(), "mode: optional")).await;
    let known = ca.caller(proxy.address(), Some(&ca.workload("a"))).await.unwrap();
    let nobody = ca.caller(proxy.address(), None).await.unwrap();
    assert_eq!(code(&nobody).await, Some(0));
    reload(&proxy, &file(&ca, instance.address(), REQUIRED)).await;
    assert!(nobody.ended().await.is_ok());
    assert_eq!(code(&known).await, Some(0));
}

#[tokio::test]
async fn an_expired_certificate_takes_no_more_calls_and_ends_none() {
    let ca = Authority::new();
    let echo = echo("e").await;
    let proxy = proxy_before(&ca, echo.address(), REQUIRED, "").await;
    let caller = ca.caller(proxy.address(), Some(&ca.workload_for("a", Duration::from_secs(6)))).await.unwrap();
    let mut open = caller.open(Ask::echo("Unary").with("x-delay-ms", "8000")).await;
    open.finish(framed(&chunk(b"late")));
    let begun = Instant::now();
    loop {
        let Ok(mut open) = caller.try_open(Ask::echo("Unary"), false).await else { break };
        open.finish(framed(&chunk(b"x")));
        if soon(open.answer()).await.broken.is_some() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "it takes calls for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(soon(open.answer()).await.code(), Some(0), "what was open is served");
    assert!(caller.ended().await.is_ok());
}

/// Two thousand who connect and say nothing, or half a word, stop nobody, and are gone with their time.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_stop_nobody() {
    let ca = Authority::new();
    let echo = echo("e").await;
    let proxy = proxy_before(&ca, echo.address(), REQUIRED, "limits: {handshake: 3s}").await;
    let mut silent = Vec::new();
    for index in 0..2_000 {
        let Ok(mut socket) = TcpStream::connect(proxy.address()).await else { break };
        if index % 2 == 0 {
            socket.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        }
        silent.push(socket);
    }
    assert!(silent.len() > 400, "{} sockets: the system gives too few", silent.len());
    let begun = Instant::now();
    let good = ca.caller(proxy.address(), Some(&ca.workload("a"))).await.unwrap();
    assert_eq!(good.echoed(Ask::echo("Unary")).await, "e");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    eventually!(proxy.metric("portunus_open_connections", &[]).await == 1.0);
    for mut socket in silent {
        assert_eq!(soon(socket.read(&mut [0; 16])).await.unwrap_or(0), 0, "closed without a word");
    }
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_another_has_its_own() {
    let echo = echo("e").await;
    let setup = Setup { listener: "limits: {connections_per_peer: 2}", ..Setup::default() };
    let proxy = TestProxy::with(&[echo.address()], setup).await;
    let (one, two) = (proxy.caller().await, proxy.caller().await);
    for caller in [&one, &two] {
        caller.echoed(Ask::echo("Unary")).await;
    }
    assert!(is_refused(Caller::connect_from("127.0.0.1", proxy.address()).await).await);
    Caller::connect_from("127.0.0.2", proxy.address()).await.unwrap().echoed(Ask::echo("Unary")).await;
    two.connection.abort();
    eventually!(match Caller::connect_from("127.0.0.1", proxy.address()).await {
        Ok(caller) => caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code() == Some(0),
        Err(_) => false,
    });
}

#[tokio::test]
async fn an_agent_belongs_to_the_identity_that_registered_it() {
    let ca = Authority::new();
    let text = format!(
        "state: memory\nclusters: {{agents: {{registry: {{}}}}}}\nlisteners:\n  sdk:\n    address: 127.0.0.1:0\n    {}\n    \
         routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]\n",
        ca.listener(REQUIRED)
    );
    let proxy = TestProxy::yaml(&text).await;
    let agent = portunus_agents::bindu::Agent::start(portunus_agents::bindu::Options::default()).await.unwrap();
    let client = async |shown: &Shown| BinduServiceClient::new(ca.channel(proxy.listener("sdk"), Some(shown)).await);
    let mut first = client(&ca.workload("sdk/one")).await;
    let mut second = client(&ca.workload("sdk/two")).await;
    let request = || registration("n", agent.address().port());
    let answer = first.register_agent(request()).await.unwrap().into_inner();
    assert!(answer.success, "{answer:?}");
    let beat = || HeartbeatRequest { agent_id: answer.agent_id.clone(), timestamp: 1 };
    let leave = || UnregisterAgentRequest { agent_id: answer.agent_id.clone() };
    assert!(!second.register_agent(request()).await.unwrap().into_inner().success);
    assert!(!second.heartbeat(beat()).await.unwrap().into_inner().acknowledged);
    assert!(!second.unregister_agent(leave()).await.unwrap().into_inner().success);
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "owner")]).await, 3.0);
    // The same workload with a renewed certificate, over another connection.
    let mut again = client(&ca.workload("sdk/one")).await;
    assert!(again.heartbeat(beat()).await.unwrap().into_inner().acknowledged);
    let agents = proxy.json("/agents").await.to_string();
    assert!(agents.contains("spiffe://td/sdk/one"), "{agents}");
    assert!(again.unregister_agent(leave()).await.unwrap().into_inner().success);
}

#[test]
fn what_is_wrong_with_files_is_said_at_its_place() {
    let (ca, other) = (Authority::new(), Authority::new());
    let errors = |tls: &str| {
        let text = format!(
            "clusters: {{c: {{endpoints: [\"127.0.0.1:1\"]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    tls: {tls}\n    \
             routes: [{{cluster: c}}]\n"
        );
        let loaded = config::load_str(&text, std::path::Path::new("it.yaml"), &|_| None, filters::ALL).unwrap();
        snapshot::build(&loaded, filters::ALL, 1).map(drop).unwrap_err().to_string()
    };
    let (pem, key) = (ca.path("server.pem"), ca.path("server.key"));
    let says = |tls: &str, place: &str, words: &str| {
        let said = errors(tls);
        assert!(said.contains(place) && said.contains(words), "{said}");
    };
    let other_key = other.path("server.key");
    says(&format!("{{certificate: {pem}, key: {other_key}}}"), "listeners.edge.tls.key: ", "is not the key");
    says(&format!("{{certificate: nowhere.pem, key: {key}}}"), "listeners.edge.tls.certificate: ", "cannot be read");
    let twice = format!("{{certificates: [{{certificate: {pem}, key: {key}}}, {{certificate: {key}, key: {key}}}]}}");
    says(&twice, "listeners.edge.tls.certificates[1].certificate: ", "only a private key");
    let with = |auth: &str| format!("{{certificate: {pem}, key: {key}, client_auth: {{mode: required, {auth}}}}}");
    says(&with(&format!("ca: {pem}")), "listeners.edge.tls.client_auth.ca: ", "no CA's");
    let list = format!("ca: {}, crl: {pem}", ca.path("ca.pem"));
    says(&with(&list), "listeners.edge.tls.client_auth.crl: ", "revocation list");
}
