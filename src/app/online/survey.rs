//! What the instances of a cluster serve, and whether what reads their messages fits: asked, judged and compared by the keeper of
//! schemas that a running proxy has, which is let go when everybody has been asked.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::findings::{described, some_of};
use super::{Door, Findings, Visit};
use crate::app::clusters::assembled;
use crate::app::schemas::settings;
use crate::config::policies::{ClusterPolicies, Misfit};
use crate::config::{self, Path, Reflection};
use crate::path;
use crate::registry::{EndpointSet, Instance, State};
use crate::schema::{Definition, Definitions};
use crate::upstream::schemas::{Demands, InstanceReport, Kind, Published, Schemas, Settings, keep};
use crate::upstream::{Group, Lister};

/// How often it is looked whether everybody has answered.
const LOOK: Duration = Duration::from_millis(10);
/// Nobody is asked twice.
const NEVER: Duration = Duration::from_secs(3600);
/// What is wrong with a schema is told of so much.
const PROBLEMS: usize = 20;

/// Judges as the policies do, and remembers where in the file it is that something does not fit.
struct Recording {
    policies: Arc<ClusterPolicies>,
    /// By the words of the judgement.
    found: Mutex<FxHashMap<String, Vec<Misfit>>>,
}

impl Demands for Arc<Recording> {
    fn concern(&self, service: &str, method: &str) -> bool {
        self.policies.concern(service, method)
    }

    fn judge(
        &self,
        service: &str,
        method: &str,
        definition: &Definition,
        accepted: Option<&Definition>,
    ) -> Result<(), String> {
        let misfits: Vec<_> = self.policies.misfits(service, method, definition, accepted).collect();
        if misfits.is_empty() {
            return Ok(());
        }
        let words: Vec<_> = misfits.iter().map(|misfit| format!("{}: {}", misfit.place, misfit.why)).collect();
        let words = words.join("; ");
        self.found.lock().insert(words.clone(), misfits);
        Err(words)
    }
}

/// Where the file names each instance that answers, and its address.
type Places = FxHashMap<u64, (Path, String)>;

/// A cluster that was asked.
struct Survey<'a> {
    visit: &'a Visit<'a>,
    at: Path,
    policies: Option<Arc<ClusterPolicies>>,
    pinned: Option<Arc<Definitions>>,
    /// Whether a running proxy asks instances too.
    is_live: bool,
    /// Where the file names each instance.
    places: Places,
    known: Arc<Published>,
}

