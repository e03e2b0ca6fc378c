//! The thread that writes: takes what has changed of each registry, and puts it on the disk in one go.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::file::File;
use crate::registry::{Changes, Registry, Saved};

/// Until what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps registries. Dropping it writes what is left, and lets another process have the state.
#[derive(Debug)]
pub struct Store {
    wake: Option<SyncSender<()>>,
    kept: Arc<Kept>,
    thread: Option<JoinHandle<()>>,
}

/// Where it is kept, and whose. Held by whoever reads or writes.
#[derive(Debug)]
struct Kept {
    file: Mutex<File>,
    registries: Mutex<Vec<Arc<Registry>>>,
}

impl Store {
    /// Begins to keep these registries, which have what was kept before.
    pub fn begin(file: File, registries: Vec<Arc<Registry>>) -> std::io::Result<Self> {
        let (wake, woken) = mpsc::sync_channel(1);
        for registry in &registries {
            registry.keep(wake.clone());
        }
        // What was dropped at the start, as making no sense, is to be written.
        wake.try_send(()).ok();
        let kept = Arc::new(Kept { file: Mutex::new(file), registries: Mutex::new(registries) });
        let keeping = Arc::clone(&kept);
        let thread = std::thread::Builder::new().name("state".into()).spawn(move || write_all(&keeping, &woken))?;
        Ok(Self { wake: Some(wake), kept, thread: Some(thread) })
    }

    /// What is kept of the registry of a cluster that comes with a reload. Reads the disk.
    pub fn read(&self, cluster: &str) -> Result<Vec<Saved>, String> {
        self.kept.file.lock().read(cluster)
    }

    /// Keeps one more registry from now on, which has what was kept of it.
    pub fn add(&self, registry: Arc<Registry>) {
        if let Some(wake) = &self.wake {
            registry.keep(wake.clone());
            self.kept.registries.lock().push(registry);
            wake.try_send(()).ok();
        }
    }

    /// Keeps a registry no more. What was kept of it stays.
    pub fn leave(&self, registry: &Arc<Registry>) {
        registry.keep_no_more();
        self.kept.registries.lock().retain(|kept| !Arc::ptr_eq(kept, registry));
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Senders in the registries keep the channel open: the last word is theirs to take back.
        for registry in self.kept.registries.lock().iter() {
            registry.keep_no_more();
        }
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn write_all(kept: &Kept, woken: &Receiver<()>) {
    let mut failed = false;
    loop {
        let wait =
            if failed { woken.recv_timeout(AGAIN) } else { woken.recv().map_err(|_| RecvTimeoutError::Disconnected) };
        let registries = kept.registries.lock().clone();
        failed = !write(&mut kept.file.lock(), &registries, failed);
        if wait == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Writes what there is; false if it could not be.
fn write(file: &mut File, registries: &[Arc<Registry>], failed: bool) -> bool {
    let changes: Vec<(&Arc<Registry>, Changes)> =
        registries.iter().filter_map(|registry| Some((registry, registry.take_changes()?))).collect();
    if changes.is_empty() {
        return true;
    }
    let rows: Vec<_> =
        changes.iter().map(|(registry, changes)| (&**registry.name(), changes.agents.as_slice())).collect();
    let result = file.write(&rows).map_err(|error| error.to_string());
    match &result {
        Ok(()) if failed => tracing::info!("the state is written again"),
        Err(error) if !failed => tracing::error!(
            error,
            "the state cannot be written: new registrations are refused until it can; what is registered goes on"
        ),
        _ => {}
    }
    for (registry, changes) in changes {
        registry.changes_kept(changes, result.as_ref().copied().map_err(String::as_str));
    }
    result.is_ok()
}
