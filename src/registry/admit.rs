//! Registration in two steps: a plan claims the agent's record (owner, port) and tells the core; admission adds the
//! instance or renews it. Between the two the registrar waits for the core. Dropping a plan takes the claim back.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::address::{Permit, fold, holder_key};
use super::agent::{Agent, Caller};
use super::book::{Book, Entry, Record, enact};
use super::card::Card;
use super::core::{CoreState, Forward, Standing};
use super::health::Health;
use super::instance::{Instance, Target};
use super::settings::{Callback, Limits, Settings};
use super::warrant::{Registered, Warrant};
use super::{Registry, identity::Identity};

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One lower-case word: the metric's and the log's.
    pub reason: &'static str,
    /// For the SDK: what to do.
    pub error: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, error: impl Into<String>) -> Self {
        Self { reason, error: error.into() }
    }
}

const RELEASED: &str = "the agent was released by an operator while it registered: register again";

/// What admission did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The address is new.
    Added,
    /// The agent had an instance there: it is renewed.
    Renewed,
    /// Another agent's instance was there, and has been removed.
    TakenOver,
}

impl Admitted {
    /// The word that is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Renewed => "renewed",
            Self::TakenOver => "taken_over",
        }
    }
}

/// Where an instance is to be: as its SDK named it, and the addresses that the name has now.
#[derive(Clone, Debug)]
pub struct Place {
    target: Target,
    permit: Permit,
    addresses: Vec<SocketAddr>,
}

impl Place {
    /// The name that has to be looked up first, if it is one.
    pub fn name(&self) -> Option<(&str, u16)> {
        match &self.target {
            Target::Name(host, port) => Some((host, *port)),
            Target::Socket(_) | Target::Loopback(_) | Target::Within(_) => None,
        }
    }

    /// The name has been looked up. The error is for the SDK.
    pub fn resolved(self, addresses: &[SocketAddr]) -> Result<Self, Refusal> {
        let mut refused = format!("{} has no address: register once its name can be looked up here", self.target);
        let mut kept = Vec::new();
        for address in addresses {
            match self.permit.check(*address) {
                Ok(()) => kept.push(*address),
                Err(why) => refused = format!("{} is {address} now, and {why}", self.target),
            }
        }
        if kept.is_empty() { Err(Refusal::new("address", refused)) } else { Ok(Self { addresses: kept, ..self }) }
    }

    /// Under how many keys the place is to be nobody else's.
    fn keys(&self) -> impl Iterator<Item = Target> {
        let resolved = self.addresses.iter().map(|address| holder_key(&Target::Socket(*address)));
        std::iter::once(holder_key(&self.target)).chain(resolved)
    }
}

/// A registration under way.
#[derive(Debug)]
pub struct Plan {
    registry: Arc<Registry>,
    agent: Arc<Agent>,
    place: Place,
    caller: Caller,
    forward: Arc<Forward>,
    /// By what its caller was let in, and with what.
    warrant: Option<(Arc<dyn Warrant>, Arc<Registered>)>,
}

impl Plan {
    /// Where its instance is to be.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The agent that it is for.
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Whether the configuration that the core was told last is this one.
    pub fn is_forwarded(&self) -> bool {
        let book = self.registry.book();
        book.records.get(&self.agent.id).is_some_and(|record| record.core.forward == self.forward)
    }

    /// The same, by a caller that was let in by this.
    #[must_use]
    pub fn under(mut self, warrant: &Arc<dyn Warrant>, registered: &Arc<Registered>) -> Self {
        self.warrant = Some((Arc::clone(warrant), Arc::clone(registered)));
        self
    }

    /// Adds the instance, or renews it.
    /// The revision that is to be kept before anybody is told; none if nothing changed.
    pub fn admit(self, now: Instant) -> Result<(Admitted, Option<u64>), Refusal> {
        self.registry.change(now, |book, now| self.registry.admit(book, &self, now))
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        self.registry.plan_ended(&self.agent.id);
    }
}

impl Registry {
    /// Checks where a caller says that its instance is.
    pub fn place(&self, callback: &str, caller: &Caller) -> Result<Place, Refusal> {
        let permit = self.permit(caller);
        let target = permit.callback(callback).map_err(|error| Refusal::new("address", error))?;
        Ok(Place { target, permit, addresses: Vec::new() })
    }

