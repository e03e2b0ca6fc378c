//! Which instances to probe when, and what becomes of what was found. Called by the prober (upstream/probe.rs) and, for
//! refused connections, by the data path.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Registry;
use super::book::{Book, Record, enact};
use super::health::{Finding, Health};
use super::instance::{Instance, State};

/// Between two probes of an instance that may be leaving.
const WATCHED: Duration = Duration::from_millis(200);
/// A record that waits to be told to the core is kept this much longer at most.
const LINGER: Duration = Duration::from_secs(3600);

/// A probe to be made now.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Whom to ask.
    pub instance: Arc<Instance>,
    /// For how long, connecting included.
    pub timeout: Duration,
    pub(super) epoch: u32,
}

/// Instances that are probed: those that registered, or those of a list.
pub trait Patients: Send + Sync {
    /// Waits until a probe is due sooner than [`next_probe`](Self::next_probe) last said.
    fn probe_wanted(&self) -> impl Future<Output = ()> + Send;

    /// When the next probe is due.
    fn next_probe(&self) -> Option<Instant>;

    /// At most `most` probes that are due. Each must be answered with [`probed`](Self::probed), or its instance is not probed
    /// again.
    fn take_probes(&self, most: usize, now: Instant) -> Vec<Probe>;

    /// Tells what a probe found.
    fn probed(&self, probe: &Probe, finding: &Finding, now: Instant);

    /// Forgets what has run out. Cheap; the prober calls it now and then.
    fn sweep(&self, now: Instant);
}

impl Probe {
    pub(super) fn new(instance: &Arc<Instance>, health: &Health, timeout: Duration) -> Self {
        Self { instance: Arc::clone(instance), timeout, epoch: health.epoch() }
    }
}

impl Patients for Registry {
    async fn probe_wanted(&self) {
        self.probing.notified().await;
    }

    fn next_probe(&self) -> Option<Instant> {
        self.book().probes.next()
    }

    fn take_probes(&self, most: usize, now: Instant) -> Vec<Probe> {
        let timeout = self.settings().health.timeout;
        let mut book = self.book();
        let mut probes = Vec::new();
        while probes.len() < most {
            let Some(entry) = book.take_due(now) else { break };
            probes.push(Probe::new(&entry.instance, &entry.health, timeout));
        }
        probes
    }

    fn probed(&self, probe: &Probe, finding: &Finding, now: Instant) {
        let settings = self.settings();
        let instance = probe.instance.id;
        self.metrics.checked(finding.word());
        self.change(now, |book, now| {
            let watched = book.leaving.iter().any(|group| group.instances.contains(&instance));
            let stale = book.probes.is_stale(instance);
            let Some(record) = book.record_of(instance) else { return };
            let agent = Arc::clone(&record.agent);
            let Some(entry) = record.entry(instance) else { return };
            if stale || entry.health.epoch() != probe.epoch {
                // Something happened meanwhile that this probe may have been too early to see.
                book.probes.done(instance, now);
                return;
            }
            if watched && !finding.answered() {
                self.left(book, instance, now);
                return;
            }
            let (facts, awaited) = (entry.facts(now), entry.health.is_awaited());
            let change = entry.health.probed(finding, facts, &settings.health, now);
            let found_free = !awaited && entry.health.is_awaited();
            let lost_for = (entry.health.state() == State::Lost).then(|| now - entry.health.since());
            let pause = if watched { WATCHED } else { entry.health.pause(&settings.health, spread(instance)) };
            if enact(Some(&agent), &entry.instance, change) {
                record.publish();
                book.altered = true;
            }
            if found_free {
                book.touch(&agent.id);
            }
            if lost_for.is_some_and(|lost| lost >= settings.forget) {
                self.remove(book, instance, now, "it was lost for as long as lost instances are remembered");
            } else {
                book.probes.done(instance, now + pause);
            }
        });
    }

    /// Watches of leaving instances, and records of agents without an instance.
    fn sweep(&self, now: Instant) {
        let forget = self.settings().forget;
        let mut book = self.book();
        book.leaving.retain(|group| group.until > now);
        let is_gone = |record: &Record| {
            let vacant =
                record.vacant_since.filter(|_| record.plans == 0).map(|since| now.saturating_duration_since(since));
            let wait = if record.core.told { forget + LINGER } else { forget };
            vacant.is_some_and(|vacant| vacant >= wait)
        };
        let gone: Vec<Arc<str>> =
            book.records.iter().filter(|(_, record)| is_gone(record)).map(|(id, _)| Arc::clone(id)).collect();
        for id in &gone {
            book.forget(id);
        }
        if !gone.is_empty() {
            self.reindex(&book);
        }
    }
}

impl Registry {
    /// A call's connection to the instance was refused: it gets no more calls until a probe passes, which is asked for now.
    pub fn refused(&self, instance: &Instance, now: Instant) {
        self.change(now, |book, now| {
            if book.leaving.iter().any(|group| group.instances.contains(&instance.id)) {
                self.left(book, instance.id, now);
                return;
            }
            let Some(record) = book.record_of(instance.id) else { return };
            let agent = Arc::clone(&record.agent);
            let Some(entry) = record.entry(instance.id) else { return };
            let (facts, awaited) = (entry.facts(now), entry.health.is_awaited());
            let change = entry.health.refused(facts, now);
            let found_free = !awaited && entry.health.is_awaited();
            if enact(Some(&agent), &entry.instance, change) {
                record.publish();
                book.altered = true;
                book.probes.at(instance.id, now);
                self.probing.notify_one();
            }
            if found_free {
                book.touch(&agent.id);
            }
        });
    }

    /// The one that was leaving has stopped answering: the others of its group stay.
    fn left(&self, book: &mut Book, instance: u64, now: Instant) {
        if let Some(group) = book.leaving.iter().position(|group| group.instances.contains(&instance)) {
            book.leaving.remove(group);
        }
        self.remove(book, instance, now, "it was unregistered and stopped answering");
    }
}

/// From 0 to 1, different for each instance, the same in every run of a test: keeps probes from marching in step.
pub(super) fn spread(instance: u64) -> f64 {
    let mixed = instance.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as f64 / (1u64 << 24) as f64
}
