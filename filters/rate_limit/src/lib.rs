//! The `rate_limit` filter: bounds how many calls with the same key begin in a time.
//!
//! ```yaml
//! filters:
//!   - rate_limit: {key: 'peer.address', rate: 100/s, burst: 200, keys: 100000}
//! ```
//!
//! Of a key that has been silent, `burst` calls begin at once; from then on one each time that the rate gives. Counted by this process, for
//! all its workers, and over reloads. Calls without a key (null, or an empty text) share one.

mod buckets;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use filter_api::{
    BuildCx, BuildError, Code, Detail, Expression, Factory, Filter, Gives, Phase, Reason, Refusal, RequestView, Seen,
    Start,
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
        Ok(Box::new(Limited { key, allowance, buckets }))
    }
}

/// The filter.
#[derive(Debug)]
struct Limited {
    key: Arc<dyn Expression>,
    allowance: Allowance,
    buckets: Arc<Buckets>,
}

impl Filter for Limited {
    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        let key = match self.key.text(&Seen { call: view.call, head: view.head }) {
            Ok(key) => key.unwrap_or_default(),
            Err(why) => {
                let message = format!("by what this call is counted (`rate_limit.key`) cannot be told: {why}");
                return Start::Refuse(Box::new(Refusal::new(Code::PermissionDenied, Reason::Denied, message)));
            }
        };
        match self.buckets.take(&key, self.allowance) {
            Ok(()) => Start::Pass,
            Err(nanos) => {
                // Whole milliseconds, as callers are told them: who comes back then is not too early.
                let wait = Duration::from_millis(nanos.div_ceil(1_000_000));
                let message = "more calls than the rate allows here: come back after the time that the answer says, and call less often";
                let refusal = Refusal::new(Code::ResourceExhausted, Reason::RateLimited, message);
                Start::Refuse(Box::new(refusal.with(Detail::RetryAfter(wait))))
            }
        }
    }
}

#[cfg(test)]
mod tests;
