//! How often a cluster's instances are asked: the questions of a second do not grow with the instances, whatever happens to all of
//! them at once.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks at one instance, whatever asks for it.
pub(super) const LEAST: Duration = Duration::from_secs(1);
/// The same where somebody is connected, and waits to hear what it serves.
pub(super) const AWAITED: Duration = Duration::from_millis(50);
/// A look that took longer is a slow one: most likely nobody answered.
pub(super) const SLOW: Duration = Duration::from_secs(2);
/// After the first look that failed because nobody answered; it doubles.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How much less often one is asked that has no reflection, or whose schema cannot be used.
pub(super) const RARELY: u32 = 10;
/// Questions that may be asked one right after the other, after a time without any.
const BURST: u32 = 100;

/// Over how many times the time between two looks those are spread that nobody waits for and that have all come at once.
pub(super) const SPREAD: f64 = 4.0;

/// How often.
#[derive(Debug)]
pub(super) struct Rates {
    /// Between two questions, of whatever cause.
    gap: Duration,
    /// Between two questions that nothing but time brings about: with so many instances that `refresh` would bring more, it is longer.
    pub(super) unprompted: Duration,
    /// For each instance, between two times that all of them are gone through.
    pub(super) settle: Duration,
}

/// Where a policy reads messages: calls wait for the answers.
const RELIED_ON: Rates =
    Rates { gap: Duration::from_millis(10), unprompted: Duration::from_millis(50), settle: Duration::from_micros(50) };

/// Where schemas are only shown and served: what they cost must not be seen beside the calls.
const SHOWN: Rates = Rates {
    gap: Duration::from_millis(50),
    unprompted: Duration::from_millis(200),
    settle: Duration::from_micros(500),
};

impl Rates {
    pub(super) fn of(relied_on: bool) -> &'static Self {
        if relied_on { &RELIED_ON } else { &SHOWN }
    }
}

/// Counts the questions: [`BURST`] at once, and in the long run one each `gap`.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When a whole burst may be asked again.
    full: Option<Instant>,
}

impl Pace {
    /// When the next question may be asked; none: now.
    pub(super) fn ready(&self, rates: &Rates) -> Option<Instant> {
        self.full.and_then(|full| full.checked_sub(rates.gap * (BURST - 1)))
    }

    /// One is asked.
    pub(super) fn take(&mut self, now: Instant, rates: &Rates) {
        self.full = Some(self.full.map_or(now, |full| full.max(now)) + rates.gap);
    }
}
