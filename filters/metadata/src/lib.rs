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
//! In each direction first `remove`, then `rename`, then `set`: what is set is there, whatever came.

mod edits;

use std::collections::BTreeMap;
use std::sync::Arc;

use edits::Edits;
use filter_api::{BuildCx, BuildError, CallFilter, Factory, Filter, Phase, RequestView, ResponseView, Start, Verdict};
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
    /// Names to remove.
    pub remove: Vec<String>,
    /// Names to give other names: from to to.
    pub rename: BTreeMap<String, String>,
}

impl Factory for Metadata {
    const NAME: &'static str = "metadata";
    const PHASE: Phase = Phase::Transform;
    type Config = Config;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        let Config { set, remove, rename, response } = config;
        let request = Edits::build(&[], set, remove, rename)?;
        let response = Edits::build(&["response"], response.set, response.remove, response.rename)?;
        if request.is_empty() && response.is_empty() {
            return Err(BuildError::at(
                &[],
                "a metadata filter without an edit does nothing: add set, remove or rename",
            ));
        }
        let response = (!response.is_empty()).then(|| Arc::new(response));
        Ok(Box::new(Edited { request, response }))
    }
}

/// The filter.
#[derive(Debug)]
struct Edited {
    request: Edits,
    response: Option<Arc<Edits>>,
}

impl Filter for Edited {
    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        self.request.apply(view.metadata());
        match &self.response {
            Some(edits) => Start::Follow(Box::new(OnAnswer(Arc::clone(edits)))),
            None => Start::Pass,
        }
    }
}

/// Waits for the answer's head.
#[derive(Debug)]
struct OnAnswer(Arc<Edits>);

impl CallFilter for OnAnswer {
    fn response_head(&mut self, view: &mut ResponseView<'_>) -> Verdict {
        self.0.apply(view.metadata);
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests;
