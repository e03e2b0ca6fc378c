//! Whether policies can work with a definition, and whether it is still what they were written for: no instance can take calls from
//! others by what it says of itself, and none gets calls under a definition that would have a policy read another field.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::published::{Kind, Refusals};
use crate::schema::{Definition, Life};

/// What policies rely on. Asked once for each definition, on a thread where it may take its time.
pub trait Demands: Send + Sync {
    /// Whether some policy reads messages of a method. Asked often, so it must be quick.
    fn concern(&self, service: &str, method: &str) -> bool;

    /// Whether the policies of a method compile under a definition, and read the same fields as under the accepted one
    /// ([`Definition::conflicts`]).
    ///
    /// # Errors
    /// Why not, in words: instances with this definition then get no calls of the method.
    fn judge(
        &self,
        service: &str,
        method: &str,
        definition: &Definition,
        accepted: Option<&Definition>,
    ) -> Result<(), String>;
}

impl std::fmt::Debug for dyn Demands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Demands")
    }
}

/// Instances that were there at a method's first appearance and do not answer hold the first acceptance up for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Judgements that are remembered, and methods of which something was accepted.
const MOST: usize = 100_000;

/// Schemas that nobody has any more, and that are what the next ones are judged by; and those among them that are large.
const ORPHANS: usize = 64;
const LARGE_ORPHANS: usize = 4;
/// Messages, fields, values and methods from which on a schema is large.
pub(super) const LARGE: usize = 10_000;

/// An agent's schemas, and how many instances have each. Clusters without agents are one of them, without a name.
pub(super) type Groups = BTreeMap<Arc<str>, Vec<(Arc<Kind>, usize)>>;

/// What was accepted so far.
#[derive(Debug, Default)]
pub(super) struct Bench {
    standings: FxHashMap<(Arc<str>, String), Standing>,
    /// By what, and by what is accepted. For as long as what was judged lives: what policies have made of it goes with it.
    known: FxHashMap<(u64, u64), Judgement>,
}

/// Of what, and whether policies can work with it; if not, why.
type Judgement = (Weak<Life>, Result<(), String>);

/// Of a method of an agent.
#[derive(Debug)]
struct Standing {
    since: Instant,
    accepted: Option<Definition>,
    /// The newest schema under which a definition was accepted.
    newest: u64,
}

/// A definition, how many have it, and the order in which it was seen.
struct Candidate<'a> {
    definition: &'a Definition,
    count: usize,
    order: u64,
}

impl Bench {
    /// Policies have changed: what was judged is judged anew. What was accepted stays.
    pub(super) fn judge_anew(&mut self) {
        self.known.clear();
    }

    /// What was accepted is no more, where some instances get no calls: the next time, what most have is accepted.
    pub(super) fn accept(&mut self, methods: impl Iterator<Item = (Arc<str>, String)>) {
        for method in methods {
            self.standings.remove(&method);
        }
    }

    /// Judges all that there is. `settled`: every instance has been asked, so that most are most.
    pub(super) fn judge(
        &mut self,
        groups: &Groups,
        demands: &dyn Demands,
        settled: bool,
        now: Instant,
    ) -> FxHashMap<(Arc<str>, u64), Refusals> {
        let mut refusals: FxHashMap<(Arc<str>, u64), Refusals> = FxHashMap::default();
        self.known.retain(|_, (life, _)| life.strong_count() > 0);
        if self.known.len() > MOST {
            self.known.clear();
        }
        for (agent, kinds) in groups {
            for ((service, method), candidates) in methods(kinds, demands) {
                let refused = self.method(agent, (service, method), &candidates, demands, (settled, now));
                // Several schemas can have one definition.
                for (kind, _) in kinds {
                    let definition = kind.definitions.get(service, method);
                    let why = definition.and_then(|definition| refused.get(&definition.id));
                    if let Some(why) = why {
                        let of_kind = refusals.entry((Arc::clone(agent), kind.order)).or_default();
                        of_kind.entry(service.into()).or_default().insert(method.into(), why.clone());
                    }
                }
            }
        }
        self.tidy(groups);
        refusals
    }

