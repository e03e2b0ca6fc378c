//! The records behind the registry's lock, and what keeps them consistent with each other: who holds which address, which
//! probe is due when, what is published to calls. Every change goes through here; decides no policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::agent::{Agent, Connection};
use super::core::Standing;
use super::health::{Change, Facts, Health};
use super::holders::Holders;
use super::instance::{EndpointSet, Instance, State, Target};
use super::schedule::Schedule;
use super::warrant::{Registered, Warrant};

/// An agent's record: it outlives the agent's instances for a while, so that owner and port stay.
#[derive(Debug)]
pub(super) struct Record {
    pub agent: Arc<Agent>,
    pub created: Instant,
    pub entries: Vec<Entry>,
    /// Registrations under way: they wait for the core.
    pub plans: u32,
    /// In the form with ports: the one that the core was told.
    pub port: Option<u16>,
    /// Since when it has no instance, where it had one.
    pub vacant_since: Option<Instant>,
    /// An operator took it from its owner: the next to register it owns it.
    pub released: bool,
    /// It has been kept, and would come back with a restart.
    pub kept: bool,
    pub core: Standing,
}

impl Record {
    /// Whether callers may know it.
    pub(super) fn is_present(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Tells the calls where they may go: the healthy ones or, as long as there is none, the new ones.
    pub(super) fn publish(&self) {
        let with = |state: State| {
            let found = self.entries.iter().filter(|entry| entry.health.state() == state);
            found.map(|entry| Arc::clone(&entry.instance)).collect::<Vec<_>>()
        };
        let mut usable = with(State::Healthy);
        if usable.is_empty() {
            usable = with(State::New);
        }
        let published = self.agent.endpoints.load();
        let ids = |set: &[Arc<Instance>]| set.iter().map(|instance| instance.id).collect::<Vec<_>>();
        if ids(&published.instances) != ids(&usable) {
            self.agent.endpoints.store(Arc::new(EndpointSet::new(usable)));
        }
    }

    /// Whether nothing of it is left: it has no instance, nobody is registering it, the core need not be told, and neither owner nor
    /// port is remembered.
    fn is_over(&self) -> bool {
        let remembered = self.vacant_since.is_some() && !self.released;
        !self.is_present() && self.plans == 0 && !self.core.told && !remembered
    }

    pub(super) fn entry(&mut self, instance: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.instance.id == instance)
    }
}

/// One instance's record.
#[derive(Debug)]
pub(super) struct Entry {
    pub instance: Arc<Instance>,
    pub health: Health,
    pub lease_until: Instant,
    /// The one that registered it, or on which its SDK was heard last.
    pub connection: Connection,
    pub registered_by: Arc<str>,
    pub registered_from: IpAddr,
    /// By what, and what that was; none where the process before this one knew.
    pub warrant: Option<Arc<dyn Warrant>>,
    pub registered: Option<Arc<Registered>>,
}

impl Entry {
    pub(super) fn facts(&self, now: Instant) -> Facts {
        Facts { lease_out: now >= self.lease_until, connected: self.connection.is_open() }
    }
}

/// Instances one of which said that it leaves, without saying which: the first that stops answering is the one.
#[derive(Debug)]
pub(super) struct Leaving {
    pub instances: Vec<u64>,
    pub until: Instant,
}

/// What was taken out of service.
#[derive(Debug)]
pub(super) struct Removed {
    pub entry: Entry,
    pub agent: Arc<Agent>,
    /// Whether it was its agent's last.
    pub last: bool,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub records: BTreeMap<Arc<str>, Record>,
    /// Ids that the core gave to agents which we know by another.
    pub aliases: HashMap<Arc<str>, Arc<str>>,
    pub leaving: Vec<Leaving>,
    /// The agent about which the core was asked last.
    pub asked: Arc<str>,
    /// Agents of which something changed that is kept, and how often that was so.
    pub touched: BTreeSet<Arc<str>>,
    pub revision: u64,
    /// Counts the changes of who is present.
    pub presence: u64,
    /// An instance came, went, or is in another state.
    pub altered: bool,
    whose: HashMap<u64, Arc<str>>,
    /// Shared with whoever dials.
    pub holders: Arc<Holders>,
    pub probes: Schedule,
    /// How many instances each address has registered.
    from: HashMap<IpAddr, usize>,
}

