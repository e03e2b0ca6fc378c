//! What became of the last reloads: what the last one changed, and why those after it were refused. For whoever asks the admin port.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::Value;

use super::StartError;
use crate::admin::{ConfigChange, ConfigProblem};
use crate::config::snapshot::Snapshot;
use crate::config::{Config, Errors, Source, Told, in_words};
use crate::observe::Rfc3339;
use crate::watch::{Print, is_pattern};

/// The most problems of one file that are kept.
const MOST_PROBLEMS: usize = 100;

/// What became of the last reloads.
#[derive(Debug, Default)]
pub(super) struct History {
    failure: Mutex<Option<Failure>>,
    change: Mutex<Option<ConfigChange>>,
}

/// Why the newest configuration is not in force.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Since the first that was refused after the last that was not.
    pub(super) since: SystemTime,
    pub(super) problems: Vec<ConfigProblem>,
}

impl History {
    /// A configuration was refused.
    pub(super) fn failed(&self, why: String, problems: Vec<ConfigProblem>) {
        let mut failure = self.failure.lock();
        let since = failure.as_ref().map_or_else(SystemTime::now, |before| before.since);
        *failure = Some(Failure { why, since, problems });
    }

    /// A configuration came into force.
    pub(super) fn changed(&self, change: ConfigChange) {
        *self.failure.lock() = None;
        *self.change.lock() = Some(change);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().clone()
    }

    /// None before the first reload.
    pub(super) fn change(&self) -> Option<ConfigChange> {
        self.change.lock().clone()
    }
}

/// What is wrong, with its place where it has one.
pub(super) fn problems(error: &StartError) -> Vec<ConfigProblem> {
    match error {
        StartError::Config(errors) => problems_of(errors),
        StartError::Bind { .. } | StartError::System(_) | StartError::Told => Vec::new(),
    }
}

/// The same of a file that could not be loaded.
pub(super) fn problems_of(errors: &Errors) -> Vec<ConfigProblem> {
    let one = |problem: &crate::config::Problem| ConfigProblem {
        file: errors.file(problem.at).to_owned(),
        line: problem.at.line as u64,
        column: problem.at.column as u64,
        path: problem.path.to_string(),
        message: problem.message.clone(),
    };
    errors.problems().iter().take(MOST_PROBLEMS).map(one).collect()
}

/// A configuration that is compared: all of it, as it is shown, and the files that it was made of.
pub(super) struct Version<'v> {
    pub(super) config: &'v Config,
    pub(super) snapshot: &'v Snapshot,
    pub(super) files: &'v BTreeMap<PathBuf, Print>,
}

/// What is different. Of files that hold the configuration itself, what they say is compared.
pub(super) fn change(source: &Source, before: &Version<'_>, after: &Version<'_>) -> ConfigChange {
    let plain = |version: &Version<'_>| serde_json::to_value(version.config).unwrap_or(Value::Null);
    let (one, other) = (plain(before), plain(after));
    let mut changes = in_words(
        Told { plain: &one, shown: &before.snapshot.view },
        Told { plain: &other, shown: &after.snapshot.view },
    );
    for (path, print) in after.files.iter().filter(|(path, _)| !source.is_part(path) && !is_pattern(path)) {
        if before.files.get(path).is_some_and(|before| !before.is_like(print)) {
            changes.push(format!("file `{}` has another content", path.display()));
        }
    }
    let (from, to) = (before.snapshot.generation, after.snapshot.generation);
    ConfigChange { from: Some(from), to, at: Some(Rfc3339(after.snapshot.applied_at)), changes }
}
