//! What the core is told, and what follows from its answers.

use portunus_proto::bindu::RegisterAgentResponse;

use super::super::{Asked, Callback, ChooseErrorKind, CoreState, Verdict, Wish, instance::Target};
use super::{HOME, Settings, World, caller};

fn world() -> World {
    let callback = Callback::pattern("{agent}.localhost:3790").unwrap();
    World::with(Settings { core: Some(Target::Loopback(3774)), callback: Some(callback), ..Settings::default() })
}

fn yes(id: &str) -> RegisterAgentResponse {
    RegisterAgentResponse { success: true, agent_id: id.into(), did: format!("did:key:{id}"), ..Default::default() }
}

fn no(error: &str) -> RegisterAgentResponse {
    RegisterAgentResponse { success: false, error: error.into(), ..Default::default() }
}

fn standing(world: &World) -> CoreState {
    world.registry.view(world.now)[0].core
}

#[test]
fn an_agent_is_told_to_the_core_once_with_our_callback() {
    let world = world();
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    let id = plan.agent().id.to_string();
    assert_eq!(world.registry.take_wishes().len(), 1);
    let Some(Wish::Register { request, .. }) = world.registry.core_wish(&id) else { panic!("a registration") };
    assert_eq!(request.grpc_callback_address, format!("{id}.localhost:3790"));
    assert!(request.config_json.contains(r#""telemetry":false"#));
    assert_eq!(world.registry.core_verdict(&id), None, "still to answer");
    world.registry.core_answered(&id, yes(&id), false);
    assert_eq!(world.registry.core_verdict(&id), Some(Verdict::Accepted(yes(&id))));
    plan.admit(world.now).unwrap();
    assert_eq!((standing(&world), world.registry.core_wish(&id)), (CoreState::Ok, None));
    world.admit("a", "localhost:5002", &caller(HOME));
    assert!(world.registry.take_wishes().is_empty() && world.registry.core_wish(&id).is_none(), "not a second time");
}

#[test]
fn a_refusal_leaves_nothing_and_the_next_registration_asks_again() {
    let world = world();
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    let id = plan.agent().id.to_string();
    assert!(world.registry.core_wish(&id).is_some());
    world.registry.core_answered(&id, no("not you"), false);
    assert_eq!(world.registry.core_verdict(&id), Some(Verdict::Refused("not you".into())));
    assert_eq!(world.registry.core_wish(&id), None, "no retry of a refusal");
    drop(plan);
    assert!(world.registry.view(world.now).is_empty());
    let _plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    assert!(matches!(world.registry.core_wish(&id), Some(Wish::Register { .. })));
}

#[test]
fn a_late_refusal_keeps_the_instances() {
    let world = world();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    assert_eq!(standing(&world), CoreState::Pending);
    world.registry.core_silent(&agent.id, "unreachable", "no route");
    assert_eq!(world.registry.view(world.now)[0].core_error.as_deref(), Some("no route"));
    world.registry.core_answered(&agent.id, no("not you"), false);
    assert_eq!(standing(&world), CoreState::Refused);
    assert!(world.choose("a").is_some());
}

#[test]
fn the_last_departure_reaches_the_core_and_a_return_after_it() {
    let world = world();
    let (one, two) = (caller(HOME), caller(HOME));
    let agent = world.admit("a", "localhost:5001", &one);
    world.admit("a", "localhost:5002", &two);
    world.registry.core_wish(&agent.id);
    world.registry.core_answered(&agent.id, yes(&agent.id), false);
    world.registry.take_wishes();
    world.unregister(&agent, &one).unwrap();
    assert!(world.registry.take_wishes().is_empty(), "not the first of two");
    world.unregister(&agent, &two).unwrap();
    assert_eq!(world.registry.take_wishes().len(), 1);
    assert_eq!(world.registry.core_wish(&agent.id), Some(Wish::Unregister(agent.id.to_string())));
    // It comes back while the core is being told.
    world.admit("a", "localhost:5001", &one);
    world.registry.core_left(&agent.id);
    assert!(matches!(world.registry.core_wish(&agent.id), Some(Wish::Register { .. })));
    world.registry.core_answered(&agent.id, yes(&agent.id), false);
    assert_eq!(world.registry.core_wish(&agent.id), None);
}

#[test]
fn a_registration_given_up_is_taken_back_from_the_core() {
    let world = world();
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    let id = plan.agent().id.to_string();
    assert!(world.registry.core_wish(&id).is_some());
    drop(plan);
    world.registry.core_answered(&id, yes(&id), false);
    assert_eq!(world.registry.core_wish(&id), Some(Wish::Unregister(id.clone())));
    world.registry.core_left(&id);
    assert!(world.registry.view(world.now).is_empty());
}

#[test]
fn the_cores_other_id_is_an_alias() {
    let world = world();
    let other = "3f2b8c1e-0d4a-4b6f-9a51-7c2e8d90b1f3";
    let sdk = caller(HOME);
    let agent = world.admit("a", "localhost:5001", &sdk);
    world.registry.core_answered(&agent.id, yes(other), false);
    for text in [other, &format!("did:key:{other}"), &agent.id, &agent.did] {
        assert_eq!(world.choose(text).map(|found| found.id.clone()), Some(agent.id.clone()), "{text}");
    }
    let host = format!("{other}.localhost");
    let asked = Asked { authority_host: Some(&host), header_agent: Some("a"), ..Asked::default() };
    assert!(world.registry.choose(&asked).is_ok());
    assert_eq!(world.registry.view(world.now)[0].core_id.as_deref(), Some(other));
    assert_eq!(world.registry.heartbeat(other, &sdk, world.now), super::Beat::Acknowledged(1));
    world.registry.unregister(other, &sdk, world.now).unwrap();
    assert_eq!(world.registry.core_wish(&agent.id), Some(Wish::Unregister(other.into())));
    world.registry.core_left(&agent.id);
    assert!(world.choose(other).is_none());
}

#[test]
fn another_core_is_told_of_everybody() {
    let world = world();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.registry.core_answered(&agent.id, yes(&agent.id), false);
    world.registry.take_wishes();
    let settings = (*world.registry.settings()).clone();
    world.registry.apply(Settings { core: Some(Target::Loopback(3999)), ..settings.clone() });
    assert_eq!((standing(&world), world.registry.take_wishes().len()), (CoreState::Pending, 1));
    world.registry.apply(Settings { core: None, ..settings });
    assert_eq!((standing(&world), world.registry.core_wish(&agent.id)), (CoreState::None, None));
}

fn register(world: &World, id: &str) -> (String, bool) {
    match world.registry.core_wish(id) {
        Some(Wish::Register { core_id, by_us, .. }) => (core_id, by_us),
        other => panic!("a registration, not {other:?}"),
    }
}

#[test]
fn a_core_that_has_forgotten_is_told_again_and_one_that_knows_is_not() {
    let world = world();
    let ids: Vec<String> = ["a", "b", "c"]
        .map(|name| {
            let port = 5001 + u16::from(name.as_bytes()[0]);
            let agent = world.admit(name, &format!("localhost:{port}"), &caller(HOME));
            assert_eq!(register(&world, &agent.id), (agent.id.to_string(), false), "nobody was told yet");
            world.registry.core_answered(&agent.id, yes(&agent.id), false);
            agent.id.to_string()
        })
        .into();
    let asked: std::collections::BTreeSet<String> =
        (0..3).map(|_| world.registry.core_should_know().unwrap().1).collect();
    assert_eq!(asked.len(), 3, "each in its turn");
    world.registry.take_wishes();
    world.registry.core_forgot(&ids[0]);
    assert_eq!(world.registry.take_wishes().len(), 3);
    assert!(world.registry.core_should_know().is_none(), "nobody is sure");
    assert_eq!(register(&world, &ids[1]), (ids[1].clone(), true), "we told it, so a yes to Heartbeat is enough");
    world.registry.core_confirmed(&ids[1]);
    assert_eq!(world.registry.core_wish(&ids[1]), None);
    world.registry.core_answered(&ids[0], yes(&ids[0]), false);
    let states: Vec<CoreState> = world.registry.view(world.now).iter().map(|agent| agent.core).collect();
    assert_eq!(states, [CoreState::Ok, CoreState::Ok, CoreState::Pending]);
}

#[test]
fn a_core_that_knew_the_agent_before_calls_somebody_else() {
    let world = world();
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    let id = plan.agent().id.to_string();
    assert!(!register(&world, &id).1);
    world.registry.core_answered(&id, yes(&id), true);
    assert_eq!(world.registry.core_verdict(&id), Some(Verdict::Accepted(yes(&id))), "the SDK has its answer");
    plan.admit(world.now).unwrap();
    let view = &world.registry.view(world.now)[0];
    assert_eq!(view.core, CoreState::Foreign);
    assert!(view.core_error.as_ref().unwrap().contains("restart the core"), "{view:?}");
    world.admit("a", "localhost:5002", &caller(HOME));
    assert_eq!(world.registry.core_wish(&id), None, "asking again would change nothing");
    world.registry.core_forgot(&id);
    assert!(!register(&world, &id).1, "it was not us");
    world.registry.core_answered(&id, yes(&id), false);
    assert_eq!((standing(&world), &world.registry.view(world.now)[0].core_error), (CoreState::Ok, &None));
}

#[test]
fn a_callback_that_changes_is_the_cores_only_after_it_restarts() {
    let world = world();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("b", "localhost:5002", &caller(HOME));
    let (id, before) = (&*agent.id, (*world.registry.settings()).clone());
    let seen = || world.registry.view(world.now).into_iter().find(|view| *view.id == *id).unwrap();
    let told = || {
        register(&world, id);
        world.registry.core_answered(id, yes(id), false);
    };
    let at = |host: String, port: Option<u16>| {
        let asked = Asked { authority_host: Some(&host), local_port: port, ..Asked::default() };
        world.registry.choose(&asked).map(|agent| agent.id.to_string()).map_err(|error| error.kind)
    };
    let change = |callback: &Callback| {
        world.registry.apply(Settings { callback: Some(callback.clone()), ..(*world.registry.settings()).clone() });
        seen().core
    };
    let (own, other) = (before.callback.clone().unwrap(), Callback::pattern("{agent}.elsewhere.test:4000").unwrap());
    told();
    assert_eq!(change(&other), CoreState::Foreign);
    assert_eq!(at(format!("{id}.localhost"), None), Ok(id.to_owned()), "the core goes on calling it");
    assert_eq!(at(format!("{id}.elsewhere.test"), None), Ok(id.to_owned()), "the new one names it too");
    assert_eq!(change(&own), CoreState::Ok, "what the core was told is right again");
    let ports = Callback::Ports { host: "127.0.0.1".into(), ports: 7_000..=7_010 };
    assert_eq!(change(&ports), CoreState::Foreign);
    assert_eq!(at(format!("{id}.localhost"), None), Ok(id.to_owned()));

    world.registry.core_forgot(id);
    told();
    assert_eq!(seen().core, CoreState::Ok);
    assert_eq!(at(format!("{id}.localhost"), None), Err(ChooseErrorKind::Unnamed), "nobody was told that any more");
    let port = seen().callback.unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(change(&own), CoreState::Foreign);
    assert_eq!(at("127.0.0.1".to_owned(), Some(port)), Ok(id.to_owned()), "the port that the core was told");

    // Another core is told, and the one before may call on.
    world.registry.apply(Settings { core: Some(Target::Loopback(3_999)), ..(*world.registry.settings()).clone() });
    assert_eq!(seen().core, CoreState::Pending);
    assert_eq!(at("127.0.0.1".to_owned(), Some(port)), Ok(id.to_owned()));
    told();
    assert_eq!(at(format!("{id}.localhost"), None), Ok(id.to_owned()));
    assert_eq!(at("127.0.0.1".to_owned(), Some(port)), Ok(id.to_owned()));
}

#[test]
fn a_callback_without_a_name_in_it_named_nobody() {
    let world = world();
    let fixed = Settings { callback: Callback::pattern("127.0.0.1:3790").ok(), ..(*world.registry.settings()).clone() };
    world.registry.apply(fixed);
    for (name, at) in [("a", "localhost:5001"), ("b", "localhost:5002")] {
        let agent = world.admit(name, at, &caller(HOME));
        register(&world, &agent.id);
        world.registry.core_answered(&agent.id, yes(&agent.id), false);
    }
    let now = Settings { callback: Callback::pattern("{agent}.test:1").ok(), ..(*world.registry.settings()).clone() };
    world.registry.apply(now);
    for local_port in [None, Some(3_790)] {
        let asked = Asked { authority_host: Some("127.0.0.1"), local_port, ..Asked::default() };
        assert_eq!(world.registry.choose(&asked).unwrap_err().kind, ChooseErrorKind::Unnamed);
    }
}