impl Book {
    /// The record of an agent by its id or the core's.
    pub(super) fn find(&mut self, id: &str) -> Option<&mut Record> {
        let id = self.aliases.get(id).map_or(id, |known| known);
        self.records.get_mut(id)
    }

    /// The record that an instance belongs to.
    pub(super) fn record_of(&mut self, instance: u64) -> Option<&mut Record> {
        self.records.get_mut(self.whose.get(&instance)?)
    }

    /// Which instance holds an address.
    pub(super) fn holder(&self, target: &Target) -> Option<u64> {
        self.holders.of(target)
    }

    /// Forgets an agent.
    pub(super) fn forget(&mut self, id: &Arc<str>) {
        let Some(record) = self.records.remove(id) else { return };
        self.aliases.retain(|_, known| known != id);
        self.presence += 1;
        if record.is_kept() {
            self.touch(id);
        }
    }

    /// Forgets it if nothing of it is left; true if so.
    pub(super) fn forget_if_over(&mut self, id: &Arc<str>) -> bool {
        let over = self.records.get(id).is_some_and(Record::is_over);
        if over {
            self.forget(id);
        }
        over
    }

    /// How many instances that are held an address has registered.
    pub(super) fn registered_from(&self, from: IpAddr) -> usize {
        self.from.get(&from).copied().unwrap_or_default()
    }

    /// An instance is registered again, perhaps from elsewhere.
    pub(super) fn moved(&mut self, before: IpAddr, now: IpAddr) {
        if before != now {
            self.count_from(before, false);
            self.count_from(now, true);
        }
    }

    fn count_from(&mut self, from: IpAddr, more: bool) {
        let count = self.from.entry(from).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.from.remove(&from);
        }
    }

    /// Adds an instance to a record that is there; it is probed at once.
    pub(super) fn add(&mut self, id: &str, entry: Entry, now: Instant) {
        let Some(record) = self.records.get_mut(id) else { return };
        let (instance, from) = (entry.instance.id, entry.registered_from);
        self.whose.insert(instance, Arc::clone(&record.agent.id));
        self.holders.hold(instance, &record.agent.id, [entry.instance.target.clone()]);
        self.presence += u64::from(record.entries.is_empty());
        record.entries.push(entry);
        record.vacant_since = None;
        record.publish();
        self.altered = true;
        self.touch(&Arc::from(id));
        self.count_from(from, true);
        self.probes.at(instance, now);
    }

    /// Takes an instance out of service. Its open calls go on.
    pub(super) fn remove(&mut self, instance: u64, now: Instant) -> Option<Removed> {
        let id = self.whose.remove(&instance)?;
        let record = self.records.get_mut(&id)?;
        let position = record.entries.iter().position(|entry| entry.instance.id == instance)?;
        let entry = record.entries.remove(position);
        entry.instance.retire();
        let last = record.entries.is_empty();
        if last {
            record.vacant_since = Some(now);
            self.presence += 1;
        }
        record.publish();
        let agent = Arc::clone(&record.agent);
        self.altered = true;
        self.touch(&agent.id);
        self.count_from(entry.registered_from, false);
        self.holders.free(instance);
        self.probes.remove(instance);
        for group in &mut self.leaving {
            group.instances.retain(|member| *member != instance);
        }
        self.leaving.retain(|group| !group.instances.is_empty());
        Some(Removed { entry, agent, last })
    }

    /// The next instance whose probe is due; it counts as being probed from now on.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<&mut Entry> {
        let instance = self.probes.take(now)?;
        self.record_of(instance)?.entry(instance)
    }
}

/// Carries a change of health out: tells the instance and writes the one line about it. `agent` is whose it is, if it is one's.
pub(super) fn enact(agent: Option<&Agent>, instance: &Instance, change: Option<Change>) -> bool {
    let Some(change) = change else { return false };
    instance.set_state(change.to);
    let (from, to) = (change.from.as_str(), change.to.as_str());
    tracing::info!(
        cluster = &*instance.cluster,
        agent = agent.map(|agent| &*agent.id),
        instance = &*instance.authority,
        from,
        to,
        reason = change.reason,
        "instance is {to}"
    );
    true
}
