//! The Bindu agent and the stand-in core, over real sockets: the rules of SYSTEMS.md section 1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use portunus_agents::{Behaviour, Clock, bindu, core};
use portunus_proto::bindu as pb;
use portunus_proto::bindu::agent_handler_client::AgentHandlerClient;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// Polls until it holds, for at most ten seconds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came true that {what}");
}

async fn channel(address: std::net::SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn agent_of(core: &core::Core, instance: &str) -> bindu::Options {
    bindu::Options {
        registrar: Some(core.address().to_string()),
        instance: instance.into(),
        heartbeat: Duration::from_millis(20),
        ..bindu::Options::default()
    }
}

fn say(text: &str) -> pb::HandleRequest {
    let message = pb::ChatMessage { role: "user".into(), content: text.into() };
    pb::HandleRequest { messages: vec![message], ..Default::default() }
}

#[tokio::test]
async fn an_agent_registers_heartbeats_answers_and_leaves() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let agent = bindu::Agent::start(agent_of(&core, "one")).await.unwrap();
    let registration = agent.registration().unwrap().clone();
    assert_eq!(registration.agent_id, core::agent_id("sample@example.com", "sample-agent"));
    assert_eq!(registration.did, format!("did:bindu:sample_at_example_com:sample-agent:{}", registration.agent_id));
    assert_eq!(core.agents()[&registration.agent_id].callback, format!("localhost:{}", agent.address().port()));

    let answer = core.send_message(&registration.agent_id, "What is 6 * 7?").await.unwrap();
    assert_eq!(answer.content, "6 * 7 is 42. (instance one)");
    assert_eq!(answer.metadata["instance"], "one");
    eventually("heartbeats are acknowledged", || agent.heartbeats().acknowledged >= 2).await;

    agent.shutdown().await;
    assert!(core.agents().is_empty(), "SIGTERM unregisters");
}

#[tokio::test]
async fn the_first_callback_wins_until_a_restart() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let one = bindu::Agent::start(agent_of(&core, "one")).await.unwrap();
    let two = bindu::Agent::start(agent_of(&core, "two")).await.unwrap();
    let id = one.registration().unwrap().agent_id.clone();
    assert_eq!(two.registration().unwrap().agent_id, id, "all instances get one id");
    assert_eq!(core.registrations_of(&id), 2);
    assert_eq!(core.agents()[&id].callback, format!("localhost:{}", one.address().port()));

    // Unregistering forgets the record for all, but not the callback.
    one.shutdown().await;
    eventually("the other's heartbeats are refused", || two.heartbeats().refused >= 1).await;
    let three = bindu::Agent::start(agent_of(&core, "three")).await.unwrap();
    let status = core.send_message(&id, "hello").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "the first callback is gone and still in force: {status}");

    let core = core.restart().await.unwrap();
    assert!(core.agents().is_empty());
    assert_eq!(core.send_message(&id, "hello").await.unwrap_err().code(), Code::NotFound);
    eventually("the agent is told that it is unknown", || three.heartbeats().refused >= 1).await;
    let four = bindu::Agent::start(agent_of(&core, "four")).await.unwrap();
    assert_eq!(core.send_message(&id, "hello").await.unwrap().metadata["instance"], "four");
    drop(four);
}

