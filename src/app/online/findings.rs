//! What a look around came to: what is wrong and where the file says so, what is only worth knowing, and who was reached. One line
//! each, whatever strangers wrote into it.

use crate::config::{Loaded, Path, Problem};
use crate::schema::{Change, Schema};
use crate::upstream::schemas::Drift;

/// Names that one line holds.
const NAMES: usize = 10;
/// Differences of two schemas that are told of.
const CHANGES: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What would fail in a running proxy.
    pub wrong: Vec<Problem>,
    /// What would not.
    pub warnings: Vec<String>,
    /// Who answered, with what they serve.
    pub reached: Vec<String>,
}

impl Findings {
    pub(super) fn wrong(&mut self, loaded: &Loaded, at: &Path, message: String) {
        self.wrong.push(loaded.source.error_at(at, one_line(message)));
    }

    pub(super) fn warn(&mut self, message: String) {
        self.warnings.push(one_line(message));
    }

    pub(super) fn reached(&mut self, message: String) {
        self.reached.push(one_line(message));
    }

    pub(super) fn add(&mut self, other: Self) {
        self.wrong.extend(other.wrong);
        self.warnings.extend(other.warnings);
        self.reached.extend(other.reached);
    }

    /// How some differ from others.
    pub(super) fn drift(&mut self, cluster: &Path, (some, others): (&str, &str), drift: &Drift) {
        let told = drift.diff.changes.iter().take(CHANGES);
        for Change { kind, name, what, detail, breaking } in told {
            let breaks = if *breaking { ", which breaks on the wire" } else { "" };
            let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
            let what = what.as_str();
            self.warn(format!("{cluster}: {some}, unlike {others}: {kind} {name} {what}{detail}{breaks}"));
        }
        let more = drift.diff.changes.len().saturating_sub(CHANGES) + drift.diff.left_off;
        if more > 0 {
            self.warn(format!("{cluster}: {some}, unlike {others}: and {more} more differences"));
        }
    }
}

/// A schema by its digest and its services.
pub(super) fn described(schema: &Schema) -> String {
    let services = some_of(schema.services().map(str::to_owned));
    let services = if services.is_empty() { "no services".to_owned() } else { services };
    format!("sha256:{}: {services}", schema.digest())
}

/// The first of some names, and how many more there are.
pub(super) fn some_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let shown = names.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// Other people's words are for people, not for their terminal.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
