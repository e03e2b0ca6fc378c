//! What became of the last reloads: what the last one changed, and why those after it were refused. For whoever asks the admin port.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::Value;

use super::StartError;
use crate::admin::{ConfigChange, ConfigProblem};
use crate::config::snapshot::Snapshot;
use crate::config::{Config, Errors, Told, in_words};
use crate::observe::Rfc3339;
use crate::watch::Print;

/// The most problems of one file that are kept.
const MOST_PROBLEMS: usize = 100;

/// What became of the last reloads.
#[derive(Debug, Default)]
pub(super) struct History {
    failure: Mutex<Option<Failure>>,
    change: Mutex<Change>,
}

/// What the last reload changed. Few ask, and of a large configuration it takes longer to tell than to put in force.
#[derive(Debug, Default)]
enum Change {
    /// There was none.
    #[default]
    Nothing,
    /// Nobody has asked.
    Owed(Box<Owed>),
    Told(ConfigChange),
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
    pub(super) fn changed(&self, change: Owed) {
        *self.failure.lock() = None;
        *self.change.lock() = Change::Owed(Box::new(change));
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().clone()
    }

    /// None before the first reload. Who asks first has it made, and what it is made of is let go.
    pub(super) fn change(&self) -> Option<ConfigChange> {
        let mut change = self.change.lock();
        if let Change::Owed(owed) = &*change {
            *change = Change::Told(owed.tell());
        }
        match &*change {
            Change::Told(told) => Some(told.clone()),
            Change::Nothing | Change::Owed(_) => None,
        }
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

/// A configuration that is compared: all of it, as it is shown, and the files that it was made of. Of what runs by it, nothing: that goes
/// when its last call does.
pub(super) struct Version {
    config: Arc<Config>,
    shown: Arc<Value>,
    files: Arc<BTreeMap<PathBuf, Print>>,
    generation: u64,
    applied_at: SystemTime,
}

impl Version {
    pub(super) fn of(config: &Arc<Config>, snapshot: &Snapshot, files: &Arc<BTreeMap<PathBuf, Print>>) -> Self {
        Self {
            config: Arc::clone(config),
            shown: Arc::clone(&snapshot.view),
            files: Arc::clone(files),
            generation: snapshot.generation,
            applied_at: snapshot.applied_at,
        }
    }

    fn plain(&self) -> Value {
        serde_json::to_value(&*self.config).unwrap_or(Value::Null)
    }
}

/// What is to be compared once somebody asks.
pub(super) struct Owed {
    /// Those that hold the configuration itself: of them, what they say is compared.
    pub(super) own: Vec<PathBuf>,
    pub(super) before: Version,
    pub(super) after: Version,
}

/// What the files say may be secret.
impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").field("from", &self.before.generation).finish_non_exhaustive()
    }
}

impl Owed {
    /// What is different.
    pub(super) fn tell(&self) -> ConfigChange {
        let Self { own, before, after } = self;
        let (one, other) = (before.plain(), after.plain());
        let mut changes =
            in_words(Told { plain: &one, shown: &before.shown }, Told { plain: &other, shown: &after.shown });
        for (path, print) in after.files.iter().filter(|(path, print)| !own.contains(path) && !print.is_of_listing()) {
            if before.files.get(path).is_some_and(|before| !before.is_like(print)) {
                changes.push(format!("file `{}` has another content", path.display()));
            }
        }
        let (from, to) = (before.generation, after.generation);
        ConfigChange { from: Some(from), to, at: Some(Rfc3339(after.applied_at)), changes }
    }
}
