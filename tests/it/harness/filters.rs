//! Filters that read messages, for tests: one that judges, one that rewrites. Each writes down what it saw, by the name of its log.

use std::collections::BTreeMap;
use std::time::Duration;

use filter_api::{
    BuildCx, BuildError, CallFilter, Code, Depth, Factory, Filter, Message, Outcome, Phase, Reads, Reason, Refusal,
    RequestView, Start, Verdict,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

/// What a filter saw of a message: `>` of a request or `<` of a response, its number, and what is in it; or the end, and its status.
static LOGS: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// What filters with this log have seen.
pub(crate) fn seen(log: &str) -> Vec<String> {
    LOGS.lock().get(log).cloned().unwrap_or_default()
}

/// Refuses messages with `bad` in them.
#[derive(Debug)]
pub(crate) struct Judge;

/// Puts other words in the place of `secret`.
#[derive(Debug)]
pub(crate) struct Mask;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    log: String,
    request: bool,
    response: bool,
    /// What stands for `secret`.
    with: String,
    /// How long it takes to look at a head, in milliseconds.
    wait: u64,
    /// Replaces what it may only look at.
    oversteps: bool,
    /// Does not follow calls.
    passes: bool,
    #[serde(skip)]
    #[schemars(skip)]
    masks: bool,
}

impl Default for Config {
    fn default() -> Self {
        let (log, with) = (String::new(), String::new());
        Self { log, request: true, response: true, with, wait: 0, oversteps: false, passes: false, masks: false }
    }
}

impl Factory for Judge {
    const NAME: &'static str = "judge";
    const PHASE: Phase = Phase::Authorize;
    type Config = Config;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        Ok(Box::new(Reader(config)))
    }
}

impl Factory for Mask {
    const NAME: &'static str = "mask";
    const PHASE: Phase = Phase::Transform;
    type Config = Config;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        Ok(Box::new(Reader(Config { masks: true, ..config })))
    }
}

#[derive(Clone, Debug)]
struct Reader(Config);

impl Filter for Reader {
    fn reads(&self) -> Reads {
        let depth = |reads: bool| if reads { Depth::Bodies } else { Depth::Nothing };
        Reads { request: depth(self.0.request), response: depth(self.0.response) }
    }

    fn request_head(&self, _: &mut RequestView<'_>) -> Start {
        let (one, wait) = (self.clone(), self.0.wait);
        if self.0.passes {
            return Start::Pass;
        }
        if wait == 0 {
            return Start::Follow(Box::new(one));
        }
        Start::Wait(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            Start::Follow(Box::new(one))
        }))
    }
}

impl CallFilter for Reader {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        self.look('>', message)
    }

    fn response_message(&mut self, message: &Message<'_>) -> Verdict {
        self.look('<', message)
    }

    fn end(&mut self, outcome: &Outcome<'_>) {
        self.note(format!("end {}", outcome.code));
    }
}

impl Reader {
    fn look(&self, way: char, message: &Message<'_>) -> Verdict {
        let body = message.body.expect("bodies are read");
        let types = message.types.and_then(|types| types.downcast_ref::<String>()).expect("types come with it");
        let text = String::from_utf8_lossy(body);
        let short = if text.len() > 40 { format!("{} octets", text.len()) } else { text.to_string() };
        let packed = if message.compressed { " packed" } else { "" };
        self.note(format!("{way}{}{packed} {short} by {types}", message.number));
        if text.contains("bad") {
            let refusal = Refusal::new(Code::PermissionDenied, Reason::Filter, "a bad message: send a good one");
            return Verdict::Refuse(Box::new(refusal));
        }
        if self.0.oversteps || (self.0.masks && text.contains("secret")) {
            return Verdict::Replace(text.replace("secret", &self.0.with).into_bytes());
        }
        Verdict::Pass
    }

    fn note(&self, what: String) {
        LOGS.lock().entry(self.0.log.clone()).or_default().push(what);
    }
}