    /// Begins a registration: checks the owner and what is held, and claims a record (and a port) for the agent. Where
    /// there is a core that has not registered the agent yet, it is told now.
    pub fn plan(
        self: &Arc<Self>,
        card: &Card,
        forward: Forward,
        place: Place,
        caller: &Caller,
        now: Instant,
    ) -> Result<Plan, Refusal> {
        let settings = self.settings();
        let forward = Arc::new(forward);
        let mut book = self.book();
        if let Some(record) = book.records.get(&card.identity.id) {
            check_owner(record, caller)?;
        }
        let held = self.check_holder(&mut book, &card.identity.id, &place, caller, now)?;
        check_room(&mut book, &card.identity.id, held, caller, &settings.limits)?;
        match book.records.get_mut(&card.identity.id) {
            None => {
                let record = claim(&book, &card.identity, &settings, caller, Arc::clone(&forward), now)?;
                book.records.insert(Arc::clone(&card.identity.id), record);
                self.reindex(&book);
            }
            Some(record) if record.released => {
                record.released = false;
                record.agent = Agent::new(&card.identity, Arc::clone(&caller.owner));
                record.created = now;
                self.reindex(&book);
            }
            Some(_) => {}
        }
        let Some(record) = book.records.get_mut(&card.identity.id) else {
            return Err(Refusal::new("owner", RELEASED));
        };
        record.plans += 1;
        if settings.core.is_some() && !record.core.is_registered() {
            record.core.state = CoreState::Pending;
            record.core.forward = Arc::clone(&forward);
            self.wish(&record.agent.id);
        }
        let agent = Arc::clone(&record.agent);
        Ok(Plan { registry: Arc::clone(self), agent, place, caller: caller.clone(), forward, warrant: None })
    }

    fn admit(&self, book: &mut Book, plan: &Plan, now: Instant) -> Result<(Admitted, Option<u64>), Refusal> {
        let before = book.revision;
        let admitted = self.admit_in(book, plan, now)?;
        Ok((admitted, (book.revision != before).then_some(book.revision)))
    }

    /// Takes back an admission that could not be kept.
    pub fn take_back(&self, id: &Arc<str>, place: &Place, now: Instant) {
        self.change(now, |book, now| {
            let held = book.holder(&holder_key(&place.target));
            if let Some(instance) = held.filter(|held| book.record_of(*held).is_some_and(|found| found.agent.id == *id))
            {
                self.remove(book, instance, now, "its registration could not be kept");
            }
            let alone = |record: &&mut Record| !record.kept && !record.is_present() && record.plans == 0;
            if let Some(record) = book.records.get_mut(id).filter(alone) {
                // Its owner is not remembered; where the core was told, it is told of the departure first.
                record.released = true;
                book.forget_if_over(id);
            }
        });
    }