    /// What was accepted outlives the instances that had it, so that whoever comes next is judged by it; but strangers must not have
    /// us keep ever more.
    fn tidy(&mut self, groups: &Groups) {
        let held: FxHashSet<_> =
            groups.values().flatten().map(|(kind, _)| Arc::as_ptr(kind.definitions.schema())).collect();
        let schema = |standing: &Standing| standing.accepted.as_ref().map(|accepted| Arc::clone(&accepted.schema));
        let mut orphans: Vec<_> = self
            .standings
            .iter()
            .filter_map(|(key, standing)| Some((standing.since, key.clone(), schema(standing)?)))
            .filter(|(_, _, schema)| !held.contains(&Arc::as_ptr(schema)))
            .collect();
        orphans.sort_by_key(|(since, ..)| std::cmp::Reverse(*since));
        let (mut kept, mut large) = (FxHashSet::default(), 0);
        for (_, key, schema) in orphans {
            if kept.contains(&Arc::as_ptr(&schema)) {
                continue;
            }
            let is_large = schema.elements() >= LARGE;
            if kept.len() >= ORPHANS || (is_large && large >= LARGE_ORPHANS) {
                self.standings.remove(&key);
                continue;
            }
            large += usize::from(is_large);
            kept.insert(Arc::as_ptr(&schema));
        }
        if self.standings.len() > MOST {
            self.standings.retain(|(agent, _), _| groups.contains_key(agent));
        }
    }

    /// Which definitions of a method are refused, and why.
    fn method(
        &mut self,
        agent: &Arc<str>,
        (service, method): (&str, &str),
        candidates: &[Candidate<'_>],
        demands: &dyn Demands,
        (settled, now): (bool, Instant),
    ) -> FxHashMap<u64, String> {
        let key = (Arc::clone(agent), format!("{service}/{method}"));
        let fresh = || Standing { since: now, accepted: None, newest: 0 };
        let Self { standings, known } = self;
        // It stays there: whatever panics, what was accepted must not be forgotten.
        let standing = standings.entry(key).or_insert_with(fresh);
        let mut ask = |definition: &Definition, accepted: Option<&Definition>| {
            let pair = (definition.id, accepted.map_or(0, |accepted| accepted.id));
            if let Some((_, judged)) = known.get(&pair).filter(|(life, _)| life.strong_count() > 0) {
                return judged.clone();
            }
            let judged = demands.judge(service, method, definition, accepted);
            known.insert(pair, (Arc::downgrade(&definition.life), judged.clone()));
            judged
        };
        let first_comes = settled || now.saturating_duration_since(standing.since) >= PATIENCE;
        if standing.accepted.is_none() && first_comes {
            // Who answered first has no say in what is right: most have.
            let fit = candidates.iter().filter(|candidate| ask(candidate.definition, None).is_ok());
            let most = fit.max_by_key(|candidate| (candidate.count, std::cmp::Reverse(candidate.order)));
            if let Some(most) = most {
                standing.accepted = Some(most.definition.clone());
                standing.newest = candidates.iter().map(|candidate| candidate.order).max().unwrap_or_default();
            }
        }
        let mut refused = FxHashMap::default();
        for candidate in candidates {
            match ask(candidate.definition, standing.accepted.as_ref()) {
                // What is new and fits is what the next ones are judged by.
                Ok(()) if standing.accepted.is_some() && candidate.order > standing.newest => {
                    standing.newest = candidate.order;
                    standing.accepted = Some(candidate.definition.clone());
                }
                Ok(()) => {}
                Err(why) => {
                    refused.insert(candidate.definition.id, why);
                }
            }
        }
        refused
    }
}

/// The methods that matter, with their definitions, oldest first.
fn methods<'a>(
    kinds: &'a [(Arc<Kind>, usize)],
    demands: &dyn Demands,
) -> BTreeMap<(&'a str, &'a str), Vec<Candidate<'a>>> {
    let mut methods: BTreeMap<(&str, &str), Vec<Candidate<'_>>> = BTreeMap::new();
    for (kind, count) in kinds {
        let of_kind = kind.definitions.all().filter(|(service, method, _)| demands.concern(service, method));
        for (service, method, definition) in of_kind {
            let candidates = methods.entry((service, method)).or_default();
            match candidates.iter_mut().find(|candidate| candidate.definition.id == definition.id) {
                Some(same) => (same.count, same.order) = (same.count + count, same.order.min(kind.order)),
                None => candidates.push(Candidate { definition, count: *count, order: kind.order }),
            }
        }
    }
    methods.values_mut().for_each(|candidates| candidates.sort_by_key(|candidate| candidate.order));
    methods
}

#[cfg(test)]
mod tests;
