//! RegisterAgent, Heartbeat and UnregisterAgent over the wire, and the forward to a core.

use std::time::Duration;

use portunus_agents::{bindu, core};
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{HeartbeatRequest, RegisterAgentRequest, UnregisterAgentRequest};
use tonic::transport::Channel;

use crate::agents::{ask, instances, proxy_with, said, sdk};
use crate::harness::{Ask, TestProxy, echo, eventually, framed};

async fn client(proxy: &TestProxy) -> BinduServiceClient<Channel> {
    BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap()
}

pub(crate) fn registration(name: &str, port: u16) -> RegisterAgentRequest {
    RegisterAgentRequest {
        config_json: format!(
            r#"{{"author": "a@b.test", "name": "{name}", "deployment": {{"url": "http://localhost:1", "expose": true}}}}"#
        ),
        skills: Vec::new(),
        grpc_callback_address: format!("localhost:{port}"),
    }
}

#[tokio::test]
async fn register_heartbeat_call_unregister() {
    let proxy = proxy_with("").await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let mut client = client(&proxy).await;
    let answer = client.register_agent(registration("n", agent.address().port())).await.unwrap().into_inner();
    let id = core::agent_id("a@b.test", "n");
    assert!(answer.success && answer.error.is_empty(), "{answer:?}");
    assert_eq!((&answer.agent_id, answer.did), (&id, core::did("a@b.test", "n", &id)));
    let beat = |agent_id: &str| HeartbeatRequest { agent_id: agent_id.to_owned(), timestamp: 1 };
    let known = client.heartbeat(beat(&id)).await.unwrap().into_inner();
    assert!(known.acknowledged && known.server_timestamp > 1_600_000_000_000, "{known:?}");
    assert!(!client.heartbeat(beat("nobody")).await.unwrap().into_inner().acknowledged);
    let caller = proxy.caller().await;
    assert_eq!(said(&caller, ask()).await, "one");
    let leave = |agent_id: &str| UnregisterAgentRequest { agent_id: agent_id.to_owned() };
    assert!(!client.unregister_agent(leave("nobody")).await.unwrap().into_inner().success);
    assert!(client.unregister_agent(leave(&id)).await.unwrap().into_inner().success);
    assert_eq!(instances(&proxy).await, 0);
    let gone = caller.unary(ask(), b"").await;
    assert!([5, 14, 3].contains(&gone.refusal().0), "{gone:?}");
    assert!(client.register_agent(registration("n", agent.address().port())).await.unwrap().into_inner().success);
    eventually!(caller.unary(ask(), &crate::agents::hello()).await.code() == Some(0));
}

