//! The `redact` filter: hides fields of messages on their way to an instance, and on their way back.
//!
//! ```yaml
//! filters:
//!   - redact:
//!       request: [user.email, items.secret, labels.*]
//!       response: [debug]
//!       mask: "***"
//! ```
//!
//! Paths go through lists, and with `*` through the values of maps. Texts become the mask, numbers 0, messages and maps empty. A message
//! that cannot be read, or whose type is not known, ends its call: nothing goes on that should have been hidden.

use std::sync::Arc;

use filter_api::{
    BuildCx, BuildError, CallFilter, Depth, Factory, Filter, Hidden, Message, Phase, Reads, Redaction, RequestView,
    Start, Unread, Verdict, is_field_path,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes `redact` filters.
#[derive(Debug)]
pub struct Redact;

/// What a person writes under `redact`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Fields of request messages, by paths such as `user.email`, `items.secret` (in each of a list) and `labels.*` (each value of a map).
    pub request: Vec<String>,
    /// Fields of response messages.
    pub response: Vec<String>,
    /// What texts become. Numbers become 0, messages and maps empty.
    pub mask: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { request: Vec::new(), response: Vec::new(), mask: "***".into() }
    }
}

impl Factory for Redact {
    const NAME: &'static str = "redact";
    const PHASE: Phase = Phase::Transform;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { request, response, mask } = config;
        if request.is_empty() && response.is_empty() {
            return Err(BuildError::at(
                &[],
                "a redact filter without a path hides nothing: add `request` or `response`",
            ));
        }
        for (key, paths) in [("request", &request), ("response", &response)] {
            for (index, path) in paths.iter().enumerate() {
                if !is_field_path(path) {
                    let message = format!("`{path}` is no path of a field: write one as `user.email` or `labels.*`");
                    return Err(BuildError::at(&[key, &index.to_string()], message));
                }
            }
        }
        let depth = |paths: &[String]| if paths.is_empty() { Depth::Nothing } else { Depth::Bodies };
        let reads = Reads { request: depth(&request), response: depth(&response) };
        Ok(Box::new(Redacting { reads, redaction: cx.redaction(Hidden { request, response, mask }) }))
    }
}

/// The filter.
#[derive(Debug)]
struct Redacting {
    reads: Reads,
    redaction: Arc<dyn Redaction>,
}

impl Filter for Redacting {
    fn reads(&self) -> Reads {
        self.reads
    }

    fn request_head(&self, _: &mut RequestView<'_>) -> Start {
        Start::Follow(Box::new(OnMessages(Arc::clone(&self.redaction))))
    }
}

/// The filter on one call.
#[derive(Debug)]
struct OnMessages(Arc<dyn Redaction>);

impl CallFilter for OnMessages {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        verdict(self.0.request(message), true)
    }

    fn response_message(&mut self, message: &Message<'_>) -> Verdict {
        verdict(self.0.response(message), false)
    }
}

fn verdict(redacted: Result<Option<Vec<u8>>, Unread>, theirs: bool) -> Verdict {
    match redacted {
        Ok(None) => Verdict::Pass,
        Ok(Some(body)) => Verdict::Replace(body),
        Err(unread) => Verdict::Refuse(Box::new(unread.refusal(theirs))),
    }
}

#[cfg(test)]
mod tests {
    use filter_api::{Code, Reason};
    use filter_testkit::Bench;
    use serde_json::json;

    use super::Redact;

    fn refused(config: serde_json::Value) -> String {
        Bench::build::<Redact>(config).err().unwrap().to_string()
    }

    #[test]
    fn messages_go_on_without_what_is_hidden() {
        let bench = Bench::build::<Redact>(json!({"request": ["secret"], "response": ["token"], "mask": "-"})).unwrap();
        let mut call = bench.call(&[]).unwrap();
        assert_eq!(call.request_body(b"a secret").unwrap().as_deref(), Some(&b"a -"[..]));
        assert_eq!(call.request_body(b"a token").unwrap(), None);
        assert_eq!(call.response_body(b"a token").unwrap().as_deref(), Some(&b"a -"[..]));
    }

    #[test]
    fn what_cannot_be_read_does_not_go_on() {
        let bench = Bench::build::<Redact>(json!({"request": ["secret"], "response": ["token"]})).unwrap();
        let mut call = bench.call(&[]).unwrap();
        let theirs = call.request_body(b"what?").unwrap_err();
        assert_eq!((theirs.code, theirs.reason), (Code::InvalidArgument, Reason::Schema));
        let ours = call.response_body(b"what?").unwrap_err();
        assert_eq!((ours.code, ours.reason), (Code::Internal, Reason::Schema));
    }

    #[test]
    fn a_mistake_is_one_when_it_is_built() {
        assert_eq!(refused(json!({})), "a redact filter without a path hides nothing: add `request` or `response`");
        for path in ["", "a..b", "*.a", "a b", "a.", "."] {
            assert!(refused(json!({"request": [path]})).contains("is no path of a field"), "{path}");
        }
    }
}
