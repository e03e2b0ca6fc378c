//! What SDKs say after they have registered: Heartbeat and UnregisterAgent. Neither names an instance, so the connection
//! tells which one is meant, else the caller's address.

use std::sync::Arc;
use std::time::Duration;

use portunus_proto::refusals;
use tokio::time::Instant;

use super::Registry;
use super::address::is_at;
use super::admit::{Refusal, check_owner};
use super::agent::Caller;
use super::book::{Book, Leaving, Record, enact};

/// How long instances one of which leaves are watched: an SDK finishes its calls and closes its port within that.
const WATCH: Duration = Duration::from_secs(30);

/// How a heartbeat was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The agent is known; that many of its instances were renewed.
    Acknowledged(usize),
    /// Nobody registered this agent, or it has left.
    Unknown,
    /// It is another owner's.
    NotOwner,
}

/// What an unregistration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The caller's instance is removed.
    Removed,
    /// Several could be the caller's: the first that stops answering will be removed.
    Watched(usize),
}

impl Registry {
    /// Renews the instances of the agent that the caller may be.
    pub fn heartbeat(&self, agent_id: &str, caller: &Caller, now: Instant) -> Beat {
        let lease_until = now + self.settings().lease;
        let mut book = self.book();
        let Some(record) = book.find(&agent_id.to_ascii_lowercase()).filter(|record| record.is_present()) else {
            return Beat::Unknown;
        };
        if check_owner(record, caller).is_err() {
            return Beat::NotOwner;
        }
        let meant = meant_by(record, caller);
        let withdrawn = |id: &u64| record.entries.iter().any(|e| e.instance.id == *id && e.health.is_withdrawn());
        if !meant.is_empty() && meant.iter().all(withdrawn) {
            // So that it registers anew.
            return Beat::Unknown;
        }
        let agent = Arc::clone(&record.agent);
        let (mut woken, mut found) = (Vec::new(), false);
        for instance in &meant {
            let Some(entry) = record.entry(*instance) else { continue };
            entry.lease_until = lease_until;
            if meant.len() == 1 && !entry.connection.is_open() {
                // The SDK came back on another connection, and there is only one that it can be.
                entry.connection = caller.connection.clone();
            }
            found |= entry.health.is_awaited();
            let change = entry.health.heard(now);
            if enact(Some(&agent), &entry.instance, change) {
                woken.push(*instance);
            }
        }
        if !woken.is_empty() {
            record.publish();
            book.altered = true;
            for instance in woken {
                book.probes.at(instance, now);
            }
            self.probing.notify_one();
        }
        if found {
            book.touch(&agent.id);
        }
        Beat::Acknowledged(meant.len())
    }

    /// Removes the caller's instance of the agent, or watches those that it may be.
    pub fn unregister(&self, agent_id: &str, caller: &Caller, now: Instant) -> Result<Departure, Refusal> {
        self.change(now, |book, now| self.unregister_in(book, agent_id, caller, now))
    }

    fn unregister_in(
        &self,
        book: &mut Book,
        agent_id: &str,
        caller: &Caller,
        now: Instant,
    ) -> Result<Departure, Refusal> {
        let Some(record) = book.find(&agent_id.to_ascii_lowercase()).filter(|record| record.is_present()) else {
            // The core's own words, so that an SDK sees the same with and without us.
            return Err(Refusal::new("unknown", refusals::unknown_agent(agent_id)));
        };
        check_owner(record, caller)?;
        let mut meant = meant_by(record, caller);
        if meant.len() > 1 {
            // Who calls is alive, so those that are known not to be are not the one.
            let answering = |id: &u64| record.entries.iter().any(|e| e.instance.id == *id && e.health.is_answering());
            if meant.iter().any(answering) {
                meant.retain(answering);
            }
        }
        match meant.as_slice() {
            [] => Err(Refusal::new(
                "unknown",
                "no instance of this agent was registered over this connection or from your address: unregister from where it \
                 was registered",
            )),
            [one] => {
                self.remove(book, *one, now, "it was unregistered");
                Ok(Departure::Removed)
            }
            several => {
                let count = several.len();
                for instance in several {
                    book.probes.at(*instance, now);
                }
                book.leaving.push(Leaving { instances: meant, until: now + WATCH });
                self.probing.notify_one();
                Ok(Departure::Watched(count))
            }
        }
    }
}

/// The instances that the caller may be: those of its connection, else those at its address.
pub(super) fn meant_by(record: &Record, caller: &Caller) -> Vec<u64> {
    let pick = |fits: &dyn Fn(&super::book::Entry) -> bool| {
        record.entries.iter().filter(|entry| fits(entry)).map(|entry| entry.instance.id).collect::<Vec<_>>()
    };
    let own = pick(&|entry| entry.connection.is(&caller.connection));
    if own.is_empty() { pick(&|entry| is_at(&entry.instance.target, caller.peer.ip())) } else { own }
}
