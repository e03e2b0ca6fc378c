//! Random histories against a model that only knows who registered where, who answers, and how old a lease is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Beat, Caller, Finding, HOME, World, caller};
use crate::registry::{Saved, Settings};

const AGENTS: [&str; 3] = ["a", "b", "c"];

/// What must be true of an instance, however it came to be.
struct Expected {
    agent: &'static str,
    sdk: Caller,
    /// The registry has heard it over the connection that it has now.
    heard: bool,
    lease_until: tokio::time::Instant,
}

struct History {
    world: World,
    rng: SmallRng,
    there: BTreeMap<u16, Expected>,
    answering: BTreeSet<u16>,
    /// What the process after this one would read.
    disk: BTreeMap<String, Saved>,
    log: Vec<String>,
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

impl History {
    fn new(seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self {
            world: World::new(),
            rng,
            there: BTreeMap::new(),
            answering: BTreeSet::new(),
            disk: BTreeMap::new(),
            log: vec![format!("seed {seed}")],
        }
    }

    fn step(&mut self) {
        let port = self.rng.random_range(5001..5009u16);
        let agent = AGENTS[self.rng.random_range(0..3)];
        match self.rng.random_range(0..9) {
            0 => self.register(agent, port),
            1 => self.beat(port),
            2 => self.unregister(port),
            3 => {
                if !self.answering.remove(&port) {
                    self.answering.insert(port);
                }
            }
            4 => self.refuse(agent),
            5 => self.reconnect(port),
            6 if self.rng.random_range(0..8) == 0 => self.restart(),
            _ => self.world.now += Duration::from_millis(self.rng.random_range(1..40_000)),
        }
        let asked = self.probe();
        self.check(&asked);
        self.write();
    }

    /// A partition, or an SDK that lost its connection for another reason: it comes back on another one, and has said nothing yet.
    fn reconnect(&mut self, port: u16) {
        let Some(known) = self.there.get_mut(&port) else { return };
        self.log.push(format!("reconnect {port}"));
        known.sdk.connection.close();
        (known.sdk, known.heard) = (caller(HOME), false);
    }

    /// kill -9 of the proxy, and its start.
    fn restart(&mut self) {
        self.log.push("restart".into());
        let now = self.world.now;
        self.world = World::with(Settings::default());
        self.world.now = now + Duration::from_secs(1);
        self.world.registry.restore(self.disk.values().cloned().collect(), self.world.now);
        for known in self.there.values_mut() {
            known.sdk.connection.close();
            (known.sdk, known.heard) = (caller(HOME), false);
            known.lease_until = self.world.now + Duration::from_secs(90);
        }
    }

    /// What changed goes to the disk.
    fn write(&mut self) {
        let Some(changes) = self.world.registry.take_changes() else { return };
        for (id, saved) in &changes.agents {
            match saved {
                Some(saved) => drop(self.disk.insert(id.to_string(), saved.clone())),
                None => drop(self.disk.remove(&**id)),
            }
        }
        self.world.registry.changes_kept(changes, Ok(()));
    }

    fn register(&mut self, agent: &'static str, port: u16) {
        self.log.push(format!("register {agent} {port}"));
        let sdk = caller(HOME);
        // All callers are one owner: an address goes to whoever registered it last.
        self.world.register(agent, &format!("localhost:{port}"), &sdk).unwrap();
        let lease_until = self.world.now + Duration::from_secs(90);
        self.there.insert(port, Expected { agent, sdk, heard: true, lease_until });
    }

    fn beat(&mut self, port: u16) {
        let Some(Expected { agent, sdk, heard, .. }) = self.there.get(&port) else { return };
        self.log.push(format!("beat {port}"));
        let (name, heard) = (*agent, *heard);
        // Over a connection that nobody knows it may be any of those at its address.
        let meant = |at: u16, of: &Expected| of.agent == name && (at == port || !heard);
        let count = self.there.iter().filter(|(at, of)| meant(**at, of)).count();
        let agent = self.world.choose(name).unwrap();
        assert_eq!(self.world.beat(&agent, sdk), Beat::Acknowledged(count), "{:?}", self.log);
        for (at, of) in &mut self.there {
            if meant(*at, of) {
                of.lease_until = self.world.now + Duration::from_secs(90);
                // The only one that it can be.
                of.heard |= count == 1;
            }
        }
    }

