//! What the admin port shows of a registry: plain values, taken under the lock and written out without it.

use std::net::IpAddr;

use serde::Serialize;
use tokio::time::Instant;

use super::Registry;
use super::book::{Entry, Record};
use super::core::CoreState;
use super::health::LastProbe;

/// An agent as `/agents` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentView {
    pub cluster: String,
    pub id: String,
    pub did: String,
    pub name: String,
    pub author: String,
    pub owner: String,
    /// Since its first registration, as far as its record is remembered.
    pub registered_for_seconds: f64,
    /// What the core was or would be told.
    pub callback: Option<String>,
    /// Where it stands with the core.
    pub core: CoreState,
    /// The core's refusal, or why it has not answered.
    pub core_error: Option<String>,
    /// The id that the core gave it, where that is another.
    pub core_id: Option<String>,
    /// Empty: it has left, and its owner and port are still kept.
    pub instances: Vec<InstanceView>,
}

/// An instance as `/instances` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceView {
    /// Of the instance in this process.
    pub id: u64,
    pub cluster: String,
    pub agent: String,
    pub address: String,
    /// Since it was added.
    pub added_for_seconds: f64,
    /// new, healthy, unhealthy or lost.
    pub state: &'static str,
    pub state_for_seconds: f64,
    /// Only a heartbeat or a registration brings it back.
    pub waits_for_sdk: bool,
    pub last_probe: Option<ProbeView>,
    /// The owner that registered it.
    pub registered_by: String,
    /// From where.
    pub registered_from: IpAddr,
    /// Whether the connection that registered it is still open.
    pub connected: bool,
    /// 0: the lease has run out.
    pub lease_left_seconds: f64,
    pub weight: u32,
    pub in_flight: u32,
}

/// The last probe of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbeView {
    pub ago_seconds: f64,
    pub ok: bool,
    /// The failure; or a remark on a success.
    pub text: Option<String>,
}

impl ProbeView {
    pub(super) fn of(last: &LastProbe, now: Instant) -> Self {
        let ago_seconds = now.saturating_duration_since(last.at).as_secs_f64();
        Self { ago_seconds, ok: last.ok, text: last.text.clone() }
    }
}

impl Registry {
    /// All agents, those that have left and are still remembered too, by name and id.
    pub fn view(&self, now: Instant) -> Vec<AgentView> {
        let mut agents: Vec<AgentView> = {
            let book = self.book();
            book.records.values().map(|record| self.agent_view(record, now)).collect()
        };
        agents.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        agents
    }

    fn agent_view(&self, record: &Record, now: Instant) -> AgentView {
        let agent = &record.agent;
        let callback = self.settings().callback.as_ref().and_then(|callback| callback.fill(&agent.id, record.port));
        let core_id = record.core.answer.as_ref().map(|answer| answer.agent_id.clone());
        AgentView {
            cluster: self.name.to_string(),
            id: agent.id.to_string(),
            did: agent.did.to_string(),
            name: agent.name.to_string(),
            author: agent.author.to_string(),
            owner: agent.owner.to_string(),
            registered_for_seconds: now.saturating_duration_since(record.created).as_secs_f64(),
            callback,
            core: record.core.state,
            core_error: record.core.error.clone(),
            core_id: core_id.filter(|id| !id.is_empty() && !id.eq_ignore_ascii_case(&agent.id)),
            instances: record.entries.iter().map(|entry| self.instance_view(&agent.id, entry, now)).collect(),
        }
    }

    fn instance_view(&self, agent: &str, entry: &Entry, now: Instant) -> InstanceView {
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        InstanceView {
            id: entry.instance.id,
            cluster: self.name.to_string(),
            agent: agent.to_owned(),
            address: entry.instance.authority.to_string(),
            added_for_seconds: seconds(entry.instance.created),
            state: entry.health.state().as_str(),
            state_for_seconds: seconds(entry.health.since()),
            waits_for_sdk: entry.health.is_awaited(),
            last_probe: entry.health.last().map(|last| ProbeView::of(last, now)),
            registered_by: entry.registered_by.to_string(),
            registered_from: entry.registered_from,
            connected: entry.connection.is_open(),
            lease_left_seconds: entry.lease_until.saturating_duration_since(now).as_secs_f64(),
            weight: entry.instance.weight,
            in_flight: entry.instance.in_flight(),
        }
    }
}
