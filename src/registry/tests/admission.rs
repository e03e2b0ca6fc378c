//! Who gets in, who owns what, who keeps an address and a port.

use super::super::{Callback, Shown};
use super::{Admitted, Beat, Departure, HOME, Patients, Settings, World, caller, owned, usable};

#[test]
fn the_view_tells_since_when() {
    let mut world = World::new();
    world.admit("a", "localhost:5001", &caller(HOME));
    world.pass(30);
    world.admit("a", "localhost:5002", &caller(HOME));
    world.admit("a", "localhost:5001", &caller(HOME));
    world.pass(10);
    let agents = world.registry.view(world.now);
    assert_eq!(agents[0].registered_for_seconds, 40.0);
    let added: Vec<_> = agents[0].instances.iter().map(|i| (i.address.as_str(), i.added_for_seconds)).collect();
    assert_eq!(added, [("localhost:5001", 40.0), ("localhost:5002", 10.0)], "a renewal is no arrival");
}

#[test]
fn a_new_address_adds_and_a_known_one_renews() {
    let world = World::new();
    let sdk = caller(HOME);
    assert_eq!(world.register("a", "localhost:5001", &sdk), Ok(Admitted::Added));
    assert_eq!(world.register("a", "localhost:5002", &sdk), Ok(Admitted::Added));
    assert_eq!(world.register("a", "localhost:5001", &sdk), Ok(Admitted::Renewed));
    assert_eq!(
        world.register("a", "127.0.0.1:5001", &sdk),
        Ok(Admitted::Renewed),
        "another spelling of the same place"
    );
    assert_eq!(usable(&world.choose("a").unwrap()), ["localhost:5001", "localhost:5002"]);
}

#[test]
fn who_comes_with_another_certificate_is_another_instance() {
    let world = World::new();
    let as_one = |name: &str| super::Caller { shown: Shown::Spiffe(name.into()), ..owned(HOME, "o") };
    let first = as_one("spiffe://td/a");
    let agent = world.admit("a", "localhost:5001", &first);
    let only = || {
        let found = world.registry.instances();
        assert_eq!(found.len(), 1);
        found[0].1.clone()
    };
    let before = only();
    assert_eq!(world.register("a", "localhost:5001", &first), Ok(Admitted::Renewed));
    assert!(std::sync::Arc::ptr_eq(&before, &only()));
    assert_eq!(world.register("a", "localhost:5001", &as_one("spiffe://td/b")), Ok(Admitted::TakenOver));
    let after = only();
    assert!(before.is_gone() && !after.is_gone());
    assert_eq!(after.shown, Some(Shown::Spiffe("spiffe://td/b".into())));
    assert_eq!(usable(&agent), ["localhost:5001"], "the agent is the same");
}

#[test]
fn healthy_ones_go_before_new_ones() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "localhost:5002", &caller(HOME));
    assert_eq!(usable(&agent).len(), 2, "new ones get calls where there is no other");
    world.probe(&["localhost:5002"]);
    assert_eq!(usable(&agent), ["localhost:5002"]);
}

#[test]
fn another_owner_cannot_touch_an_agent() {
    let world = World::new();
    let (owner, stranger) = (owned(HOME, "spiffe://a"), owned(HOME, "spiffe://b"));
    let agent = world.admit("a", "localhost:5001", &owner);
    assert_eq!(world.register("a", "localhost:5002", &stranger).unwrap_err().reason, "owner");
    assert_eq!(world.register("a", "localhost:5001", &stranger).unwrap_err().reason, "owner");
    assert_eq!(world.beat(&agent, &stranger), Beat::NotOwner);
    assert_eq!(world.unregister(&agent, &stranger).unwrap_err().reason, "owner");
    assert_eq!(world.beat(&agent, &owner), Beat::Acknowledged(1));
    world.unregister(&agent, &owner).unwrap();
    assert_eq!(
        world.register("a", "localhost:5002", &stranger).unwrap_err().reason,
        "owner",
        "the owner outlives its instances"
    );
    assert!(world.register("a", "localhost:5002", &owner).is_ok());
}

#[test]
fn the_owner_of_one_that_left_is_forgotten_in_time() {
    let mut world = World::new();
    let (owner, other) = (owned(HOME, "a"), owned(HOME, "b"));
    let agent = world.admit("a", "localhost:5001", &owner);
    world.unregister(&agent, &owner).unwrap();
    world.pass(24 * 3600 - 1);
    world.registry.sweep(world.now);
    assert!(world.register("a", "localhost:5001", &other).is_err());
    world.pass(1);
    world.registry.sweep(world.now);
    assert!(world.register("a", "localhost:5001", &other).is_ok());
}

#[test]
fn a_registration_given_up_leaves_nothing() {
    let world = World::new();
    drop(world.plan("a", "localhost:5001", &owned(HOME, "a")).unwrap());
    assert!(world.registry.view(world.now).is_empty());
    assert!(world.register("a", "localhost:5001", &owned(HOME, "b")).is_ok());
}

