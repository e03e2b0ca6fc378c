//! A configuration is tried: all that a reload would do before anything changes, but for what others would notice. No port is bound, no
//! file is made, and of files only those in the configuration's folder are read.

use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use super::StartError;
use super::history::{self, Owed, Version};
use super::reload::{self, Running};
use crate::admin::{ConfigProblem, ConfigTrial};
use crate::call::Shared;
use crate::config::{self, Errors, Loaded, Path as Key, Position, Problem, Reads, Text};
use crate::filters;

/// As what messages name the text that is tried.
const NAME: &str = "body";

/// Says what would become of a text if it were what the configuration's file holds.
pub(super) async fn try_out(running: Weak<Mutex<Running>>, shared: Arc<Shared>, text: String) -> ConfigTrial {
    let Some(running) = running.upgrade() else { return refused(Vec::new(), "the proxy has ended".to_owned()) };
    // Whoever asked may be gone before it is done, and no reload is to come in between: filters of both would share what they keep.
    let tried = tokio::spawn(async move { attempt(&*running.lock().await, &shared, text).await });
    match tried.await {
        Ok(Ok(trial)) => trial,
        Ok(Err(error)) => refused(history::problems(&error), error.to_string()),
        Err(error) => refused(Vec::new(), error.to_string()),
    }
}

async fn attempt(running: &Running, shared: &Shared, text: String) -> Result<ConfigTrial, StartError> {
    let before = Arc::clone(&shared.in_force.load().snapshot);
    let file = running.file.clone();
    let loaded = tokio::task::spawn_blocking(move || load(&text, &file)).await;
    let loaded = loaded.map_err(|error| StartError::System(error.to_string()))??;
    let (loaded, snapshot) = reload::build(&running.config, loaded, Arc::clone(&before)).await?;
    let own = loaded.source.parts().map(ToOwned::to_owned).collect();
    let files = Arc::new(loaded.source.reads().files());
    let before = Version::of(&running.config, &before, &running.files);
    let after = Version::of(&Arc::new(loaded.config), &snapshot, &files);
    let changes = Owed { own, before, after }.tell().changes;
    Ok(ConfigTrial { ok: true, errors: Vec::new(), warnings: snapshot.warnings(), changes })
}

fn load(text: &str, file: &Path) -> Result<Loaded, Errors> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let reads = Reads::within(folder).map_err(|error| {
        let message = format!("the configuration's folder `{}` cannot be read: {error}", folder.display());
        Errors::new(vec![NAME.to_owned()], vec![Problem { at: Position::default(), path: Key::default(), message }])
    })?;
    Text { text, name: NAME.to_owned(), file, reads }.load(&config::process, filters::ALL)
}

/// A trial that failed.
pub(super) fn refused(mut errors: Vec<ConfigProblem>, why: String) -> ConfigTrial {
    if errors.is_empty() {
        errors.push(ConfigProblem { file: NAME.to_owned(), line: 0, column: 0, path: String::new(), message: why });
    }
    ConfigTrial { ok: false, errors, ..ConfigTrial::default() }
}