    fn admit_in(&self, book: &mut Book, plan: &Plan, now: Instant) -> Result<Admitted, Refusal> {
        let (id, caller) = (&plan.agent.id, &plan.caller);
        // Much may have happened while the core was asked.
        let holder = self.check_holder(book, id, &plan.place, caller, now)?;
        let settings = self.settings();
        check_room(book, id, holder, caller, &settings.limits)?;
        let lease_until = now + settings.lease;
        let record = book.records.get_mut(id).filter(|record| !record.released);
        let Some(record) = record else { return Err(Refusal::new("owner", RELEASED)) };
        check_owner(record, caller)?;
        let mut differs = record.core.forward != plan.forward;
        record.core.forward = Arc::clone(&plan.forward);
        // As somebody else by its certificate it is another instance: connections to the one before were made for that.
        let same = |entry: &&mut Entry| entry.instance.shown.as_ref() == Some(&caller.shown);
        if let Some(entry) = holder.and_then(|held| record.entry(held)).filter(same) {
            differs |= entry.registered_by != caller.owner;
            entry.lease_until = lease_until;
            entry.connection = caller.connection.clone();
            entry.registered_by = Arc::clone(&caller.owner);
            (entry.warrant, entry.registered) = plan.warrant.clone().unzip();
            let before = std::mem::replace(&mut entry.registered_from, fold(caller.peer.ip()));
            let (instance, awaited) = (entry.instance.id, entry.health.is_awaited());
            let target = entry.instance.target.clone();
            let change = entry.health.registered(now);
            entry.instance.renew();
            let turned = enact(Some(&plan.agent), &entry.instance, change);
            if turned {
                record.publish();
            }
            book.altered = true;
            book.moved(before, fold(caller.peer.ip()));
            let own = plan.place.keys().chain([target]);
            book.holders.hold(instance, id, own);
            if differs || awaited {
                book.touch(id);
            }
            if turned {
                book.probes.at(instance, now);
                self.probing.notify_one();
            }
            return Ok(Admitted::Renewed);
        }
        if let Some(held) = holder {
            self.remove(book, held, now, "it was registered anew at its address, by another agent or identity");
        }
        let Place { target, permit, .. } = plan.place.clone();
        let mut entry = self.entry((target, permit), Health::new(now), caller, now);
        (entry.warrant, entry.registered) = plan.warrant.clone().unzip();
        let (instance, authority) = (entry.instance.id, &*entry.instance.authority);
        tracing::info!(cluster = &*self.name, agent = &**id, instance = authority, "instance is registered");
        book.add(id, entry, now);
        book.holders.hold(instance, id, plan.place.keys());
        self.probing.notify_one();
        Ok(if holder.is_some() { Admitted::TakenOver } else { Admitted::Added })
    }

    /// A record for an instance: registered now, or by the process before this one.
    pub(super) fn entry(&self, (target, permit): (Target, Permit), health: Health, by: &Caller, now: Instant) -> Entry {
        let metrics = self.metrics.instance(&target.to_string());
        let registered_from = fold(permit.peer);
        let shown = by.shown.clone();
        let instance = Instance::registered(Arc::clone(&self.name), target, (permit, shown), metrics, now);
        instance.set_state(health.state());
        let lease_until = now + self.settings().lease;
        let (connection, registered_by) = (by.connection.clone(), Arc::clone(&by.owner));
        let (warrant, registered) = (None, None);
        Entry { instance, health, lease_until, connection, registered_by, registered_from, warrant, registered }
    }

    /// Which instance holds the address; refused if it is another agent's that may not be moved.
    fn check_holder(
        &self,
        book: &mut Book,
        id: &str,
        place: &Place,
        caller: &Caller,
        now: Instant,
    ) -> Result<Option<u64>, Refusal> {
        let Some(held) = place.keys().find_map(|key| book.holder(&key)) else { return Ok(None) };
        let target = &place.target;
        let Some(record) = book.record_of(held) else { return Ok(None) };
        if &*record.agent.id == id || record.agent.owner == caller.owner {
            return Ok(Some(held));
        }
        let facts = record.entry(held).map(|entry| entry.facts(now));
        if facts.is_none_or(|facts| facts.lease_out && !facts.connected) {
            return Ok(Some(held));
        }
        tracing::warn!(cluster = &*self.name, agent = id, holder = &*record.agent.id, %target, "address is held by another agent");
        let error = format!(
            "{target} belongs to another agent of another owner: listen on another port, or wait until that agent has left \
             and its lease has run out"
        );
        Err(Refusal::new("address", error))
    }

    /// Takes an instance out of service and writes the line about it.
    pub(super) fn remove(&self, book: &mut Book, instance: u64, now: Instant, reason: &str) {
        let Some(gone) = book.remove(instance, now) else { return };
        let authority = &*gone.entry.instance.authority;
        tracing::info!(
            cluster = &*self.name,
            agent = &*gone.agent.id,
            instance = authority,
            reason,
            "instance is removed"
        );
        if gone.last {
            self.wish(&gone.agent.id);
        }
    }

    fn plan_ended(&self, id: &Arc<str>) {
        let mut book = self.book();
        let Some(record) = book.records.get_mut(id) else { return };
        record.plans = record.plans.saturating_sub(1);
        if record.plans > 0 || record.is_present() {
            return;
        }
        if record.core.told {
            self.wish(id);
        } else if book.forget_if_over(id) {
            // It never had an instance, say: nothing is left of a registration that was refused or given up.
            self.reindex(&book);
        }
    }
}

