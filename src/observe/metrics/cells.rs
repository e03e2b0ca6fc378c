//! The cells that metrics are made of. The data path touches them: atomics only, no lock, no allocation (but for the
//! first use of a word). They know no names and no labels; `expose` gives them both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use filter_api::Code;

/// Goes up only.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter a gRPC status code.
#[derive(Debug, Default)]
pub struct CodeCounts([Counter; Code::ALL.len()]);

impl CodeCounts {
    /// One more with this code.
    pub fn inc(&self, code: Code) {
        if let Some(counter) = self.0.get(usize::from(code.number())) {
            counter.inc();
        }
    }

    /// The count of this code.
    pub fn value(&self, code: Code) -> u64 {
        self.0.get(usize::from(code.number())).map_or(0, Counter::value)
    }

    /// The codes that have been counted at least once, with their counts.
    pub fn seen(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        Code::ALL.into_iter().map(|code| (code, self.value(code))).filter(|(_, count)| *count > 0)
    }
}

/// Upper bounds in nanoseconds: the default buckets of Prometheus clients, which go-grpc-prometheus uses too, so that
/// its dashboards fit. A twelfth bucket takes what is longer.
const BOUNDS: [u64; 11] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How long things took, in the buckets 5 ms to 10 s.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// A histogram read out: not cumulative, upper bounds in seconds.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        // 2^64 ns are 584 years of added time: the sum cannot wrap in practice.
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let index = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The count is the sum of the buckets, never a cell of its own: a scrape in the middle of an update must not show
    /// an infinity bucket that differs from the count, which Prometheus refuses.
    pub(super) fn read(&self) -> Reading {
        let bounds = BOUNDS.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64()).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        Reading { sum, count: buckets.iter().map(|(_, count)| count).sum(), buckets }
    }
}

/// Counters told apart by a word from a fixed list in the code (a refusal's reason, a registration's result). The words
/// are `'static`, so no caller can grow the list. Adding to a word that was used before is a short scan and an atomic.
#[derive(Debug, Default)]
pub struct Words(ArcSwap<Vec<(&'static str, Arc<Counter>)>>);

impl Words {
    /// One more for this word.
    pub fn inc(&self, word: &'static str) {
        if let Some((_, counter)) = self.0.load().iter().find(|(known, _)| *known == word) {
            counter.inc();
            return;
        }
        // Two workers may see a word for the first time at once: `rcu` repeats the loser with the winner's list.
        self.0.rcu(|words| {
            let mut words = Vec::clone(words);
            if !words.iter().any(|(known, _)| *known == word) {
                words.push((word, Arc::default()));
            }
            words
        });
        if let Some((_, counter)) = self.0.load().iter().find(|(known, _)| *known == word) {
            counter.inc();
        }
    }

    /// The count of this word.
    pub fn value(&self, word: &str) -> u64 {
        self.0.load().iter().find(|(known, _)| *known == word).map_or(0, |(_, counter)| counter.value())
    }

    /// Every word that was used, with its count.
    pub(super) fn seen(&self) -> Vec<(&'static str, u64)> {
        self.0.load().iter().map(|(word, counter)| (*word, counter.value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(5));
        histogram.observe(Duration::from_nanos(5_000_001));
        histogram.observe(Duration::from_secs(10));
        histogram.observe(Duration::from_secs(3600));
        let reading = histogram.read();
        let counts: Vec<u64> = reading.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(reading.count, 4);
        assert!((reading.sum - 3_610.010_000_001).abs() < 1e-6, "{}", reading.sum);
        assert!(reading.buckets.last().is_some_and(|(bound, _)| bound.is_infinite()));
    }

    #[test]
    fn words_from_many_threads_are_all_counted() {
        let words = Words::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for word in ["a", "b", "c", "d", "e", "f"].into_iter().cycle().take(6_000) {
                        words.inc(word);
                    }
                });
            }
        });
        let mut seen = words.seen();
        seen.sort_unstable();
        assert_eq!(seen, ["a", "b", "c", "d", "e", "f"].map(|word| (word, 4_000)));
        assert_eq!(words.value("never"), 0);
    }
}
