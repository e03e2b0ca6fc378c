//! Files that are looked after: whoever waits is told when what is in one of them is something else. The system says when to look, and
//! what it fails to say is found by looking now and then. Knows nothing of configurations.

mod eyes;
pub mod listing;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

pub use eyes::Eyes;
use eyes::{System, folders_of};
pub use print::Print;

/// Who writes a file does more than one thing to it: looked is when nothing has happened for this long,
const QUIET: Duration = Duration::from_millis(100);
/// or after this long, if it does not stop.
const UNREST: Duration = Duration::from_secs(1);
/// Between two looks that nobody asked for.
const NOW_AND_THEN: Duration = Duration::from_secs(5);
/// The same where the system does not say when something happens.
const BLIND: Duration = Duration::from_secs(1);

/// Looks after files.
#[derive(Debug)]
pub struct Watch {
    orders: mpsc::UnboundedSender<Order>,
    changed: Arc<Changed>,
    _looking: AbortOnDropHandle<()>,
}

/// Files that have changed and that nobody was told of yet.
#[derive(Debug, Default)]
struct Changed {
    files: Mutex<BTreeSet<PathBuf>>,
    ring: Notify,
}

enum Order {
    Files(BTreeMap<PathBuf, Print>),
    Refresh(oneshot::Sender<()>),
}

impl Watch {
    /// Nothing is looked after yet. It sees as the system does; where the system cannot, it looks more often, and the log says so.
    pub fn new() -> Self {
        let bell = Arc::new(Notify::new());
        Self::by(System::new(Arc::clone(&bell)).map(|eyes| Box::new(eyes) as Box<dyn Eyes>), bell)
    }

    /// The same with eyes of somebody's own, who ring this bell.
    pub fn seeing(eyes: Box<dyn Eyes>, bell: Arc<Notify>) -> Self {
        Self::by(Ok(eyes), bell)
    }

    fn by(eyes: Result<Box<dyn Eyes>, String>, bell: Arc<Notify>) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let changed = Arc::new(Changed::default());
        let mut looking =
            Looking { prints: BTreeMap::new(), changed: Arc::clone(&changed), eyes: None, bell, every: NOW_AND_THEN };
        match eyes {
            Ok(eyes) => looking.eyes = Some(eyes),
            Err(why) => looking.is_blind(&why),
        }
        let task = tokio::spawn(looking.run(ordered));
        Self { orders, changed, _looking: AbortOnDropHandle::new(task) }
    }

    /// These are looked after from now on, and no others; each with what it was before it was read. One that is something else by now has
    /// changed.
    pub fn look_after(&self, files: BTreeMap<PathBuf, Print>) {
        // An error means that the task is gone, with the runtime.
        self.orders.send(Order::Files(files)).ok();
    }

    /// Waits until files have changed, and says which. Nothing is lost where it is given up.
    pub async fn changed(&self) -> Vec<PathBuf> {
        loop {
            let files = std::mem::take(&mut *self.changed.files.lock());
            if !files.is_empty() {
                return files.into_iter().collect();
            }
            self.changed.ring.notified().await;
        }
    }

    /// What is there now is known: whoever reads the files after this need not be told of it.
    pub async fn refresh(&self) {
        let (done, told) = oneshot::channel();
        if self.orders.send(Order::Refresh(done)).is_ok() {
            told.await.ok();
        }
        self.changed.files.lock().clear();
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// What its task has.
struct Looking {
    prints: BTreeMap<PathBuf, Print>,
    changed: Arc<Changed>,
    eyes: Option<Box<dyn Eyes>>,
    bell: Arc<Notify>,
    every: Duration,
}

impl Looking {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let bell = Arc::clone(&self.bell);
        // Something happens, and is waited for to stop: until when at most, and until when if nothing more happens.
        let mut unrest: Option<(Instant, Instant)> = None;
        loop {
            let next = unrest.map_or_else(|| Instant::now() + self.every, |(enough, quiet)| quiet.min(enough));
            tokio::select! {
                // Who asks does not wait for quiet.
                order = orders.recv() => match order {
                    Some(Order::Files(files)) => {
                        self.know(files);
                        match unrest {
                            None => self.see(false).await,
                            // Looked is when that is over; what happens in folders that are new belongs to it.
                            Some(_) => self.open_eyes(),
                        }
                    }
                    Some(Order::Refresh(done)) => {
                        drop(self.look(true).await);
                        done.send(()).ok();
                    }
                    None => return,
                },
                () = bell.notified() => {
                    let now = Instant::now();
                    let enough = unrest.map_or(now + UNREST, |(enough, _)| enough);
                    unrest = Some((enough, now + QUIET));
                }
                () = sleep_until(next) => self.see(unrest.take().is_some()).await,
            }
        }
    }

    /// Looks, and says what has changed.
    async fn see(&mut self, read: bool) {
        let changed = self.look(read).await;
        // Folders may have come, or be others by now.
        self.open_eyes();
        self.tell(changed);
    }

    fn tell(&self, changed: Vec<PathBuf>) {
        if !changed.is_empty() {
            self.changed.files.lock().extend(changed);
            self.changed.ring.notify_one();
        }
    }

    /// Which files have changed since the last look. Reads the disk, so not on the runtime's own thread.
    async fn look(&mut self, read: bool) -> Vec<PathBuf> {
        let mut prints = std::mem::take(&mut self.prints);
        let looked = tokio::task::spawn_blocking(move || {
            let of = |(path, print): (&PathBuf, &mut Print)| print.has_changed(path, read).then(|| path.clone());
            let changed: Vec<_> = prints.iter_mut().filter_map(of).collect();
            (prints, changed)
        });
        let (prints, changed) = looked.await.unwrap_or_default();
        self.prints = prints;
        changed
    }

    fn know(&mut self, mut files: BTreeMap<PathBuf, Print>) {
        // What is known already was last seen before it was read.
        for (path, print) in std::mem::take(&mut self.prints) {
            if let Some(read) = files.get_mut(&path) {
                *read = print;
            }
        }
        self.prints = files;
    }

    fn open_eyes(&mut self) {
        let Some(eyes) = &mut self.eyes else { return };
        let folders = self.prints.keys().flat_map(|file| folders_of(file)).collect();
        match eyes.look_at(&folders) {
            Err(why) if self.every != BLIND => self.is_blind(&why),
            Err(_) => {}
            Ok(()) => self.every = NOW_AND_THEN,
        }
    }

    fn is_blind(&mut self, why: &str) {
        tracing::warn!(
            error = why,
            seconds = BLIND.as_secs(),
            "changes of files cannot be watched, so files are looked at again and again (on Linux, see fs.inotify.max_user_watches and max_user_instances)"
        );
        self.every = BLIND;
    }
}

#[cfg(test)]
mod tests;
