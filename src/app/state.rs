//! The state of the registries at the start: opened, or waited for where another process has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use super::desks::Desks;
use super::ending::Ending;
use super::trial;
use crate::admin::{
    self, AdminState, AgentView, ClusterView, ConfigChange, ConfigStatus, IncompatibleView, InstanceView, Readiness,
    RouteView, SchemaView, Trying, View,
};
use crate::config::snapshot::Access;
use crate::config::{KeptState, Loaded, State};
use crate::observe::Metrics;
use crate::store::{File, OpenError};

/// Between two looks whether the other process has let the state go.
const LOOK: Duration = Duration::from_millis(500);

/// Opens the state, if the configuration has one in a folder. While another process has it, this one stands by: its admin port answers,
/// and says so.
pub(super) async fn open(
    loaded: &Loaded,
    (desks, access): (&Desks, &Arc<Access>),
    (metrics, ending): (&Arc<Metrics>, &Arc<Ending>),
) -> Result<Option<File>, StartError> {
    let (Some(State::Kept(KeptState { recover, .. })), Some(folder)) = (&loaded.config.state, folder(loaded)) else {
        return Ok(None);
    };
    let first = look(&folder, *recover).await?;
    if first.is_some() {
        return Ok(first);
    }
    tracing::info!(folder = %folder.display(), "another process has the state: standing by until it lets it go");
    let view = Arc::new(Standby {
        config: crate::config::view(loaded),
        access: Arc::clone(access),
        ending: Arc::clone(ending),
    });
    let state = AdminState { view, metrics: Arc::clone(metrics) };
    let (stop, stopped) = watch::channel(());
    let mut serving = JoinSet::new();
    for (socket, surface) in desks.try_clone()?.into_sockets()? {
        let mut stopped = stopped.clone();
        serving.spawn(admin::serve(socket, state.clone(), surface, async move {
            // Nothing is ever sent: it ends with an error, once the other end is gone.
            stopped.changed().await.ok();
        }));
    }
    let opened = loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = ending.asked() => break Err(StartError::Told),
        }
        match look(&folder, *recover).await {
            Ok(None) => {}
            Ok(Some(file)) => break Ok(Some(file)),
            Err(error) => break Err(error),
        }
    };
    drop(stop);
    while serving.join_next().await.is_some() {}
    let opened = opened?;
    tracing::info!("the state is ours: taking over");
    Ok(opened)
}

/// Where the state is, if it is in a folder.
pub(super) fn folder(loaded: &Loaded) -> Option<PathBuf> {
    match &loaded.config.state {
        Some(State::Kept(KeptState { dir, .. })) => Some(loaded.source.resolve(dir)),
        _ => None,
    }
}

/// The state, if nobody has it.
async fn look(folder: &Path, recover: bool) -> Result<Option<File>, StartError> {
    let folder = folder.to_owned();
    // Reads the disk, all of the state once.
    let opened = tokio::task::spawn_blocking(move || File::open(&folder, recover)).await;
    match opened.map_err(|error| StartError::System(error.to_string()))? {
        Ok(file) => Ok(Some(file)),
        Err(OpenError::Taken(_)) => Ok(None),
        Err(error) => Err(StartError::System(error.to_string())),
    }
}

/// The proxy as its admin port shows it while another process has the state.
struct Standby {
    config: serde_json::Value,
    access: Arc<Access>,
    ending: Arc<Ending>,
}

impl View for Standby {
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    fn ready(&self) -> Readiness {
        let missing = vec!["standby: another process has the state, and this one waits for it".to_owned()];
        Readiness { missing, degraded: Vec::new() }
    }

    fn instances(&self) -> Vec<InstanceView> {
        Vec::new()
    }

    fn agents(&self) -> Vec<AgentView> {
        Vec::new()
    }

    fn release(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn clusters(&self) -> Vec<ClusterView> {
        Vec::new()
    }

    fn schemas(&self) -> Vec<SchemaView> {
        Vec::new()
    }

    fn accept_schemas(&self) -> Vec<(String, Vec<IncompatibleView>)> {
        Vec::new()
    }

    fn routes(&self) -> Vec<RouteView> {
        Vec::new()
    }

    fn drain(&self) -> bool {
        self.ending.ask()
    }

    fn config(&self) -> serde_json::Value {
        self.config.clone()
    }

    fn config_status(&self) -> ConfigStatus {
        ConfigStatus { generation: 0, applied_at: None, last_error: None, failing_since: None, errors: Vec::new() }
    }

    fn config_change(&self) -> ConfigChange {
        ConfigChange { from: None, to: 0, at: None, changes: Vec::new() }
    }

    fn try_config(&self, _: String) -> Trying {
        let why = "this process stands by, and nothing is in force here: ask the one that has the state";
        Box::pin(async move { trial::refused(Vec::new(), why.to_owned()) })
    }
}
