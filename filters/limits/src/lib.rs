//! The `limits` filter: bounds the messages of a call, how long it lasts and how long it may be silent.
//!
//! ```yaml
//! filters:
//!   - limits: {message: 1MiB, messages: 100, duration: 5m, idle: 30s}
//! ```

use filter_api::units::{Period, Size};
use filter_api::{
    BuildCx, BuildError, CallFilter, Code, Depth, Factory, Filter, Message, Phase, Reads, Reason, Refusal, RequestView,
    Start, Verdict,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes `limits` filters.
#[derive(Debug)]
pub struct Limits;

/// What a person writes under `limits`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The largest request message. A listener's own limit holds beside it.
    pub message: Option<Size>,
    /// The largest response message.
    pub response_message: Option<Size>,
    /// The most messages in each direction.
    #[schemars(range(min = 1))]
    pub messages: Option<u64>,
    /// The longest that a call may last.
    pub duration: Option<Period>,
    /// The longest that a call may be silent in both directions.
    pub idle: Option<Period>,
}

impl Factory for Limits {
    const NAME: &'static str = "limits";
    const PHASE: Phase = Phase::Limit;
    type Config = Config;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { message, response_message, messages, duration, idle } = config;
        if message.is_none() && response_message.is_none() && messages.is_none() && duration.is_none() && idle.is_none()
        {
            return Err(BuildError::at(
                &[],
                "a limits filter without a limit does nothing: set message, messages, duration or idle",
            ));
        }
        for (name, period) in [("duration", duration), ("idle", idle)] {
            if period.is_some_and(|period| period.0.is_zero()) {
                return Err(BuildError::at(
                    &[name],
                    format!("`{name}: 0s` would end every call at once: leave it out for no limit"),
                ));
            }
        }
        if messages == Some(0) {
            return Err(BuildError::at(&["messages"], "`messages: 0` would end every call: leave it out for no limit"));
        }
        Ok(Box::new(Bounded(config)))
    }
}

/// The filter.
#[derive(Clone, Debug)]
struct Bounded(Config);

impl Filter for Bounded {
    fn reads(&self) -> Reads {
        let depth = |size: Option<Size>| {
            if size.is_some() || self.0.messages.is_some() { Depth::Sizes } else { Depth::Nothing }
        };
        Reads { request: depth(self.0.message), response: depth(self.0.response_message) }
    }

    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        if let Some(duration) = self.0.duration {
            view.bounds.limit_duration(duration.0);
        }
        if let Some(idle) = self.0.idle {
            view.bounds.limit_idle(idle.0);
        }
        if self.reads() == Reads::default() { Start::Pass } else { Start::Follow(Box::new(Self(self.0.clone()))) }
    }
}

impl CallFilter for Bounded {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        self.check(message, self.0.message, "request")
    }

    fn response_message(&mut self, message: &Message<'_>) -> Verdict {
        self.check(message, self.0.response_message, "response")
    }
}

impl Bounded {
    fn check(&self, message: &Message<'_>, limit: Option<Size>, what: &str) -> Verdict {
        let size = message.size;
        if let Some(limit) = limit.filter(|limit| u64::from(size) > limit.0) {
            return refuse(
                Reason::MessageTooLarge,
                format!("a {what} message of {size} bytes is over the limit of {limit}: send less at once"),
            );
        }
        if let Some(most) = self.0.messages.filter(|most| message.number > *most) {
            return refuse(
                Reason::TooManyMessages,
                format!("a call may have {most} {what} messages here: open another call for more"),
            );
        }
        Verdict::Pass
    }
}

fn refuse(reason: Reason, message: String) -> Verdict {
    Verdict::Refuse(Box::new(Refusal::new(Code::ResourceExhausted, reason, message)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use filter_api::{Code, Depth, Reads, Reason};
    use filter_testkit::Bench;
    use serde_json::json;

    use super::Limits;

    fn bench(config: serde_json::Value) -> Bench {
        Bench::build::<Limits>(config).unwrap()
    }

    #[test]
    fn messages_over_the_size_are_refused() {
        let mut call = bench(json!({"message": "100B", "response_message": "50B"})).call(&[]).unwrap();
        assert!(call.request_message(100).is_ok());
        let refusal = call.request_message(101).unwrap_err();
        assert_eq!((refusal.code, refusal.reason), (Code::ResourceExhausted, Reason::MessageTooLarge));
        assert!(call.response_message(50).is_ok());
        assert!(call.response_message(51).is_err());
        call.end(Code::Ok);
    }

    #[test]
    fn messages_over_the_number_are_refused_in_each_direction() {
        let mut call = bench(json!({"messages": 2})).call(&[]).unwrap();
        for _ in 0..2 {
            assert!(call.request_message(9).is_ok() && call.response_message(9).is_ok());
        }
        assert_eq!(call.request_message(9).unwrap_err().reason, Reason::TooManyMessages);
        assert!(call.response_message(9).is_err());
    }

    #[test]
    fn time_costs_no_follower() {
        let filter = bench(json!({"duration": "5s", "idle": "1s"}));
        assert_eq!(filter.reads(), Reads::default());
        let call = filter.call(&[]).unwrap();
        assert!(!call.is_followed());
        assert_eq!(call.bounds.duration, Some(Duration::from_secs(5)));
        assert_eq!(call.bounds.idle, Some(Duration::from_secs(1)));
    }

    #[test]
    fn only_what_is_bounded_is_read() {
        assert_eq!(bench(json!({"message": "1B"})).reads(), Reads { request: Depth::Sizes, response: Depth::Nothing });
        let both = Reads { request: Depth::Sizes, response: Depth::Sizes };
        assert_eq!(bench(json!({"messages": 1})).reads(), both);
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        for bad in
            [json!({}), json!({"messages": 0}), json!({"idle": "0s"}), json!({"message": 5}), json!({"mesage": "1B"})]
        {
            assert!(Bench::build::<Limits>(bad.clone()).is_err(), "{bad}");
        }
    }
}