impl Visit<'_> {
    /// Asks the instances of a cluster that answer what they serve.
    pub(super) async fn survey(
        &self,
        (name, cluster): (&str, &config::Cluster),
        answering: Vec<Door>,
        findings: &mut Findings,
    ) {
        let mut settings = settings(&self.loaded.config, self.snapshot, name);
        let (pinned, bundled) = (settings.pinned.clone(), settings.bundled.clone());
        let is_live = settings.refresh.is_some();
        // With files nobody would be asked again and again, but whoever checks wants to know whether they are still right.
        let is_off = cluster.schema.reflection == Some(Reflection::Switch(false));
        settings.refresh = (!is_off).then_some(NEVER);
        let is_registry = cluster.registry.is_some();
        let policies = self.snapshot.policies.get(name).cloned();
        let at = path!["clusters", name];
        if let Some(pinned) = &pinned {
            findings.reached(format!("{at}: files: schema {}", described(pinned.schema())));
        }
        let is_alone = answering.is_empty();
        let recording = policies.as_ref().map(|policies| {
            Arc::new(Recording { policies: Arc::clone(policies), found: Mutex::new(FxHashMap::default()) })
        });
        let (known, places) = if is_off {
            answering.iter().for_each(|door| {
                findings.reached(format!("{at}: {} answers; not asked (`reflection: false`)", door.target));
            });
            Default::default()
        } else {
            self.ask((name, cluster), settings, answering, recording.as_ref()).await
        };
        let survey = Survey { visit: self, at, policies, pinned, is_live, places, known };
        survey.instances(findings);
        survey.misfits(recording.as_ref(), findings);
        survey.drifts(findings);
        if is_off || is_registry {
            survey.unasked(bundled, is_registry, findings);
        } else {
            survey.unmet(is_alone, findings);
        }
    }

    /// Has the keeper ask everybody once.
    async fn ask(
        &self,
        (name, cluster): (&str, &config::Cluster),
        settings: Settings,
        answering: Vec<Door>,
        recording: Option<&Arc<Recording>>,
    ) -> (Arc<Published>, Places) {
        let name: Arc<str> = name.into();
        let metrics = self.metrics.cluster(&name);
        let mut places = Places::default();
        let instances = answering.into_iter().map(|Door { at, target }| {
            let address = target.to_string();
            let counters = metrics.instance(&address);
            let instance = Instance::new(Arc::clone(&name), target, 1, State::Healthy, counters, Instant::now());
            places.insert(instance.id, (at, address));
            instance
        });
        let group = Group::listed(Lister::File, EndpointSet::new(instances.collect()));
        let cluster = assembled(
            (&name, cluster),
            Schemas::new(settings, Arc::clone(&metrics)),
            self.security(&name),
            group,
            metrics,
        );
        if let Some(recording) = recording {
            cluster.schemas.demand(Some(Box::new(Arc::clone(recording))));
        }
        // Goes with this future.
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&cluster), Arc::clone(&self.network)));
        let is_known = |report: &InstanceReport| report.kind.is_some() || report.error.is_some();
        let known = || {
            let reports = cluster.schemas.load();
            reports.reports().len() == places.len() && reports.reports().iter().all(is_known)
        };
        while !known() && Instant::now() < self.until {
            sleep(LOOK).await;
        }
        let known = Arc::clone(&cluster.schemas.load());
        (known, places)
    }
}

