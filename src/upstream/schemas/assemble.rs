//! Makes what is published out of what was found. Takes as long as schemas are large, so it is done beside the keeper's thread.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::judge::Groups;
use super::published::{Drift, InstanceReport, Judged, Kind, Published, Refusals};
use crate::schema::diff;

/// Schemas that are compared, and differences that are told of each.
const COMPARED: usize = 16;
const CHANGES: usize = 200;

/// Which schemas each agent's instances have, oldest first.
pub(super) fn grouped(reports: &[InstanceReport]) -> Groups {
    let mut groups = Groups::new();
    for report in reports {
        // An agent without a schema is there too: what was accepted of it stays.
        let kinds = groups.entry(Arc::clone(&report.agent)).or_default();
        let Some(kind) = &report.kind else { continue };
        match kinds.iter_mut().find(|(known, _)| known.order == kind.order) {
            Some((_, count)) => *count += 1,
            None => kinds.push((Arc::clone(kind), 1)),
        }
    }
    groups.values_mut().for_each(|kinds| kinds.sort_by_key(|(kind, _)| kind.order));
    groups
}

/// How schemas differ from the files, or from what most instances have. What is `known` already is not compared again.
pub(super) fn compared(groups: &Groups, pinned: Option<&Arc<Kind>>, known: &[Arc<Drift>]) -> Vec<Arc<Drift>> {
    let mut counts: FxHashMap<u64, (&Arc<Kind>, usize)> = FxHashMap::default();
    for (kind, count) in groups.values().flatten() {
        counts.entry(kind.order).or_insert((kind, 0)).1 += count;
    }
    let mut kinds: Vec<_> = counts.into_values().collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), kind.order));
    let Some(from) = pinned.or(kinds.first().map(|(kind, _)| *kind)) else { return Vec::new() };
    let others = kinds.iter().filter(|(kind, _)| kind.digest() != from.digest()).take(COMPARED);
    others
        .map(|(to, _)| {
            let same = |drift: &&Arc<Drift>| drift.from == from.digest() && drift.to == to.digest();
            known.iter().find(same).cloned().unwrap_or_else(|| {
                let diff = diff(from.definitions.schema(), to.definitions.schema(), CHANGES);
                Arc::new(Drift { from: from.digest().to_owned(), to: to.digest().to_owned(), diff })
            })
        })
        .collect()
}

/// Puts it together.
pub(super) fn assembled(
    mut reports: Vec<InstanceReport>,
    groups: &Groups,
    mut refusals: FxHashMap<(Arc<str>, u64), Refusals>,
    pinned: Option<Arc<Kind>>,
    drifts: Vec<Arc<Drift>>,
) -> Published {
    let mut judged: FxHashMap<(&str, u64), Arc<Judged>> = FxHashMap::default();
    let mut counts = Vec::new();
    for (agent, kinds) in groups {
        for (kind, count) in kinds {
            let refuses = refusals.remove(&(Arc::clone(agent), kind.order)).unwrap_or_default();
            let one = Arc::new(Judged { kind: Arc::clone(kind), agent: Arc::clone(agent), refuses });
            judged.insert((agent, kind.order), Arc::clone(&one));
            counts.push((one, *count));
        }
    }
    let overall = merged(&counts);
    let mut published = Published { pinned, counts, overall, drifts, ..Published::default() };
    for report in &reports {
        let Some(kind) = &report.kind else { continue };
        let Some(one) = judged.get(&(&*report.agent, kind.order)) else { continue };
        published.held.insert(report.instance, Arc::clone(one));
        for (service, methods) in &one.refuses {
            let services = published.excluded.entry(service.clone()).or_default();
            methods.keys().for_each(|method| services.entry(method.clone()).or_default().push(report.instance));
        }
    }
    published.excluded.values_mut().flat_map(|methods| methods.values_mut()).for_each(|ids| ids.sort_unstable());
    reports.sort_by(|a, b| (&a.agent, &a.address).cmp(&(&b.agent, &b.address)));
    published.reports = reports;
    published
}

/// One for all agents whose instances have the same schema and get every call.
fn merged(counts: &[(Arc<Judged>, usize)]) -> Vec<(Arc<Judged>, usize)> {
    let mut merged: Vec<(Arc<Judged>, usize)> = Vec::new();
    let mut places: FxHashMap<u64, usize> = FxHashMap::default();
    for (judged, count) in counts {
        let place = judged.refuses.is_empty().then(|| *places.entry(judged.kind.order).or_insert(merged.len()));
        match place.and_then(|place| merged.get_mut(place)) {
            Some((_, all)) => *all += count,
            None => merged.push((Arc::clone(judged), *count)),
        }
    }
    merged
}
