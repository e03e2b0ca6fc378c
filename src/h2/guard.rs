//! What a peer may ask of us that is legal one by one and an attack in masses: a named limit each, with a bucket that fills with
//! time, and some with useful work. docs/http2.md has the reason and the origin of each.

use super::Millis;

/// A limit that ends a connection with ENHANCE_YOUR_CALM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Streams that the peer opened and reset within a second (CVE-2023-44487).
    RapidReset,
    /// Streams that the peer made us reset, by breaking a rule on each (CVE-2025-8671).
    ProvokedReset,
    /// Streams beyond those that it may have open.
    RefusedStreams,
    /// CONTINUATION frames of one head (CVE-2024-27316).
    Continuation,
    /// Octets of one head, compressed.
    HeaderBlock,
    /// Octets of one head, as it reads (an HPACK bomb).
    HeaderList,
    /// SETTINGS, each of which we have to acknowledge (CVE-2019-9515).
    Settings,
    /// PING, the same (CVE-2019-9512).
    Ping,
    /// DATA without an octet and without an end (CVE-2019-9518).
    EmptyData,
    /// WINDOW_UPDATE beyond what our DATA can have caused.
    WindowUpdate,
    /// DATA that the peer's windows cut to a few octets (CVE-2019-9511).
    SmallWindow,
    /// Frames that move nothing: PRIORITY (CVE-2019-9513), unknown kinds, whatever comes for streams that are gone.
    Noise,
    /// A frame that must be whole before it can be used, and does not become whole.
    StalledFrame,
    /// A peer that takes nothing off its socket.
    SlowReader,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 14] = [
        Self::RapidReset,
        Self::ProvokedReset,
        Self::RefusedStreams,
        Self::Continuation,
        Self::HeaderBlock,
        Self::HeaderList,
        Self::Settings,
        Self::Ping,
        Self::EmptyData,
        Self::WindowUpdate,
        Self::SmallWindow,
        Self::Noise,
        Self::StalledFrame,
        Self::SlowReader,
    ];

    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::ProvokedReset => "provoked_reset",
            Self::RefusedStreams => "refused_streams",
            Self::Continuation => "continuation",
            Self::HeaderBlock => "header_block",
            Self::HeaderList => "header_list",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::EmptyData => "empty_data",
            Self::WindowUpdate => "window_update",
            Self::SmallWindow => "small_window",
            Self::Noise => "noise",
            Self::StalledFrame => "stalled_frame",
            Self::SlowReader => "slow_reader",
        }
    }
}

/// CONTINUATION frames of one head: a head of 64 KiB has four of 16 KiB.
pub(super) const CONTINUATIONS: u32 = 32;
/// A head that reads as so many times what we said we take is an attack; below, its stream alone is refused.
pub(super) const LIST_FACTOR: usize = 4;
/// The same for a head as it is compressed.
pub(super) const BLOCK_FACTOR: usize = 4;
/// Within so many milliseconds of its opening a reset is a rapid one.
pub(super) const RAPID: Millis = 1_000;
/// A window that stops a stream again after fewer octets, while more waits, is a small one.
pub(super) const SMALL: u32 = 64;
/// How long a frame may take to become whole, in milliseconds.
pub(super) const FRAME_PATIENCE: Millis = 10_000;
/// How long output may wait without an octet being taken, in milliseconds.
pub(super) const WRITE_PATIENCE: Millis = 60_000;

/// How many at once, how many more a second, and how many a piece of useful work earns.
#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    a_second: u32,
    earned: u32,
}

const fn rate(burst: u32, a_second: u32, earned: u32) -> Rate {
    Rate { burst, a_second, earned }
}

/// The limits that are counted, in the order of [`Guard::buckets`].
const RATES: [(Limit, Rate); COUNTED] = [
    // What reaches instances of a rapid reset: 200, then 50 a second.
    (Limit::RapidReset, rate(200, 50, 0)),
    (Limit::ProvokedReset, rate(100, 10, 0)),
    // A client may open as many as it likes before it has seen our SETTINGS.
    (Limit::RefusedStreams, rate(1_000, 100, 0)),
    (Limit::Settings, rate(100, 10, 0)),
    // grpc-go measures its bandwidth with one a round trip while data flows.
    (Limit::Ping, rate(1_000, 50, 1)),
    (Limit::EmptyData, rate(100, 10, 0)),
    // Two for each DATA frame of ours, its stream's and its connection's, are common.
    (Limit::WindowUpdate, rate(10_000, 1_000, 3)),
    (Limit::SmallWindow, rate(1_000, 100, 0)),
    (Limit::Noise, rate(1_000, 100, 1)),
];
const COUNTED: usize = 9;

