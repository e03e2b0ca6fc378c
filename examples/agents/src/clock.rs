//! The time that a backend tells its callers: the machine's, or a logical one that only moves when calls move it, so that
//! a script of calls is answered with the same bytes every time. Deadlines and pauses never use it.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// How far one call moves a logical clock.
const TICK_MS: i64 = 100;

/// A clock that clones share.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Where a logical clock started (Unix milliseconds); none for the machine's.
    start: Option<i64>,
    /// Milliseconds that calls and tests have added.
    added: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self { start: None, added: Arc::default() }
    }

    /// A clock that shows `start` (Unix milliseconds) and moves 100 ms with each call that changes or reads state;
    /// health checks, capabilities and reflection do not move it, so that a proxy's probes change no answer.
    pub fn logical(start: i64) -> Self {
        Self { start: Some(start), added: Arc::default() }
    }

    /// Whether time stands still between calls.
    pub fn is_logical(&self) -> bool {
        self.start.is_some()
    }

    /// Unix milliseconds.
    pub fn now(&self) -> i64 {
        let base = self.start.unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
        });
        base + self.added.load(Ordering::Relaxed)
    }

    /// Moves the clock forward; a test's way to let sessions expire.
    pub fn advance(&self, by: Duration) {
        self.added.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// The time of one call: a logical clock moves on by one tick first.
    pub(crate) fn tick(&self) -> i64 {
        if self.is_logical() {
            self.added.fetch_add(TICK_MS, Ordering::Relaxed);
        }
        self.now()
    }

    /// Lets `until` (Unix milliseconds) come: a logical clock jumps there, the machine's is waited for.
    pub(crate) async fn reach(&self, until: i64) {
        let missing = until - self.now();
        if missing <= 0 {
            return;
        }
        let missing = Duration::from_millis(missing.unsigned_abs());
        if self.is_logical() {
            self.advance(missing);
        } else {
            tokio::time::sleep(missing).await;
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

impl FromStr for Clock {
    type Err = String;

    /// `real`, or the RFC 3339 start of a logical clock such as `2026-01-01T00:00:00Z`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "real" {
            return Ok(Self::real());
        }
        let start = text.parse::<Timestamp>().map_err(|e| {
            format!("{e}: write `real` or a time such as 2026-01-01T00:00:00Z at which the logical clock starts")
        })?;
        Ok(Self::logical(start.seconds * 1000 + i64::from(start.nanos) / 1_000_000))
    }
}

/// Unix milliseconds as a protobuf timestamp.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    Timestamp { seconds: ms.div_euclid(1000), nanos }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Duration, timestamp};

    #[test]
    fn a_logical_clock_moves_only_when_told() {
        let clock: Clock = "2026-01-01T00:00:00Z".parse().unwrap();
        let start = clock.now();
        assert_eq!(timestamp(start).to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(clock.now(), start);
        assert_eq!(clock.tick(), start + 100);
        clock.clone().advance(Duration::from_secs(3));
        assert_eq!(clock.now(), start + 3_100);
    }

    #[test]
    fn a_bad_start_says_what_to_write() {
        assert!("yesterday".parse::<Clock>().unwrap_err().contains("2026-01-01T00:00:00Z"));
    }
}