impl Survey<'_> {
    /// Each instance, with what it serves or why that is not known.
    fn instances(&self, findings: &mut Findings) {
        let at = &self.at;
        for report in self.known.reports() {
            let Some(kind) = &report.kind else { continue };
            let (address, source) = (&report.address, kind.source.as_str());
            findings.reached(format!("{at}: {address}: schema {} ({source})", described(kind.definitions.schema())));
        }
        // Also those of whom time did not allow a report.
        let mut silent: Vec<_> = self.places.iter().filter(|(id, _)| !self.is_known(**id)).collect();
        silent.sort_by_key(|(_, place)| *place);
        for (id, (place, address)) in silent {
            let report = self.known.reports().iter().find(|report| report.instance == *id);
            self.unknown((place, address), report, findings);
        }
        for kind in self.kinds() {
            for problem in kind.definitions.schema().problems().iter().take(PROBLEMS) {
                findings.warn(format!("{at}: the schema of {}: {problem}", self.who(kind.digest())));
            }
        }
    }

    fn is_known(&self, instance: u64) -> bool {
        self.known.reports().iter().any(|report| report.instance == instance && report.kind.is_some())
    }

    /// An instance that gives no schema: how bad that is depends on who relies on it.
    fn unknown(&self, (place, address): (&Path, &str), report: Option<&InstanceReport>, findings: &mut Findings) {
        let at = &self.at;
        let late = || format!("it did not answer within {:?}", self.visit.within).into();
        let why = report.and_then(|report| report.error.clone()).unwrap_or_else(late);
        let unoffered = report.is_some_and(|report| report.unoffered);
        match (&self.policies, &self.pinned) {
            (Some(policies), None) => {
                let first = policies.places().next().map(ToString::to_string).unwrap_or_default();
                let message = format!("{address} gives no schema, and {first} reads its messages: {why}");
                findings.wrong(self.visit.loaded, place, message);
            }
            _ if unoffered => {
                findings.reached(format!("{at}: {address} answers; it has no server reflection"));
                if self.pinned.is_some() && self.is_live {
                    findings.warn(format!("{at}: {address} cannot be compared with the files: {why}"));
                }
            }
            _ => {
                findings.reached(format!("{at}: {address} answers; its schema is not known"));
                findings.warn(format!("{at}: {address} gives no schema: {why}"));
            }
        }
    }

    /// Where the file has something that does not fit what an instance serves.
    fn misfits(&self, recording: Option<&Arc<Recording>>, findings: &mut Findings) {
        let (Some(policies), Some(recording)) = (&self.policies, recording) else { return };
        let mut tell = |who: &str, method: &str, misfit: &Misfit| {
            let message = format!("at {who}, {method}: {}", misfit.why);
            findings.wrong(self.visit.loaded, &misfit.place, message);
        };
        for refused in self.known.refused() {
            for misfit in recording.found.lock().get(&refused.why).into_iter().flatten() {
                tell(&self.who(&refused.digest), &refused.method, misfit);
            }
        }
        // Files decide, and were judged when the configuration was built: here it is whether instances mean the same by them.
        let Some(pinned) = &self.pinned else { return };
        for kind in self.kinds() {
            let who = self.who(kind.digest());
            for (service, method, definition) in kind.definitions.all() {
                let accepted = pinned.get(service, method);
                for misfit in policies.misfits(service, method, definition, accepted) {
                    tell(&who, &format!("{service}/{method}"), &misfit);
                }
            }
        }
    }

    fn drifts(&self, findings: &mut Findings) {
        for drift in self.known.drifts() {
            let others = if self.pinned.is_some() { "the files".to_owned() } else { self.who(&drift.from) };
            findings.drift(&self.at, (&self.who(&drift.to), &others), drift);
        }
    }

    /// Nobody was asked: what reads messages goes by files, by what comes with Portunus, or by nothing.
    fn unasked(&self, bundled: Option<Arc<Definitions>>, is_registry: bool, findings: &mut Findings) {
        let Some(policies) = &self.policies else { return };
        if let Some(pinned) = &self.pinned {
            return self.lacking(std::slice::from_ref(pinned), findings);
        }
        let loaded = self.visit.loaded;
        let Some(bundled) = bundled else {
            for place in policies.places() {
                let message = format!(
                    "reads messages, and nobody says what those are: {} has neither `files` nor reflection",
                    self.at.with("schema")
                );
                findings.wrong(loaded, place, message);
            }
            return;
        };
        for (service, method, definition) in bundled.all() {
            for misfit in policies.misfits(service, method, definition, None) {
                let message = format!("with the contract that comes with Portunus, {service}/{method}: {}", misfit.why);
                findings.wrong(loaded, &misfit.place, message);
            }
        }
        if !is_registry {
            self.lacking(&[bundled], findings);
        }
    }

    /// What reads messages of methods that nobody serves. Not told while somebody may serve them who has not said so.
    fn unmet(&self, is_alone: bool, findings: &mut Findings) {
        if let Some(pinned) = &self.pinned {
            return self.lacking(std::slice::from_ref(pinned), findings);
        }
        let all_known = self.places.keys().all(|id| self.is_known(*id));
        if !is_alone && all_known {
            let known: Vec<_> = self.kinds().map(|kind| Arc::clone(&kind.definitions)).collect();
            self.lacking(&known, findings);
        }
    }

    fn lacking(&self, known: &[Arc<Definitions>], findings: &mut Findings) {
        for place in self.policies.iter().flat_map(|policies| policies.unmet(known)) {
            let message = format!("reads messages of methods that no schema of {} has", self.at);
            findings.wrong(self.visit.loaded, place, message);
        }
    }

    /// Each schema that instances say they have.
    fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let mut seen = Vec::new();
        let kinds = self.known.reports().iter().filter_map(|report| report.kind.as_ref());
        kinds.filter(move |kind| {
            let is_new = !seen.contains(&kind.digest());
            seen.push(kind.digest());
            is_new
        })
    }

    /// The instances with a schema.
    fn who(&self, digest: &str) -> String {
        let has = |report: &&InstanceReport| report.kind.as_ref().is_some_and(|kind| kind.digest() == digest);
        some_of(self.known.reports().iter().filter(has).map(|report| report.address.to_string()))
    }
}
