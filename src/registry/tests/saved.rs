//! What outlives the process.

use std::sync::mpsc;

use portunus_proto::bindu::RegisterAgentResponse;

use super::{Asked, Beat, HOME, Settings, World, caller};
use crate::registry::{Callback, Caller, CoreState, Finding, Patients, Saved, Shown, Target, Wish};

fn with_core() -> Settings {
    let callback = Callback::Ports { host: "proxy".into(), ports: 3800..=3801 };
    Settings { core: Some(Target::Loopback(3774)), callback: Some(callback), ..Settings::default() }
}

/// All that is kept so far, as the process after this one reads it.
fn kept(world: &World) -> Vec<Saved> {
    let changes = world.registry.take_changes().expect("something changed");
    let saved = changes.agents.iter().filter_map(|(_, saved)| saved.clone()).collect();
    world.registry.changes_kept(changes, Ok(()));
    saved
}

fn after(world: &World, saved: Vec<Saved>, settings: Settings) -> World {
    let mut after = World::with(settings);
    after.now = world.now + std::time::Duration::from_secs(5);
    after.registry.restore(saved, after.now);
    after
}

#[test]
fn a_restart_changes_nothing_that_callers_and_cores_see() {
    let world = World::with(with_core());
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.admit("a", "localhost:5002", &caller(HOME));
    world.admit("b", "localhost:5003", &caller(HOME));
    world.registry.core_wish(&agent.id);
    let answer = RegisterAgentResponse {
        success: true,
        agent_id: "0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".into(),
        did: "did:of:the:core".into(),
        ..Default::default()
    };
    world.registry.core_answered(&agent.id, answer.clone(), false);
    world.probe(&["localhost:5001"]);
    let after = after(&world, kept(&world), with_core());
    let by = |asked: Asked<'_>| after.registry.choose(&asked).unwrap();
    for named in ["a", &*agent.id, "did:of:the:core", &answer.agent_id] {
        assert_eq!(by(Asked { header_agent: Some(named), ..Asked::default() }).id, agent.id, "{named}");
    }
    assert_eq!(
        by(Asked { local_port: Some(3800), ..Asked::default() }).id,
        agent.id,
        "the core goes on calling its port"
    );
    let restored = by(Asked { header_agent: Some("a"), ..Asked::default() });
    assert_eq!(restored.endpoints.load().instances.len(), 2, "calls at once, whatever the health was");
    assert_eq!((&restored.owner, &restored.did), (&agent.owner, &agent.did));
    assert!(after.registry.take_changes().is_none(), "nothing is written again");
    // The core is asked, not told.
    let Some(Wish::Register { core_id, by_us, .. }) = after.registry.core_wish(&agent.id) else { panic!("a wish") };
    assert_eq!((core_id, by_us), (answer.agent_id, true));
    after.registry.core_confirmed(&agent.id);
    let view = after.registry.view(after.now);
    assert_eq!((view[0].core, view[1].core), (CoreState::Ok, CoreState::Pending));
    assert!(view[0].instances[0].lease_left_seconds > 89.0, "{view:?}");
    assert!(!view[0].instances[0].connected);
}

#[test]
fn a_restored_instance_that_is_gone_waits_for_its_sdk() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    let mut after = after(&world, kept(&world), Settings::default());
    after.probe_with(|_| Finding::Refused("refused".into()));
    assert!(after.choose("a").unwrap().endpoints.load().is_empty());
    after.pass(10);
    after.probe(&["localhost:5001"]);
    assert!(after.choose("a").unwrap().endpoints.load().is_empty(), "whoever answers may be somebody else");
    assert_eq!(after.beat(&agent, &caller(HOME)), Beat::Acknowledged(1));
    after.probe(&["localhost:5001"]);
    assert_eq!(after.choose("a").unwrap().endpoints.load().instances.len(), 1);
}