#[tokio::test]
async fn the_core_refuses_with_ok() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let mut client = BinduServiceClient::new(channel(core.address()).await);
    let complete = r#"{"author":"a","name":"n","deployment":{"url":"http://h","expose":false}}"#;
    for (config, wanted) in [
        ("{", "Invalid config_json: Expecting property name"),
        ("[]", "'list' object has no attribute 'get'"),
        ("{}", ":\n- author\n- name\n- deployment.url"),
        (r#"{"name":"n","deployment":{"url":"u","expose":true}}"#, "'author' is a required"),
        (r#"{"author":"a","name":" ","deployment":{"url":"u","expose":true}}"#, "'name' is a required"),
        (r#"{"author":"a","name":"n","deployment":{"expose":true}}"#, "'deployment.url' is a required"),
        (r#"{"author":"a","name":"n","deployment":{"url":"u"}}"#, "http(s) URL, got 'u'"),
        (r#"{"author":"a","name":7,"deployment":{"url":"http://h"}}"#, "'name' must be a str"),
        (r#"{"author":"a","name":"n","deployment":{"url":"http://h"}}"#, "field(s): deployment.expose"),
    ] {
        let request = pb::RegisterAgentRequest { config_json: config.into(), ..Default::default() };
        let answer = client.register_agent(request).await.unwrap().into_inner();
        assert!(!answer.success && answer.error.contains(wanted), "{config}: {answer:?}");
    }
    let request = pb::RegisterAgentRequest { config_json: complete.into(), ..Default::default() };
    let answer = client.register_agent(request).await.unwrap().into_inner();
    assert!(answer.success);
    assert_eq!((answer.agent_id, answer.agent_url.as_str()), (core::agent_id("a", "n"), "http://h"));
    let gone = client.unregister_agent(pb::UnregisterAgentRequest { agent_id: "?".into() }).await.unwrap();
    assert!(!gone.into_inner().success);
    let beat = client.heartbeat(pb::HeartbeatRequest { agent_id: "?".into(), timestamp: 0 }).await.unwrap();
    assert!(!beat.into_inner().acknowledged);
}

#[tokio::test]
async fn a_refused_or_unreachable_registration_is_an_error() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let refused = bindu::Options { author: String::new(), ..agent_of(&core, "x") };
    assert!(bindu::Agent::start(refused).await.unwrap_err().to_string().contains("'author' is a required"));
    let nobody =
        bindu::Options { registrar: Some("127.0.0.1:1".into()), patience: Duration::ZERO, ..bindu::Options::default() };
    assert!(bindu::Agent::start(nobody).await.unwrap_err().to_string().contains("is it running?"));
}

#[tokio::test]
async fn a_callback_under_localhost_arrives_as_authority() {
    let core = core::Core::start(core::Options::default()).await.unwrap();
    let mut options = agent_of(&core, "named");
    // Port 0 is not known before the start: serve first, then register under the name.
    options.registrar = None;
    let agent = bindu::Agent::start(options).await.unwrap();
    let mut client = BinduServiceClient::new(channel(core.address()).await);
    let request = pb::RegisterAgentRequest {
        config_json: r#"{"author":"a","name":"n","deployment":{"url":"http://h","expose":false}}"#.into(),
        grpc_callback_address: format!("agent-7.localhost:{}", agent.address().port()),
        ..Default::default()
    };
    let id = client.register_agent(request).await.unwrap().into_inner().agent_id;
    assert_eq!(core.send_message(&id, "hi").await.unwrap().metadata["instance"], "named");
}

#[tokio::test]
async fn a_stream_ends_with_the_final_piece() {
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let mut client = AgentHandlerClient::new(channel(agent.address()).await);
    let whole = client.handle_messages(say("1 + 1")).await.unwrap().into_inner();
    let mut stream = client.handle_messages_stream(say("1 + 1")).await.unwrap().into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        pieces.push(piece);
    }
    assert_eq!(pieces.iter().map(|p| p.content.as_str()).collect::<String>(), whole.content);
    assert!(pieces.len() > 1);
    let last = pieces.pop().unwrap();
    assert!(last.is_final && last.metadata == whole.metadata);
    assert!(pieces.iter().all(|p| !p.is_final));

    let mut request = Request::new(say("x"));
    for (name, value) in [("x-count", "5"), ("x-size", "100"), ("x-gap-us", "100"), ("x-fail-after", "3")] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let mut stream = client.handle_messages_stream(request).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(stream.message().await.unwrap().unwrap().content.len(), 100);
    }
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn its_states_and_capabilities() {
    let agent = bindu::Agent::start(bindu::Options { streaming: false, ..Default::default() }).await.unwrap();
    let mut client = AgentHandlerClient::new(channel(agent.address()).await);
    let state = client.handle_messages(say(" ")).await.unwrap().into_inner();
    assert_eq!((state.state.as_str(), state.content.as_str()), ("input-required", ""));
    assert!(!state.prompt.is_empty());
    assert_eq!(client.handle_messages(say("my balance")).await.unwrap().into_inner().state, "auth-required");
    let none = client.handle_messages(pb::HandleRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    assert_eq!(client.handle_messages_stream(say("x")).await.unwrap_err().code(), Code::Unimplemented);
    let capabilities = client.get_capabilities(pb::GetCapabilitiesRequest {}).await.unwrap().into_inner();
    assert!(!capabilities.supports_streaming && capabilities.skills.len() == 1);
    assert!(client.health_check(pb::HealthCheckRequest {}).await.unwrap().into_inner().healthy);
    agent.handle().set_healthy(false);
    assert!(!client.health_check(pb::HealthCheckRequest {}).await.unwrap().into_inner().healthy);
}

#[tokio::test]
async fn it_can_be_slow_failing_and_hanging_and_counts() {
    let behaviour = Behaviour { fail_share: 0.5, ..Behaviour::default() };
    let agent = bindu::Agent::start(bindu::Options { behaviour, ..Default::default() }).await.unwrap();
    let handle = agent.handle();
    let mut client = AgentHandlerClient::new(channel(agent.address()).await);
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(client.handle_messages(say("x")).await.is_err());
    }
    assert!((70..130).contains(&failed), "{failed} of 200 failed");
    assert_eq!((handle.calls().seen, handle.calls().in_flight), (200, 0));

    handle.behave(&Behaviour { delay: Duration::from_millis(30), ..Behaviour::default() });
    let before = tokio::time::Instant::now();
    client.handle_messages(say("x")).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(30));

    handle.behave(&Behaviour { hanging: true, ..Behaviour::default() });
    let mut held = client.clone();
    let mut request = Request::new(say("x"));
    request.metadata_mut().insert("x-call-id", "seven".parse().unwrap());
    let call = tokio::spawn(async move { held.handle_messages(request).await });
    eventually("the call is held", || handle.calls().in_flight == 1).await;
    call.abort();
    eventually("the cancellation arrives", || handle.calls().in_flight == 0).await;
    assert_eq!(handle.calls().cancelled, 1);
    assert_eq!(handle.cancellations()[0].call_id.as_deref(), Some("seven"));

    let mut probe = client.clone();
    let call = tokio::spawn(async move { probe.health_check(pb::HealthCheckRequest {}).await });
    eventually("the probe arrives", || handle.calls().probes == 1).await;
    assert!(!call.is_finished());
    handle.set_hanging(false);
    assert!(call.await.unwrap().unwrap().into_inner().healthy, "a held call goes on");
}

#[tokio::test]
async fn killed_it_frees_its_port_and_breaks_its_connections() {
    let core = core::Core::start(core::Options { clock: Clock::logical(0), ..Default::default() }).await.unwrap();
    let agent = bindu::Agent::start(agent_of(&core, "one")).await.unwrap();
    let address = agent.address();
    let mut client = AgentHandlerClient::new(channel(address).await);
    let mut request = Request::new(say("x"));
    request.metadata_mut().insert("x-delay-ms", "60000".parse().unwrap());
    let call = tokio::spawn(async move { client.handle_messages(request).await });
    let handle = agent.handle();
    eventually("the call is open", || handle.calls().in_flight == 1).await;
    agent.kill().await;
    assert!(call.await.unwrap().is_err());
    assert_eq!(core.agents().len(), 1, "a killed agent does not unregister");
    let again = bindu::Agent::start(bindu::Options { listen: address, ..agent_of(&core, "two") }).await.unwrap();
    assert_eq!(again.address(), address);
}
