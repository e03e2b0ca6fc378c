//! Another configuration takes the place of the one in force. Everything that can fail is done before anything changes; then the place
//! is taken, at one moment for every call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::history::{self, Owed, Version};
use super::standing::{Standings, World};
use super::{Proxy, StartError, audit, clusters, issuers, serve};
use crate::config::snapshot::{self, Snapshot};
use crate::config::{AccessLog, Config, Errors, Loaded};
use crate::filters;
use crate::in_force::InForce;
use crate::path;
use crate::store::Store;
use crate::watch::Print;

/// What runs for the configuration in force, beside the calls.
pub(super) struct Running {
    /// Where its file is.
    pub(super) file: PathBuf,
    /// What that says.
    pub(super) config: Arc<Config>,
    /// What it was made of.
    pub(super) files: Arc<BTreeMap<PathBuf, Print>>,
    pub(super) standings: Standings,
    pub(super) serving: serve::Serving,
    pub(super) keepers: issuers::Keepers,
    /// Keeps what is registered.
    pub(super) store: Option<Arc<Store>>,
    /// In this folder, if in one.
    pub(super) folder: Option<PathBuf>,
}

impl Running {
    /// Nothing is served from within yet, and no keys are fetched.
    pub(super) fn new(
        Loaded { config, source }: Loaded,
        standings: Standings,
        (store, folder): (Option<Arc<Store>>, Option<PathBuf>),
    ) -> Self {
        let (serving, keepers) = (serve::Serving::default(), issuers::Keepers::default());
        let (file, files) = (source.file().to_owned(), Arc::new(source.reads().files()));
        Self { file, config: Arc::new(config), files, standings, serving, keepers, store, folder }
    }
}

impl Proxy {
    /// Puts another configuration in force, or leaves everything as it is.
    ///
    /// # Errors
    /// Everything that is wrong with it, or what of it cannot be done while the proxy runs. `/config/status` says so too.
    pub async fn reload(&self, loaded: Loaded) -> Result<(), StartError> {
        // One at a time.
        let mut running = self.running.lock().await;
        let result = self.replace(&mut running, loaded).await;
        self.shared.metrics.reloaded(result.is_ok());
        if let Err(error) = &result {
            self.history.failed(error.to_string(), history::problems(error));
        }
        result
    }

    /// A configuration that could not be loaded: `/config/status` says why.
    pub fn reload_failed(&self, why: &Errors) {
        self.shared.metrics.reloaded(false);
        self.history.failed(why.to_string(), history::problems_of(why));
    }

    async fn replace(&self, running: &mut Running, loaded: Loaded) -> Result<(), StartError> {
        let before = Arc::clone(&self.shared.in_force.load().snapshot);
        let (loaded, snapshot) = build(&running.config, loaded, Arc::clone(&before)).await?;
        let sockets = self.listening.lock().bind(&snapshot)?;
        let reserved = clusters::reserved(&sockets, self.desks.addresses());
        let store = running.store.clone();
        let world = World {
            config: &loaded.config,
            snapshot: &snapshot,
            metrics: &self.shared.metrics,
            reserved: &reserved,
            kept: &|cluster| store.as_ref().map_or_else(|| Ok(Vec::new()), |store| store.read(cluster)),
        };
        let prepared = running.standings.prepare(&world)?;
        let mut clusters = prepared.clusters();
        let serving = running.serving.prepare(&snapshot, &mut clusters, &self.shared.metrics)?;
        audit::open(&snapshot)?;
        // From here on nothing fails.
        prepared.settle(&snapshot).await;
        let snapshot = Arc::new(snapshot);
        super::know_methods(&self.shared.metrics, &snapshot, &loaded.config);
        running.standings.replace(prepared, &snapshot, store.as_deref());
        running.serving.run(serving, &self.shared, &self.ending);
        self.shared.put_in_force(InForce { snapshot: Arc::clone(&snapshot), clusters });
        self.listening.lock().listen(&snapshot, sockets);
        running.keepers.keep(&snapshot);
        snapshot.keep.settle();
        self.shared.metrics.set_generation(snapshot.generation);
        let own = loaded.source.parts().map(ToOwned::to_owned).collect();
        let files = Arc::new(loaded.source.reads().files());
        let former = Version::of(&running.config, &before, &running.files);
        (running.config, running.files) = (Arc::new(loaded.config), files);
        let now = Version::of(&running.config, &snapshot, &running.files);
        self.history.changed(Owed { own, before: former, after: now });
        for warning in snapshot.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}

/// Builds what is to follow a snapshot: reads files and compiles, so not on the control runtime's own thread. Nothing that runs is changed
/// by it.
pub(super) async fn build(
    running: &Config,
    loaded: Loaded,
    before: Arc<Snapshot>,
) -> Result<(Loaded, Snapshot), StartError> {
    needs_no_restart(running, &loaded)?;
    let built = tokio::task::spawn_blocking(move || {
        let built = snapshot::build_after(&loaded, filters::ALL, before.generation + 1, Some(&before));
        built.map(|snapshot| (loaded, snapshot))
    });
    Ok(built.await.map_err(|error| StartError::System(error.to_string()))??)
}

/// What is made once, at the start: to change it silently never, or half, would be worse than to say so.
fn needs_no_restart(before: &Config, next: &Loaded) -> Result<(), Errors> {
    let now = &next.config;
    let log = |config: &Config| config.access_log.clone().map(|log| AccessLog { when: None, ..log });
    let fixed = [
        (path!["workers"], before.workers == now.workers),
        (path!["admin", "address"], before.admin.address == now.admin.address),
        (path!["admin", "public"], before.admin.public == now.admin.public),
        (path!["state"], before.state == now.state),
        (path!["access_log"], log(before) == log(now)),
    ];
    let problems: Vec<_> = fixed
        .iter()
        .filter(|(_, same)| !same)
        .map(|(place, _)| {
            let message = "cannot change while the proxy runs: restart it, or put back what was here";
            next.source.error_at(place, message)
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(next.source.errors(problems)) }
}