#[tokio::test]
async fn refusals_of_the_registrar_are_ok_with_success_false() {
    let proxy = proxy_with("").await;
    let mut client = client(&proxy).await;
    let port = proxy.listener("sdk").port();
    let with = |config: &str| RegisterAgentRequest { config_json: config.to_owned(), ..registration("n", 5_000) };
    let bad = [
        with("{"),
        with("[]"),
        with(r#"{"author": "a", "name": "../etc", "deployment": {"url": "http://x", "expose": true}}"#),
        with(r#"{"author": "a", "name": "n"}"#),
        registration("n", port),
        registration("n", 80),
        RegisterAgentRequest { grpc_callback_address: "10.9.8.7:5000".into(), ..registration("n", 5_000) },
        RegisterAgentRequest { grpc_callback_address: String::new(), ..registration("n", 5_000) },
    ];
    for request in bad {
        let answer = client.register_agent(request.clone()).await.unwrap().into_inner();
        assert!(!answer.success && !answer.error.is_empty(), "{request:?}: {answer:?}");
    }
    assert_eq!(instances(&proxy).await, 0);
}

#[tokio::test]
async fn broken_registrations_are_refused_in_grpcs_words() {
    let proxy = proxy_with("").await;
    let caller = crate::harness::Caller::connect(proxy.listener("sdk")).await;
    let register = || Ask::path("/bindu.grpc.BinduService/RegisterAgent");
    let text = vec![0x0a, 0xff, 0xff];
    assert_eq!(caller.unary(register(), &text).await.refusal(), (3, "framing".into()), "no protobuf");
    assert_eq!(caller.unary(register(), &[0x0a, 2, 0xff, 0xfe]).await.refusal(), (3, "framing".into()), "no UTF-8");
    let raw = |bytes: Vec<u8>| {
        let caller = &caller;
        async move {
            let mut open = caller.open(register()).await;
            open.finish(bytes.into());
            crate::harness::soon(open.answer()).await
        }
    };
    assert_eq!(raw(vec![0, 0, 0, 0, 9, 1]).await.refusal(), (3, "framing".into()));
    for (what, bytes) in [("none", vec![]), ("two", [framed(b""), framed(b"")].concat()), ("gzip", vec![1, 0, 0, 0, 0])]
    {
        assert_eq!(raw(bytes).await.code(), Some(12), "{what}");
    }
    assert_eq!(raw(framed(&vec![0; 2 << 20]).to_vec()).await.refusal(), (8, "message_too_large".into()));
    let unknown = caller.unary(Ask::path("/bindu.grpc.BinduService/DropTable"), b"").await;
    assert_eq!(unknown.code(), Some(12));
    // And the connection is none the worse.
    assert_eq!(caller.unary(Ask::path("/bindu.grpc.BinduService/Heartbeat"), b"").await.code(), Some(0));
}

#[tokio::test]
async fn a_core_is_told_once_an_agent_and_calls_go_to_all_instances() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    // The callback is a name of this machine whose port only the test knows: the core here is not asked to dial it.
    let proxy = proxy_with(&format!("core: {}", core.address())).await;
    let mut agents = Vec::new();
    for instance in ["1", "2", "3"] {
        agents.push(sdk(&proxy, "worker", instance).await);
    }
    let id = agents[0].registration().unwrap().agent_id.clone();
    assert!(agents.iter().all(|agent| agent.registration().unwrap().agent_id == id));
    assert_eq!(core.registrations_of(&id), 1, "one forward for three instances");
    let told = &core.agents()[&id];
    assert_eq!(told.callback, format!("{id}.localhost:3790"));
    assert!(told.request.config_json.contains("\"telemetry\":false"), "{}", told.request.config_json);
    let caller = proxy.caller().await;
    for instance in ["1", "2", "3"] {
        eventually!(said(&caller, ask()).await == instance, "instance {instance} gets no call");
    }
    let gone = agents.remove(0);
    gone.kill().await;
    for _ in 0..20 {
        assert!(["2", "3"].contains(&&*said(&caller, ask()).await));
    }
    assert_eq!(core.registrations_of(&id), 1);
    for agent in agents {
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn two_agents_on_one_callback_port() {
    let proxy = proxy_with("").await;
    let (a, b) = (sdk(&proxy, "alpha", "a").await, sdk(&proxy, "beta", "b").await);
    let caller = proxy.caller().await;
    for (agent, instance) in [(&a, "a"), (&b, "b")] {
        let id = &agent.registration().unwrap().agent_id;
        for _ in 0..5 {
            assert_eq!(said(&caller, ask().authority(&format!("{id}.localhost:3790"))).await, instance);
        }
    }
}

#[tokio::test]
async fn a_port_an_agent() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let (proxy, ports) = crate::agents::with_ports(&format!("core: {}", core.address())).await;
    let (a, b) = (sdk(&proxy, "alpha", "a").await, sdk(&proxy, "beta", "b").await);
    let mut told = Vec::new();
    for (agent, instance) in [(&a, "a"), (&b, "b")] {
        let id = &agent.registration().unwrap().agent_id;
        let callback = core.agents()[id].callback.clone();
        let (host, port) = callback.rsplit_once(':').unwrap();
        let port: u16 = port.parse().unwrap();
        assert!(host == "127.0.0.1" && ports.contains(&port), "{callback}");
        let caller = crate::harness::Caller::connect(([127, 0, 0, 1], port).into()).await;
        assert_eq!(said(&caller, ask()).await, instance);
        // The core itself, as it does in life.
        let answer = core.send_message(id, "hello").await.unwrap();
        assert_eq!(answer.metadata["instance"], instance);
        told.push(port);
    }
    let nobodys = ports.clone().find(|port| !told.contains(port)).unwrap();
    let caller = crate::harness::Caller::connect(([127, 0, 0, 1], nobodys).into()).await;
    assert_eq!(caller.unary(ask(), b"").await.refusal(), (5, "agent_unknown".into()));
}

#[tokio::test]
async fn an_instance_that_fails_its_checks_gets_no_calls_until_it_passes() {
    let proxy = proxy_with("").await;
    let (one, two) = (sdk(&proxy, "worker", "1").await, sdk(&proxy, "worker", "2").await);
    let caller = proxy.caller().await;
    let healthy = async || {
        let instances = proxy.json("/instances").await;
        let list = instances.as_array().or_else(|| instances["instances"].as_array()).unwrap();
        list.iter().filter(|instance| instance["state"] == "healthy").count()
    };
    eventually!(healthy().await == 2);
    one.handle().set_healthy(false);
    eventually!(healthy().await == 1);
    for _ in 0..20 {
        assert_eq!(said(&caller, ask()).await, "2");
    }
    one.handle().set_healthy(true);
    eventually!(said(&caller, ask()).await == "1");
    two.kill().await;
    tokio::time::timeout(Duration::from_secs(5), async {
        for _ in 0..20 {
            assert_eq!(said(&caller, ask()).await, "1");
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_backend_that_is_no_agent_is_not_healthy() {
    let proxy = proxy_with("").await;
    let echo = echo("e").await;
    let mut client = client(&proxy).await;
    assert!(client.register_agent(registration("n", echo.address().port())).await.unwrap().into_inner().success);
    eventually!(echo.handle().calls().probes > 0);
    let answer = proxy.caller().await.unary(ask(), &crate::agents::hello()).await;
    assert!([12, 14].contains(&answer.code().unwrap()), "{answer:?}");
}

/// 20 that are no registrations and 20 that would lead where nobody may be sent. None is admitted, none reaches a core as it came, and
/// each error says what is wrong.
#[tokio::test]
async fn malformed_and_hostile_registrations_are_refused_with_what_is_wrong() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let allow = "allow: [0.0.0.0/0, \"::/0\"]\n      allow_names: [\"*.invalid\", localhost.localdomain]";
    let proxy = proxy_with(&format!("core: {}\n      {allow}", core.address())).await;
    let mut client = client(&proxy).await;
    let config = |text: String| RegisterAgentRequest { config_json: text, ..registration("n", 5_000) };
    let named = |name: &str| config(registration("n", 1).config_json.replace("\"n\"", &format!("\"{name}\"")));
    let with_id = |id: &str| config(registration("n", 1).config_json.replacen('{', &format!("{{\"id\": {id}, "), 1));
    let at = |callback: String| RegisterAgentRequest { grpc_callback_address: callback, ..registration("n", 5_000) };
    let author = |author: &str| config(registration("n", 1).config_json.replace("a@b.test", author));
    let malformed = vec![
        config(String::new()),
        config("{".into()),
        config("[]".into()),
        config("7".into()),
        config("null".into()),
        config("{}".into()),
        config(r#"{"author": "a", "name": "n"}"#.into()),
        config(r#"{"author": 7, "name": "n", "deployment": {"url": "http://x", "expose": true}}"#.into()),
        config(r#"{"author": "a", "name": "n", "deployment": {"url": "ftp://x", "expose": true}}"#.into()),
        config(r#"{"author": "a", "name": "n", "deployment": {"url": "http://x"}}"#.into()),
        config(format!(r#"{{"author": "a", "name": "n", "x": {}{}}}"#, "[".repeat(5_000), "]".repeat(5_000))),
        config(format!(r#"{{"author": "a", "name": "n", "x": "{}"}}"#, "y".repeat(300 << 10))),
        with_id("7"),
        with_id("\"not-a-uuid\""),
        author(" "),
        named(""),
        named(&"n".repeat(129)),
        at(String::new()),
        at("localhost".into()),
        at("localhost:99999".into()),
    ];
    let (sdk, admin, edge) = (proxy.listener("sdk").port(), proxy.admin_address().port(), proxy.address().port());
    let hostile = vec![
        named("../../etc/passwd"),
        named("a/b"),
        named("..\\\\b"),
        named("a\\u0000b"),
        named("0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7"),
        author("a:b"),
        author("a\\u001bb"),
        at(format!("127.0.0.1:{sdk}")),
        at(format!("localhost:{admin}")),
        at(format!("[::ffff:127.0.0.1]:{edge}")),
        at(core.address().to_string()),
        at(format!("localhost:{}", core.address().port())),
        at("169.254.169.254:5000".into()),
        at("[fd00:ec2::254]:5000".into()),
        at("[64:ff9b::a9fe:a9fe]:5000".into()),
        at("0.0.0.0:5000".into()),
        at("224.0.0.1:5000".into()),
        at("127.0.0.1:22".into()),
        at("nowhere.invalid:5000".into()),
        at("other.example:5000".into()),
    ];
    assert_eq!((malformed.len(), hostile.len()), (20, 20));
    for request in malformed.into_iter().chain(hostile) {
        let shown: String = format!("{request:?}").chars().take(300).collect();
        let answer = client.register_agent(request).await.unwrap().into_inner();
        assert!(!answer.success && answer.error.len() > 20 && answer.error.len() < 1_000, "{shown}: {answer:?}");
    }
    assert_eq!(instances(&proxy).await, 0);
    assert!(core.received().is_empty(), "the core heard of none of them");
    // What is not refused is rebuilt.
    let mut request = registration("n", 5_000);
    request.config_json =
        request.config_json.replacen('{', r#"{"vault": {"url": "http://evil"}, "recreate_keys": true, "#, 1);
    assert!(client.register_agent(request).await.unwrap().into_inner().success);
    let forwarded = &core.received()[0].1;
    assert!(!forwarded.config_json.contains("vault") && !forwarded.config_json.contains("recreate"), "{forwarded:?}");
    assert!(forwarded.grpc_callback_address.ends_with(".localhost:3790"), "{forwarded:?}");
}

/// A's address, once it has refused a connection, is nobody's until A is heard again: whoever binds it must not get A's calls.
#[tokio::test]
async fn who_binds_the_port_of_another_does_not_get_its_calls() {
    let proxy = proxy_with("").await;
    let a = sdk(&proxy, "a", "the-real-a").await;
    let address = a.address();
    let caller = proxy.caller().await;
    let for_a = || ask().with("x-portunus-agent", "a");
    assert_eq!(said(&caller, for_a()).await, "the-real-a");
    a.kill().await;
    eventually!(caller.unary(for_a(), &crate::agents::hello()).await.refusal().0 == 14);
    // A lost connection is no refused one: it takes a call, or a check, that dials.
    eventually!({
        caller.unary(for_a(), &crate::agents::hello()).await;
        proxy.json("/instances").await[0]["waits_for_sdk"] == true
    });
    let options =
        bindu::Options { listen: address, name: "b".into(), instance: "an-impostor".into(), ..Default::default() };
    let b = bindu::Agent::start(options).await.unwrap();
    let mut refused = 0;
    for round in 0..1_000 {
        let answer = caller.unary(for_a(), &crate::agents::hello()).await;
        assert_ne!(answer.code(), Some(0), "round {round}: {answer:?}");
        refused += 1;
        match round {
            // Its health check passes meanwhile.
            100 | 300 => tokio::time::sleep(Duration::from_millis(400)).await,
            500 => {
                let mut client = client(&proxy).await;
                assert!(client.register_agent(registration("b", address.port())).await.unwrap().into_inner().success);
            }
            _ => {}
        }
    }
    assert_eq!(refused, 1_000);
    eventually!(caller.unary(ask().with("x-portunus-agent", "b"), &crate::agents::hello()).await.code() == Some(0));
    drop(b);
}

/// A wire between two places that can be cut: what is on it waits, and neither end is told.
struct Wire {
    address: std::net::SocketAddr,
    whole: tokio::sync::watch::Sender<bool>,
}

impl Wire {
    async fn to(target: std::net::SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (whole, seen) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut open = seen.clone();
                    open.wait_for(|whole| *whole).await.ok()?;
                    let far = tokio::net::TcpStream::connect(target).await.ok()?;
                    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                    tokio::join!(carry(near_read, far_write, seen.clone()), carry(far_read, near_write, seen));
                    Some(())
                });
            }
        });
        Self { address, whole }
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut seen: tokio::sync::watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut octets = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut octets).await {
        if seen.wait_for(|whole| *whole).await.is_err() || to.write_all(&octets[..count]).await.is_err() {
            return;
        }
    }
}

/// As the TypeScript SDK is behind a partition that outlasts its lease: one connection, no deadline, heartbeats whose answers it does
/// not look at, and no second registration.
#[tokio::test]
async fn after_a_partition_traffic_comes_back_by_itself() {
    let proxy = proxy_with("lease: 1s").await;
    let backend = bindu::Agent::start(bindu::Options { name: "n".into(), ..Default::default() }).await.unwrap();
    let (to_registrar, to_agent) = (Wire::to(proxy.listener("sdk")).await, Wire::to(backend.address()).await);
    // It asks whether the port is open first, by connecting and closing.
    drop(tokio::net::TcpStream::connect(to_registrar.address).await.unwrap());
    let mut sdk = BinduServiceClient::connect(format!("http://{}", to_registrar.address)).await.unwrap();
    let answer = sdk.register_agent(registration("n", to_agent.address.port())).await.unwrap().into_inner();
    assert!(answer.success, "{answer:?}");
    let beats = tokio::spawn(async move {
        loop {
            sdk.heartbeat(HeartbeatRequest { agent_id: answer.agent_id.clone(), timestamp: 0 }).await.ok();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let caller = proxy.caller().await;
    let answers = async || caller.unary(ask(), &crate::agents::hello()).await.code() == Some(0);
    eventually!(answers().await);
    let state = async || proxy.json("/instances").await[0]["state"].as_str().unwrap_or_default().to_owned();
    to_registrar.whole.send_replace(false);
    to_agent.whole.send_replace(false);
    eventually!(state().await == "lost", "a lease that is out and checks that fail");
    assert_eq!(caller.unary(ask(), &crate::agents::hello()).await.code(), Some(14));
    to_registrar.whole.send_replace(true);
    to_agent.whole.send_replace(true);
    eventually!(answers().await, "nobody registered again");
    beats.abort();
}
