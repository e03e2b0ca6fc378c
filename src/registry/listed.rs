//! The health of instances that nobody registers: a file or a name server lists them, and the file has them checked. Told by the
//! prober (upstream/probe.rs) what was found and, of refused connections, by the data path. As passive as the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::enact;
use super::health::{Change, Facts, Finding, Health};
use super::instance::Instance;
use super::probing::{Patients, Probe, spread};
use super::schedule::Schedule;
use super::settings::HealthSettings;
use super::view::ProbeView;
use crate::observe::ClusterMetrics;

/// Nobody speaks for a listed instance but its health check: it has no lease that runs out, and no connection that closes.
const FACTS: Facts = Facts { lease_out: false, connected: true };

/// The health of a cluster's listed instances.
#[derive(Debug)]
pub struct Listed {
    metrics: Arc<ClusterMetrics>,
    book: Mutex<Book>,
    /// A probe is due sooner than was last answered.
    probing: Notify,
    /// An instance is in another state.
    altering: Notify,
}

#[derive(Debug, Default)]
struct Book {
    settings: HealthSettings,
    entries: BTreeMap<u64, Entry>,
    probes: Schedule,
}

#[derive(Debug)]
struct Entry {
    instance: Arc<Instance>,
    health: Health,
}

impl Listed {
    /// Nobody is listed yet.
    pub fn new(settings: HealthSettings, metrics: Arc<ClusterMetrics>) -> Arc<Self> {
        let book = Mutex::new(Book { settings, ..Book::default() });
        Arc::new(Self { metrics, book, probing: Notify::new(), altering: Notify::new() })
    }

    /// Puts other settings in force (a reload). What was found so far stays.
    pub fn apply(&self, settings: HealthSettings) {
        self.book.lock().settings = settings;
    }

    /// Learns who is listed now. Those who are new must be in the state `new`; they are probed at once.
    pub fn list(&self, instances: &[Arc<Instance>], now: Instant) {
        let mut book = self.book.lock();
        let Book { entries, probes, .. } = &mut *book;
        let listed: BTreeSet<u64> = instances.iter().map(|instance| instance.id).collect();
        entries.retain(|id, _| {
            let stays = listed.contains(id);
            if !stays {
                probes.remove(*id);
            }
            stays
        });
        for instance in instances {
            entries.entry(instance.id).or_insert_with(|| {
                probes.at(instance.id, now);
                Entry { instance: Arc::clone(instance), health: Health::listed(now) }
            });
        }
        drop(book);
        self.probing.notify_one();
    }

    /// A call's connection to an instance was refused: it gets no more calls until a probe passes, which is asked for now.
    pub fn refused(&self, instance: u64, now: Instant) {
        let mut book = self.book.lock();
        let Some(entry) = book.entries.get_mut(&instance) else { return };
        let change = entry.health.refused(FACTS, now);
        if self.carry_out(&entry.instance, change) {
            book.probes.at(instance, now);
            self.probing.notify_one();
        }
    }

    /// Waits until an instance is in another state; returns at once if that was so since the last time. For one who waits.
    pub async fn altered(&self) {
        self.altering.notified().await;
    }

    /// What the last probe of an instance found.
    pub fn last_probe(&self, instance: u64, now: Instant) -> Option<ProbeView> {
        self.book.lock().entries.get(&instance)?.health.last().map(|last| ProbeView::of(last, now))
    }

    fn carry_out(&self, instance: &Instance, change: Option<Change>) -> bool {
        let turned = enact(None, instance, change);
        if turned {
            self.altering.notify_one();
        }
        turned
    }
}

impl Patients for Listed {
    async fn probe_wanted(&self) {
        self.probing.notified().await;
    }

    fn next_probe(&self) -> Option<Instant> {
        self.book.lock().probes.next()
    }

    fn take_probes(&self, most: usize, now: Instant) -> Vec<Probe> {
        let mut book = self.book.lock();
        let mut probes = Vec::new();
        while probes.len() < most {
            let Some(id) = book.probes.take(now) else { break };
            let Some(Entry { instance, health }) = book.entries.get(&id) else { break };
            probes.push(Probe::new(instance, health, book.settings.timeout));
        }
        probes
    }

    fn probed(&self, probe: &Probe, finding: &Finding, now: Instant) {
        self.metrics.checked(finding.word());
        let mut book = self.book.lock();
        let Book { entries, probes, settings } = &mut *book;
        let id = probe.instance.id;
        let Some(entry) = entries.get_mut(&id) else { return };
        if probes.is_stale(id) || entry.health.epoch() != probe.epoch {
            probes.done(id, now);
            return;
        }
        let change = entry.health.probed(finding, FACTS, settings, now);
        self.carry_out(&entry.instance, change);
        probes.done(id, now + entry.health.pause(settings, spread(id)));
    }

