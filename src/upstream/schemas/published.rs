//! What is known of a cluster's schemas at one moment: immutable, made by the keeper, read by calls and by the admin port.

use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Settings;
use crate::observe::{ClusterMetrics, metrics::DigestMetrics};
use crate::registry::Instance;
use crate::schema::{Definition, Definitions, Diff};

/// Where a schema came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The instance.
    Reflection,
    /// Files of the configuration.
    Files,
    /// It comes with Portunus.
    Bundled,
}

impl Source {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reflection => "reflection",
            Self::Files => "files",
            Self::Bundled => "bundled",
        }
    }
}

/// A schema that instances have: one value, however many have it.
#[derive(Debug)]
pub struct Kind {
    /// Its methods.
    pub definitions: Arc<Definitions>,
    /// Where it came from.
    pub source: Source,
    /// The order in which they were seen.
    pub(super) order: u64,
    /// Its series goes with it.
    _counted: Arc<DigestMetrics>,
}

impl Kind {
    pub(super) fn new(
        definitions: Arc<Definitions>,
        source: Source,
        order: u64,
        metrics: &Arc<ClusterMetrics>,
    ) -> Arc<Self> {
        let counted = metrics.schema_digest(definitions.schema().digest());
        Arc::new(Self { definitions, source, order, _counted: counted })
    }

    /// The schema's digest.
    pub fn digest(&self) -> &str {
        self.definitions.schema().digest()
    }
}

/// Why instances get no calls, by service and method.
pub(super) type Refusals = FxHashMap<Box<str>, FxHashMap<Box<str>, String>>;

/// A schema as the policies see it, for the instances of one agent (or of a cluster without agents).
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) kind: Arc<Kind>,
    pub(super) agent: Arc<str>,
    pub(super) refuses: Refusals,
}

impl Judged {
    fn get(&self, service: &str, method: &str) -> Option<&Definition> {
        let refused =
            !self.refuses.is_empty() && self.refuses.get(service).is_some_and(|methods| methods.contains_key(method));
        if refused { None } else { self.kind.definitions.get(service, method) }
    }
}

/// Definitions of a method, each once.
pub type InForce<'a> = SmallVec<[&'a Definition; 2]>;

/// What is known.
#[derive(Debug, Default)]
pub struct Published {
    /// Decides for all, where there are files.
    pub(super) pinned: Option<Arc<Kind>>,
    /// Who has which.
    pub(super) held: FxHashMap<u64, Arc<Judged>>,
    /// Each that is held, and by how many.
    pub(super) counts: Vec<(Arc<Judged>, usize)>,
    /// The same for those who ask about the whole cluster, as each call does: thousands of agents with one schema are one.
    pub(super) overall: Vec<(Arc<Judged>, usize)>,
    /// Who gets no calls of which method.
    pub(super) excluded: FxHashMap<Box<str>, FxHashMap<Box<str>, Vec<u64>>>,
    pub(super) reports: Vec<InstanceReport>,
    pub(super) drifts: Vec<Arc<Drift>>,
}

/// An instance as `/schema` shows it.
#[derive(Clone, Debug)]
pub struct InstanceReport {
    /// Whom it is about.
    pub instance: u64,
    /// Its address.
    pub address: Arc<str>,
    /// Its agent's id; empty in a cluster without agents.
    pub agent: Arc<str>,
    /// What it has.
    pub kind: Option<Arc<Kind>>,
    /// When it was last asked with success.
    pub known_since: Option<SystemTime>,
    /// It has been asked.
    pub asked: bool,
    /// Why it could not be asked, the last time.
    pub error: Option<Arc<str>>,
    /// It has no reflection.
    pub unoffered: bool,
}

/// How one schema differs from the one that most instances, or files, have.
#[derive(Debug)]
pub struct Drift {
    /// Digest of the latter.
    pub from: String,
    /// Digest of the former.
    pub to: String,
    /// From the latter to the former.
    pub diff: Diff,
}

/// A method of which instances get no calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The agent's id; empty in a cluster without agents.
    pub agent: Arc<str>,
    /// `service/method`.
    pub method: String,
    /// The digest of the schema.
    pub digest: String,
    /// Why.
    pub why: String,
    /// How many instances.
    pub instances: usize,
}

impl Published {
    pub(super) fn begin(settings: &Settings, metrics: &Arc<ClusterMetrics>) -> Self {
        let files = settings.pinned.as_ref().map(|pinned| (pinned, Source::Files));
        // Where nobody is asked, nobody can have another one.
        let bundled = settings.bundled.as_ref().filter(|_| settings.refresh.is_none());
        let decides = files.or(bundled.map(|bundled| (bundled, Source::Bundled)));
        let pinned = decides.map(|(pinned, source)| Kind::new(Arc::clone(pinned), source, 0, metrics));
        Self { pinned, ..Self::default() }
    }

