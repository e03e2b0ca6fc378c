//! What changes is said once, however it is noticed; what only looks different is nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Eyes, Print, Watch};

/// A folder that ends with its test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portunus-watch-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.0.join(name), text).unwrap();
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Sees nothing, or cannot see at all.
#[derive(Debug)]
struct Silent(Result<(), String>);

impl Eyes for Silent {
    fn look_at(&mut self, _: &BTreeSet<PathBuf>) -> Result<(), String> {
        self.0.clone()
    }
}

fn looks(files: &[&Path]) -> BTreeMap<PathBuf, Print> {
    files.iter().map(|file| (file.to_path_buf(), Print::take(file))).collect()
}

async fn within(watch: &Watch, time: Duration) -> Option<Vec<PathBuf>> {
    timeout(time, watch.changed()).await.ok()
}

#[tokio::test]
async fn a_change_that_no_event_tells_of_is_found_all_the_same() {
    for (seen, soon) in [(Ok(()), Duration::from_secs(15)), (Err("no watches left".to_owned()), Duration::from_secs(4))]
    {
        let folder = Folder::new("lost");
        let (one, two) = (folder.file("one", "1"), folder.file("two", "2"));
        let watch = Watch::seeing(Box::new(Silent(seen)), Arc::new(Notify::new()));
        watch.look_after(looks(&[&one, &two]));
        watch.refresh().await;
        folder.file("two", "3");
        assert_eq!(within(&watch, soon).await, Some(vec![two]));
    }
}

#[tokio::test]
async fn what_was_written_between_reading_and_looking_has_changed() {
    let folder = Folder::new("between");
    let (one, two) = (folder.file("one", "1"), folder.file("two", "2"));
    let read = looks(&[&one, &two]);
    folder.file("one", "later");
    let watch = Watch::seeing(Box::new(Silent(Ok(()))), Arc::new(Notify::new()));
    watch.look_after(read);
    assert_eq!(within(&watch, Duration::from_secs(2)).await, Some(vec![one]));
}

#[tokio::test]
async fn what_is_known_by_whoever_asked_is_not_told() {
    let folder = Folder::new("known");
    let one = folder.file("one", "1");
    let bell = Arc::new(Notify::new());
    let watch = Watch::seeing(Box::new(Silent(Ok(()))), Arc::clone(&bell));
    watch.look_after(looks(&[&one]));
    folder.file("one", "2");
    watch.refresh().await;
    bell.notify_one();
    assert_eq!(within(&watch, Duration::from_millis(400)).await, None);
    // The same octets by another file, and a date: nothing has changed.
    let other = folder.file("other", "2");
    fs::rename(other, &one).unwrap();
    bell.notify_one();
    assert_eq!(within(&watch, Duration::from_millis(400)).await, None);
    fs::remove_file(&one).unwrap();
    bell.notify_one();
    assert_eq!(within(&watch, Duration::from_secs(2)).await, Some(vec![one]));
}

#[tokio::test(start_paused = true)]
async fn who_asks_does_not_wait_until_it_is_quiet() {
    let (folder, bell) = (Folder::new("asked"), Arc::new(Notify::new()));
    let one = folder.file("one", "1");
    let watch = Watch::seeing(Box::new(Silent(Ok(()))), Arc::clone(&bell));
    watch.look_after(looks(&[&one]));
    watch.refresh().await;
    // As when a file is written and the signal sent at once.
    folder.file("one", "2");
    bell.notify_one();
    tokio::task::yield_now().await;
    let asked = Instant::now();
    watch.refresh().await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    // What happens after that is told, once it is quiet.
    folder.file("one", "3");
    bell.notify_one();
    assert_eq!(within(&watch, Duration::from_secs(1)).await, Some(vec![one]));
    assert!(asked.elapsed() >= Duration::from_millis(100), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn the_system_says_what_happens_also_in_a_folder_that_is_new() {
    let folder = Folder::new("system");
    fs::create_dir(folder.0.join("sub")).unwrap();
    let file = folder.file("sub/file", "1");
    let watch = Watch::new();
    watch.look_after(looks(&[&file]));
    watch.refresh().await;
    folder.file("sub/file", "2");
    assert_eq!(within(&watch, Duration::from_secs(4)).await, Some(vec![file.clone()]));
    fs::remove_dir_all(folder.0.join("sub")).unwrap();
    assert_eq!(within(&watch, Duration::from_secs(4)).await, Some(vec![file.clone()]));
    fs::create_dir(folder.0.join("sub")).unwrap();
    folder.file("sub/file", "3");
    assert_eq!(within(&watch, Duration::from_secs(15)).await, Some(vec![file.clone()]));
    folder.file("sub/file", "4");
    assert_eq!(within(&watch, Duration::from_secs(4)).await, Some(vec![file]));
}
