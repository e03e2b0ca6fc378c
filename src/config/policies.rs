//! What of a configuration reads messages, by the clusters whose messages those are: compiled for every definition of a method that comes
//! up, and asked whether it still reads the same fields. Calls then only look up what was compiled.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::expressions::Keys;
use super::{Path, Problem, Source};
use crate::expr::{Expression, problems_in_words};
use crate::route::ServicePattern;
use crate::schema::{Definition, Definitions};

/// Reads messages.
pub trait Policy: Debug + Send + Sync {
    /// Whether it reads messages at all.
    fn reads_messages(&self) -> bool {
        true
    }

    /// Whether calls are refused under a definition that it cannot work with. What decides nothing about calls refuses none.
    fn governs_calls(&self) -> bool {
        true
    }

    /// Whether it reads messages of a method.
    fn concerns(&self, service: &str, method: &str) -> bool {
        let _ = (service, method);
        true
    }

    /// Makes itself ready for messages of a definition.
    ///
    /// # Errors
    /// It cannot read them, and why. Calls under that definition are then refused.
    fn bind(&self, service: &str, method: &str, definition: &Definition) -> Result<(), String>;

    /// Whether a field that it reads under a definition is another one in the accepted definition: says how.
    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String>;

    /// What it reads where that is there, and what is in messages of none of the definitions that it has been made ready for.
    fn nowhere(&self) -> Vec<String> {
        Vec::new()
    }

    /// The key below its place under which the file says what it reads of a method, where it has several.
    fn key(&self, service: &str, method: &str) -> Option<String> {
        let _ = (service, method);
        None
    }
}

/// Where a file has something that does not fit a definition, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The place.
    pub place: Path,
    /// In words.
    pub why: String,
}

/// What reads messages of the calls of one cluster.
#[derive(Debug, Default)]
pub struct ClusterPolicies {
    governed: Vec<Governed>,
}

/// Calls, as far as names tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Those of any service without it.
    pub(super) service: Option<ServicePattern>,
    /// Those of any method without it.
    pub(super) method: Option<Box<str>>,
}

/// A policy, and the calls that it is for.
#[derive(Debug)]
struct Governed {
    place: Path,
    calls: Calls,
    policy: Arc<dyn Policy>,
}

/// Of a whole configuration, by cluster.
pub type Policies = FxHashMap<Arc<str>, Arc<ClusterPolicies>>;

/// Gathers them while a configuration is built.
#[derive(Debug, Default)]
pub(super) struct Gathering(FxHashMap<Arc<str>, ClusterPolicies>);

impl ClusterPolicies {
    /// Whether messages of a method are read.
    pub fn concern(&self, service: &str, method: &str) -> bool {
        self.of(service, method).next().is_some()
    }

    /// Whether some of them decides about calls.
    pub fn govern_calls(&self) -> bool {
        self.governed.iter().any(|governed| governed.policy.governs_calls())
    }

    /// Makes all that read messages of a method ready for a definition. It must mean the same under the accepted one.
    ///
    /// # Errors
    /// What cannot read it, or would read another field, and why.
    pub fn judge(
        &self,
        service: &str,
        method: &str,
        definition: &Definition,
        accepted: Option<&Definition>,
    ) -> Result<(), String> {
        // These are ready for every definition, one too that calls do not come under. What they cannot read is theirs to tell.
        for governed in self.of(service, method).filter(|governed| !governed.policy.governs_calls()) {
            governed.policy.bind(service, method, definition).ok();
        }
        let mut governing = self.of(service, method).filter(|governed| governed.policy.governs_calls());
        match governing.find_map(|governed| governed.misfit((service, method), definition, accepted)) {
            Some(Misfit { place, why }) => Err(format!("{place}: {why}")),
            None => Ok(()),
        }
    }

    /// Does the same as [`judge`](Self::judge), and tells of all that does not fit.
    pub fn misfits<'a>(
        &'a self,
        service: &'a str,
        method: &'a str,
        definition: &'a Definition,
        accepted: Option<&'a Definition>,
    ) -> impl Iterator<Item = Misfit> + 'a {
        self.of(service, method).filter_map(move |governed| governed.misfit((service, method), definition, accepted))
    }

    /// Where a file has something that reads messages.
    pub fn places(&self) -> impl Iterator<Item = &Path> {
        self.governed.iter().map(|governed| &governed.place)
    }

    /// Where a file has something that reads messages of methods, none of which is in these schemas.
    pub fn unmet<'a>(&'a self, known: &'a [Arc<Definitions>]) -> impl Iterator<Item = &'a Path> {
        let is_met = |governed: &Governed| {
            known.iter().flat_map(|one| one.all()).any(|(service, method, _)| governed.is_for(service, method))
        };
        self.governed.iter().filter(move |governed| !is_met(governed)).map(|governed| &governed.place)
    }

    /// Judges what files say. It is the file's mistake if something does not fit.
    pub(super) fn check(&self, definitions: &Definitions, source: &Source) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        for (service, method, definition) in definitions.all() {
            for Misfit { place, why } in self.misfits(service, method, definition, None) {
                let problem = source.error_at(&place, format!("does not fit {service}/{method}: {why}"));
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        problems
    }

    fn of(&self, service: &str, method: &str) -> impl Iterator<Item = &Governed> {
        self.governed.iter().filter(move |governed| governed.is_for(service, method))
    }
}

