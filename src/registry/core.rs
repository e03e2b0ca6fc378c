//! Where each agent stands with the Bindu core, and what should be told to it next. The registrar waits on it; the client
//! in upstream/core.rs does what it wishes. Dials nobody.

use std::sync::Arc;

use portunus_proto::bindu::{RegisterAgentRequest, RegisterAgentResponse, SkillDefinition};

use super::Registry;
use super::book::{Book, Record};

/// An agent's newest configuration, as the core may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Rebuilt `config_json`.
    pub config: String,
    /// As the SDK sent them.
    pub skills: Vec<SkillDefinition>,
}

/// How the core sees an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreState {
    /// There is no core, or nothing to tell it.
    None,
    /// It is to be told, and has not answered yet.
    Pending,
    /// It registered the agent.
    Ok,
    /// It said no.
    Refused,
}

/// What the core should be told about an agent next.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Register it, with our callback.
    Register(Box<RegisterAgentRequest>),
    /// Its last instance has left.
    Unregister(String),
}

/// An agent's standing with the core.
#[derive(Debug)]
pub(super) struct Standing {
    pub state: CoreState,
    pub forward: Arc<Forward>,
    /// The refusal, or why there is no answer yet.
    pub error: Option<String>,
    /// A registration was sent and not taken back: the core may know the agent, whatever it answered.
    pub told: bool,
    pub answer: Option<RegisterAgentResponse>,
}

impl Standing {
    pub(super) fn new(forward: Arc<Forward>) -> Self {
        Self { state: CoreState::None, forward, error: None, told: false, answer: None }
    }

    /// The DID that the core gave it.
    pub(super) fn did(&self) -> Option<&str> {
        self.answer.as_ref().map(|answer| answer.did.as_str()).filter(|did| !did.is_empty())
    }
}

/// What the core said of an agent, for the SDK's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There is no core, or it has not answered: computed values will do.
    Unanswered,
    /// Its answer.
    Accepted(RegisterAgentResponse),
    /// Its refusal.
    Refused(String),
}

impl Registry {
    /// Waits for agents that [`Registry::take_wishes`] names; call that first.
    pub async fn wished(&self) {
        self.wishing.notified().await;
    }

    /// The ids of agents about which the core may have to be told something new.
    pub fn take_wishes(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut *self.wishes.lock())
    }

    /// What the core should be told about an agent now, if anything.
    pub fn core_wish(&self, id: &str) -> Option<Wish> {
        let settings = self.settings();
        settings.core.as_ref()?;
        let mut book = self.book.lock();
        let record = book.records.get_mut(id)?;
        let wanted = record.is_present() || record.plans > 0;
        if wanted && record.core.state == CoreState::Pending {
            let callback = settings.callback.as_ref().and_then(|callback| callback.fill(id, record.port));
            record.core.told = true;
            return Some(Wish::Register(Box::new(RegisterAgentRequest {
                config_json: record.core.forward.config.clone(),
                skills: record.core.forward.skills.clone(),
                grpc_callback_address: callback.unwrap_or_default(),
            })));
        }
        (!wanted && record.core.told).then(|| {
            let answered = record.core.answer.as_ref().map(|answer| answer.agent_id.clone());
            Wish::Unregister(answered.filter(|id| !id.is_empty()).unwrap_or_else(|| id.to_owned()))
        })
    }

    /// The core answered a registration.
    pub fn core_answered(&self, id: &str, answer: RegisterAgentResponse) {
        let mut book = self.book.lock();
        let Some(record) = book.records.get_mut(id) else { return };
        if !answer.success {
            let error = if answer.error.is_empty() { "the core gave no reason".to_owned() } else { answer.error };
            tracing::warn!(cluster = &*self.name, agent = id, error, "the core refuses the agent");
            record.core.state = CoreState::Refused;
            record.core.told = false;
            record.core.error = Some(error);
            self.metrics.forwarded("refused");
        } else {
            tracing::info!(cluster = &*self.name, agent = id, "the core has registered the agent");
            record.core.state = CoreState::Ok;
            record.core.told = true;
            record.core.error = None;
            let other = answer.agent_id.to_ascii_lowercase();
            record.core.answer = Some(answer);
            self.metrics.forwarded("ok");
            if !other.is_empty() && other != id {
                tracing::warn!(
                    cluster = &*self.name,
                    agent = id,
                    core_id = other,
                    "the core knows the agent by another id, which is taken for it too: its Bindu version computes ids differently"
                );
                if !book.records.contains_key(other.as_str()) {
                    book.aliases.insert(other.into(), id.into());
                }
            }
            self.reindex(&book);
        }
        drop(book);
        self.settled.notify_waiters();
    }

    /// The core could not be asked, or did not answer: `result` is `unreachable` or `timeout`.
    pub fn core_silent(&self, id: &str, result: &'static str, why: &str) {
        self.metrics.forwarded(result);
        let mut book = self.book.lock();
        let Some(record) = book.records.get_mut(id) else { return };
        if record.core.error.as_deref() != Some(why) {
            tracing::warn!(cluster = &*self.name, agent = id, error = why, "no answer from the core; asking again");
        }
        record.core.error = Some(why.to_owned());
    }

    /// The core was told that the agent has left, or was asked to often enough.
    pub fn core_left(&self, id: &str) {
        let mut book = self.book.lock();
        let Some(record) = book.records.get_mut(id) else { return };
        let wanted = record.is_present() || record.plans > 0;
        record.core.told = false;
        record.core.answer = None;
        record.core.error = None;
        // Whoever registered meanwhile was told that the core knows it: make that true.
        record.core.state = if wanted { CoreState::Pending } else { CoreState::None };
        let never_had_instances = !wanted && record.vacant_since.is_none();
        book.aliases.retain(|_, known| &**known != id);
        if never_had_instances {
            book.records.remove(id);
        }
        self.reindex(&book);
    }

    /// What the core says of an agent now; `None` while it is still to answer.
    pub(super) fn core_verdict(&self, id: &str) -> Option<Verdict> {
        let book = self.book.lock();
        let Some(record) = book.records.get(id) else { return Some(Verdict::Unanswered) };
        let standing = &record.core;
        match (standing.state, &standing.answer, &standing.error) {
            (CoreState::Pending, _, _) => None,
            (CoreState::Ok, Some(answer), _) => Some(Verdict::Accepted(answer.clone())),
            (CoreState::Refused, _, error) => Some(Verdict::Refused(error.clone().unwrap_or_default())),
            (CoreState::Ok | CoreState::None, _, _) => Some(Verdict::Unanswered),
        }
    }

    /// Has the core told of an agent as soon as there is something to tell.
    pub(super) fn wish(&self, id: &Arc<str>) {
        self.wishes.lock().push(Arc::clone(id));
        self.wishing.notify_one();
    }

    /// A new core (at a reload) knows nobody yet.
    pub(super) fn core_changed(&self, book: &mut Book, has_core: bool) {
        book.aliases.clear();
        for record in book.records.values_mut() {
            forget_core(record);
            if has_core && record.is_present() {
                record.core.state = CoreState::Pending;
                self.wish(&record.agent.id);
            }
        }
    }
}

fn forget_core(record: &mut Record) {
    record.core.state = CoreState::None;
    record.core.told = false;
    record.core.answer = None;
    record.core.error = None;
}
