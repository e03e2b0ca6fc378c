//! The `rate_limit` filter: bounds how many calls with the same key begin in a time.
//!
//! ```yaml
//! filters:
//!   - rate_limit: {key: 'peer.address', rate: 100/s, burst: 200, keys: 100000}
//! ```
//!
//! Of a key that has been silent, `burst` calls begin at once; from then on one each time that the rate gives. Counted by this process, for
//! all its workers, and over reloads. Calls without a key (null, or an empty text) share one. Where the key is in the message, each
//! message of the request counts.

mod buckets;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use filter_api::{
    BuildCx, BuildError, CallFilter, Code, Depth, Detail, Expression, Factory, Filter, Gives, Message, Phase, Reads,
    Reason, Refusal, RequestView, Seen, Start, Unevaluated, Unread, Verdict,
};
use schemars::JsonSchema;
use serde::Deserialize;

use buckets::{Allowance, Buckets};
pub use rate::Rate;

/// Makes `rate_limit` filters.
#[derive(Debug)]
pub struct RateLimit;

/// What a person writes under `rate_limit`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// An expression (docs/expressions.md) that gives what is counted by, such as `peer.address`. Calls for which it fails are refused.
    #[schemars(length(min = 1))]
    pub key: String,
    /// Calls of a key in a time: `100/s`, `30/m`, `500/h`.
    pub rate: Rate,
    /// Calls of a key that may begin at once after a silence. Default: those that `rate` gives in a second, at least 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// The most keys that are kept. Where there are more, the key that has used least of its rate is forgotten first.
    #[serde(default = "most_keys")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub keys: u32,
}

fn most_keys() -> u32 {
    100_000
}

impl Factory for RateLimit {
    const NAME: &'static str = "rate_limit";
    const PHASE: Phase = Phase::Limit;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { key, rate, burst, keys } = config;
        let burst = burst.unwrap_or_else(|| rate.in_a_second());
        for (name, number, most) in [("burst", burst, 1_000_000), ("keys", keys, 10_000_000)] {
            if !(1..=most).contains(&number) {
                return Err(BuildError::at(&[name], format!("`{name}` must be from 1 to {most}")));
            }
        }
        let allowance = Allowance {
            interval: rate.interval(),
            ahead: rate.interval().saturating_mul(u64::from(burst - 1)),
            keys: usize::try_from(keys).unwrap_or(usize::MAX),
        };
        // What another expression gives means something else, and does not count on.
        let buckets = cx.keep(&format!("{} {key}", cx.place()), Buckets::default);
        let key = cx.expression(&["key"], &key, Gives::Text)?;
        Ok(Box::new(Limited(Arc::new(Counted { key, allowance, buckets }))))
    }
}

/// The filter.
#[derive(Debug)]
struct Limited(Arc<Counted>);

/// By what is counted, and how much there is.
#[derive(Debug)]
struct Counted {
    key: Arc<dyn Expression>,
    allowance: Allowance,
    buckets: Arc<Buckets>,
}

/// The filter on one call whose key is in its messages.
#[derive(Debug)]
struct OnMessages(Arc<Counted>);

impl Filter for Limited {
    fn reads(&self) -> Reads {
        self.0.key.reads()
    }

    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        if self.reads().request == Depth::Bodies {
            return Start::Follow(Box::new(OnMessages(Arc::clone(&self.0))));
        }
        match self.0.take(&Seen { call: view.call, head: view.head, message: None }) {
            Ok(()) => Start::Pass,
            Err(refusal) => Start::Refuse(refusal),
        }
    }
}

impl CallFilter for OnMessages {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        let taken = match message.seen() {
            Some(seen) => self.0.take(&seen),
            None => Err(Box::new(Unread::NoSchema.refusal(true))),
        };
        match taken {
            Ok(()) => Verdict::Pass,
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }
}

impl Counted {
    fn take(&self, seen: &Seen<'_>) -> Result<(), Box<Refusal>> {
        let key = match self.key.text(seen) {
            Ok(key) => key.unwrap_or_default(),
            Err(Unevaluated::NoSchema) => return Err(Box::new(Unread::NoSchema.refusal(true))),
            Err(why) => {
                let message = format!("by what this call is counted (`rate_limit.key`) cannot be told: {why}");
                return Err(Box::new(Refusal::new(Code::PermissionDenied, Reason::Denied, message)));
            }
        };
        self.buckets.take(&key, self.allowance).map_err(|nanos| {
            // Whole milliseconds, as callers are told them: who comes back then is not too early.
            let wait = Duration::from_millis(nanos.div_ceil(1_000_000));
            let message = "more calls than the rate allows here: come back after the time that the answer says, and call less often";
            let refusal = Refusal::new(Code::ResourceExhausted, Reason::RateLimited, message);
            Box::new(refusal.with(Detail::RetryAfter(wait)))
        })
    }
}

#[cfg(test)]
mod tests;