#[test]
fn an_owner_is_remembered_without_an_instance_and_forgotten_in_time() {
    let world = World::new();
    let agent = world.admit("a", "localhost:5001", &caller(HOME));
    world.unregister(&agent, &caller(HOME)).unwrap();
    let saved = kept(&world);
    let mut after = after(&world, saved, Settings::default());
    assert_eq!(after.register("a", "127.0.0.2:5001", &caller("127.0.0.2")).unwrap_err().reason, "owner");
    after.pass(25 * 3600);
    after.registry.sweep(after.now);
    let changes = after.registry.take_changes().unwrap();
    assert!(matches!(changes.agents.as_slice(), [(id, None)] if *id == agent.id), "{changes:?}");
}

#[test]
fn what_is_under_way_is_not_kept() {
    let world = World::new();
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    assert!(
        world.registry.take_changes().is_none_or(|changes| changes.agents.iter().all(|(_, saved)| saved.is_none()))
    );
    plan.admit(world.now).unwrap();
    assert_eq!(kept(&world)[0].instances.len(), 1);
    world.register("a", "localhost:5001", &caller(HOME)).unwrap();
    assert!(world.registry.take_changes().is_none(), "a renewal with nothing new is not written");
    world.beat(&world.choose("a").unwrap(), &caller(HOME));
    assert!(world.registry.take_changes().is_none(), "nor is a heartbeat");
}

#[tokio::test]
async fn a_registration_waits_until_it_is_kept() {
    let world = World::new();
    let (changed, told) = mpsc::sync_channel(1);
    world.registry.keep(changed);
    let plan = world.plan("a", "localhost:5001", &caller(HOME)).unwrap();
    let revision = plan.admit(world.now).unwrap().1.expect("a change");
    told.try_recv().expect("told");
    let waits = tokio::spawn({
        let registry = std::sync::Arc::clone(&world.registry);
        async move { registry.is_kept(revision).await }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    let changes = world.registry.take_changes().unwrap();
    world.registry.changes_kept(changes, Err("no space left"));
    assert_eq!(waits.await.unwrap(), Err("no space left".into()));
    assert_eq!(world.registry.keeping_fails().as_deref(), Some("no space left"));
    let again = world.registry.take_changes().expect("what was not written is taken again");
    world.registry.changes_kept(again, Ok(()));
    assert_eq!((world.registry.is_kept(revision).await, world.registry.keeping_fails()), (Ok(()), None));
}

#[test]
fn what_a_registrant_has_shown_holds_after_a_restart() {
    let world = World::new();
    let certificate = Shown::Certificate { subject: "CN=a".into(), issuer: "CN=ca".into() };
    let all = [Shown::Spiffe("spiffe://td/a".into()), certificate, Shown::Token, Shown::Nothing];
    for (port, shown) in (5001..).zip(&all) {
        world.admit("a", &format!("localhost:{port}"), &Caller { shown: shown.clone(), ..caller(HOME) });
    }
    let saved = kept(&world);
    let of = |world: &World| -> Vec<_> {
        world.registry.instances().into_iter().map(|(_, instance)| instance.shown.clone().unwrap()).collect()
    };
    assert_eq!(of(&after(&world, saved.clone(), Settings::default())), all);
    // As one that knew nothing of it wrote it.
    let mut old = saved;
    for instance in &mut old[0].instances {
        (instance.shown, instance.shown_name, instance.shown_issuer) = Default::default();
    }
    assert_eq!(of(&after(&world, old, Settings::default())), vec![Shown::Unknown; 4]);
}

#[test]
fn what_makes_no_sense_is_left_out_and_forgotten() {
    let world = World::new();
    world.admit("a", "localhost:5001", &caller(HOME));
    let good = kept(&world).remove(0);
    let mut name = good.clone();
    name.agent.name = "../../etc".into();
    name.agent.id = "0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".into();
    let mut places = good.clone();
    places.instances.extend(["", "nowhere", "localhost:5001", "10.0.0.1:5000"].map(|address| {
        let peer = if address.starts_with("10.") { "no address" } else { "127.0.0.1" };
        crate::registry::SavedInstance { address: address.into(), peer: peer.into(), ..Default::default() }
    }));
    let after = after(&world, vec![name, places], Settings::default());
    assert_eq!(after.registry.view(after.now).iter().map(|agent| agent.instances.len()).collect::<Vec<_>>(), [1]);
    let changes = after.registry.take_changes().unwrap();
    assert!(matches!(changes.agents.as_slice(), [(_, None)]), "{changes:?}");
}
