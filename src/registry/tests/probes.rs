//! When instances are probed, and what findings and refused connections do to their agent's calls.

use std::time::Duration;

use super::{Finding, HOME, Patients, Settings, World, caller, usable};

#[test]
fn a_new_instance_is_probed_at_once_and_every_200_ms() {
    let mut world = World::new();
    assert_eq!(world.registry.next_probe(), None);
    world.admit("a", "localhost:5001", &caller(HOME));
    assert_eq!(world.registry.next_probe(), Some(world.now));
    assert_eq!(world.probe(&[]), ["localhost:5001"]);
    assert!(world.probe(&[]).is_empty(), "not before its time");
    world.now += Duration::from_millis(200);
    assert_eq!(world.probe(&["localhost:5001"]), ["localhost:5001"]);
    let pause = world.registry.next_probe().unwrap() - world.now;
    assert!(pause >= Duration::from_secs(9) && pause <= Duration::from_secs(11), "{pause:?}");
}

#[test]
fn a_refused_connection_costs_no_further_call() {
    let mut world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "localhost:5002", &caller(HOME));
    world.probe(&["localhost:5001", "localhost:5002"]);
    let instance = agent.endpoints.load().instances[0].clone();
    world.registry.refused(&instance, world.now);
    assert_eq!(usable(&agent), ["localhost:5002"]);
    assert_eq!(world.registry.next_probe(), Some(world.now), "it is asked now");
    world.probe(&[]);
    world.pass(1);
    assert_eq!(world.probe(&["localhost:5001"]), ["localhost:5001"]);
    assert_eq!(usable(&agent).len(), 2, "back on the first passing probe");
}

#[test]
fn a_probe_from_before_the_refusal_brings_nobody_back() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.probe(&["localhost:5001"]);
    let instance = agent.endpoints.load().instances[0].clone();
    world.registry.refused(&instance, world.now);
    let early = world.registry.take_probes(1, world.now);
    world.registry.refused(&instance, world.now);
    world.registry.probed(&early[0], &Finding::Alive(None), world.now);
    assert!(usable(&agent).is_empty());
    assert_eq!(world.registry.next_probe(), Some(world.now), "but it is asked again");
    world.probe(&["localhost:5001"]);
    assert_eq!(usable(&agent), ["localhost:5001"]);
}

#[test]
fn one_whose_sdk_has_gone_waits_for_it() {
    let mut world = World::new();
    let sdk = caller(HOME);
    let agent = world.admit("a", "localhost:5001", &sdk);
    world.probe(&["localhost:5001"]);
    sdk.connection.close();
    let instance = agent.endpoints.load().instances[0].clone();
    world.registry.refused(&instance, world.now);
    for _ in 0..5 {
        world.pass(20);
        world.probe(&["localhost:5001"]);
        assert!(usable(&agent).is_empty(), "whoever answers there now may be somebody else");
    }
    assert!(world.registry.view(world.now)[0].instances[0].waits_for_sdk);
    world.beat(&agent, &caller(HOME));
    world.probe(&["localhost:5001"]);
    assert_eq!(usable(&agent), ["localhost:5001"]);
}

#[test]
fn the_lost_are_forgotten_in_time_and_their_agent_with_them() {
    let mut world = World::with(Settings { forget: Duration::from_secs(600), ..Settings::default() });
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.probe(&["localhost:5001"]);
    for _ in 0..12 {
        world.pass(10);
        world.probe(&[]);
    }
    assert_eq!(world.state("localhost:5001"), "lost");
    assert!(world.choose("a").is_some(), "known, with nobody to send calls to");
    for _ in 0..18 {
        world.pass(30);
        world.probe(&[]);
    }
    assert_eq!(world.state("localhost:5001"), "lost");
    for _ in 0..3 {
        world.pass(33);
        world.probe(&[]);
    }
    assert_eq!(world.state("localhost:5001"), "none");
    assert!(world.choose("a").is_none() && agent.endpoints.load().is_empty());
}

#[test]
fn a_lost_one_comes_back_by_a_probe_or_a_heartbeat() {
    for by_probe in [true, false] {
        let mut world = World::new();
        let agent = world.admit("a", "localhost:5001", &caller(HOME));
        world.pass(90);
        world.probe(&[]);
        assert_eq!(world.state("localhost:5001"), "lost");
        assert!(usable(&agent).is_empty());
        if by_probe {
            world.pass(33);
            world.probe(&["localhost:5001"]);
            assert_eq!(world.state("localhost:5001"), "healthy");
        } else {
            world.beat(&agent, &caller(HOME));
            assert_eq!(world.state("localhost:5001"), "new", "gets calls, since there is no other");
        }
        assert_eq!(usable(&agent), ["localhost:5001"]);
    }
}

#[test]
fn probes_of_removed_instances_do_no_harm() {
    let world = World::new();
    let sdk = caller(HOME);
    let agent = world.admit("a", "localhost:5001", &sdk);
    let early = world.registry.take_probes(10, world.now);
    world.unregister(&agent, &sdk).unwrap();
    world.registry.probed(&early[0], &Finding::Alive(None), world.now);
    world.registry.refused(&early[0].instance, world.now);
    assert!(agent.endpoints.load().is_empty() && world.registry.next_probe().is_none());
    world.admit("a", "localhost:5001", &sdk);
    world.unregister(&agent, &sdk).unwrap();
    assert_eq!(world.registry.next_probe(), None, "nobody is left to ask");
}