#[test]
fn a_planned_agent_is_not_there_yet() {
    let world = World::new();
    let sdk = caller(HOME);
    let plan = world.plan("a", "localhost:5001", &sdk).unwrap();
    assert!(world.choose("a").is_none());
    assert_eq!(world.registry.heartbeat(&plan.agent().id, &sdk, world.now), Beat::Unknown);
    assert_eq!(plan.admit(world.now).map(|(admitted, _)| admitted), Ok(Admitted::Added));
    assert!(world.choose("a").is_some());
}

#[test]
fn the_same_owner_takes_an_address_over() {
    let world = World::new();
    let sdk = caller(HOME);
    let before = world.admit("a", "localhost:5001", &sdk);
    let instance = std::sync::Arc::clone(&before.endpoints.load().instances[0]);
    assert_eq!(world.register("b", "localhost:5001", &sdk), Ok(Admitted::TakenOver));
    assert!(instance.is_gone() && usable(&before).is_empty());
    assert!(world.choose("a").is_none(), "it was its last instance");
    assert_eq!(usable(&world.choose("b").unwrap()), ["localhost:5001"]);
}

#[test]
fn another_owner_takes_an_address_over_only_from_the_dead() {
    let mut world = World::new();
    let (holder, other) = (owned(HOME, "a"), owned(HOME, "b"));
    world.admit("a", "localhost:5001", &holder);
    let refused = world.register("b", "127.0.0.1:5001", &other).unwrap_err();
    assert!(refused.reason == "address" && refused.error.contains("another port"), "{}", refused.error);
    holder.connection.close();
    assert!(world.register("b", "localhost:5001", &other).is_err(), "its lease still runs");
    world.pass(90);
    assert_eq!(world.register("b", "localhost:5001", &other), Ok(Admitted::TakenOver));

    let mut world = World::new();
    let holder = owned(HOME, "a");
    world.admit("a", "localhost:5001", &holder);
    world.pass(1000);
    assert!(world.register("b", "localhost:5001", &other).is_err(), "its connection is still open");
}

#[test]
fn an_address_taken_while_the_core_was_asked_is_refused() {
    let world = World::new();
    let plan = world.plan("a", "localhost:5001", &owned(HOME, "a")).unwrap();
    world.admit("b", "localhost:5001", &owned(HOME, "b"));
    assert_eq!(plan.admit(world.now).unwrap_err().reason, "address");
    assert!(world.choose("a").is_none() && world.choose("b").is_some());
}

#[test]
fn a_port_stays_the_agents_while_its_record_lives() {
    let ports = Some(Callback::Ports { host: "localhost".into(), ports: 3800..=3801 });
    let mut world = World::with(Settings { callback: ports, ..Settings::default() });
    let sdk = caller(HOME);
    let callback = |world: &World, name: &str| {
        let agents = world.registry.view(world.now);
        agents.into_iter().find(|agent| agent.name == name).and_then(|agent| agent.callback)
    };
    let one = world.admit("a", "localhost:5001", &sdk);
    world.admit("b", "localhost:5002", &sdk);
    assert_eq!(
        (callback(&world, "a"), callback(&world, "b")),
        (Some("localhost:3800".into()), Some("localhost:3801".into()))
    );
    let refused = world.register("c", "localhost:5003", &sdk).unwrap_err();
    assert!(refused.reason == "ports" && refused.error.contains("3800 to 3801"));
    assert_eq!(world.unregister(&one, &caller("127.0.0.9")).unwrap_err().reason, "owner");
    world.registry.unregister(&one.id, &sdk, world.now).unwrap();
    assert!(world.register("c", "localhost:5003", &sdk).is_err(), "the core still calls 3800 for `a`");
    let asked = super::Asked { local_port: Some(3800), ..super::Asked::default() };
    assert!(usable(&world.registry.choose(&asked).unwrap()).is_empty(), "known, but nobody is there");
    world.pass(24 * 3600);
    world.registry.sweep(world.now);
    world.admit("c", "localhost:5003", &sdk);
    assert_eq!(callback(&world, "c"), Some("localhost:3800".into()));
}

#[test]
fn a_reload_changes_the_rules_and_keeps_the_instances() {
    let world = World::new();
    let sdk = caller(HOME);
    let agent = world.admit("a", "localhost:5001", &sdk);
    let callback = Some(Callback::Ports { host: "localhost".into(), ports: 3800..=3800 });
    world.registry.apply(Settings {
        callback,
        allow: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..Settings::default()
    });
    assert_eq!(usable(&agent), ["localhost:5001"]);
    let asked = super::Asked { local_port: Some(3800), ..super::Asked::default() };
    assert_eq!(world.registry.choose(&asked).unwrap().id, agent.id);
    assert_eq!(world.register("a", "localhost:5002", &sdk).unwrap_err().reason, "address");
    assert_eq!(world.registry.unregister(&agent.id, &sdk, world.now), Ok(Departure::Removed));
}
