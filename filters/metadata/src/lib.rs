//! The `metadata` filter: sets, removes and renames metadata on its way to an instance, and on its way back.
//!
//! ```yaml
//! filters:
//!   - metadata:
//!       set: {x-team: search}
//!       remove: [x-debug]
//!       rename: {x-old: x-new}
//!       response: {remove: [server]}
//! ```
//!
//! In each direction first `remove`, then `rename`, then `set`, then `set_expr`: what is set is there, whatever came. Expressions look at
//! the request as it came to the proxy, those of the answer too; one that gives null leaves its name out, one that fails refuses the call.

mod edits;

use std::collections::BTreeMap;
use std::sync::Arc;

use edits::{Computed, Edits, put};
use filter_api::{
    BuildCx, BuildError, CallFilter, Factory, Filter, Phase, Refusal, RequestView, ResponseView, Seen, Start, Verdict,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes `metadata` filters.
#[derive(Debug)]
pub struct Metadata;

/// What a person writes under `metadata`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Metadata to set, replacing what there is: name to text. The value of a `-bin` name is base64.
    pub set: BTreeMap<String, String>,
    /// The same with expressions (docs/expressions.md): name to expression. Null leaves the name out; one that fails refuses the call.
    pub set_expr: BTreeMap<String, String>,
    /// Names to remove.
    pub remove: Vec<String>,
    /// Names to give other names: from to to.
    pub rename: BTreeMap<String, String>,
    /// The same for the metadata of the answer.
    pub response: Response,
}

/// What a person writes under `metadata.response`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    /// Metadata to set, replacing what there is.
    pub set: BTreeMap<String, String>,
    /// The same with expressions over the request.
    pub set_expr: BTreeMap<String, String>,
    /// Names to remove.
    pub remove: Vec<String>,
    /// Names to give other names: from to to.
    pub rename: BTreeMap<String, String>,
}

impl Factory for Metadata {
    const NAME: &'static str = "metadata";
    const PHASE: Phase = Phase::Transform;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { set, set_expr, remove, rename, response } = config;
        let request = Edits::build(&[], set, remove, rename)?;
        let computed = Computed::build(&[], set_expr, cx)?;
        let answer = Edits::build(&["response"], response.set, response.remove, response.rename)?;
        let answer_computed = Computed::build(&["response"], response.set_expr, cx)?;
        if request.is_empty() && computed.is_empty() && answer.is_empty() && answer_computed.is_empty() {
            return Err(BuildError::at(
                &[],
                "a metadata filter without an edit does nothing: add set, set_expr, remove or rename",
            ));
        }
        Ok(Box::new(Edited { request, computed, answer: Arc::new(answer), answer_computed }))
    }
}

/// The filter.
#[derive(Debug)]
struct Edited {
    request: Edits,
    computed: Computed,
    answer: Arc<Edits>,
    answer_computed: Computed,
}

impl Edited {
    fn edit(&self, view: &mut RequestView<'_>) -> Result<Start, Box<Refusal>> {
        let seen = Seen { call: view.call, head: view.head, message: None };
        // All of them before anything is changed: they look at what came.
        let computed = self.computed.values(&seen)?;
        let for_answer = self.answer_computed.values(&seen)?;
        let for_answer: Vec<_> = for_answer.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.request.apply(view.metadata());
        put(view.metadata(), computed.iter().map(|(name, value)| (*name, value.as_deref())));
        if self.answer.is_empty() && for_answer.is_empty() {
            return Ok(Start::Pass);
        }
        Ok(Start::Follow(Box::new(OnAnswer { edits: Arc::clone(&self.answer), computed: for_answer })))
    }
}

impl Filter for Edited {
    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        self.edit(view).unwrap_or_else(Start::Refuse)
    }
}

/// Waits for the answer's head.
#[derive(Debug)]
struct OnAnswer {
    edits: Arc<Edits>,
    computed: Vec<(String, Option<String>)>,
}

impl CallFilter for OnAnswer {
    fn response_head(&mut self, view: &mut ResponseView<'_>) -> Verdict {
        self.edits.apply(view.metadata);
        put(view.metadata, self.computed.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests;