/// A thousandth of what it counts, so that slow rates fill smoothly.
const MILLI: u64 = 1_000;
/// One, in thousandths.
pub(super) const WHOLE: u64 = MILLI;
/// What a call that an instance answered makes good of a rapid reset, in thousandths: callers cancel some of what they begin, and
/// whoever wants to reset without a bound must have four calls served for each.
pub(super) const SERVED: u64 = MILLI / 4;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    filled: Millis,
    /// Of the useful work that was done, what this bucket has been filled for.
    paid: u64,
}

/// The counts of one connection.
#[derive(Debug)]
pub(super) struct Guard {
    buckets: [Bucket; COUNTED],
    /// Useful frames so far. Each bucket is filled for them when it is next looked at, not at each of them.
    work: u64,
}

impl Guard {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            buckets: RATES.map(|(_, rate)| Bucket { left: u64::from(rate.burst) * MILLI, filled: now, paid: 0 }),
            work: 0,
        }
    }

    /// Counts one; false where there have been too many.
    #[must_use]
    pub(super) fn count(&mut self, limit: Limit, now: Millis) -> bool {
        let work = self.work;
        let Some((bucket, rate)) = self.bucket(limit) else { return true };
        let earned = (work - std::mem::replace(&mut bucket.paid, work)).saturating_mul(u64::from(rate.earned) * MILLI);
        let since = now.saturating_sub(bucket.filled);
        bucket.filled = now;
        // Milliseconds times a rate a second are thousandths.
        let filled = bucket.left.saturating_add(earned).saturating_add(since.saturating_mul(u64::from(rate.a_second)));
        let filled = filled.min(u64::from(rate.burst) * MILLI);
        bucket.left = filled.saturating_sub(MILLI);
        filled >= MILLI
    }

    /// A frame moved a call: what such a frame may bring with it is earned.
    pub(super) fn earn(&mut self) {
        self.work += 1;
    }

    /// The same for DATA of ours: peers give credit back by what they read, and some read 4 KiB at a time.
    pub(super) fn earn_sent(&mut self, octets: usize) {
        self.work += 1 + octets as u64 / 4_096;
    }

    /// Takes so many thousandths off what was counted.
    pub(super) fn give_back(&mut self, limit: Limit, thousandths: u64) {
        if let Some((bucket, rate)) = self.bucket(limit) {
            bucket.left = (bucket.left + thousandths).min(u64::from(rate.burst) * MILLI);
        }
    }

    /// We reset a stream: an answer's head and trailers, a reset and credit may be on their way.
    pub(super) fn expect_crossing(&mut self) {
        self.give_back(Limit::Noise, 4 * WHOLE);
    }

    fn bucket(&mut self, limit: Limit) -> Option<(&mut Bucket, Rate)> {
        let at = RATES.iter().position(|(known, _)| *known == limit)?;
        self.buckets.get_mut(at).map(|bucket| (bucket, RATES[at].1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Guard, Limit, RATES};

    #[test]
    fn a_burst_passes_and_then_only_the_rate() {
        for (limit, rate) in RATES {
            let mut guard = Guard::new(0);
            assert_eq!((0..rate.burst * 2).take_while(|_| guard.count(limit, 0)).count(), rate.burst as usize);
            let later = (0..rate.a_second * 2).take_while(|_| guard.count(limit, 1_000)).count();
            assert_eq!(later, rate.a_second as usize, "{limit:?}");
        }
    }

    #[test]
    fn work_earns_what_comes_with_it() {
        let mut guard = Guard::new(0);
        for _ in 0..100_000 {
            guard.earn();
            assert!(
                guard.count(Limit::Ping, 0)
                    && guard.count(Limit::WindowUpdate, 0)
                    && guard.count(Limit::WindowUpdate, 0)
            );
        }
        assert!(
            !(0..1_000).all(|_| {
                guard.earn();
                guard.count(Limit::EmptyData, 0)
            }),
            "no work earns empty frames"
        );
    }

    #[test]
    fn limits_without_a_bucket_never_run_out_here() {
        let mut guard = Guard::new(0);
        assert!((0..10_000).all(|_| guard.count(Limit::HeaderList, 0)));
        assert_eq!(Limit::ALL.iter().map(|limit| limit.as_str()).collect::<std::collections::HashSet<_>>().len(), 14);
    }
}
