//! Which agent a call means (DESIGN.md §2, "Choosing the agent"). The index is immutable and published whole, so that a
//! call takes no lock and, on the common path, allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::clip;
use super::agent::Agent;
use super::book::{Book, Record};
use super::settings::{Callback, Settings};

/// What a call says about the agent it means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The port that it came in on; only where the listener's address is a range.
    pub local_port: Option<u16>,
    /// What the route's `agent` expression gave.
    pub route_agent: Option<&'a str>,
    /// Metadata `x-portunus-agent`.
    pub header_agent: Option<&'a str>,
    /// The host of `:authority`: lower-case, without port and trailing dot.
    pub authority_host: Option<&'a str>,
}

/// Why no agent was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ChooseError {
    /// Which of the four refusals it is.
    pub kind: ChooseErrorKind,
    /// For the caller: says what to do, names no address.
    pub message: String,
}

/// The refusals of choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChooseErrorKind {
    /// Two sources name different agents: INVALID_ARGUMENT.
    Conflict,
    /// Nothing names an agent, and there are several: INVALID_ARGUMENT.
    Unnamed,
    /// A name that several agents share: INVALID_ARGUMENT.
    Ambiguous,
    /// Nobody registered it: NOT_FOUND.
    Unknown,
}

impl ChooseErrorKind {
    /// The reason word of DESIGN.md §4.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Conflict => "agent_conflict",
            Self::Unnamed => "agent_unnamed",
            Self::Ambiguous => "agent_ambiguous",
            Self::Unknown => "agent_unknown",
        }
    }
}

/// Everything that choosing looks at.
#[derive(Debug)]
pub(super) struct Index {
    settings: Arc<Settings>,
    by_id: HashMap<Arc<str>, Arc<Agent>>,
    by_did: HashMap<Arc<str>, Arc<Agent>>,
    by_name: HashMap<Arc<str>, Named>,
    /// Authorities arrive in lower case.
    by_folded_name: HashMap<Arc<str>, Named>,
    by_port: HashMap<u16, Arc<Agent>>,
    told: Told,
    only: Option<Arc<Agent>>,
    count: usize,
}

/// Callbacks that a core was told before the configuration changed: it goes on calling them until it restarts.
#[derive(Debug, Default)]
struct Told {
    by_host: HashMap<Arc<str>, Arc<Agent>>,
    /// None where several agents were told the same: then it names nobody.
    by_port: HashMap<u16, Option<Arc<Agent>>>,
}

#[derive(Debug)]
enum Named {
    One(Arc<Agent>),
    Several(usize),
}

impl Index {
    pub(super) fn build(book: &Book, settings: Arc<Settings>) -> Self {
        let present: Vec<_> = book.records.values().filter(|record| record.is_present()).collect();
        let mut index = Self {
            settings,
            by_id: HashMap::with_capacity(present.len()),
            by_did: HashMap::with_capacity(present.len()),
            by_name: HashMap::new(),
            by_folded_name: HashMap::new(),
            by_port: HashMap::new(),
            told: Told::default(),
            only: None,
            count: present.len(),
        };
        // The core's ids first: an agent's own id wins over another's alias.
        for (alias, id) in &book.aliases {
            if let Some(record) = book.records.get(id).filter(|record| record.is_present()) {
                index.by_id.insert(Arc::clone(alias), Arc::clone(&record.agent));
            }
        }
        for record in &present {
            if let Some(did) = record.core.did() {
                index.by_did.insert(did.into(), Arc::clone(&record.agent));
            }
        }
        for record in &present {
            let agent = &record.agent;
            index.by_id.insert(Arc::clone(&agent.id), Arc::clone(agent));
            index.by_did.insert(Arc::clone(&agent.did), Arc::clone(agent));
            note_name(&mut index.by_name, Arc::clone(&agent.name), agent);
            note_name(&mut index.by_folded_name, agent.name.to_lowercase().into(), agent);
        }
        // The port outlives the instances: the core goes on calling it.
        for record in book.records.values() {
            if let Some(port) = record.port {
                index.by_port.insert(port, Arc::clone(&record.agent));
            }
            index.note_told(record);
        }
        if let [record] = present.as_slice() {
            index.only = Some(Arc::clone(&record.agent));
        }
        index
    }

    pub(super) fn choose(&self, asked: &Asked<'_>) -> Result<Arc<Agent>, ChooseError> {
        let sources = [
            asked.local_port.and_then(|port| self.at_port(port)),
            asked.route_agent.filter(|text| !text.is_empty()).map(|text| self.look_up(text)),
            asked.header_agent.filter(|text| !text.is_empty()).map(|text| self.look_up(text)),
            asked.authority_host.and_then(|host| self.by_authority(host)),
        ];
        let mut chosen: Option<Result<&Arc<Agent>, ChooseError>> = None;
        for named in sources.into_iter().flatten() {
            chosen = Some(match (chosen, named) {
                (None, named) => named,
                (Some(Ok(one)), Ok(other)) if Arc::ptr_eq(one, other) => Ok(one),
                // Two sources that both name nobody we know: the first one's refusal says it.
                (Some(Err(error)), Err(_)) => Err(error),
                _ => return Err(conflict()),
            });
        }
        match chosen {
            Some(named) => named.map(Arc::clone),
            None => self.unnamed(),
        }
    }