impl Calls {
    /// Those that a route takes.
    pub(super) fn of(matches: &super::Match) -> Self {
        let method = matches.method.as_ref().map(|method| method.0.as_str().into());
        Self { service: matches.service.clone(), method }
    }

    pub(super) fn are_of(&self, service: &str, method: &str) -> bool {
        self.service.as_ref().is_none_or(|pattern| pattern.matches(service))
            && self.method.as_ref().is_none_or(|name| **name == *method)
    }
}

impl Governed {
    fn is_for(&self, service: &str, method: &str) -> bool {
        self.calls.are_of(service, method) && self.policy.concerns(service, method)
    }

    /// Makes it ready for a definition; what does not fit, if something does not.
    fn misfit(
        &self,
        (service, method): (&str, &str),
        definition: &Definition,
        accepted: Option<&Definition>,
    ) -> Option<Misfit> {
        let why = match self.policy.bind(service, method, definition) {
            Ok(()) => accepted.and_then(|accepted| self.policy.conflicts(definition, accepted))?,
            Err(why) => why,
        };
        let place = match self.policy.key(service, method) {
            Some(key) => self.place.with(key),
            None => self.place.clone(),
        };
        Some(Misfit { place, why })
    }
}

/// What policies read that is in no message which comes by: a slip, where files have all of those messages.
pub(super) fn slips(policies: &Policies, is_known: impl Fn(&str) -> bool, source: &Source) -> Vec<Problem> {
    let of_clusters = |known: bool| {
        let is_known = &is_known;
        let clusters = policies.iter().filter(move |(cluster, _)| is_known(cluster) == known);
        clusters.flat_map(|(_, policies)| &policies.governed)
    };
    let mut seen: BTreeSet<&Path> = of_clusters(false).map(|governed| &governed.place).collect();
    let mut problems = Vec::new();
    for Governed { place, policy, .. } in of_clusters(true) {
        if seen.insert(place) {
            let slip = |path: String| {
                let why = format!(
                    "`{path}` is in none of the messages that come by here: see to its spelling, or leave it out"
                );
                source.error_at(place, why)
            };
            problems.extend(policy.nowhere().into_iter().map(slip));
        }
    }
    problems
}

impl Gathering {
    /// A policy over calls to one of the clusters.
    pub(super) fn add(&mut self, clusters: &[Arc<str>], calls: &Calls, place: &Path, policy: &Arc<dyn Policy>) {
        // Nothing of it reads a message: it has nothing to be made ready for.
        if !policy.reads_messages() {
            return;
        }
        for cluster in clusters {
            self.0.entry(Arc::clone(cluster)).or_default().governed.push(Governed {
                place: place.clone(),
                calls: calls.clone(),
                policy: Arc::clone(policy),
            });
        }
    }

    /// A policy over what the instances of a cluster say to us.
    pub(super) fn add_of_cluster(&mut self, cluster: &str, place: &Path, policy: &Arc<dyn Policy>) {
        self.add(&[cluster.into()], &Calls::default(), place, policy);
    }

    pub(super) fn finish(self) -> Policies {
        self.0.into_iter().map(|(cluster, policies)| (cluster, Arc::new(policies))).collect()
    }
}

impl Policy for Expression {
    fn reads_messages(&self) -> bool {
        self.reads_message() || self.reads_response()
    }

    fn bind(&self, _: &str, _: &str, definition: &Definition) -> Result<(), String> {
        Expression::bind(self, definition).map_err(|problems| problems_in_words(&problems))
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        Expression::conflicts(self, definition, accepted)
    }
}

impl Policy for Keys {
    fn reads_messages(&self) -> bool {
        self.iter().any(Expression::reads_message)
    }

    fn concerns(&self, service: &str, method: &str) -> bool {
        self.of(service, method).is_some_and(Expression::reads_message)
    }

    fn bind(&self, service: &str, method: &str, definition: &Definition) -> Result<(), String> {
        let Some(expression) = self.of(service, method) else { return Ok(()) };
        Policy::bind(expression, service, method, definition)
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        self.iter().find_map(|expression| expression.conflicts(definition, accepted))
    }

    fn key(&self, service: &str, method: &str) -> Option<String> {
        Keys::key(self, service, method)
    }
}
