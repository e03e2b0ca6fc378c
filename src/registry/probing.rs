//! Which instances to probe when, and what becomes of what was found. Called by the prober (upstream/probe.rs) and, for
//! refused connections, by the data path.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Registry;
use super::book::{Book, Record, Slot, enact};
use super::health::Finding;
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
    epoch: u32,
}

impl Registry {
    /// Waits until a probe is due sooner than [`Registry::next_probe`] last said.
    pub async fn probe_wanted(&self) {
        self.probing.notified().await;
    }

    /// When the next probe is due.
    pub fn next_probe(&self) -> Option<Instant> {
        self.book().next_due()
    }

    /// At most `most` probes that are due. Each must be answered with [`Registry::probed`], or its instance is not probed
    /// again.
    pub fn take_probes(&self, most: usize, now: Instant) -> Vec<Probe> {
        let timeout = self.settings().health.timeout;
        let mut book = self.book();
        let mut probes = Vec::new();
        while probes.len() < most {
            let Some(entry) = book.take_due(now) else { break };
            probes.push(Probe { instance: Arc::clone(&entry.instance), timeout, epoch: entry.health.epoch() });
        }
        probes
    }

    /// Tells what a probe found.
    pub fn probed(&self, probe: &Probe, finding: &Finding, now: Instant) {
        let settings = self.settings();
        let instance = probe.instance.id;
        self.metrics.checked(finding.word());
        self.change(now, |book, now| {
            let watched = book.leaving.iter().any(|group| group.instances.contains(&instance));
            let Some(record) = book.record_of(instance) else { return };
            let agent = Arc::clone(&record.agent);
            let Some(entry) = record.entry(instance) else { return };
            if entry.probe == (Slot::Running { again: true }) || entry.health.epoch() != probe.epoch {
                // Something happened meanwhile that this probe may have been too early to see.
                book.probe_done(instance, now);
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
            if enact(&agent, &entry.instance, change) {
                record.publish();
                book.altered = true;
            }
            if found_free {
                book.touch(&agent.id);
            }
            if lost_for.is_some_and(|lost| lost >= settings.forget) {
                self.remove(book, instance, now, "it was lost for as long as lost instances are remembered");
            } else {
                book.probe_done(instance, now + pause);
            }
        });
    }

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
            if enact(&agent, &entry.instance, change) {
                record.publish();
                book.altered = true;
                book.probe_at(instance.id, now);
                self.probing.notify_one();
            }
            if found_free {
                book.touch(&agent.id);
            }
        });
    }

    /// Forgets what has run out: watches of leaving instances, and records of agents without an instance. Cheap; the
    /// prober calls it at every turn.
    pub fn sweep(&self, now: Instant) {
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

    /// The one that was leaving has stopped answering: the others of its group stay.
    fn left(&self, book: &mut Book, instance: u64, now: Instant) {
        if let Some(group) = book.leaving.iter().position(|group| group.instances.contains(&instance)) {
            book.leaving.remove(group);
        }
        self.remove(book, instance, now, "it was unregistered and stopped answering");
    }
}

/// From 0 to 1, different for each instance, the same in every run of a test: keeps probes from marching in step.
fn spread(instance: u64) -> f64 {
    let mixed = instance.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as f64 / (1u64 << 24) as f64
}
