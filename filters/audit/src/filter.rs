//! The filter: writes a call down before it goes on, and how it ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use filter_api::{
    BuildCx, BuildError, CallFilter, Code, Depth, Detail, Extract, Factory, Filter, Message, Outcome, Phase, Reads,
    Reason, Refusal, RequestView, Start, Verdict, is_field_path,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event;
use crate::file::Entry;
use crate::files::{Files, KEPT_AS};
use crate::key::Key;
use crate::trail::{Refused, Trail};

/// Makes `audit` filters.
#[derive(Debug)]
pub struct Audit;

/// What a person writes under `audit`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file that lines are appended to. Filters that name the same file write one chain.
    pub file: PathBuf,
    /// Fields of the first request message that are written, by paths such as `tenant_id`, `user.name` and `labels.*` (each value of a
    /// map). What a `redact` of the listener or route hides is left out.
    #[serde(default)]
    pub fields: Vec<String>,
    /// What becomes of a call that cannot be written.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// When a call's beginning counts as written.
    #[serde(default)]
    pub sync: Sync,
    /// A file with a key of at least 32 characters (`openssl rand -hex 32`), readable by its owner only: lines are sealed with it. Without it
    /// the chain shows accidents, and no attackers.
    pub key_file: Option<PathBuf>,
}

/// What becomes of a call that cannot be written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused: nothing runs unwritten.
    #[default]
    Deny,
    /// It goes on, and the line is written later, or counted as lost.
    Allow,
}

/// When a call's beginning counts as written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// Once the system has it: it outlives the proxy, not the machine.
    #[default]
    None,
    /// Once the disk has it.
    Each,
}

impl Factory for Audit {
    const NAME: &'static str = "audit";
    const PHASE: Phase = Phase::Observe;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { file, fields, on_failure, sync, key_file } = config;
        check_paths(&fields)?;
        let key = match &key_file {
            None => Key::none(),
            Some(path) => {
                let read = cx.to_read(path).and_then(|file| Key::read(&file));
                read.map_err(|why| BuildError::at(&["key_file"], format!("`{}` {why}", path.display())))?
            }
        };
        let files = cx.keep(KEPT_AS, Files::default);
        let trail = files.declare(&cx.resolve(&file), &shown(&file), key);
        let trail = trail.map_err(|why| BuildError::at(&["file"], why))?;
        let extract = (!fields.is_empty()).then(|| cx.extract(fields));
        Ok(Box::new(Auditing(Arc::new(Policy { trail, extract, on_failure, sync }))))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn check_paths(paths: &[String]) -> Result<(), BuildError> {
    match paths.iter().position(|path| !is_field_path(path)) {
        None => Ok(()),
        Some(at) => {
            let message = format!("`{}` is no path of a field: write one as `user.name` or `labels.*`", paths[at]);
            Err(BuildError::at(&["fields", &at.to_string()], message))
        }
    }
}

/// The filter.
#[derive(Debug)]
struct Auditing(Arc<Policy>);

#[derive(Debug)]
struct Policy {
    trail: Arc<Trail>,
    extract: Option<Arc<dyn Extract>>,
    on_failure: OnFailure,
    sync: Sync,
}

/// The filter on one call.
#[derive(Debug)]
struct OnCall {
    policy: Arc<Policy>,
    call: String,
    /// Nothing more is to be written of it.
    ended: bool,
}

impl Filter for Auditing {
    fn reads(&self) -> Reads {
        let request = if self.0.extract.is_some() { Depth::Bodies } else { Depth::Nothing };
        Reads { request, response: Depth::Nothing }
    }

    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        let policy = &self.0;
        let mut on_call = OnCall { policy: Arc::clone(policy), call: event::call_id(), ended: false };
        let fields = event::begin(&on_call.call, view.call, view.head.fields.get_str("x-request-id"));
        let entry = Entry { sync: policy.sync == Sync::Each, ..Entry::new(fields) };
        let allows = policy.on_failure == OnFailure::Allow;
        if allows && !entry.sync {
            policy.trail.record(entry);
            return Start::Follow(Box::new(on_call));
        }
        match policy.trail.submit(entry, allows) {
            Ok(written) => Start::Wait(Box::pin(async move {
                match written.await {
                    Ok(true) => Start::Follow(Box::new(on_call)),
                    _ if allows => Start::Follow(Box::new(on_call)),
                    _ => on_call.refuse(),
                }
            })),
            Err(_) if allows => {
                policy.trail.lose();
                Start::Follow(Box::new(on_call))
            }
            Err(Refused::Full | Refused::Closed) => on_call.refuse(),
        }
    }
}

impl OnCall {
    /// The call did not begin.
    fn refuse(&mut self) -> Start {
        self.ended = true;
        Start::Refuse(unwritten())
    }

    fn write(&self, fields: Vec<u8>) {
        self.policy.trail.record(Entry::new(fields));
    }
}

impl CallFilter for OnCall {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        let Some(extract) = self.policy.extract.as_ref().filter(|_| message.number == 1) else { return Verdict::Pass };
        let denies = self.policy.on_failure == OnFailure::Deny;
        match extract.request(message) {
            Ok(found) => self.write(event::request(&self.call, &found)),
            Err(unread) => {
                self.write(event::unread(&self.call, &unread.to_string()));
                if denies {
                    return Verdict::Refuse(Box::new(unread.refusal(true)));
                }
            }
        }
        // It is written behind the begin, and not waited for: where writing is known to fail, nothing goes on.
        if denies && self.policy.trail.is_failing() { Verdict::Refuse(unwritten()) } else { Verdict::Pass }
    }

    fn end(&mut self, outcome: &Outcome<'_>) {
        self.ended = true;
        self.write(event::end(&self.call, outcome));
    }
}

impl Drop for OnCall {
    /// Whoever waited for the beginning to be written has left.
    fn drop(&mut self) {
        if !self.ended {
            self.write(event::left(&self.call));
        }
    }
}

fn unwritten() -> Box<Refusal> {
    let message =
        "calls have to be written to the audit log here, and this one cannot be now: try again a little later";
    let refusal = Refusal::new(Code::Unavailable, Reason::Audit, message);
    Box::new(refusal.with(Detail::RetryAfter(Duration::from_secs(1))))
}

#[cfg(test)]
mod tests;
