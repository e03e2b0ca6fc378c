//! Where each agent stands with the Bindu core, and what should be told to it next. The registrar waits on it; the client
//! in upstream/core.rs does what it wishes. Dials nobody.

use std::sync::Arc;

use portunus_proto::bindu::{RegisterAgentRequest, RegisterAgentResponse, SkillDefinition};

use super::Registry;
use super::book::{Book, Record};
use super::settings::Settings;

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
    /// It registered the agent, and calls it through us.
    Ok,
    /// It knew the agent before we told it: what it calls is what somebody else told it, until it restarts.
    #[serde(rename = "foreign callback")]
    Foreign,
    /// It said no.
    Refused,
}

/// What the core should be told about an agent next.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Register it, with our callback; unless it is known there under this id, and by us.
    Register { request: Box<RegisterAgentRequest>, core_id: String, by_us: bool },
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
    /// The callback under which it registered the agent for us, and which it calls until it restarts.
    pub callback: Option<String>,
    /// The one that the core before it was told, where a reload named another core: it may go on calling that.
    pub formerly: Option<String>,
    pub answer: Option<RegisterAgentResponse>,
}

impl Standing {
    pub(super) fn new(forward: Arc<Forward>) -> Self {
        Self { state: CoreState::None, forward, error: None, told: false, callback: None, formerly: None, answer: None }
    }

    /// Whether the core has answered, and not no.
    pub(super) fn is_registered(&self) -> bool {
        matches!(self.state, CoreState::Ok | CoreState::Foreign)
    }

    /// The id by which the core knows the agent with this id.
    pub(super) fn id<'a>(&'a self, own: &'a str) -> &'a str {
        self.answer.as_ref().map(|answer| answer.agent_id.as_str()).filter(|id| !id.is_empty()).unwrap_or(own)
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
        let mut book = self.book();
        let record = book.records.get_mut(id)?;
        let wanted = record.is_present() || record.plans > 0;
        if wanted && record.core.state == CoreState::Pending {
            let callback = settings.callback.as_ref().and_then(|callback| callback.fill(id, record.port));
            let told_before = std::mem::replace(&mut record.core.told, true);
            let wish = Wish::Register {
                core_id: record.core.id(id).to_owned(),
                by_us: record.core.answer.is_some() && record.core.callback == callback,
                request: Box::new(RegisterAgentRequest {
                    config_json: record.core.forward.config.clone(),
                    skills: record.core.forward.skills.clone(),
                    grpc_callback_address: callback.unwrap_or_default(),
                }),
            };
            let id = Arc::clone(&record.agent.id);
            if !told_before {
                book.touch(&id);
            }
            return Some(wish);
        }
        (!wanted && record.core.told).then(|| Wish::Unregister(record.core.id(id).to_owned()))
    }

    /// The core still knows the agent, with our callback: there was nothing to tell.
    pub fn core_confirmed(&self, id: &str) {
        let mut book = self.book();
        let Some(record) = book.records.get_mut(id) else { return };
        tracing::debug!(cluster = &*self.name, agent = id, "the core still knows the agent");
        record.core.state = CoreState::Ok;
        record.core.error = None;
        drop(book);
        self.settled.notify_waiters();
    }

    /// An agent that the core should know, and its id there: to be asked about now and then, each in its turn.
    pub fn core_should_know(&self) -> Option<(Arc<str>, String)> {
        let mut book = self.book();
        let Book { records, asked, .. } = &mut *book;
        let known = |(_, record): &(&Arc<str>, &Record)| record.core.is_registered() && record.is_present();
        let after = std::ops::Bound::Excluded(asked.clone());
        let next = records.range((after, std::ops::Bound::Unbounded)).find(known);
        let (id, record) = next.or_else(|| records.iter().find(known))?;
        let found = (Arc::clone(id), record.core.id(id).to_owned());
        *asked = Arc::clone(id);
        Some(found)
    }

    /// The core does not know an agent that it should: it was restarted, and has most likely forgotten all of them. Each is asked
    /// about, and told again where it is so.
    pub fn core_forgot(&self, id: &str) {
        tracing::warn!(cluster = &*self.name, agent = id, "the core has forgotten the agent: all are told to it again");
        let mut book = self.book();
        for record in book.records.values_mut().filter(|record| record.is_present()) {
            if record.core.is_registered() || record.core.state == CoreState::Refused {
                record.core.state = CoreState::Pending;
                self.wish(&record.agent.id);
            }
        }
    }

