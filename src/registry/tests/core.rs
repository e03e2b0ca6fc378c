//! What the core is told, and what follows from its answers.

use portunus_proto::bindu::RegisterAgentResponse;

use super::super::{Callback, CoreState, Verdict, Wish, instance::Target};
use super::{Asked, HOME, Settings, World, caller};

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
    let Some(Wish::Register(request)) = world.registry.core_wish(&id) else { panic!("a registration") };
    assert_eq!(request.grpc_callback_address, format!("{id}.localhost:3790"));
    assert!(request.config_json.contains(r#""telemetry":false"#));
    assert_eq!(world.registry.core_verdict(&id), None, "still to answer");
    world.registry.core_answered(&id, yes(&id));
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
    world.registry.core_answered(&id, no("not you"));
    assert_eq!(world.registry.core_verdict(&id), Some(Verdict::Refused("not you".into())));
    assert_eq!(world.registry.core_wish(&id), None, "no retry of a refusal");
    drop(plan);
    assert!(world.registry.view(world.now).is_empty());
    let _plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    assert!(matches!(world.registry.core_wish(&id), Some(Wish::Register(_))));
}

#[test]
fn a_late_refusal_keeps_the_instances() {
    let world = world();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    assert_eq!(standing(&world), CoreState::Pending);
    world.registry.core_silent(&agent.id, "unreachable", "no route");
    assert_eq!(world.registry.view(world.now)[0].core_error.as_deref(), Some("no route"));
    world.registry.core_answered(&agent.id, no("not you"));
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
    world.registry.core_answered(&agent.id, yes(&agent.id));
    world.registry.take_wishes();
    world.unregister(&agent, &one).unwrap();
    assert!(world.registry.take_wishes().is_empty(), "not the first of two");
    world.unregister(&agent, &two).unwrap();
    assert_eq!(world.registry.take_wishes().len(), 1);
    assert_eq!(world.registry.core_wish(&agent.id), Some(Wish::Unregister(agent.id.to_string())));
    // It comes back while the core is being told.
    world.admit("a", "localhost:5001", &one);
    world.registry.core_left(&agent.id);
    assert!(matches!(world.registry.core_wish(&agent.id), Some(Wish::Register(_))));
    world.registry.core_answered(&agent.id, yes(&agent.id));
    assert_eq!(world.registry.core_wish(&agent.id), None);
}

#[test]
fn a_registration_given_up_is_taken_back_from_the_core() {
    let world = world();
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    let id = plan.agent().id.to_string();
    assert!(world.registry.core_wish(&id).is_some());
    drop(plan);
    world.registry.core_answered(&id, yes(&id));
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
    world.registry.core_answered(&agent.id, yes(other));
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
    world.registry.core_answered(&agent.id, yes(&agent.id));
    world.registry.take_wishes();
    let settings = (*world.registry.settings()).clone();
    world.registry.apply(Settings { core: Some(Target::Loopback(3999)), ..settings.clone() });
    assert_eq!((standing(&world), world.registry.take_wishes().len()), (CoreState::Pending, 1));
    world.registry.apply(Settings { core: None, ..settings });
    assert_eq!((standing(&world), world.registry.core_wish(&agent.id)), (CoreState::None, None));
}
