//! The `validate` filter: refuses messages of the request that are not as they must be.
//!
//! ```yaml
//! filters:
//!   - validate:
//!       protovalidate: true
//!       json_schema: {input_json: schemas/input.json}
//! ```
//!
//! `protovalidate` holds messages to the rules that their descriptors carry (`buf.validate`); `json_schema` holds texts that are JSON to a
//! schema of the configuration. A message that does not fit goes nowhere, and its caller learns which fields are wrong; a message that
//! cannot be judged, or whose type is not known, ends its call too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use filter_api::{
    BuildCx, BuildError, CallFilter, Code, Depth, Detail, Factory, Filter, Message, Misfit, Phase, Reads, Reason,
    Refusal, RequestView, Rules, Start, Validation, Verdict, is_field_path,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes `validate` filters.
#[derive(Debug)]
pub struct Validate;

/// What a person writes under `validate`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether messages are held to the rules of protovalidate in their descriptors. Descriptors without rules let everything through.
    pub protovalidate: bool,
    /// Files of JSON Schema, by the path of the string fields whose JSON they are for, such as `input_json` or `steps.input_json` (in each
    /// of a list). A field that is not sent is empty, which is no JSON.
    pub json_schema: BTreeMap<String, PathBuf>,
}

impl Factory for Validate {
    const NAME: &'static str = "validate";
    const PHASE: Phase = Phase::Authorize;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { protovalidate, json_schema } = config;
        if !protovalidate && json_schema.is_empty() {
            return Err(BuildError::at(
                &[],
                "a validate filter without rules lets everything through: add `protovalidate: true` or `json_schema`",
            ));
        }
        for path in json_schema.keys() {
            if !is_field_path(path) || path.contains('*') {
                let message =
                    format!("`{path}` is no path of a field: write one as `input_json` or `steps.input_json`");
                return Err(BuildError::at(&["json_schema", path], message));
            }
        }
        let rules = Rules { protovalidate, json_schema: json_schema.into_iter().collect() };
        Ok(Box::new(Validating(cx.validation(&["json_schema"], rules)?)))
    }
}

/// The filter.
#[derive(Debug)]
struct Validating(Arc<dyn Validation>);

impl Filter for Validating {
    fn reads(&self) -> Reads {
        Reads { request: Depth::Bodies, response: Depth::Nothing }
    }

    fn request_head(&self, _: &mut RequestView<'_>) -> Start {
        Start::Follow(Box::new(OnMessages(Arc::clone(&self.0))))
    }
}

/// The filter on one call.
#[derive(Debug)]
struct OnMessages(Arc<dyn Validation>);

impl CallFilter for OnMessages {
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        match self.0.request(message) {
            Ok(misfits) if misfits.is_empty() => Verdict::Pass,
            Ok(misfits) => Verdict::Refuse(Box::new(refusal(message.number, misfits))),
            Err(unread) => Verdict::Refuse(Box::new(unread.refusal(true))),
        }
    }
}

fn refusal(number: u64, misfits: Vec<Misfit>) -> Refusal {
    let which = if number > 1 { format!("message {number}") } else { "the message".to_owned() };
    let first = misfits.first().map(|misfit| match misfit.field.as_str() {
        "" => misfit.description.clone(),
        field => format!("{field}: {}", misfit.description),
    });
    let more = match misfits.len() {
        0 | 1 => String::new(),
        all => format!(" (and {} more: see the details)", all - 1),
    };
    let text = format!("{which} is not as it must be: {}{more}", first.unwrap_or_default());
    misfits.into_iter().fold(Refusal::new(Code::InvalidArgument, Reason::Schema, text), |refusal, misfit| {
        refusal.with(Detail::BadField { field: misfit.field, description: misfit.description })
    })
}

#[cfg(test)]
mod tests {
    use filter_api::{Code, Detail, Reason};
    use filter_testkit::Bench;
    use serde_json::json;

    use super::Validate;

    fn refused(config: serde_json::Value) -> String {
        Bench::build::<Validate>(config).err().unwrap().to_string()
    }

    #[test]
    fn what_does_not_fit_goes_nowhere() {
        let bench = Bench::build::<Validate>(json!({"protovalidate": true})).unwrap();
        let mut call = bench.call(&[]).unwrap();
        assert_eq!(call.request_body(b"quiet words").unwrap(), None);
        let refusal = call.request_body(b"a !word and !another").unwrap_err();
        assert_eq!((refusal.code, refusal.reason), (Code::InvalidArgument, Reason::Schema));
        assert_eq!(refusal.message, "message 2 is not as it must be: word: shouts (and 1 more: see the details)");
        let field = |field: &str| Detail::BadField { field: field.into(), description: "shouts".into() };
        assert_eq!(refusal.details, [field("word"), field("another")]);
    }

    #[test]
    fn what_cannot_be_judged_goes_nowhere() {
        let bench = Bench::build::<Validate>(json!({"json_schema": {"a.b": "there"}})).unwrap();
        let mut call = bench.call(&[]).unwrap();
        let refusal = call.request_body(b"what?").unwrap_err();
        assert_eq!((refusal.code, refusal.reason), (Code::InvalidArgument, Reason::Schema));
    }

    #[test]
    fn a_mistake_is_one_when_it_is_built() {
        let nothing =
            "a validate filter without rules lets everything through: add `protovalidate: true` or `json_schema`";
        assert_eq!(refused(json!({})), nothing);
        assert_eq!(refused(json!({"protovalidate": false})), nothing);
        for path in ["", "a..b", "*", "a b", "a.", "."] {
            assert!(refused(json!({"json_schema": {path: "file"}})).contains("is no path of a field"), "{path}");
        }
        let error = Bench::build::<Validate>(json!({"json_schema": {"a": "missing"}})).err().unwrap();
        assert_eq!((error.path, error.message.as_str()), (vec!["json_schema".into(), "a".into()], "cannot be read"));
    }
}
