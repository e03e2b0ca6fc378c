//! Heartbeat and UnregisterAgent: which instance is meant.

use super::{Beat, Departure, Finding, HOME, Patients, World, caller, usable};

#[test]
fn a_heartbeat_renews_what_its_connection_registered() {
    let mut world = World::new();
    let (one, two) = (caller(HOME), caller(HOME));
    let agent = world.admit("a", "localhost:5001", &one);
    world.admit("a", "localhost:5002", &two);
    world.probe(&["localhost:5001", "localhost:5002"]);
    world.pass(80);
    assert_eq!(world.beat(&agent, &one), Beat::Acknowledged(1));
    world.pass(10);
    let left = |address: &str| {
        let agents = world.registry.view(world.now);
        let found = agents[0].instances.iter().find(|i| i.address == address).map(|i| i.lease_left_seconds as u64);
        found.unwrap()
    };
    assert_eq!((left("localhost:5001"), left("localhost:5002")), (80, 0));
}

#[test]
fn a_heartbeat_on_another_connection_renews_those_at_its_address() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "127.0.0.1:5002", &caller(HOME));
    world.admit("a", "127.0.0.2:5003", &caller(HOME));
    assert_eq!(world.beat(&agent, &caller(HOME)), Beat::Acknowledged(2));
    assert_eq!(world.beat(&agent, &caller("::1")), Beat::Acknowledged(2));
}

#[test]
fn a_heartbeat_for_nobody_is_not_acknowledged() {
    let world = World::new();
    assert_eq!(world.registry.heartbeat("no such id", &caller(HOME), world.now), Beat::Unknown);
    let sdk = caller(HOME);
    let agent = world.admit("a", "localhost:5001", &sdk);
    assert_eq!(world.registry.heartbeat(&agent.id.to_uppercase(), &sdk, world.now), Beat::Acknowledged(1));
    world.unregister(&agent, &sdk).unwrap();
    assert_eq!(world.beat(&agent, &sdk), Beat::Unknown);
}

#[test]
fn a_heartbeat_on_a_new_connection_is_taken_as_the_sdk_come_back() {
    let world = World::new();
    let (before, after) = (caller(HOME), caller(HOME));
    let agent = world.admit("a", "localhost:5001", &before);
    world.probe(&["localhost:5001"]);
    before.connection.close();
    world.beat(&agent, &after);
    let instance = agent.endpoints.load().instances[0].clone();
    world.registry.refused(&instance, world.now);
    world.probe(&["localhost:5001"]);
    assert_eq!(world.state("localhost:5001"), "healthy", "its SDK is connected: a passing probe is enough");
}

#[test]
fn unregistering_removes_the_instance_of_the_connection() {
    let world = World::new();
    let (one, two) = (caller(HOME), caller(HOME));
    let agent = world.admit("a", "localhost:5001", &one);
    world.admit("a", "localhost:5002", &two);
    let call = agent.endpoints.load().instances[0].try_enter(1).unwrap();
    assert_eq!(world.unregister(&agent, &one), Ok(Departure::Removed));
    assert_eq!(usable(&agent), ["localhost:5002"]);
    assert!(call.instance().is_gone() && call.instance().in_flight() == 1, "open calls go on");
    assert_eq!(world.unregister(&agent, &two), Ok(Departure::Removed));
    let error = world.unregister(&agent, &two).unwrap_err();
    assert_eq!((error.reason, error.error), ("unknown", format!("Agent {} not found", agent.id)));
}

#[test]
fn unregistering_on_another_connection_removes_the_only_one_at_the_address() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "127.0.0.2:5002", &caller(HOME));
    assert_eq!(world.unregister(&agent, &caller(HOME)), Ok(Departure::Removed));
    assert_eq!(usable(&agent), ["127.0.0.2:5002"]);
    assert_eq!(world.unregister(&agent, &caller(HOME)).unwrap_err().reason, "unknown");
}

fn three_healthy() -> (World, std::sync::Arc<super::Agent>) {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "localhost:5002", &caller(HOME));
    world.admit("a", "localhost:5003", &caller(HOME));
    world.probe(&["localhost:5001", "localhost:5002", "localhost:5003"]);
    (world, agent)
}

#[test]
fn where_several_fit_the_one_that_stops_answering_goes() {
    let (mut world, agent) = three_healthy();
    assert_eq!(world.unregister(&agent, &caller(HOME)), Ok(Departure::Watched(3)));
    assert_eq!(world.probe(&["localhost:5001", "localhost:5002", "localhost:5003"]).len(), 3, "probed at once");
    assert_eq!(usable(&agent).len(), 3, "all still answer");
    world.pass(1);
    world.probe(&["localhost:5001", "localhost:5003"]);
    assert_eq!(usable(&agent), ["localhost:5001", "localhost:5003"]);
    // Only one said that it leaves: another that falls silent is just unhealthy, by the thresholds.
    world.pass(30);
    world.probe(&["localhost:5001"]);
    assert_eq!(world.state("localhost:5003"), "healthy");
}

#[test]
fn one_that_only_says_it_is_ill_has_not_left() {
    let (mut world, agent) = three_healthy();
    world.unregister(&agent, &caller(HOME)).unwrap();
    world.probe_with(|_| Finding::Ill("busy".into()));
    world.pass(1);
    world.probe(&["localhost:5001", "localhost:5002", "localhost:5003"]);
    assert_eq!(usable(&agent).len(), 3);
}

#[test]
fn a_refused_call_tells_who_left() {
    let (world, agent) = three_healthy();
    world.unregister(&agent, &caller(HOME)).unwrap();
    let instance = agent.endpoints.load().instances[1].clone();
    world.registry.refused(&instance, world.now);
    assert_eq!((world.state("localhost:5002"), instance.is_gone()), ("none", true));
}

#[test]
fn a_watch_ends() {
    let (mut world, agent) = three_healthy();
    world.unregister(&agent, &caller(HOME)).unwrap();
    world.probe(&["localhost:5001", "localhost:5002", "localhost:5003"]);
    world.pass(31);
    world.registry.sweep(world.now);
    world.probe(&["localhost:5001", "localhost:5002"]);
    assert_eq!(world.state("localhost:5003"), "healthy", "one failure of the two that it takes");
}

#[test]
fn the_dead_are_not_taken_for_the_one_that_leaves() {
    let (world, agent) = three_healthy();
    for _ in 0..2 {
        let instance = agent.endpoints.load().instances[0].clone();
        world.registry.refused(&instance, world.now);
    }
    assert_eq!(usable(&agent), ["localhost:5003"]);
    assert_eq!(world.unregister(&agent, &caller(HOME)), Ok(Departure::Removed));
    assert_eq!((world.state("localhost:5003"), usable(&agent).len()), ("none", 0));
}
