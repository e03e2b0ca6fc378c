//! What was measured and what was checked, printed as it comes; the last line counts. Sections write to it.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

/// Checks so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// A section begins.
    pub(crate) fn section(&mut self, title: &str) {
        println!("\n{title}");
    }

    /// A figure without a bound.
    pub(crate) fn figure(&mut self, what: &str, value: impl Display) {
        println!("       {what:<52} {value}");
    }

    /// Something that must hold.
    pub(crate) fn check(&mut self, what: &str, holds: bool, found: impl Display) {
        let (word, count) = if holds { ("ok", &mut self.passed) } else { ("FAILED", &mut self.failed) };
        *count += 1;
        println!("{word:<6} {what:<52} {found}");
    }

    /// The last line, and the exit code.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\nload: {} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The time within which this share of calls was over, in percent: nearest rank. `took` is in order.
pub(crate) fn percentile(took: &[Duration], share: usize) -> Option<Duration> {
    took.get((took.len() * share).div_ceil(100).max(1) - 1).copied()
}

/// Bytes for a reader.
#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / (1024.0 * 1024.0))
}
