//! The registrar's answers, with a core that the test plays itself, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use portunus_proto::bindu::{
    HeartbeatRequest, RegisterAgentRequest, RegisterAgentResponse, SkillDefinition, UnregisterAgentRequest,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::Registrar;
use crate::observe::ClusterMetrics;
use crate::registry::instance::Target;
use filter_api::Reason;

use crate::observe::Metrics;
use crate::registry::{Asked, Caller, CoreState, Limits, Registry, Settings};
use crate::upstream::Tcp;

/// sha256("a:n"), as a UUID.
const ID: &str = "436d1ee3-99e7-8777-8584-be1bc82bbac0";

fn registrar(settings: Settings) -> (Registrar, Arc<Registry>) {
    let registry = Registry::new("agents", settings, Arc::new(ClusterMetrics::default()));
    (Registrar::new(Arc::clone(&registry), Arc::new(Tcp)), registry)
}

fn with_core() -> (Registrar, Arc<Registry>) {
    registrar(Settings { core: Some(Target::Loopback(3774)), ..Settings::default() })
}

fn caller() -> Caller {
    Caller::at("127.0.0.1:40000".parse().unwrap())
}

fn request(config: &Value, port: u16) -> RegisterAgentRequest {
    RegisterAgentRequest {
        config_json: config.to_string(),
        skills: Vec::new(),
        grpc_callback_address: format!("localhost:{port}"),
    }
}

fn plain() -> Value {
    json!({"author": "a", "name": "n", "deployment": {"url": "http://localhost:3773", "expose": true}})
}

fn count(registry: &Registry) -> usize {
    registry.view(Instant::now()).iter().map(|agent| agent.instances.len()).sum()
}

