//! The registry as its users see it, on a clock that the tests turn. What all of them need is here.

mod admission;
mod choosing;
mod core;
mod leases;
mod limits;
mod model;
mod probes;
mod saved;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{
    Admitted, Agent, Asked, Beat, Caller, Card, Departure, Finding, Forward, Patients, Plan, Refusal, Registry,
    Settings,
};
use crate::observe::ClusterMetrics;

/// A registry and its clock.
struct World {
    registry: Arc<Registry>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let metrics = Arc::new(ClusterMetrics::default());
        Self { registry: Registry::new("agents", settings, metrics), now: Instant::now() }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn plan(&self, name: &str, callback: &str, caller: &Caller) -> Result<Plan, Refusal> {
        let card = card("author", name);
        let forward = Forward { config: card.config.clone(), skills: Vec::new() };
        let place = self.registry.place(callback, caller)?;
        self.registry.plan(&card, forward, place, caller, self.now)
    }

    fn register(&self, name: &str, callback: &str, caller: &Caller) -> Result<Admitted, Refusal> {
        Ok(self.plan(name, callback, caller)?.admit(self.now)?.0)
    }

    /// Registers, and answers the agent.
    fn admit(&self, name: &str, callback: &str, caller: &Caller) -> Arc<Agent> {
        let plan = self.plan(name, callback, caller).unwrap();
        let agent = Arc::clone(plan.agent());
        plan.admit(self.now).unwrap();
        agent
    }

    fn beat(&self, agent: &Agent, caller: &Caller) -> Beat {
        self.registry.heartbeat(&agent.id, caller, self.now)
    }

    fn unregister(&self, agent: &Agent, caller: &Caller) -> Result<Departure, Refusal> {
        self.registry.unregister(&agent.id, caller, self.now)
    }

    fn choose(&self, header: &str) -> Option<Arc<Agent>> {
        self.registry.choose(&Asked { header_agent: Some(header), ..Asked::default() }).ok()
    }

    /// Answers all probes that are due now: those whose address is in `alive` pass.
    fn probe(&self, alive: &[&str]) -> Vec<String> {
        self.probe_with(
            |address| if alive.contains(&address) { Finding::Alive(None) } else { Finding::Silent("silence".into()) },
        )
    }

    fn probe_with(&self, find: impl Fn(&str) -> Finding) -> Vec<String> {
        let probes = self.registry.take_probes(1000, self.now);
        for probe in &probes {
            self.registry.probed(probe, &find(&probe.instance.authority), self.now);
        }
        let mut asked: Vec<_> = probes.iter().map(|probe| probe.instance.authority.to_string()).collect();
        asked.sort();
        asked
    }

    fn state(&self, address: &str) -> &'static str {
        let agents = self.registry.view(self.now);
        agents.iter().flat_map(|agent| &agent.instances).find(|i| i.address == address).map_or("none", |i| i.state)
    }
}

fn card(author: &str, name: &str) -> Card {
    let config = serde_json::json!({
        "author": author, "name": name, "deployment": {"url": "http://localhost:3773", "expose": true},
    });
    Card::read(&config.to_string(), 10_000, &std::collections::BTreeSet::new()).unwrap()
}

/// A caller on a connection of its own.
fn caller(peer: &str) -> Caller {
    Caller::at(SocketAddr::new(peer.parse().unwrap(), 40_000))
}

/// A caller of another owner than its address gives it.
fn owned(peer: &str, owner: &str) -> Caller {
    Caller { owner: owner.into(), ..caller(peer) }
}

/// Where an agent's calls may go.
fn usable(agent: &Agent) -> Vec<String> {
    agent.endpoints.load().instances.iter().map(|instance| instance.authority.to_string()).collect()
}

const HOME: &str = "127.0.0.1";
