//! A proxy that runs follows its file: it reads it and all that it names anew when something in them changes, and when somebody asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::systemd;
use crate::app::{Proxy, StartError};
use crate::config::{self, Reads};
use crate::filters;
use crate::watch::{Print, Watch};

/// The most files that a line of the log names.
const MOST_NAMED: usize = 5;
/// What failed for a reason that is in no file (an address in use) is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows a file.
pub(super) struct Following {
    file: PathBuf,
    watch: Watch,
    /// The files of the configuration in force.
    in_force: BTreeMap<PathBuf, Print>,
    /// When to try again, though no file has changed.
    again: Option<Instant>,
}

impl Following {
    /// Follows a file from which a proxy runs.
    pub(super) fn begin(file: &Path, reads: &Reads) -> Self {
        let (watch, in_force) = (Watch::new(), reads.files());
        watch.look_after(in_force.clone());
        Self { file: file.to_owned(), watch, in_force, again: None }
    }

    /// Waits until something has changed, or another try is due: says what.
    pub(super) async fn changed(&self) -> String {
        let due = async {
            match self.again {
                Some(again) => sleep_until(again).await,
                None => std::future::pending().await,
            }
        };
        let files = tokio::select! {
            files = self.watch.changed() => files,
            () = due => return "what failed is tried again".to_owned(),
        };
        let named: Vec<_> = files.iter().take(MOST_NAMED).map(|file| file.display().to_string()).collect();
        let more = match files.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more} changed", named.join(", "))
    }

    /// Reads everything anew. What is wrong is said, and nothing changes then. `cause` is for the log.
    pub(super) async fn reload(&mut self, proxy: &Proxy, cause: &str) {
        systemd::say_reloading();
        self.watch.refresh().await;
        let (path, reads) = (self.file.clone(), Reads::of(&self.file));
        let noting = reads.clone();
        let load = move || config::load_noting(&path, noting, &config::process, filters::ALL);
        let loaded = tokio::task::spawn_blocking(load).await;
        self.again = None;
        let failed = match loaded {
            Ok(Ok(loaded)) => {
                let failed = proxy.reload(loaded).await.err();
                let elsewhere = failed.as_ref().is_some_and(|error| !matches!(error, StartError::Config(_)));
                self.again = elsewhere.then(|| Instant::now() + AGAIN);
                failed.map(|error| error.to_string())
            }
            Ok(Err(errors)) => {
                proxy.reload_failed(&errors);
                Some(errors.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        systemd::say(systemd::READY);
        let (generation, read) = (proxy.generation(), reads.files());
        match failed {
            None => {
                self.in_force.clone_from(&read);
                tracing::info!(cause, generation, "the configuration is in force");
            }
            Some(error) => {
                tracing::error!(cause, error, generation, "the configuration is not taken; the one in force goes on");
            }
        }
        // Where it failed, what it did not come to may be what has to change.
        let mut files = self.in_force.clone();
        files.extend(read);
        self.watch.look_after(files);
    }
}
