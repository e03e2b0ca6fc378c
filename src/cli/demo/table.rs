//! The story as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::story::{Balanced, Refused, Story};

/// Columns of instances; the demo has no more.
const INSTANCES: [&str; 3] = ["instance-1", "instance-2", "instance-3"];

/// The whole text.
pub(super) fn render(story: &Story) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    write(&mut text, story)?;
    Ok(text)
}

fn write(text: &mut String, story: &Story) -> std::fmt::Result {
    let [one, two, three] = INSTANCES;
    writeln!(text, "{:<50} {one:>10} {two:>10} {three:>10} {:>9} {:>9}", "answered by", "p50", "p99")?;
    for row in &story.balanced {
        let [one, two, three] = INSTANCES.map(|name| row.answers.get(name).copied().unwrap_or_default());
        let (p50, p99) = (percentile(row, 50), percentile(row, 99));
        writeln!(text, "{} {:<48} {one:>10} {two:>10} {three:>10} {p50:>9} {p99:>9}", mark(row.as_expected), row.what)?;
    }
    writeln!(text, "\n{:<50} {:<19} {:<18} what the caller is told", "refused", "status", "reason")?;
    for Refused { what, code, reason, message, as_expected } in &story.refused {
        writeln!(text, "{} {what:<48} {:<19} {reason:<18} {message}", mark(*as_expected), format!("{code:?}"))?;
    }
    writeln!(text)?;
    for fact in &story.facts {
        writeln!(text, "{} {}", mark(fact.holds), fact.text)?;
    }
    let verdict = if story.all_as_expected() { "all went as it should" } else { "NOT all went as it should" };
    writeln!(text, "\ndemo: {verdict}")
}

fn mark(good: bool) -> &'static str {
    if good { "✓" } else { "✗" }
}

fn percentile(row: &Balanced, percent: usize) -> String {
    let mut took = row.took.clone();
    took.sort_unstable();
    let at = (took.len() * percent).div_ceil(100).saturating_sub(1);
    let time: Duration = took.get(at).copied().unwrap_or_default();
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}
