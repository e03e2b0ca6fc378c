//! A filter to copy: `at_once` bounds how many calls of one caller are open at once.
//!
//! ```yaml
//! filters:
//!   - at_once: {by: x-session-id, most: 4}
//! ```
//!
//! docs/writing-a-filter.md walks through this file. It knows the contract (`filter_api`) and nothing of the proxy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filter_api::{
    BuildCx, BuildError, CallFilter, Code, Detail, Factory, Filter, Phase, Reason, Refusal, RequestView, Start,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes `at_once` filters.
#[derive(Debug)]
pub struct AtOnce;

/// What a person writes under `at_once`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The metadata that tells callers apart. Calls without it count together.
    pub by: String,
    /// The most calls of one caller that are open at once.
    #[schemars(range(min = 1))]
    pub most: u32,
}

impl Factory for AtOnce {
    const NAME: &'static str = "at_once";
    const PHASE: Phase = Phase::Limit;
    type Config = Config;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { by, most } = config;
        if !filter_api::fields::is_name(&by) {
            let message = format!("`{by}` is no name of metadata: write lower case, for example `x-session-id`");
            return Err(BuildError::at(&["by"], message));
        }
        if most == 0 {
            return Err(BuildError::at(&["most"], "`most: 0` would refuse every call: write 1 or more"));
        }
        Ok(Box::new(Bound { by, most, open: Arc::default() }))
    }
}

/// The filter: one for all calls, on all workers.
struct Bound {
    by: String,
    most: u32,
    open: Arc<Open>,
}

/// Open calls by caller. Who has none has no entry, so that it never grows beyond the calls that are open.
type Open = Mutex<HashMap<Vec<u8>, u32>>;

impl Filter for Bound {
    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        let caller = view.metadata().get(&self.by).unwrap_or_default().to_vec();
        let mut open = self.open.lock();
        let count = open.entry(caller.clone()).or_default();
        if *count >= self.most {
            let message =
                format!("{} calls with this `{}` are open, which is the most: end one first", self.most, self.by);
            let refusal = Refusal::new(Code::ResourceExhausted, Reason::Overloaded, message);
            return Start::Refuse(Box::new(refusal.with(Detail::RetryAfter(Duration::from_secs(1)))));
        }
        *count += 1;
        drop(open);
        Start::Follow(Box::new(Place { caller, open: Arc::clone(&self.open) }))
    }
}

/// A call's place among those of its caller, given back when the call is dropped: `end` is not called where a shutdown
/// drops a call in its middle, and a place must not be lost for that.
struct Place {
    caller: Vec<u8>,
    open: Arc<Open>,
}

impl CallFilter for Place {}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        let Some(count) = open.get_mut(&self.caller) else { return };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use filter_api::{Code, Depth, Detail, Reason};
    use filter_testkit::Bench;
    use serde_json::json;

    use super::AtOnce;

    fn bench() -> Bench {
        Bench::build::<AtOnce>(json!({"by": "x-session-id", "most": 2})).unwrap()
    }

    const ANN: &[(&str, &str)] = &[("x-session-id", "ann")];

    #[test]
    fn the_third_call_of_a_caller_waits_for_an_end() {
        let filter = bench();
        let (one, _two) = (filter.call(ANN).unwrap(), filter.call(ANN).unwrap());
        let refusal = filter.call(ANN).err().unwrap();
        assert_eq!((refusal.code, refusal.reason), (Code::ResourceExhausted, Reason::Overloaded));
        assert!(matches!(refusal.details[..], [Detail::RetryAfter(_)]));
        assert!(filter.call(&[("x-session-id", "bob")]).is_ok());
        one.end(Code::Ok);
        assert!(filter.call(ANN).is_ok());
    }

    #[test]
    fn callers_who_say_nothing_count_together() {
        let filter = bench();
        let _open = (filter.call(&[]).unwrap(), filter.call(&[]).unwrap());
        assert!(filter.call(&[]).is_err());
    }

    #[test]
    fn a_call_that_is_dropped_gives_its_place_back() {
        let filter = bench();
        for _ in 0..10 {
            drop(filter.call(ANN).unwrap());
        }
    }

    #[test]
    fn no_message_is_looked_at() {
        let reads = bench().reads();
        assert_eq!((reads.request, reads.response), (Depth::Nothing, Depth::Nothing));
    }

    #[test]
    fn a_configuration_that_cannot_work_says_why() {
        for (config, path, word) in [
            (json!({"by": "X-Session", "most": 2}), &["by"][..], "lower case"),
            (json!({"by": "x-session-id", "most": 0}), &["most"], "1 or more"),
            (json!({"by": "x-session-id"}), &[], "most"),
            (json!({"by": "x-session-id", "most": 1, "mots": 2}), &[], "mots"),
        ] {
            let error = Bench::build::<AtOnce>(config).err().unwrap();
            assert!(error.path == path && error.message.contains(word), "{error:?}");
        }
    }
}