    /// The definitions of a method that are in force among instances: each once. `among` are those that may get the call (an agent's
    /// endpoints); none: all of the cluster. Instances that get no calls of the method, and those whose schema is not known or does
    /// not have it, add nothing.
    pub fn in_force(&self, among: Option<&[Arc<Instance>]>, service: &str, method: &str) -> InForce<'_> {
        let mut found = InForce::new();
        self.each(among, service, method, |definition, _, _| {
            if !found.iter().any(|known| known.id == definition.id) {
                found.push(definition);
            }
        });
        found
    }

    /// The definition that most of them have; of several the one that was seen first.
    pub fn majority(&self, among: Option<&[Arc<Instance>]>, service: &str, method: &str) -> Option<&Definition> {
        let mut counts: SmallVec<[(&Definition, usize, u64); 2]> = SmallVec::new();
        self.each(among, service, method, |definition, instances, order| {
            match counts.iter_mut().find(|(known, ..)| known.id == definition.id) {
                Some((_, count, first)) => (*count, *first) = (*count + instances, (*first).min(order)),
                None => counts.push((definition, instances, order)),
            }
        });
        let most = counts.into_iter().max_by_key(|(_, count, order)| (*count, std::cmp::Reverse(*order)));
        most.map(|(definition, ..)| definition)
    }

    /// The definition of one instance; none where its schema is not known, does not have the method, or where it gets no calls of it.
    pub fn of_instance(&self, instance: u64, service: &str, method: &str) -> Option<&Definition> {
        match &self.pinned {
            Some(pinned) => pinned.definitions.get(service, method),
            None => self.held.get(&instance)?.get(service, method),
        }
    }

    /// The definition of one instance, one too under which it gets no calls of the method.
    pub fn own(&self, instance: u64, service: &str, method: &str) -> Option<&Definition> {
        let kind = self.pinned.as_ref().or_else(|| self.reported(instance))?;
        kind.definitions.get(service, method)
    }

    /// Instances that get no calls of a method, sorted.
    pub fn excluded(&self, service: &str, method: &str) -> &[u64] {
        self.excluded.get(service).and_then(|methods| methods.get(method)).map_or(&[], Vec::as_slice)
    }

    /// Methods of which an instance gets no calls, as `service/method`.
    pub fn excluded_of(&self, instance: u64) -> Vec<String> {
        let judged = self.held.get(&instance).into_iter();
        let mut methods: Vec<_> = judged
            .flat_map(|judged| &judged.refuses)
            .flat_map(|(service, methods)| methods.keys().map(move |method| format!("{service}/{method}")))
            .collect();
        methods.sort();
        methods
    }

    /// What decides; or each schema that instances have, that of most of them first.
    pub(super) fn held(&self) -> Vec<Arc<Kind>> {
        if let Some(pinned) = &self.pinned {
            return vec![Arc::clone(pinned)];
        }
        let mut counts: FxHashMap<u64, (&Arc<Kind>, usize)> = FxHashMap::default();
        for (judged, count) in &self.counts {
            counts.entry(judged.kind.order).or_insert((&judged.kind, 0)).1 += count;
        }
        let mut held: Vec<_> = counts.into_values().collect();
        held.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), kind.order));
        held.into_iter().map(|(kind, _)| Arc::clone(kind)).collect()
    }

    /// What files say.
    pub fn pinned(&self) -> Option<&Arc<Kind>> {
        self.pinned.as_ref()
    }

    /// Each instance that is, or is to be, asked.
    pub fn reports(&self) -> &[InstanceReport] {
        &self.reports
    }

    /// What differs.
    pub fn drifts(&self) -> &[Arc<Drift>] {
        &self.drifts
    }

    /// Methods of which some instances get no calls, in order.
    pub fn refused(&self) -> Vec<Refused> {
        let mut refused: Vec<_> = self
            .counts
            .iter()
            .flat_map(|(judged, instances)| {
                judged.refuses.iter().flat_map(move |(service, methods)| {
                    methods.iter().map(move |(method, why)| Refused {
                        agent: Arc::clone(&judged.agent),
                        method: format!("{service}/{method}"),
                        digest: judged.kind.digest().to_owned(),
                        why: why.clone(),
                        instances: *instances,
                    })
                })
            })
            .collect();
        refused.sort_by(|a, b| (&a.agent, &a.method, &a.digest).cmp(&(&b.agent, &b.method, &b.digest)));
        refused
    }

    pub(super) fn excludes_any(&self) -> bool {
        !self.excluded.is_empty()
    }

    /// What an instance itself says, whether or not it decides.
    pub(super) fn reported(&self, instance: u64) -> Option<&Arc<Kind>> {
        self.held.get(&instance).map(|judged| &judged.kind)
    }

    /// Tells of definitions, with how many instances have it, and since when.
    fn each<'a>(
        &'a self,
        among: Option<&[Arc<Instance>]>,
        service: &str,
        method: &str,
        mut tell: impl FnMut(&'a Definition, usize, u64),
    ) {
        if let Some(pinned) = &self.pinned {
            if let Some(definition) = pinned.definitions.get(service, method) {
                tell(definition, 1, 0);
            }
            return;
        }
        match among {
            Some(instances) => {
                for judged in instances.iter().filter_map(|instance| self.held.get(&instance.id)) {
                    if let Some(definition) = judged.get(service, method) {
                        tell(definition, 1, judged.kind.order);
                    }
                }
            }
            None => {
                for (judged, count) in &self.overall {
                    if let Some(definition) = judged.get(service, method) {
                        tell(definition, *count, judged.kind.order);
                    }
                }
            }
        }
    }
}
