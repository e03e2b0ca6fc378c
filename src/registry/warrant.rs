//! By what an instance was registered, and what becomes of it once that would not do any more: it gets no more calls until it is
//! registered anew.

use std::sync::Arc;

use tokio::time::Instant;

use super::agent::Caller;
use super::book::{Record, enact};
use super::lease::meant_by;
use super::{Identity, Registry};

/// The longest configuration that is kept to be looked at again.
const MOST_CONFIG: usize = 16 * 1024;

/// By what an instance was registered.
pub trait Warrant: std::fmt::Debug + Send + Sync {
    /// Whether it would be registered now, as far as it is known what was registered.
    fn judge(&self, registered: Option<&Registered>) -> Judgement;
}

/// What was registered.
#[derive(Clone)]
pub struct Registered {
    /// Of the agent.
    pub identity: Identity,
    /// Where its SDK said that it is.
    pub callback: String,
    /// Its configuration; empty where it is too long to be kept.
    pub config: String,
}

impl std::fmt::Debug for Registered {
    /// Its configuration may have secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("agent", &self.identity.id).finish_non_exhaustive()
    }
}

impl Registered {
    /// With as much of it as is kept.
    #[must_use]
    pub fn new(identity: &Identity, callback: &str, config: &str) -> Self {
        let config = if config.len() <= MOST_CONFIG { config.to_owned() } else { String::new() };
        Self { identity: identity.clone(), callback: callback.to_owned(), config }
    }
}

/// Whether an instance would be registered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It would.
    Good,
    /// It cannot be told yet; or never, for this reason.
    Undecided(String),
    /// It would not, for this reason.
    Withdrawn(String),
}

impl Registry {
    /// Judges every instance by its warrant, and by what addresses the settings allow. Those that would not be registered now get no more
    /// calls. Answers whether some could not be judged yet; the `last` time those are withdrawn too. Takes its time, and no lock meanwhile.
    pub fn judge(&self, last: bool, now: Instant) -> bool {
        let all = self.warrants(|_| true);
        self.withdraw(all, last, now)
    }

    /// The same for the instances of an agent: one of them was registered while what is in force may have changed.
    pub fn judge_agent(&self, id: &str, now: Instant) {
        let own = self.warrants(|record| *record.agent.id == *id);
        self.withdraw(own, true, now);
    }

    /// The caller has said again that its instance is there: what it has shown with that counts from now on, if it would do for a
    /// registration. An instance that is withdrawn has to be registered anew.
    pub fn vouch(&self, agent_id: &str, caller: &Caller, warrant: &Arc<dyn Warrant>) {
        let Some((instance, registered)) = self.meant(agent_id, caller) else { return };
        if warrant.judge(registered.as_deref()) != Judgement::Good {
            return;
        }
        let mut book = self.book();
        let entry = book.record_of(instance).and_then(|record| record.entry(instance));
        if let Some(entry) = entry.filter(|entry| !entry.health.is_withdrawn()) {
            entry.warrant = Some(Arc::clone(warrant));
        }
    }

    /// The instance that a caller speaks of, and what was registered of it.
    fn meant(&self, agent_id: &str, caller: &Caller) -> Option<(u64, Option<Arc<Registered>>)> {
        let mut book = self.book();
        let record = book.find(&agent_id.to_ascii_lowercase())?;
        // Of several at one address nobody knows which one speaks.
        let [instance] = *meant_by(record, caller) else { return None };
        let entry = record.entry(instance)?;
        let same = entry.instance.shown.as_ref() == Some(&caller.shown);
        same.then(|| (instance, entry.registered.clone()))
    }

    fn warrants(&self, of: impl Fn(&Record) -> bool) -> Vec<Held> {
        let book = self.book();
        let entries = book.records.values().filter(|record| of(record)).flat_map(|record| &record.entries);
        let entries = entries.filter(|entry| !entry.health.is_withdrawn());
        let held = entries.map(|entry| {
            let instance = &entry.instance;
            let misplaced = instance.permit.as_ref().and_then(|permit| permit.allows(&instance.target).err());
            Held {
                instance: instance.id,
                warrant: entry.warrant.clone(),
                registered: entry.registered.clone(),
                misplaced,
            }
        });
        held.collect()
    }

    fn withdraw(&self, all: Vec<Held>, last: bool, now: Instant) -> bool {
        let mut undecided = false;
        for Held { instance, warrant, registered, misplaced } in all {
            let judged = warrant.as_ref().map_or(Judgement::Good, |warrant| warrant.judge(registered.as_deref()));
            let why = match (misplaced, judged) {
                (Some(why), _) | (None, Judgement::Withdrawn(why)) => why,
                (None, Judgement::Undecided(why)) if last => why,
                (None, Judgement::Undecided(_)) => {
                    undecided = true;
                    continue;
                }
                (None, Judgement::Good) => continue,
            };
            self.withdraw_one(instance, warrant.as_ref(), &why, now);
        }
        undecided
    }

    fn withdraw_one(&self, instance: u64, judged: Option<&Arc<dyn Warrant>>, why: &str, now: Instant) {
        let mut book = self.book();
        let Some(record) = book.record_of(instance) else { return };
        let agent = Arc::clone(&record.agent);
        let Some(entry) = record.entry(instance) else { return };
        let same = match (&entry.warrant, judged) {
            (Some(own), Some(judged)) => Arc::ptr_eq(own, judged),
            (None, None) => true,
            _ => false,
        };
        if !same {
            // Registered or vouched for anew meanwhile, and judged by that.
            return;
        }
        let change = entry.health.withdraw(why, now);
        if enact(Some(&agent), &entry.instance, change) {
            record.publish();
            book.altered = true;
        }
        book.touch(&agent.id);
    }
}

/// What is known of an instance without the lock.
struct Held {
    instance: u64,
    warrant: Option<Arc<dyn Warrant>>,
    registered: Option<Arc<Registered>>,
    /// Why the settings do not allow its address.
    misplaced: Option<String>,
}