/// Whether what is held leaves room for an instance more, where it is not one that is there already.
fn check_room(book: &mut Book, id: &str, held: Option<u64>, caller: &Caller, limits: &Limits) -> Result<(), Refusal> {
    let full = |error: String| Err(Refusal::new("limit", error));
    let agents = book.records.len();
    let Some(record) = book.records.get_mut(id) else {
        return if agents < limits.agents {
            check_peer(book, held, caller, limits)
        } else {
            full(format!(
                "{agents} agents are registered, which is the most (`registry.limits.agents`): raise it, or release an agent that is gone"
            ))
        };
    };
    if held.is_some_and(|held| record.entry(held).is_some()) {
        return Ok(());
    }
    let own = record.entries.len();
    if own >= limits.instances_per_agent {
        return full(format!(
            "the agent has {own} instances, which is the most (`registry.limits.instances_per_agent`): raise it, or \
             unregister one"
        ));
    }
    check_peer(book, held, caller, limits)
}

fn check_peer(book: &Book, held: Option<u64>, caller: &Caller, limits: &Limits) -> Result<(), Refusal> {
    let from = fold(caller.peer.ip());
    let count = book.registered_from(from);
    if held.is_some() || count < limits.instances_per_peer {
        return Ok(());
    }
    let error = format!(
        "{count} instances were registered from {from}, which is the most (`registry.limits.instances_per_peer`): raise \
         it, or unregister one"
    );
    Err(Refusal::new("limit", error))
}

pub(super) fn check_owner(record: &Record, caller: &Caller) -> Result<(), Refusal> {
    if record.agent.owner == caller.owner || record.released {
        return Ok(());
    }
    let agent = &*record.agent.id;
    tracing::warn!(agent, owner = &*record.agent.owner, caller = &*caller.owner, "refused: another owner's agent");
    Err(Refusal::new(
        "owner",
        format!(
            "agent {agent} was first registered by another owner: register from where it was registered first, choose another \
             author or name, or have the operator release the id"
        ),
    ))
}

/// A record for an agent that has none; with a port of its own where the callback wants one.
fn claim(
    book: &Book,
    identity: &Identity,
    settings: &Settings,
    caller: &Caller,
    forward: Arc<Forward>,
    now: Instant,
) -> Result<Record, Refusal> {
    let port = match &settings.callback {
        Some(Callback::Ports { ports, .. }) => Some(free_port(book, ports.clone()).ok_or_else(|| {
            let error = format!(
                "all ports from {} to {} are given to other agents: widen `callback.ports` and the listener's address",
                ports.start(),
                ports.end()
            );
            Refusal::new("ports", error)
        })?),
        _ => None,
    };
    Ok(Record {
        agent: Agent::new(identity, Arc::clone(&caller.owner)),
        created: now,
        entries: Vec::new(),
        plans: 0,
        port,
        vacant_since: None,
        released: false,
        kept: false,
        core: Standing::new(forward),
    })
}

fn free_port(book: &Book, mut ports: std::ops::RangeInclusive<u16>) -> Option<u16> {
    let given: std::collections::HashSet<u16> = book.records.values().filter_map(|record| record.port).collect();
    ports.find(|port| !given.contains(port))
}

/// After a reload that changed the callback: ports that are in the new range stay, the others are given anew.
pub(super) fn give_ports_anew(book: &mut Book, settings: &Settings, cluster: &str) {
    let range = match &settings.callback {
        Some(Callback::Ports { ports, .. }) => Some(ports.clone()),
        _ => None,
    };
    for record in book.records.values_mut() {
        record.port = record.port.filter(|port| range.as_ref().is_some_and(|range| range.contains(port)));
    }
    let Some(range) = range else { return };
    let mut without: Vec<Arc<str>> = book
        .records
        .values()
        .filter(|record| record.port.is_none())
        .map(|record| Arc::clone(&record.agent.id))
        .collect();
    without.sort();
    for id in without {
        let port = free_port(book, range.clone());
        if port.is_none() {
            tracing::warn!(
                cluster,
                agent = &*id,
                "no port of `callback.ports` is left for this agent: widen the range"
            );
        }
        if let Some(record) = book.records.get_mut(&id) {
            record.port = port;
        }
        book.touch(&id);
    }
}
