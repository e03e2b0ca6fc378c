//! What the driver saw of each call, what the proxy wrote down for it, and what its metrics add up to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;
use tonic::Code;

use crate::Result;
use crate::call::Seen;
use crate::metrics::Metrics;
use crate::report::Report;

/// Mistakes that are printed.
const PRINTED: usize = 5;

/// Both sides of every call.
pub(super) struct Ledger {
    seen: Vec<Option<Seen>>,
    /// The proxy's status word for each call; none where it never heard of it.
    logged: Vec<Option<String>>,
    /// Lines without an id: calls that ended before the proxy looked at their metadata.
    nameless: BTreeMap<String, u64>,
    repeated: u64,
}

#[derive(Deserialize)]
struct Line {
    code: String,
    request_id: Option<String>,
}

impl Ledger {
    pub(super) fn new(seen: Vec<Option<Seen>>) -> Self {
        let logged = vec![None; seen.len()];
        Self { seen, logged, nameless: BTreeMap::new(), repeated: 0 }
    }

    /// Reads the access log; ids from `other` on are not ours.
    pub(super) async fn read(&mut self, file: &Path, other: u32) -> Result<()> {
        // The writer gathers lines for 10 ms.
        sleep(Duration::from_secs(1)).await;
        for line in tokio::fs::read_to_string(file).await?.lines() {
            let line: Line = serde_json::from_str(line)?;
            let Some(id) = line.request_id else {
                *self.nameless.entry(line.code).or_default() += 1;
                continue;
            };
            // Calls of the settling have an id that the proxy made.
            let Some(id) = id.parse().ok().filter(|id: &u32| *id < other) else { continue };
            let Some(slot) = self.logged.get_mut(id as usize) else { continue };
            self.repeated += u64::from(slot.replace(line.code).is_some());
        }
        Ok(())
    }

    /// Compares.
    pub(super) fn check(&self, report: &mut Report, base: &Metrics, after: &Metrics) {
        let (mut wrong, mut unlike) = (Vec::new(), Vec::new());
        // What the driver saw; what the proxy ended; what it ended of those that the driver cancelled.
        let (mut driver, mut proxy, mut cancelled) = (Counts::new(), Counts::new(), Counts::new());
        for ((number, seen), logged) in self.seen.iter().enumerate().zip(&self.logged) {
            if let Some(logged) = logged {
                *proxy.entry(logged.clone()).or_default() += 1;
            }
            match seen {
                Some(Seen::Done(code)) => {
                    *driver.entry(word(*code)).or_default() += 1;
                    if logged.as_ref() != Some(&word(*code)) {
                        unlike.push(format!("call {number}: {code:?} here, {logged:?} there"));
                    }
                }
                Some(Seen::Cancelled) => {
                    *driver.entry("left".into()).or_default() += 1;
                    *cancelled.entry(logged.clone().unwrap_or_else(|| "unseen".into())).or_default() += 1;
                }
                Some(Seen::Wrong(why)) => wrong.push(format!("call {number}: {why}")),
                None => wrong.push(format!("call {number}: not made")),
            }
        }
        for (code, count) in &self.nameless {
            *proxy.entry(code.clone()).or_default() += count;
        }
        let left = driver.get("left").copied().unwrap_or_default();
        let all = self.seen.len() as u64;
        report.check("about a tenth was cancelled", (all * 8..all * 12).contains(&(left * 100)), left);
        report.figure("ended, as the driver saw it", format!("{driver:?}"));
        report.figure("ended, as the access log has it", format!("{proxy:?}"));
        report.figure("of those that the driver left, there", format!("{cancelled:?}"));
        report.figure("lines without an id (cancelled at once)", format!("{:?}", self.nameless));
        report.check("every answer is right, byte for byte", wrong.is_empty(), some(&wrong));
        report.check("every other call: one line, with the same status", unlike.is_empty(), some(&unlike));
        report.check("no call has two lines", self.repeated == 0, self.repeated);
        let ends = cancelled.keys().chain(self.nameless.keys());
        let honest = ends.filter(|end| !["OK", "CANCELLED", "unseen"].contains(&end.as_str())).count() == 0;
        let unseen = cancelled.get("unseen").copied().unwrap_or_default();
        let nameless: u64 = self.nameless.values().sum();
        report.check(
            "calls that the driver left ended OK or CANCELLED, or never came",
            honest && nameless <= unseen,
            format!("{} never came", unseen - nameless.min(unseen)),
        );
        self.check_metrics(report, &proxy, (base, after));
    }

    fn check_metrics(&self, report: &mut Report, proxy: &Counts, (base, after): (&Metrics, &Metrics)) {
        let grew = |name| after.sum(name, None) - base.sum(name, None);
        let (started, handled) = (grew("grpc_server_started_total"), grew("grpc_server_handled_total"));
        let lines: u64 = proxy.values().sum();
        let made = self.seen.len() as u64;
        report.check(
            "metrics: started = handled = lines in the log",
            started == handled && handled == lines,
            format!("{started}, {handled}, {lines}; the driver made {made}"),
        );
        let earlier = base.by("grpc_server_handled_total", "grpc_code");
        let mut by_code = Counts::new();
        for (code, count) in after.by("grpc_server_handled_total", "grpc_code") {
            let count = count - earlier.get(&code).copied().unwrap_or_default();
            if count > 0 {
                by_code.insert(screaming(&code), count);
            }
        }
        report.check("metrics: the same counts by status", by_code == *proxy, format!("{by_code:?}"));
        let dropped = after.sum("portunus_access_log_dropped_total", None);
        report.check("no line of the access log was dropped", dropped == 0, dropped);
    }
}

type Counts = BTreeMap<String, u64>;

/// The status as the access log writes it.
fn word(code: Code) -> String {
    screaming(&format!("{code:?}"))
}

/// `NotFound` as `NOT_FOUND`. The metrics write `OK` and, like grpc-go, `Canceled`.
fn screaming(camel: &str) -> String {
    match camel {
        "OK" | "Ok" => return "OK".into(),
        "Canceled" => return "CANCELLED".into(),
        _ => {}
    }
    let mut word = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

fn some(mistakes: &[String]) -> String {
    let first = mistakes.iter().take(PRINTED).map(String::as_str).collect::<Vec<_>>().join("; ");
    if mistakes.is_empty() { String::new() } else { format!("{}: {first}", mistakes.len()) }
}

#[cfg(test)]
mod tests {
    use super::screaming;

    #[test]
    fn words_are_the_access_logs() {
        let words = ["OK", "Canceled", "InvalidArgument", "Internal"].map(screaming);
        assert_eq!(words, ["OK", "CANCELLED", "INVALID_ARGUMENT", "INTERNAL"]);
    }
}