    /// The core answered a registration. `before`: it knew the agent already, and not from us.
    pub fn core_answered(&self, id: &str, answer: RegisterAgentResponse, before: bool) {
        let callback = self.settings().callback.clone();
        let mut book = self.book();
        let Some(record) = book.records.get_mut(id) else { return };
        if !answer.success {
            let error = if answer.error.is_empty() { "the core gave no reason".to_owned() } else { answer.error };
            tracing::warn!(cluster = &*self.name, agent = id, error, "the core refuses the agent");
            record.core.state = CoreState::Refused;
            record.core.told = false;
            record.core.error = Some(error);
            self.metrics.forwarded("refused");
        } else {
            if before {
                tracing::warn!(cluster = &*self.name, agent = id, error = FOREIGN, "the core calls somebody else");
            } else {
                tracing::info!(cluster = &*self.name, agent = id, "the core has registered the agent");
            }
            record.core.state = if before { CoreState::Foreign } else { CoreState::Ok };
            record.core.told = true;
            record.core.error = before.then(|| FOREIGN.to_owned());
            if !before {
                record.core.callback = callback.and_then(|callback| callback.fill(id, record.port));
            }
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
        book.touch(&Arc::from(id));
        drop(book);
        self.settled.notify_waiters();
    }

    /// The core could not be asked, or did not answer: `result` is `unreachable` or `timeout`.
    pub fn core_silent(&self, id: &str, result: &'static str, why: &str) {
        self.metrics.forwarded(result);
        let mut book = self.book();
        let Some(record) = book.records.get_mut(id) else { return };
        if record.core.error.as_deref() != Some(why) {
            tracing::warn!(cluster = &*self.name, agent = id, error = why, "no answer from the core; asking again");
        }
        record.core.error = Some(why.to_owned());
    }

    /// The core was told that the agent has left, or was asked to often enough.
    pub fn core_left(&self, id: &str) {
        let mut book = self.book();
        let Some(record) = book.records.get_mut(id) else { return };
        let wanted = record.is_present() || record.plans > 0;
        record.core.told = false;
        record.core.answer = None;
        record.core.callback = None;
        record.core.error = None;
        // Whoever registered meanwhile was told that the core knows it: make that true.
        record.core.state = if wanted { CoreState::Pending } else { CoreState::None };
        let id = Arc::clone(&record.agent.id);
        book.aliases.retain(|_, known| *known != id);
        book.forget_if_over(&id);
        book.touch(&id);
        self.reindex(&book);
    }

    /// What the core says of an agent now; `None` while it is still to answer.
    pub(super) fn core_verdict(&self, id: &str) -> Option<Verdict> {
        let book = self.book();
        let Some(record) = book.records.get(id) else { return Some(Verdict::Unanswered) };
        let standing = &record.core;
        match (standing.state, &standing.answer, &standing.error) {
            (CoreState::Pending, _, _) => None,
            (CoreState::Ok | CoreState::Foreign, Some(answer), _) => Some(Verdict::Accepted(answer.clone())),
            (CoreState::Refused, _, error) => Some(Verdict::Refused(error.clone().unwrap_or_default())),
            (CoreState::Ok | CoreState::Foreign | CoreState::None, _, _) => Some(Verdict::Unanswered),
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
        for id in book.records.keys().cloned().collect::<Vec<_>>() {
            book.touch(&id);
        }
        for record in book.records.values_mut() {
            forget_core(record);
            if has_core && record.is_present() {
                record.core.state = CoreState::Pending;
                self.wish(&record.agent.id);
            }
        }
    }
}

/// After a reload that changed the callback: the core goes on with the one that it was told.
pub(super) fn callback_changed(book: &mut Book, settings: &Settings) {
    for record in book.records.values_mut().filter(|record| record.core.is_registered()) {
        let now = settings.callback.as_ref().and_then(|callback| callback.fill(&record.agent.id, record.port));
        let Some(told) = &record.core.callback else { continue };
        if Some(told) == now.as_ref() {
            (record.core.state, record.core.error) = (CoreState::Ok, None);
        } else {
            record.core.error = Some(format!(
                "the core calls {told}, which it was told before the configuration changed, until it restarts; calls there are \
                 taken: restart it before you give that address up"
            ));
            record.core.state = CoreState::Foreign;
        }
    }
}

/// The core does not change the callback of an agent that it knows.
pub(super) const FOREIGN: &str = "the core knew the agent before it was registered through this proxy, and calls the address \
    that it was told then until it restarts: restart the core (where `state: memory` is set, the proxy before this one may have \
    told it, with the same address: then all is well)";

fn forget_core(record: &mut Record) {
    let Standing { forward, callback, formerly, .. } = &mut record.core;
    let formerly = callback.take().or(formerly.take());
    record.core = Standing { formerly, ..Standing::new(Arc::clone(forward)) };
}
