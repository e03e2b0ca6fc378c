//! What no schema can say: names that must exist, keys that exclude each other, addresses that meet, and what is only
//! safe when spelled out. Called by `load` after the types are read; like every step, it reports all it finds.

mod admin;
mod clusters;
mod issuers;
mod listeners;
mod routes;
mod tls;

use super::{Config, Path, Problem, Source, suggest};
use crate::path;
use std::collections::BTreeSet;

use filter_api::Known;
use filter_api::units::Period;

/// Problems of `config`. `gaps` are the maps and lists of which `shape` left something out: what is missing there may
/// well be in the file, so nothing is said about them.
pub(super) fn check(config: &Config, source: &Source, filters: &[Known], gaps: Vec<Path>) -> Vec<Problem> {
    let mut rules = Rules { config, source, filters, gaps: gaps.into_iter().collect(), problems: Vec::new() };
    rules.admin();
    for (name, issuer) in &config.issuers {
        rules.issuer(name, issuer);
    }
    for (name, cluster) in &config.clusters {
        rules.cluster(name, cluster);
    }
    rules.addresses();
    for (name, listener) in &config.listeners {
        rules.listener(name, listener);
        rules.routes(name, listener);
    }
    rules.problems
}

/// Wrong names for which the nearest right one is looked up.
const MOST_HINTS: usize = 100;

struct Rules<'a> {
    config: &'a Config,
    source: &'a Source,
    filters: &'a [Known],
    gaps: BTreeSet<Path>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn report(&mut self, path: &Path, message: String) {
        let beside_gap = path.parent().is_some_and(|holder| self.gaps.contains(&holder));
        if !beside_gap && !self.gaps.contains(path) {
            self.problems.push(self.source.error_at(path, message));
        }
    }

    /// Whether something is missing at `path` or below it.
    fn has_gap(&self, path: &Path) -> bool {
        // Paths sort like their steps: what starts with `path` follows it at once.
        self.gaps.range(path.clone()..).next().is_some_and(|gap| gap.0.starts_with(&path.0))
    }

    /// That `cluster`, named at `path`, exists.
    fn known_cluster(&mut self, cluster: &str, path: &Path) -> bool {
        // A cluster with errors is there too.
        let known = self.source.has(&path!["clusters", cluster]);
        if !known {
            // Comparing every wrong name with every right one takes time, and nobody reads that many.
            let hint = if self.problems.len() > MOST_HINTS {
                String::new()
            } else if self.config.clusters.is_empty() {
                ": the file has no `clusters`".to_owned()
            } else {
                let names: Vec<&str> = self.config.clusters.keys().map(String::as_str).collect();
                suggest::hint(cluster, &names)
            };
            self.report(path, format!("no cluster is named `{cluster}`{hint}"));
        }
        known
    }

    fn positive(&mut self, period: Period, path: &Path) {
        if period.0.is_zero() {
            self.report(path, "must be more than `0s`".to_owned());
        }
    }
}