    fn unregister(&mut self, port: u16) {
        let Some(known) = self.there.get(&port) else { return };
        if !known.heard {
            // Which one leaves is not clear else, which other tests are about.
            self.register(known.agent, port);
        }
        let Some(known) = self.there.remove(&port) else { return };
        self.log.push(format!("unregister {port}"));
        let agent = self.world.choose(known.agent).unwrap();
        self.world.unregister(&agent, &known.sdk).unwrap();
    }

    fn refuse(&mut self, agent: &'static str) {
        let Some(instance) = self.world.choose(agent).and_then(|a| a.endpoints.load().instances.first().cloned())
        else {
            return;
        };
        // Only what does not answer refuses: a listener that is there accepts.
        if !self.answering.contains(&port_of(&instance.authority)) {
            self.log.push(format!("refuse {}", instance.authority));
            self.world.registry.refused(&instance, self.world.now);
        }
    }

    fn probe(&mut self) -> Vec<String> {
        let answering = &self.answering;
        self.world.probe_with(|address| match answering.contains(&port_of(address)) {
            true => Finding::Alive(None),
            false => Finding::Refused("refused".into()),
        })
    }

    fn check(&self, asked: &[String]) {
        let (log, now) = (&self.log, self.world.now);
        let view = self.world.registry.view(now);
        let shown: BTreeMap<u16, &str> =
            view.iter().flat_map(|a| a.instances.iter().map(|i| (port_of(&i.address), a.name.as_str()))).collect();
        let expected: BTreeMap<u16, &str> = self.there.iter().map(|(port, e)| (*port, e.agent)).collect();
        assert_eq!(shown, expected, "each address is its last registrant's: {log:?}");
        for agent in AGENTS {
            let instances: Vec<_> = view.iter().filter(|a| a.name == agent).flat_map(|a| &a.instances).collect();
            let chosen = self.world.choose(agent);
            assert_eq!(chosen.is_some(), !instances.is_empty(), "{agent}: {log:?}");
            let Some(chosen) = chosen else { continue };
            let healthy = instances.iter().filter(|i| i.state == "healthy").count();
            let wanted = if healthy > 0 { "healthy" } else { "new" };
            let usable: Vec<_> = instances.iter().filter(|i| i.state == wanted).map(|i| i.address.clone()).collect();
            assert_eq!(super::usable(&chosen), usable, "{agent}: {log:?}");
            for instance in chosen.endpoints.load().instances.iter() {
                assert!(!instance.is_gone() && instance.state().as_str() == wanted, "{log:?}");
            }
        }
        for instance in view.iter().flat_map(|a| &a.instances) {
            let known = &self.there[&port_of(&instance.address)];
            let left = known.lease_until.saturating_duration_since(now).as_secs_f64();
            assert!((instance.lease_left_seconds - left).abs() < 1e-6, "{log:?}");
            assert!(instance.state != "lost" || left == 0.0, "lost within its lease: {log:?}");
            let answers = self.answering.contains(&port_of(&instance.address));
            if asked.contains(&instance.address) && !instance.waits_for_sdk {
                assert_eq!(instance.state == "healthy", answers, "the last word is the probe's: {log:?}");
            }
        }
    }

    /// Whatever happened: who answers gets calls in the end, who does not is lost.
    fn settle(&mut self) {
        for (port, agent) in self.there.iter().map(|(port, known)| (*port, known.agent)).collect::<Vec<_>>() {
            self.register(agent, port);
        }
        for _ in 0..20 {
            self.world.now += Duration::from_secs(33);
            let asked = self.probe();
            self.check(&asked);
        }
        for port in self.there.keys() {
            let wanted = if self.answering.contains(port) { "healthy" } else { "lost" };
            assert_eq!(self.world.state(&format!("localhost:{port}")), wanted, "{:?}", self.log);
        }
    }
}

#[test]
fn random_histories_keep_the_promises() {
    for seed in 0..150 {
        let mut history = History::new(seed);
        for _ in 0..80 {
            history.step();
        }
        history.settle();
    }
}
