//! The stage: a proxy, a core, a caller, and three agents of three instances, and what can be done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use turmoil::{Builder, Sim};

use crate::hosts::{self, PORT};
use crate::proxy::{self, Disk};
use crate::world::{Calls, World};

pub(crate) const AGENTS: [&str; 3] = ["a", "b", "c"];
const INSTANCES: usize = 3;
/// What everybody needs to be there.
pub(crate) const SETTLED: Duration = Duration::from_secs(20);
/// How far back answers are looked for.
const LATELY: Duration = Duration::from_millis(1_500);

pub(crate) struct Stage {
    pub(crate) sim: Sim<'static>,
    pub(crate) world: Arc<World>,
    cut: BTreeSet<String>,
    powers: BTreeMap<String, watch::Sender<Option<&'static str>>>,
    version: watch::Sender<u64>,
    /// Whose machines are off.
    gone: BTreeSet<String>,
}

impl Stage {
    pub(crate) fn new(seed: u64) -> Self {
        let mut builder = Builder::new();
        builder
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(5))
            .tcp_capacity(4_096)
            .simulation_duration(Duration::from_secs(24 * 3_600));
        let mut sim = builder.build();
        let (world, disk) = (Arc::new(World::default()), Disk::default());
        let shared = Arc::clone(&world);
        sim.host("core", move || hosts::core(Arc::clone(&shared)));
        let (shared, (version, wanted)) = (Arc::clone(&world), watch::channel(1));
        sim.host("proxy", move || proxy::run(Arc::clone(&shared), Arc::clone(&disk), wanted.clone()));
        let mut powers = BTreeMap::new();
        for agent in AGENTS {
            for number in 1..=INSTANCES {
                let (shared, name) = (Arc::clone(&world), format!("{agent}-{number}"));
                let (host, (power, powered)) = (name.clone(), watch::channel(Some(agent)));
                powers.insert(name.clone(), power);
                let run = move || hosts::instance(Arc::clone(&shared), name.clone(), powered.clone());
                sim.host(host, run);
            }
        }
        let shared = Arc::clone(&world);
        sim.host("caller", move || hosts::caller(Arc::clone(&shared), AGENTS.map(str::to_owned).to_vec()));
        let mut stage = Self { sim, world, cut: BTreeSet::new(), powers, version, gone: BTreeSet::new() };
        stage.run(SETTLED);
        assert_eq!(stage.world.healthy(), AGENTS.len() * INSTANCES);
        stage.all_answer("once all are registered");
        stage
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        AGENTS.iter().flat_map(|agent| self.hosts_of(agent)).collect()
    }

    pub(crate) fn hosts_of(&self, agent: &str) -> Vec<String> {
        (1..=INSTANCES).map(|number| format!("{agent}-{number}")).collect()
    }

    fn address(&self, host: &str) -> String {
        format!("{}:{PORT}", self.sim.lookup(host))
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().unwrap();
        }
    }

    /// Nothing passes between an instance and the proxy. What is on the way arrives once it is mended, as TCP has it.
    pub(crate) fn cut(&mut self, host: &str) {
        if self.cut.insert(host.to_owned()) {
            self.sim.hold("proxy", host);
            self.world.reach(&self.address(host), false, self.sim.elapsed());
        }
    }

    pub(crate) fn mend(&mut self, host: &str) {
        if self.cut.remove(host) {
            self.sim.release("proxy", host);
            self.world.reach(&self.address(host), true, self.sim.elapsed());
        }
    }

    /// Kills an instance's process.
    pub(crate) fn kill(&mut self, host: &str) {
        self.powers[host].send_replace(None);
        self.world.died(&self.address(host));
    }

    /// An instance's machine is gone, without a word.
    pub(crate) fn unplug(&mut self, host: &str) {
        if self.gone.insert(host.to_owned()) {
            self.sim.crash(host);
            self.world.died(&self.address(host));
        }
    }

    /// The process, and its machine, run again.
    pub(crate) fn start(&mut self, host: &str) {
        let agent = AGENTS.into_iter().find(|agent| host.starts_with(agent));
        if self.powers[host].borrow().is_none() {
            self.powers[host].send_replace(agent);
        }
        if self.gone.remove(host) {
            self.sim.bounce(host);
        }
    }

    /// The proxy is to go by the next version of its configuration.
    pub(crate) fn reload(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// No heartbeat is sent any more.
    pub(crate) fn silence_sdks(&self) {
        self.world.silence_sdks();
    }

    /// Whether an instance was killed, and its address could be found free.
    pub(crate) fn is_free(&self, host: &str) -> bool {
        self.powers[host].borrow().is_none() && !self.cut.contains(host) && !self.gone.contains(host)
    }

    /// Another agent's instance begins at the address of one that was killed.
    pub(crate) fn start_as(&mut self, host: &str, agent: &'static str) {
        self.powers[host].send_replace(Some(agent));
    }

    fn lately(&self, agent: &str) -> Calls {
        self.world.calls(agent, self.sim.elapsed().saturating_sub(LATELY), Duration::MAX)
    }

    /// Calls for an agent are answered now.
    pub(crate) fn answers(&self, agent: &str, when: &str) {
        let calls = self.lately(agent);
        assert!(!calls.is_empty() && calls.iter().all(|(_, outcome)| outcome.is_ok()), "{agent}, {when}: {calls:?}");
    }

    pub(crate) fn all_answer(&self, when: &str) {
        AGENTS.iter().for_each(|agent| self.answers(agent, when));
    }

    pub(crate) fn nobody_answers(&self, agent: &str, when: &str) {
        let calls = self.lately(agent);
        assert!(!calls.is_empty() && calls.iter().all(|(_, outcome)| outcome.is_err()), "{agent}, {when}: {calls:?}");
    }

    pub(crate) fn calls(&self, agent: &str, from: Duration) -> Calls {
        self.world.calls(agent, from, Duration::MAX)
    }

    pub(crate) fn none_failed_of(&self, agent: &str, from: Duration, what: &str) {
        let failed: Vec<_> = self.calls(agent, from).into_iter().filter(|(_, outcome)| outcome.is_err()).collect();
        assert!(failed.is_empty(), "{agent}, {what}: {failed:?}");
    }

    pub(crate) fn none_failed(&self, from: Duration, what: &str) {
        AGENTS.iter().for_each(|agent| self.none_failed_of(agent, from, what));
    }

    /// What must never be was not.
    pub(crate) fn end(self) {
        let violations = self.world.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}