    fn sweep(&self, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arc, ClusterMetrics, Finding, HealthSettings, Instance, Instant, Listed, Patients};
    use crate::registry::{State, Target};

    struct World {
        listed: Arc<Listed>,
        instances: Vec<Arc<Instance>>,
        now: Instant,
    }

    impl World {
        fn with(ports: &[u16]) -> Self {
            let (metrics, now) = (Arc::new(ClusterMetrics::default()), Instant::now());
            let one = |port: &u16| {
                let target = Target::Loopback(*port);
                Instance::new("c".into(), target, 1, State::New, metrics.instance("i"), now)
            };
            let instances: Vec<_> = ports.iter().map(one).collect();
            let listed = Listed::new(HealthSettings::default(), Arc::clone(&metrics));
            listed.list(&instances, now);
            Self { listed, instances, now }
        }

        /// Goes on to the next probes, and answers them; who was asked.
        fn probe(&mut self, finding: impl Fn(&Instance) -> Finding) -> usize {
            self.now = self.now.max(self.listed.next_probe().unwrap());
            let probes = self.listed.take_probes(100, self.now);
            for probe in &probes {
                self.listed.probed(probe, &finding(&probe.instance), self.now);
            }
            probes.len()
        }

        fn states(&self) -> Vec<State> {
            self.instances.iter().map(|instance| instance.state()).collect()
        }
    }

    fn silent() -> Finding {
        Finding::Silent("no answer".into())
    }

    #[test]
    fn who_is_new_is_probed_at_once_and_is_out_after_as_many_failures_as_anybody() {
        let mut world = World::with(&[1, 2]);
        let first = world.instances[0].id;
        let by = |instance: &Instance| if instance.id == first { Finding::Alive(None) } else { silent() };
        assert_eq!((world.probe(by), world.now.elapsed() < Duration::from_secs(5)), (2, true));
        assert_eq!(world.states(), [State::Healthy, State::New]);
        world.probe(by);
        assert_eq!(world.states(), [State::Healthy, State::Unhealthy]);
        // Nobody who never answered is asked five times a second for ever.
        let mut waits = Vec::new();
        for _ in 0..8 {
            let before = world.now;
            world.now += world.listed.next_probe().unwrap() - before;
            waits.push(world.now - before);
            world.probe(by);
        }
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(5)), "{waits:?}");
        while world.states()[1] != State::Healthy {
            world.probe(|_| Finding::Alive(None));
        }
    }

    #[test]
    fn a_refused_call_takes_it_out_until_it_passes() {
        let mut world = World::with(&[1]);
        world.probe(|_| Finding::Alive(None));
        world.listed.refused(world.instances[0].id, world.now);
        assert_eq!(world.states(), [State::Unhealthy]);
        assert_eq!(world.listed.next_probe(), Some(world.now));
        world.probe(|_| Finding::Refused("refused".into()));
        assert_eq!(world.states(), [State::Unhealthy]);
        world.probe(|_| Finding::Alive(None));
        assert_eq!(world.states(), [State::Healthy], "the first that passes brings it back");
        assert!(world.listed.last_probe(world.instances[0].id, world.now).unwrap().ok);
    }

    #[test]
    fn what_was_found_before_a_call_was_refused_is_stale() {
        let mut world = World::with(&[1]);
        world.probe(|_| Finding::Alive(None));
        world.now = world.listed.next_probe().unwrap();
        let early = world.listed.take_probes(1, world.now);
        world.listed.refused(world.instances[0].id, world.now);
        world.listed.probed(&early[0], &Finding::Alive(None), world.now);
        assert_eq!(world.states(), [State::Unhealthy]);
        assert_eq!(world.listed.next_probe(), Some(world.now), "but it is asked again");
    }

    #[test]
    fn who_is_not_listed_any_more_is_not_asked_any_more() {
        let mut world = World::with(&[1, 2]);
        let early = world.listed.take_probes(1, world.now);
        let left = world.instances.iter().filter(|instance| instance.id != early[0].instance.id);
        let left: Vec<_> = left.cloned().collect();
        world.listed.list(&left, world.now);
        world.listed.probed(&early[0], &silent(), world.now);
        assert_eq!(world.probe(|_| Finding::Alive(None)), 1);
        world.listed.list(&[], world.now);
        assert_eq!(world.listed.next_probe(), None);
        assert_eq!(world.listed.last_probe(left[0].id, world.now), None);
    }
}
