//! All audit files of a process: each is written by one thread, however many filters name it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key::Key;
use crate::trail::{MARK, Reading, Trail};

/// The name under which filters keep them.
pub const KEPT_AS: &str = "audit";

/// The audit files that filters of the configurations in force name.
#[derive(Debug, Default)]
pub struct Files(Mutex<BTreeMap<PathBuf, Weak<Trail>>>);

impl Files {
    /// The file at a path, which is called `shown` in the configuration. It is not opened yet: nothing is, before all of a configuration
    /// is known to be right.
    ///
    /// # Errors
    /// There can be no such file, or another filter names it with another key.
    pub(crate) fn declare(&self, path: &Path, shown: &str, key: Key) -> Result<Arc<Trail>, String> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(format!("`{shown}` names no file"));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // One file has one writer, under whatever names.
        let folder = folder.canonicalize().map_err(|error| format!("the folder of `{shown}`: {error}: make it"))?;
        let path = folder.join(name);
        if path.exists() && !path.is_file() {
            return Err(format!("`{shown}` is no file"));
        }
        let mut files = self.0.lock();
        if let Some(trail) = files.get(&path).and_then(Weak::upgrade) {
            return match trail.key().is_as(&key) {
                true => Ok(trail),
                false => Err(format!(
                    "`{shown}` is named by another filter, or is open, with another key: a file has one; begin another file for \
                     another key"
                )),
            };
        }
        let trail = Arc::new(Trail::new(path.clone(), shown.to_owned(), key));
        files.retain(|_, trail| trail.strong_count() > 0);
        files.insert(path, Arc::downgrade(&trail));
        Ok(trail)
    }

    /// Opens all that are not open. To be called before the configuration that names them comes into force.
    ///
    /// # Errors
    /// One cannot be opened, and why.
    pub fn open(&self) -> Result<(), String> {
        self.all().iter().try_for_each(|trail| trail.open(MARK))
    }

    /// Looks whether other files have their names by now, and goes on in those: what rotates them has moved the old ones aside. Waits for
    /// the disk.
    pub fn reopen(&self) -> Vec<String> {
        let reopen = |trail: &Arc<Trail>| match trail.reopen() {
            Ok(true) => {
                tracing::info!(file = %trail.path().display(), "the audit goes on in a new file");
                None
            }
            Ok(false) => None,
            Err(why) => Some(why),
        };
        self.all().iter().filter_map(reopen).collect()
    }

    /// Moves all aside, so that another process can begin files under their names; lines go on in those that are open. Answers what went
    /// wrong.
    pub fn move_aside(&self) -> Vec<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let aside = |trail: &Arc<Trail>| {
            let path = trail.path();
            let mut other = path.as_os_str().to_owned();
            other.push(format!(".until-{now}"));
            let moved = std::fs::rename(path, other).err().filter(|error| error.kind() != ErrorKind::NotFound)?;
            Some(format!("{}: {moved}", path.display()))
        };
        self.all().iter().filter_map(aside).collect()
    }

    /// What each tells of itself.
    pub fn readings(&self) -> Vec<Reading> {
        self.all().iter().map(|trail| trail.reading()).collect()
    }

    /// Writes what is left, takes no more, and waits for it so long at most; false if that did not do.
    pub fn close(&self, patience: Duration) -> bool {
        let threads: Vec<_> = self.all().iter().filter_map(|trail| trail.close()).collect();
        let until = Instant::now() + patience;
        while !threads.iter().all(std::thread::JoinHandle::is_finished) {
            if Instant::now() >= until {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        true
    }

    fn all(&self) -> Vec<Arc<Trail>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}
