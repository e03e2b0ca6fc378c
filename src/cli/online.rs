//! `portunus check --online`: builds what `run` would, then dials everybody whom that would dial.

use super::check::Built;
use crate::app;
use crate::app::online::{self, Findings};
use crate::config::{Errors, Loaded, Path};

/// Builds, and looks around.
pub(super) fn build(loaded: &Loaded) -> Result<Built, Errors> {
    let snapshot = app::build(loaded)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| {
        let problem = loaded.source.error_at(&Path::default(), format!("nobody can be dialled: {error}"));
        loaded.source.errors(vec![problem])
    })?;
    let looked = online::look(loaded, &snapshot, online::WITHIN);
    let Findings { wrong, warnings, reached } = runtime.block_on(looked);
    // A name server that does not answer must not hold up the end.
    runtime.shutdown_background();
    let warnings = snapshot.warnings().into_iter().chain(warnings).collect();
    let wrong = (!wrong.is_empty()).then(|| loaded.source.errors(wrong));
    Ok(Built { warnings, reached, wrong })
}
