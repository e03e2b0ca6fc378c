//! What is true in the simulation, and what must never be: the ground on which everybody else is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use portunus::observe::{CallKind, Metrics};
use tokio::sync::watch;

/// An instance that nobody could reach may be thought lost for so long after it can be reached again: the longest pause between two
/// checks of a lost one, and the check.
const FOUND_AGAIN: Duration = Duration::from_secs(36);

/// What the caller calls.
const CALLED: (&str, &str) = ("bindu.grpc.AgentHandler", "HandleMessages");

/// What is known of an instance.
#[derive(Clone, Debug, Default)]
struct Known {
    agent: String,
    runs: bool,
    reachable: bool,
    /// Since when it can be reached, without a break.
    since: Duration,
    state: Option<&'static str>,
}

/// Calls that were made for an agent: when they ended, and whether well.
pub(crate) type Calls = Vec<(Duration, Result<(), String>)>;

type Version = tonic::metadata::AsciiMetadataValue;

#[derive(Default)]
pub(crate) struct World {
    facts: Mutex<Facts>,
    /// How often the proxy was told to drain.
    pub(crate) drains: watch::Sender<u64>,
}

#[derive(Default)]
struct Facts {
    instances: BTreeMap<String, Known>,
    calls: BTreeMap<String, Calls>,
    violations: Vec<String>,
    beats_refused: usize,
    core_registrations: usize,
    versions: BTreeSet<u64>,
    silent: bool,
    hushed: bool,
    patience: Option<Duration>,
    /// What the proxy that runs counts.
    counted: Option<Arc<Metrics>>,
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl World {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock()
    }

    fn violated(&self, what: String) {
        self.facts().violations.push(format!("at {:?}: {what}", now()));
    }

    /// An instance has begun to serve.
    pub(crate) fn began(&self, address: &str, agent: &str) {
        let mut facts = self.facts();
        let known = facts.instances.entry(address.to_owned()).or_default();
        let reachable = known.reachable || known.agent.is_empty();
        *known = Known { agent: agent.to_owned(), runs: true, reachable, since: now(), ..known.clone() };
    }

    /// An instance was killed.
    pub(crate) fn died(&self, address: &str) {
        if let Some(known) = self.facts().instances.get_mut(address) {
            known.runs = false;
        }
    }

    /// The network between the proxy and an instance is cut, or whole again.
    pub(crate) fn reach(&self, address: &str, reachable: bool, at: Duration) {
        if let Some(known) = self.facts().instances.get_mut(address) {
            known.reachable = reachable;
            known.since = at;
        }
    }

    /// What the registry thinks of an instance.
    pub(crate) fn judged(&self, address: &str, state: &'static str) {
        let mut facts = self.facts();
        let Some(known) = facts.instances.get_mut(address) else { return };
        let answers = known.runs && known.reachable;
        let fell = state == "lost" && known.state != Some("lost");
        known.state = Some(state);
        if answers && state == "lost" {
            let for_how_long = now().saturating_sub(known.since);
            if for_how_long > FOUND_AGAIN || (fell && for_how_long > Duration::from_secs(15)) {
                drop(facts);
                self.violated(format!("{address} is lost, and has answered for {for_how_long:?}"));
            }
        }
    }

    /// The core was told that an agent left.
    pub(crate) fn unregistered(&self, agent: &str) {
        let living: Vec<_> = {
            let facts = self.facts();
            let lives = |known: &&Known| known.agent == agent && known.runs;
            facts.instances.values().filter(lives).cloned().collect()
        };
        if !living.is_empty() {
            self.violated(format!("the core was told that {agent} left, and these live: {living:?}"));
        }
    }

    /// Instances that the registry thinks healthy.
    pub(crate) fn healthy(&self) -> usize {
        self.facts().instances.values().filter(|known| known.state == Some("healthy")).count()
    }

    pub(crate) fn registered_with_core(&self) {
        self.facts().core_registrations += 1;
    }

    pub(crate) fn core_registrations(&self) -> usize {
        self.facts().core_registrations
    }

    pub(crate) fn silence_sdks(&self) {
        self.facts().silent = true;
    }

    pub(crate) fn sdks_are_silent(&self) -> bool {
        self.facts().silent
    }

    /// The caller makes no more calls.
    pub(crate) fn hush_caller(&self) {
        self.facts().hushed = true;
    }

    pub(crate) fn caller_is_hushed(&self) -> bool {
        self.facts().hushed
    }

    /// How long the caller waits for an answer.
    pub(crate) fn wait_for_answers(&self, patience: Duration) {
        self.facts().patience = Some(patience);
    }

    pub(crate) fn patience(&self) -> Duration {
        self.facts().patience.unwrap_or(Duration::from_secs(2))
    }

    /// A proxy has begun to run.
    pub(crate) fn counts(&self, metrics: &Arc<Metrics>) {
        metrics.know(CALLED.0, CALLED.1, CallKind::Unary);
        self.facts().counted = Some(Arc::clone(metrics));
    }

    /// How many calls for agents have come to the proxy that runs.
    pub(crate) fn arrived(&self) -> u64 {
        self.facts().counted.as_ref().map_or(0, |metrics| metrics.method(CALLED.0, CALLED.1).started_total())
    }

    pub(crate) fn beat_refused(&self) {
        self.facts().beats_refused += 1;
    }

    pub(crate) fn beats_refused(&self) -> usize {
        self.facts().beats_refused
    }

    /// By which version of the configuration a request came to an instance, and its answer from the proxy.
    pub(crate) fn versions(&self, of_request: Option<Version>, of_answer: Option<Version>) {
        if of_request.is_none() || of_request != of_answer {
            self.violated(format!("a call went by two versions: {of_request:?}, then {of_answer:?}"));
            return;
        }
        self.facts().versions.extend(of_answer.iter().filter_map(|version| version.to_str().ok()?.parse::<u64>().ok()));
    }

    /// How many versions calls have gone by.
    pub(crate) fn versions_seen(&self) -> usize {
        self.facts().versions.len()
    }

    /// A call for an agent ended: who answered, or why nobody did.
    pub(crate) fn called(&self, agent: &str, answer: Result<String, String>) {
        let outcome = match answer {
            Ok(by) if by == agent => Ok(()),
            Ok(by) => {
                self.violated(format!("a call for {agent} was answered by {by}"));
                return;
            }
            Err(why) => Err(why),
        };
        self.facts().calls.entry(agent.to_owned()).or_default().push((now(), outcome));
    }

    /// Calls for an agent that ended from one moment on until another.
    pub(crate) fn calls(&self, agent: &str, from: Duration, until: Duration) -> Calls {
        let facts = self.facts();
        let all = facts.calls.get(agent).into_iter().flatten();
        all.filter(|(at, _)| (from..until).contains(at)).cloned().collect()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.facts().violations.clone()
    }
}
