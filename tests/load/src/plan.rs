//! What each call of the soak is: drawn from a seed, so that a run can be repeated.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::Code;

/// Largest of the ordinary sizes.
const LARGE: f64 = 256.0 * 1024.0;
/// A message of exactly `limits.message`: the payload, and its field's tag and length (1 and 4 bytes).
pub(crate) const LARGEST: usize = 4 * 1024 * 1024 - 5;
/// One call in so many has a message of that size: 500 of 100,000.
const LARGEST_EVERY: u32 = 200;
const EMPTY_SHARE: f64 = 0.05;
/// Some are over before their caller has made up its mind: a tenth remains.
const CANCELLED_SHARE: f64 = 0.14;
const FAILING_SHARE: f64 = 0.02;
/// Messages of a stream at the most.
const MESSAGES: u32 = 16;
/// What backends are told to fail with. Not CANCELLED: it would look like a cancelled call.
const FAILURES: [Code; 6] =
    [Code::InvalidArgument, Code::NotFound, Code::ResourceExhausted, Code::Aborted, Code::Internal, Code::Unavailable];

/// The kinds of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ClientStream,
    ServerStream,
    Bidi,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Unary, Kind::ClientStream, Kind::ServerStream, Kind::Bidi];

/// When the caller goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// After so many turns of the runtime: about when the call goes out.
    Turns(u32),
    /// After this time, if the call is still open.
    After(Duration),
    /// When so many messages of the answer have come, if there are more.
    Messages(u32),
}

/// Where a backend is told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Before anything else.
    AtOnce(Code),
    /// After so many messages of a server stream.
    After(u32, Code),
}

impl Failure {
    pub(crate) fn code(self) -> Code {
        match self {
            Self::AtOnce(code) | Self::After(_, code) => code,
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// The messages that go out. Of a server stream: the one message that asks.
    pub(crate) payloads: Vec<Bytes>,
    /// How often a server stream gives its message back.
    pub(crate) count: u32,
    pub(crate) failure: Option<Failure>,
    pub(crate) cancel: Option<Cancel>,
    /// The backend is asked to do nothing for longer than the caller waits.
    pub(crate) held: bool,
}

/// Draws calls.
pub(crate) struct Planner {
    seed: u64,
    /// Random bytes that all payloads are slices of: making 4 GiB must not cost more than moving them.
    block: Bytes,
}

impl Planner {
    pub(crate) fn new(seed: u64) -> Self {
        let mut block = vec![0; 2 * LARGEST];
        SmallRng::seed_from_u64(seed).fill(&mut block[..]);
        Self { seed, block: block.into() }
    }

    /// Call number `number`, always the same.
    pub(crate) fn plan(&self, number: u32) -> Plan {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (u64::from(number) << 32));
        let kind = KINDS[rng.random_range(0..KINDS.len())];
        let largest = number.is_multiple_of(LARGEST_EVERY);
        let size = match () {
            () if largest => LARGEST,
            () if rng.random_bool(EMPTY_SHARE) => 0,
            () => log_uniform(&mut rng, LARGE),
        };
        let messages = if largest { 1 } else { rng.random_range(0..=MESSAGES) };
        let mut plan = self.exact(&mut rng, kind, size, messages);
        if rng.random_bool(CANCELLED_SHARE) {
            let way = rng.random_range(0..6);
            plan.held = way >= 3;
            plan.cancel = Some(match way {
                0 => Cancel::Turns(rng.random_range(0..20)),
                1 => Cancel::Messages(rng.random_range(0..=MESSAGES / 2)),
                _ => Cancel::After(Duration::from_micros(rng.random_range(0..30_000))),
            });
        } else if rng.random_bool(FAILING_SHARE) {
            let code = FAILURES[rng.random_range(0..FAILURES.len())];
            let late = kind == Kind::ServerStream && plan.count > 0 && rng.random_bool(0.5);
            plan.failure = Some(match late {
                true => Failure::After(rng.random_range(0..plan.count), code),
                false => Failure::AtOnce(code),
            });
        }
        plan
    }

    /// A call of this kind with `size` bytes in all (of a server stream: of its answers), in `messages` messages.
    pub(crate) fn exact(&self, rng: &mut SmallRng, kind: Kind, size: usize, messages: u32) -> Plan {
        let one = |size: usize, rng: &mut SmallRng| {
            let start = rng.random_range(0..=self.block.len() - size);
            self.block.slice(start..start + size)
        };
        let (payloads, count) = match kind {
            Kind::Unary => (vec![one(size, rng)], 0),
            // The number asked for takes two bytes more.
            Kind::ServerStream => (vec![one((size / messages.max(1) as usize).min(LARGEST - 2), rng)], messages),
            Kind::ClientStream | Kind::Bidi => (split(rng, size, messages).map(|size| one(size, rng)).collect(), 0),
        };
        Plan { kind, payloads, count, failure: None, cancel: None, held: false }
    }
}

/// Cuts `size` at random places.
fn split<'a>(rng: &mut SmallRng, size: usize, parts: u32) -> impl Iterator<Item = usize> + use<'a> {
    let mut cuts: Vec<usize> = (1..parts).map(|_| rng.random_range(0..=size)).collect();
    if parts > 0 {
        cuts.push(size);
    }
    cuts.sort_unstable();
    let mut last = 0;
    cuts.into_iter().map(move |cut| cut - std::mem::replace(&mut last, cut))
}

/// From 1 to `most`; each power of two as likely as the next.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 256 KiB")]
fn log_uniform(rng: &mut SmallRng, most: f64) -> usize {
    rng.random_range(0.0..=most.ln()).exp() as usize
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, Planner};

    #[test]
    fn the_mix_is_what_the_issue_asks_for() {
        let planner = Planner::new(1);
        let plans: Vec<_> = (0..100_000).map(|number| planner.plan(number)).collect();
        let bytes: usize = plans.iter().flat_map(|plan| &plan.payloads).map(bytes::Bytes::len).sum();
        // One direction; a server stream asks with less than it gets.
        assert!((3_usize << 30..5 << 30).contains(&bytes), "{bytes}");
        assert_eq!(plans.iter().filter(|plan| plan.payloads.iter().any(|p| p.len() >= LARGEST - 2)).count(), 500);
        let cancelled = plans.iter().filter(|plan| plan.cancel.is_some()).count();
        assert!((13_500..14_500).contains(&cancelled), "{cancelled}");
        let empty = plans.iter().filter(|plan| plan.payloads.iter().all(bytes::Bytes::is_empty)).count();
        assert!(empty > 4_000, "{empty}");
    }
}