    /// All agents that are there; one with aliases more than once.
    pub(super) fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.by_id.values()
    }

    fn note_told(&mut self, record: &Record) {
        let agent = &record.agent;
        let now = self.settings.callback.as_ref().and_then(|callback| callback.fill(&agent.id, record.port));
        for told in [&record.core.callback, &record.core.formerly].into_iter().flatten() {
            let Some((host, port)) = told.rsplit_once(':').filter(|_| Some(told) != now.as_ref()) else { continue };
            // One that holds the id is a name of the agent's own; of any other, the port is.
            if host.contains(&*agent.id) {
                self.told.by_host.insert(host.into(), Arc::clone(agent));
            } else if let Ok(port) = port.parse() {
                let named = self.told.by_port.entry(port).or_insert_with(|| Some(Arc::clone(agent)));
                if named.as_ref().is_some_and(|one| !Arc::ptr_eq(one, agent)) {
                    *named = None;
                }
            }
        }
    }

    fn at_port(&self, port: u16) -> Option<Result<&Arc<Agent>, ChooseError>> {
        let is_in_range =
            matches!(&self.settings.callback, Some(Callback::Ports { ports, .. }) if ports.contains(&port));
        if !is_in_range {
            return self.told.by_port.get(&port)?.as_ref().map(Ok);
        }
        Some(self.by_port.get(&port).ok_or_else(|| {
            let message =
                format!("no agent is registered for port {port}: register it, or call the port that the core was told");
            ChooseError { kind: ChooseErrorKind::Unknown, message }
        }))
    }

    fn by_authority(&self, host: &str) -> Option<Result<&Arc<Agent>, ChooseError>> {
        let callback = match &self.settings.callback {
            Some(Callback::Pattern { host, .. }) => Some(host),
            _ => None,
        };
        let mut patterns = callback.into_iter().chain(&self.settings.authorities);
        let Some(label) = patterns.find_map(|pattern| pattern.label(host)) else {
            return self.told.by_host.get(host).map(Ok);
        };
        Some(match self.by_id.get(label) {
            Some(agent) => Ok(agent),
            None => one_named(self.by_folded_name.get(label), label),
        })
    }

    fn look_up(&self, text: &str) -> Result<&Arc<Agent>, ChooseError> {
        if let Some(agent) = self.by_id.get(text).or_else(|| self.by_did.get(text)) {
            return Ok(agent);
        }
        match self.by_name.get(text) {
            None => self.by_id.get(text.to_ascii_lowercase().as_str()).ok_or_else(|| unknown(text)),
            named => one_named(named, text),
        }
    }

    fn unnamed(&self) -> Result<Arc<Agent>, ChooseError> {
        if let Some(default) = &self.settings.default_agent {
            return self.look_up(default).map(Arc::clone);
        }
        if let Some(only) = &self.only {
            return Ok(Arc::clone(only));
        }
        let kind = ChooseErrorKind::Unnamed;
        let message = if self.count == 0 {
            "no agent is registered yet: start one, and let it register".to_owned()
        } else {
            format!(
                "{} agents are registered: name one by its id, DID or name in the metadata x-portunus-agent",
                self.count
            )
        };
        Err(ChooseError { kind, message })
    }
}

fn note_name(map: &mut HashMap<Arc<str>, Named>, name: Arc<str>, agent: &Arc<Agent>) {
    map.entry(name)
        .and_modify(|named| {
            let before = if let Named::Several(count) = named { *count } else { 1 };
            *named = Named::Several(before + 1);
        })
        .or_insert_with(|| Named::One(Arc::clone(agent)));
}

fn one_named<'i>(named: Option<&'i Named>, text: &str) -> Result<&'i Arc<Agent>, ChooseError> {
    match named {
        Some(Named::One(agent)) => Ok(agent),
        Some(Named::Several(count)) => Err(ChooseError {
            kind: ChooseErrorKind::Ambiguous,
            message: format!("{count} agents are named `{}`: name the one you mean by its id or DID", clip(text)),
        }),
        None => Err(unknown(text)),
    }
}

fn unknown(text: &str) -> ChooseError {
    ChooseError {
        kind: ChooseErrorKind::Unknown,
        message: format!(
            "no agent `{}` is registered: check the id, DID or name, or let the agent register",
            clip(text)
        ),
    }
}

fn conflict() -> ChooseError {
    ChooseError {
        kind: ChooseErrorKind::Conflict,
        message: "the port, route, x-portunus-agent and :authority of this call name different agents: leave out all but one, \
                  or let them agree"
            .to_owned(),
    }
}
