//! "Choosing the agent" of DESIGN.md §2, sentence by sentence.

use super::super::{Callback, HostPattern};
use super::{Asked, HOME, Settings, World, caller};

fn two(settings: Settings) -> (World, String, String) {
    let world = World::with(settings);
    let one = world.admit("One", "localhost:5001", &caller(HOME));
    let two = world.admit("two", "localhost:5002", &caller(HOME));
    (world, one.id.to_string(), two.id.to_string())
}

fn named(world: &World, asked: Asked<'_>) -> String {
    match world.registry.choose(&asked) {
        Ok(agent) => agent.name.to_string(),
        Err(error) => {
            assert!(!error.message.is_empty() && error.to_string() == error.message);
            error.kind.reason().to_owned()
        }
    }
}

fn header(text: &str) -> Asked<'_> {
    Asked { header_agent: Some(text), ..Asked::default() }
}

fn authority(text: &str) -> Asked<'_> {
    Asked { authority_host: Some(text), ..Asked::default() }
}

#[test]
fn by_id_did_and_name() {
    let (world, one, _) = two(Settings::default());
    for text in [one.as_str(), &one.to_uppercase(), &format!("did:bindu:author:one:{one}"), "One"] {
        assert_eq!(named(&world, header(text)), "One", "{text}");
    }
    for text in ["one", "three", "did:bindu:author:one", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(named(&world, header(text)), "agent_unknown", "{text}");
    }
    assert_eq!(named(&world, Asked { route_agent: Some("two"), ..Asked::default() }), "two");
}

#[test]
fn nobody_named() {
    let world = World::new();
    assert_eq!(named(&world, Asked::default()), "agent_unnamed");
    world.admit("One", "localhost:5001", &caller(HOME));
    assert_eq!(named(&world, Asked::default()), "One", "the only one there is");
    assert_eq!(named(&world, header("")), "One");
    let two_caller = caller(HOME);
    let two = world.admit("two", "localhost:5002", &two_caller);
    assert_eq!(named(&world, Asked::default()), "agent_unnamed");
    world.unregister(&two, &two_caller).unwrap();
    assert_eq!(named(&world, Asked::default()), "One", "one that has left does not count");
    assert_eq!(named(&world, header("two")), "agent_unknown");
}

#[test]
fn the_default_agent() {
    let (world, ..) = two(Settings { default_agent: Some("two".into()), ..Settings::default() });
    assert_eq!(named(&world, Asked::default()), "two");
    assert_eq!(named(&world, header("One")), "One");
    let (world, ..) = two(Settings { default_agent: Some("three".into()), ..Settings::default() });
    assert_eq!(named(&world, Asked::default()), "agent_unknown");
}

#[test]
fn names_that_two_share() {
    let world = World::new();
    world.admit("twin", "localhost:5001", &caller(HOME));
    let card = super::card("another author", "twin");
    let forward = super::Forward { config: String::new(), skills: Vec::new() };
    let place = world.registry.place("localhost:5002", &caller(HOME)).unwrap();
    let plan = world.registry.plan(&card, forward, place, &caller(HOME), world.now).unwrap();
    plan.admit(world.now).unwrap();
    assert_eq!(named(&world, header("twin")), "agent_ambiguous");
    assert_eq!(named(&world, header(&card.identity.id)), "twin");
}

#[test]
fn by_authority_only_where_a_pattern_fits() {
    let settings = Settings {
        callback: Some(Callback::pattern("{agent}.localhost:3790").unwrap()),
        authorities: vec![HostPattern::parse("*.agents.example.com", "*").unwrap()],
        ..Settings::default()
    };
    let (world, one, two) = two(settings);
    assert_eq!(named(&world, authority(&format!("{one}.localhost"))), "One");
    assert_eq!(named(&world, authority(&format!("{two}.agents.example.com"))), "two");
    assert_eq!(named(&world, authority("one.agents.example.com")), "One", "authorities come in lower case");
    assert_eq!(named(&world, authority("three.agents.example.com")), "agent_unknown");
    let id_elsewhere = format!("{one}.example.com");
    for host in ["127.0.0.1", "localhost", "proxy", "agents.example.com", "a.one.agents.example.com", &id_elsewhere] {
        assert_eq!(named(&world, authority(host)), "agent_unnamed", "{host}");
    }
}

#[test]
fn sources_that_disagree() {
    let settings =
        Settings { callback: Some(Callback::pattern("{agent}.localhost:3790").unwrap()), ..Settings::default() };
    let (world, one, two) = two(settings);
    let host = format!("{one}.localhost");
    let asked = |route, header| Asked {
        route_agent: route,
        header_agent: header,
        authority_host: Some(&host),
        local_port: None,
    };
    assert_eq!(named(&world, asked(None, Some("One"))), "One");
    assert_eq!(named(&world, asked(Some("One"), Some("One"))), "One");
    assert_eq!(named(&world, asked(None, Some(&two))), "agent_conflict");
    assert_eq!(named(&world, asked(Some("two"), Some("two"))), "agent_conflict");
    assert_eq!(named(&world, asked(None, Some("three"))), "agent_conflict");
    let unknown = Asked { route_agent: Some("three"), header_agent: Some("four"), ..Asked::default() };
    assert_eq!(named(&world, unknown), "agent_unknown");
}

#[test]
fn by_port() {
    let callback = Callback::Ports { host: "localhost".into(), ports: 3800..=3802 };
    let (world, ..) = two(Settings { callback: Some(callback), ..Settings::default() });
    let port = |port| Asked { local_port: Some(port), ..Asked::default() };
    assert_eq!(named(&world, port(3800)), "One");
    assert_eq!(named(&world, port(3801)), "two");
    assert_eq!(named(&world, port(3802)), "agent_unknown", "a free port is not anybody's");
    assert_eq!(named(&world, port(4000)), "agent_unnamed", "a port of another listener names nobody");
    assert_eq!(named(&world, Asked { header_agent: Some("two"), ..port(3800) }), "agent_conflict");
    assert_eq!(named(&world, Asked { header_agent: Some("One"), ..port(3800) }), "One");
    assert_eq!(named(&world, Asked { authority_host: Some("localhost"), ..port(3801) }), "two");
}