fn core_says(success: bool) -> RegisterAgentResponse {
    RegisterAgentResponse {
        success,
        agent_id: ID.into(),
        did: "did:bindu:of:the:core".into(),
        agent_url: "http://elsewhere:1".into(),
        error: if success { String::new() } else { "Registration failed: no".into() },
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_core_the_answer_is_ours() {
    let (registrar, registry) = registrar(Settings::default());
    let answer = registrar.register(request(&plain(), 5001), &caller()).await;
    let expected = RegisterAgentResponse {
        success: true,
        agent_id: ID.into(),
        did: format!("did:bindu:a:n:{ID}"),
        agent_url: "http://localhost:3773".into(),
        error: String::new(),
    };
    assert_eq!(answer, expected);
    assert_eq!(registrar.register(request(&plain(), 5002), &caller()).await, expected, "one id for all instances");
    assert_eq!(count(&registry), 2);
    let agent = registry.choose(&Asked::default()).unwrap();
    assert_eq!((&*agent.name, agent.endpoints.load().instances.len()), ("n", 2));
}

#[tokio::test(start_paused = true)]
async fn refusals_say_why_and_admit_nobody() {
    let (registrar, registry) =
        registrar(Settings { limits: Limits { config_bytes: 1000, ..Limits::default() }, ..Settings::default() });
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut config = plain();
        change(&mut config);
        request(&config, 5001)
    };
    let skill = SkillDefinition { raw_content: "x".repeat(990), ..SkillDefinition::default() };
    let cases = [
        (changed(&|config| config["name"] = json!("a:b")), "`name`"),
        (changed(&|config| config["author"] = json!("")), "'author' is a required"),
        (changed(&|config| config["id"] = json!("7")), "UUID"),
        (changed(&|config| config["deployment"] = json!({"url": "http://a"})), "deployment.expose"),
        (changed(&|config| config["description"] = json!("x".repeat(1000))), "at most 1000"),
        (RegisterAgentRequest { skills: vec![skill.clone()], ..request(&plain(), 5001) }, "at most"),
        (RegisterAgentRequest { skills: vec![skill.clone(), skill], ..request(&plain(), 5001) }, "the skills have"),
        (RegisterAgentRequest { config_json: "{".into(), ..request(&plain(), 5001) }, "Invalid config_json"),
        (request(&plain(), 80), "under 1024"),
        (RegisterAgentRequest { grpc_callback_address: "10.0.0.1:5001".into(), ..request(&plain(), 1) }, "allow"),
    ];
    for (request, word) in cases {
        let answer = registrar.register(request, &caller()).await;
        assert!(!answer.success && answer.agent_id.is_empty() && answer.error.contains(word), "{word}: {answer:?}");
    }
    assert!(registry.view(Instant::now()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_core_that_does_not_answer_holds_nobody_up_for_long() {
    let (registrar, registry) = with_core();
    let before = Instant::now();
    let answer = registrar.register(request(&plain(), 5001), &caller()).await;
    assert_eq!(before.elapsed().as_secs(), 10);
    assert!(answer.success && answer.agent_id == ID && answer.did == format!("did:bindu:a:n:{ID}"), "{answer:?}");
    assert_eq!((count(&registry), registry.view(Instant::now())[0].core), (1, CoreState::Pending));
}

#[tokio::test(start_paused = true)]
async fn the_cores_answer_is_the_answer() {
    for success in [true, false] {
        let (registrar, registry) = with_core();
        let core = async {
            registry.wished().await;
            assert_eq!(registry.take_wishes().len(), 1);
            assert_eq!(count(&registry), 0, "nobody is admitted before the core has spoken");
            tokio::time::sleep(Duration::from_secs(3)).await;
            registry.core_answered(ID, core_says(success), false);
        };
        let sdk = caller();
        let (answer, ()) = tokio::join!(registrar.register(request(&plain(), 5001), &sdk), core);
        if success {
            assert_eq!(answer, RegisterAgentResponse { agent_url: "http://localhost:3773".into(), ..core_says(true) });
        } else {
            assert_eq!((answer.success, answer.error.as_str()), (false, "Registration failed: no"));
        }
        assert_eq!(count(&registry), usize::from(success));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_core_would_refuse_is_left_to_it_and_never_assumed() {
    let (registrar, registry) = with_core();
    let mut config = plain();
    config["deployment"] = json!({"url": "http://a"});
    let answer = registrar.register(request(&config, 5001), &caller()).await;
    assert!(!answer.success && answer.error.contains("deployment.expose"), "{answer:?}");
    // The agent is registered; another instance comes with a configuration that the core would not have taken.
    let core = async {
        registry.wished().await;
        registry.core_answered(ID, core_says(true), false);
    };
    let sdk = caller();
    let (answer, ()) = tokio::join!(registrar.register(request(&plain(), 5001), &sdk), core);
    assert!(answer.success);
    let answer = registrar.register(request(&config, 5002), &sdk).await;
    assert!(!answer.success && count(&registry) == 1, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_sdk_that_gives_up_takes_its_registration_with_it() {
    let (registrar, registry) = with_core();
    let sdk = caller();
    assert!(timeout(Duration::from_secs(2), registrar.register(request(&plain(), 5001), &sdk)).await.is_err());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(registry.view(Instant::now()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_and_departures() {
    let (registrar, registry) = registrar(Settings::default());
    let listener = Metrics::new().listener("sdk");
    let registrar = registrar.on(&listener);
    let sdk = caller();
    let now = Instant::now();
    let beat = HeartbeatRequest { agent_id: ID.into(), timestamp: 1 };
    assert!(!registrar.heartbeat(&beat, &sdk, now).acknowledged);
    assert!(registrar.register(request(&plain(), 5001), &sdk).await.success);
    let answer = registrar.heartbeat(&beat, &sdk, now);
    assert!(answer.acknowledged && answer.server_timestamp > 1_700_000_000_000, "{answer:?}");
    let stranger = Caller { owner: "somebody else".into(), ..caller() };
    assert!(!registrar.heartbeat(&beat, &stranger, now).acknowledged);
    let leave = UnregisterAgentRequest { agent_id: ID.into() };
    let answer = registrar.unregister(&leave, &stranger, now);
    assert!(!answer.success && answer.error.contains("another owner"), "{answer:?}");
    assert!(!registrar.register(request(&plain(), 5002), &stranger).await.success);
    assert_eq!(listener.refused_total(Reason::Owner), 3, "each of the three, by the word");
    let answer = registrar.unregister(&leave, &sdk, now);
    assert!(answer.success && answer.error.is_empty() && count(&registry) == 0, "{answer:?}");
    let answer = registrar.unregister(&leave, &sdk, now);
    assert_eq!((answer.success, answer.error), (false, format!("Agent {ID} not found")));
    assert!(!registrar.heartbeat(&beat, &sdk, now).acknowledged);
}
