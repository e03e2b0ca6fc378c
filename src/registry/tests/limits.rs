//! How much is held at once, and what an operator can take away.

use super::{Admitted, HOME, World, caller};
use crate::registry::{CoreState, Limits, Settings, Target, Wish};
use portunus_proto::bindu::RegisterAgentResponse;

fn tight() -> World {
    let limits = Limits { agents: 2, instances_per_agent: 2, instances_per_peer: 3, config_bytes: 1_000 };
    World::with(Settings { limits, ..Settings::default() })
}

#[test]
fn what_is_over_is_refused_and_what_is_there_stays() {
    let world = tight();
    let refused = |name: &str, at: &str| {
        let refusal = world.register(name, at, &caller(HOME)).unwrap_err();
        assert_eq!(refusal.reason, "limit");
        refusal.error
    };
    let a = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "localhost:5002", &caller(HOME));
    assert!(refused("a", "localhost:5003").contains("instances_per_agent"));
    assert_eq!(world.register("a", "localhost:5002", &caller(HOME)), Ok(Admitted::Renewed), "a renewal needs no room");
    world.admit("b", "localhost:5003", &caller(HOME));
    assert!(refused("b", "localhost:5004").contains("instances_per_peer"));
    assert_eq!(world.register("b", "127.0.0.2:5004", &caller("127.0.0.2")).unwrap_err().reason, "owner");
    assert!(refused("c", "localhost:5004").contains("limits.agents"));
    // Who leaves makes room, but for the agent, which is remembered.
    assert!(world.unregister(&a, &caller(HOME)).is_ok());
    assert_eq!(world.registry.view(world.now).len(), 2);
}

#[test]
fn an_address_that_changes_hands_is_counted_once() {
    let world = tight();
    let one = caller(HOME);
    world.admit("a", "localhost:5001", &one);
    world.admit("a", "localhost:5002", &one);
    assert_eq!(world.register("b", "localhost:5002", &one), Ok(Admitted::TakenOver));
    assert_eq!(world.register("b", "localhost:5003", &one), Ok(Admitted::Added));
    assert!(world.register("a", "localhost:5004", &one).unwrap_err().error.contains("instances_per_peer"));
}

#[test]
fn a_released_agent_is_the_next_owners() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    let other = caller("127.0.0.2");
    let late = world.plan("a", "localhost:5002", &caller(HOME)).unwrap();
    assert_eq!(world.register("a", "127.0.0.2:5001", &other).unwrap_err().reason, "owner");
    assert!(!world.registry.release("nobody", world.now));
    assert!(world.registry.release(&agent.id.to_uppercase(), world.now));
    assert!(world.choose("a").is_none() && agent.endpoints.load().is_empty(), "no calls any more");
    assert_eq!(world.register("a", "127.0.0.2:5001", &other), Ok(Admitted::Added));
    assert_eq!(&*world.choose("a").unwrap().owner, "127.0.0.2");
    assert_eq!(late.admit(world.now).unwrap_err().reason, "owner", "what was under way does not take it back");
    assert_eq!(world.register("a", "localhost:5001", &caller(HOME)).unwrap_err().reason, "owner");
    assert_eq!(world.registry.view(world.now)[0].instances.len(), 1);
}

#[test]
fn a_registration_that_is_under_way_does_not_outlive_the_release() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    let late = world.plan("a", "localhost:5002", &caller(HOME)).unwrap();
    assert!(world.registry.release(&agent.id, world.now));
    assert_eq!(late.admit(world.now).unwrap_err().reason, "owner");
    assert!(world.registry.view(world.now).is_empty());
}

#[test]
fn the_core_is_told_of_a_release() {
    let world = World::with(Settings { core: Some(Target::Loopback(3774)), ..Settings::default() });
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    assert!(matches!(world.registry.core_wish(&agent.id), Some(Wish::Register { .. })));
    let yes = RegisterAgentResponse { success: true, agent_id: agent.id.to_string(), ..Default::default() };
    world.registry.core_answered(&agent.id, yes, false);
    assert_eq!(world.registry.view(world.now)[0].core, CoreState::Ok);
    assert!(world.registry.release(&agent.id, world.now));
    assert_eq!(world.registry.core_wish(&agent.id), Some(Wish::Unregister(agent.id.to_string())));
    world.registry.core_left(&agent.id);
    assert!(world.registry.view(world.now).is_empty(), "nothing of it is remembered");
}
