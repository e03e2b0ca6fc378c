//! Who is told by the system that something happens in a folder, and which folders those of a file are.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Links that are followed from one file: more than anybody has, fewer than a circle.
const MOST_LINKS: usize = 40;

/// Sees that something happens in folders, and rings.
pub trait Eyes: fmt::Debug + Send {
    /// Looks at exactly these folders from now on; also at one of this name that was deleted and made anew.
    ///
    /// # Errors
    /// Why it cannot see all of them. It sees the others.
    fn look_at(&mut self, folders: &BTreeSet<PathBuf>) -> Result<(), String>;
}

/// The system's own means: inotify, on Linux.
pub(super) struct System {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl System {
    /// Rings `bell` whenever something is written, moved or removed.
    pub(super) fn new(bell: Arc<Notify>) -> Result<Self, String> {
        let rings = move |event: notify::Result<Event>| {
            // That we read a file ourselves is nothing new; that events were lost is.
            if !matches!(event, Ok(Event { kind: EventKind::Access(access), .. }) if !is_write(access)) {
                bell.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(rings).map_err(|error| error.to_string())?;
        Ok(Self { watcher, folders: BTreeSet::new() })
    }
}

fn is_write(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    matches!(access, AccessKind::Close(AccessMode::Write))
}

impl Eyes for System {
    fn look_at(&mut self, folders: &BTreeSet<PathBuf>) -> Result<(), String> {
        for gone in self.folders.difference(folders) {
            // It may have been deleted, and have no watch any more.
            self.watcher.unwatch(gone).ok();
        }
        let mut blind = None;
        self.folders.clone_from(folders);
        for folder in folders {
            // Again where it is watched already: another folder may have its name by now.
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                self.folders.remove(folder);
                // One that is not there is found by looking now and then, as long as that is so.
                if folder.is_dir() {
                    blind = Some(format!("{}: {error}", folder.display()));
                }
            }
        }
        blind.map_or(Ok(()), Err)
    }
}

/// The folders in which something happens when a file is replaced: its own, and those of every link on the way to it.
pub(super) fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut path = file.to_owned();
    for _ in 0..MOST_LINKS {
        folders.insert(folder(&path));
        // The first link on the way, if there is one.
        let mut way: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
        way.reverse();
        let link = way.into_iter().find_map(|part| Some((part, std::fs::read_link(part).ok()?)));
        let Some((part, to)) = link else { break };
        folders.insert(folder(part));
        let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
        let target = folder(part).join(to);
        path = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
    }
    folders
}

/// The one in which a file is.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) => PathBuf::from("."),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
